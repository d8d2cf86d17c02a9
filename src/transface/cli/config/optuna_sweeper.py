"""Hydra's Optuna sweeper, with trials kept in a text file: a stopped search goes on where it was, and draws what it
would have drawn.

The plugin's own storage is an SQL database, which its Optuna (2.10) can no longer open with SQLAlchemy 2, and to which
each start adds n_trials more. Here every batch of trials follows from the seed, the number of its first trial and the
trials before it, so a batch that was cut off is proposed again as it was, and its finished trials answer at once (see
sweeps.py).
"""

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from transface.cli.config.errors import UserError

log = logging.getLogger(__name__)


PLUGIN = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"


def stand_in_for_plugin() -> None:
    """Let hydra/sweeper=optuna mean StudySweeper: Hydra builds plugins only of names below hydra_plugins, and this one
    is registered.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)  # Optuna imports it, and it tells of every part it loads
    known = Plugins.instance().class_name_to_class
    if PLUGIN in known:
        known[PLUGIN] = StudySweeper


class StudySweeper(Sweeper):
    """Takes the settings of hydra/sweeper=optuna; `n_trials` counts the whole search, not what this start adds.

    Args of the constructor, besides those of the plugin:
        storage: the file of trials; null: trials.jsonl in the folder of the sweep.
    """

    def __init__(
        self,
        sampler: Any,
        direction: Any,
        storage: str | None,
        study_name: str | None,
        n_trials: int,
        n_jobs: int,
        max_failure_rate: float,
        search_space: Any = None,
        custom_search_space: str | None = None,
        params: DictConfig | None = None,
    ) -> None:
        if search_space is not None or custom_search_space is not None:
            raise UserError("hydra.sweeper takes params; search_space and custom_search_space are not supported")
        if storage is not None and "://" in storage:
            raise UserError(
                f"hydra.sweeper.storage is a file of trials, got the database {storage}: leave it null, or name a file"
            )
        self.direction = direction if isinstance(direction, str) else direction.name
        self.storage, self.study_name = storage, study_name
        self.n_trials, self.n_jobs, self.max_failure_rate = n_trials, max(n_jobs, 1), max_failure_rate
        self.params: dict[str, Any] = {str(key): value for key, value in (params or {}).items()}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.settings = config.hydra
        self.launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run trials until there are n_trials, and write optimization_results.yaml."""
        from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides

        folder = Path(self.settings.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        space, fixed = create_params_from_overrides(
            [*(f"{key}={value}" for key, value in self.params.items()), *arguments]
        )
        space = {name: distribution for name, distribution in space.items() if name not in fixed}
        file = Path(self.storage) if self.storage else folder / "trials.jsonl"
        study = open_study(file, self.direction, self.study_name)
        log.info("%s: %d of %d trials done", file, len(study.trials), self.n_trials)
        while (first := len(study.trials)) < self.n_trials:
            study.sampler = self._sampler(space, first)
            self._run_batch(study, space, fixed, count=min(self.n_jobs, self.n_trials - first))
            append_trials(file, study.trials[first:])
        _write_best(study, folder)
        return study

    def _sampler(self, space: dict[str, Any], first: int) -> Any:
        from hydra.utils import instantiate

        node = OmegaConf.to_container(self.settings.sweeper.sampler, resolve=True)
        assert isinstance(node, dict)
        if "seed" in node:
            node["seed"] = (node["seed"] or 0) + first
        sampler = instantiate(node)
        return (
            sampler({name: choices(distribution) for name, distribution in space.items()})
            if callable(sampler)
            else sampler
        )

    def _run_batch(self, study: Any, space: dict[str, Any], fixed: dict[str, Any], *, count: int) -> None:
        first = len(study.trials)
        trials = [study.ask(space) for _ in range(count)]
        overrides = [[f"{name}={value}" for name, value in {**trial.params, **fixed}.items()] for trial in trials]
        returns = self.launcher.launch(overrides, initial_job_idx=first)
        failed = [outcome for trial, outcome in zip(trials, returns, strict=True) if not _tell(study, trial, outcome)]
        if len(failed) / len(returns) > self.max_failure_rate:
            _ = failed[0].return_value
            raise UserError(
                "a trial ended without its metric: give what `monitor` measures, e.g. protocol.files, or"
                " monitor=train/loss"
            )


def choices(distribution: Any) -> list[Any]:
    """Return the values of a discrete distribution, for a grid.

    Raises:
        UserError: if it is continuous.
    """
    if hasattr(distribution, "choices"):
        return list(distribution.choices)
    step = getattr(distribution, "step", getattr(distribution, "q", None))
    if step is None:
        raise UserError("a grid needs lists or ranges of values: choice(...) or range(...), not interval(...)")
    count = int((distribution.high - distribution.low) / step + 1e-9) + 1
    return [distribution.low + step * index for index in range(count)]


def open_study(file: Path, direction: Any, name: str | None) -> Any:
    """Return an Optuna study that holds the trials of a file, if there are any."""
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    study = optuna.create_study(study_name=name, direction=direction)
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines() if file.is_file() else (), start=1):
        try:
            study.add_trial(trial_of(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{file}, line {number} is no trial ({error}): remove it, and the trial is proposed again"
            ) from error
    return study


def trial_of(entry: dict[str, Any]) -> Any:
    """Return the Optuna trial that a line of the file holds."""
    import optuna

    return optuna.trial.create_trial(
        state=optuna.trial.TrialState[entry["state"]],
        value=entry["value"],
        params=entry["params"],
        distributions={
            key: optuna.distributions.json_to_distribution(text) for key, text in entry["distributions"].items()
        },
        system_attrs=entry["system_attrs"],
    )


def append_trials(file: Path, trials: Sequence[Any]) -> None:
    """Add trials to the file, all of them in one write."""
    import optuna

    lines = [
        json.dumps(
            {
                "number": trial.number,
                "state": trial.state.name,
                "value": trial.value,
                "params": trial.params,
                "distributions": {
                    key: optuna.distributions.distribution_to_json(one) for key, one in trial.distributions.items()
                },
                "system_attrs": {
                    key: value for key, value in trial.system_attrs.items() if not key.startswith("fixed")
                },
            }
        )
        for trial in trials
    ]
    with file.open("a", encoding="utf-8") as handle:
        handle.write("".join(f"{line}\n" for line in lines))


def _tell(study: Any, trial: Any, outcome: Any) -> bool:
    import optuna

    try:
        value = float(outcome.return_value)
    except Exception as error:
        log.warning("trial %d failed: %s", trial.number, error)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return False
    # A grid that is used up asks the study to stop, which Optuna allows only inside its own loop.
    try:
        study.tell(trial, value)
    except RuntimeError as error:
        if "Study.stop" not in str(error):
            raise
    return True


def _write_best(study: Any, folder: Path) -> None:
    best = study.best_trial
    log.info("best of %d trials: %s with %s", len(study.trials), best.value, best.params)
    results = {"name": "optuna", "best_params": best.params, "best_value": best.value, "best_trial": best.number}
    OmegaConf.save(OmegaConf.create(results), folder / "optimization_results.yaml")
