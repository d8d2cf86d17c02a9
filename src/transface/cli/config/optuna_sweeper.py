"""Searches settings with Optuna: proposes trials, launches them through Hydra and stores them in Optuna's own journal.

A search resumes: trials that a stopped process left unfinished are launched again with the settings they had, and each
batch of proposals follows from the seed, the number of its first trial and the trials before it. Several processes may
share one study: each proposal is made under a lock, and each process holds a lock of its own while it lives.
"""

import fcntl
import itertools
import json
import logging
import os
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from transface.artifacts import write_whole
from transface.cli.config.errors import UserError

log = logging.getLogger(__name__)
JOURNAL = "study.journal"
WORKER = "worker"  # the user attribute of a trial that names the process it was proposed in


class OptunaSweeper(Sweeper):
    """The sweeper of hydra/sweeper=optuna. `n_trials` counts the whole search, not what one start adds.

    Args of the constructor:
        sampler: a config with the `_target_` of an Optuna sampler; GridSampler is given the search space.
        direction: "maximize" or "minimize" what a trial returns (the `monitor`).
        storage: a file for Optuna's JournalStorage, or a database's URL (sqlite:///search.db); null: study.journal in
            the sweep's folder.
        study_name: name of the study in its storage.
        n_jobs: number of trials proposed together, for a launcher that runs several at once.
        max_failure_rate: share of the trials launched together that may fail before the search stops.
        params: settings to search, as Hydra's sweeps: choice(...), range(...), interval(...), tag(log, interval(...)).
    """

    def __init__(
        self,
        sampler: Any,
        direction: str = "maximize",
        storage: str | None = None,
        study_name: str | None = None,
        n_trials: int = 20,
        n_jobs: int = 1,
        max_failure_rate: float = 0.0,
        params: DictConfig | None = None,
    ) -> None:
        if direction not in ("maximize", "minimize"):
            raise UserError(f"hydra.sweeper.direction is maximize or minimize, got {direction!r}")
        if n_trials < 1 or n_jobs < 1:
            raise UserError(f"hydra.sweeper.n_trials and n_jobs are at least 1, got {n_trials} and {n_jobs}")
        self.direction, self.storage, self.study_name = direction, storage, study_name or "search"
        self.n_trials, self.n_jobs, self.max_failure_rate = n_trials, n_jobs, max_failure_rate
        self.params: dict[str, Any] = {str(key): value for key, value in (params or {}).items()}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.settings = config.hydra
        self.launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run trials until the study has n_trials, write optimization_results.yaml and return the study."""
        folder = Path(self.settings.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        space, fixed = search_space([*(f"{key}={value}" for key, value in self.params.items()), *arguments])
        study = open_study(self.storage or folder / JOURNAL, self.direction, self.study_name)
        log.info("%d of %d trials done", sum(trial.state.is_finished() for trial in study.trials), self.n_trials)
        with living_worker(folder) as worker:
            while numbers := self._next_trials(study, space, folder, worker):
                for together in contiguous(numbers):
                    self._launch(study, together, fixed)
        _write_best(study, folder)
        return study

    def _next_trials(self, study: Any, space: dict[str, Any], folder: Path, worker: str) -> list[int]:
        """Return the numbers of the trials to launch: those that a dead process left, else new ones; [] at the end."""
        with locked(folder / "study.lock"):
            known = study.trials
            open_trials = [trial for trial in known if not trial.state.is_finished()]
            left = [t for t in open_trials if not is_alive(folder, t.user_attrs.get(WORKER), own=worker)]
            count = min(self.n_jobs, self.n_trials - len(known))
            study.sampler = self._sampler(space, left[0].number if left else len(known))
            if left:
                trials = [_resumed(study, trial, space) for trial in left[: self.n_jobs]]
            elif count > 0 and not _is_exhausted(study):
                trials = [study.ask(space) for _ in range(count)]
            else:
                trials = []
            for trial in trials:
                trial.set_user_attr(WORKER, worker)
        return [trial.number for trial in trials]

    def _sampler(self, space: dict[str, Any], first: int) -> Any:
        from hydra.utils import instantiate

        node = OmegaConf.to_container(self.settings.sweeper.sampler, resolve=True)
        assert isinstance(node, dict)
        is_grid = str(node["_target_"]).endswith(".GridSampler")
        if "seed" in node:  # a grid keeps its order: a combination is known by its place in it
            node["seed"] = (node["seed"] or 0) + (0 if is_grid else first)
        if is_grid:
            node["search_space"] = {name: grid_values(distribution) for name, distribution in space.items()}
        return instantiate(node)

    def _launch(self, study: Any, numbers: Sequence[int], fixed: dict[str, str]) -> None:
        trials = [study.trials[number] for number in numbers]
        overrides = [[f"{name}={value}" for name, value in {**fixed, **trial.params}.items()] for trial in trials]
        returns = self.launcher.launch(overrides, initial_job_idx=numbers[0])
        failed = [
            outcome for number, outcome in zip(numbers, returns, strict=True) if not _tell(study, number, outcome)
        ]
        if len(failed) / len(returns) > self.max_failure_rate:
            log.warning(
                "the search ends with a trial that failed, as hydra.sweeper.max_failure_rate=%g has it; with 1 it goes"
                " on without it",
                self.max_failure_rate,
            )
            _ = failed[0].return_value
            raise UserError(
                "a trial ended without its metric: give what `monitor` measures, e.g. protocol.files, or"
                " monitor=train/loss"
            )


def search_space(words: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the distributions by setting, and the settings with one value; a later word for a setting replaces an
    earlier one.

    range(a, b, step) proposes a, a + step, ... up to b, b included where a step ends there.
    """
    space: dict[str, Any] = {}
    fixed: dict[str, str] = {}
    for override in OverridesParser.create().parse_overrides(overrides=list(words)):
        key = override.get_key_element()
        for found in (space, fixed):
            found.pop(key, None)
        if override.is_sweep_override():
            space[key] = distribution_of(override)
        else:
            fixed[key] = str(override.get_value_element_as_str())
    if not space:
        raise UserError("nothing to search: give hydra.sweeper.params, or settings as choice(...) or interval(...)")
    return space, fixed


def distribution_of(override: Override) -> Any:
    """Return the Optuna distribution of a sweep in Hydra's grammar."""
    from optuna import distributions

    value: Any = override.value()
    if isinstance(value, IntervalSweep):
        whole = isinstance(value.start, int) and isinstance(value.end, int)
        kind: Any = distributions.IntDistribution if whole else distributions.FloatDistribution
        return kind(value.start, value.end, log="log" in value.tags)
    if isinstance(value, RangeSweep) and not value.shuffle:
        whole = all(isinstance(number, int) for number in (value.start, value.stop, value.step))
        kind = distributions.IntDistribution if whole else distributions.FloatDistribution
        return kind(value.start, value.stop, step=value.step)
    values: list[Any] = list(override.sweep_iterator(transformer=Transformer.encode))
    return distributions.CategoricalDistribution(values)


def grid_values(distribution: Any) -> list[Any]:
    """Return the values of a discrete distribution, for a grid.

    Raises:
        UserError: if it is continuous.
    """
    if hasattr(distribution, "choices"):
        return list(distribution.choices)
    if distribution.step is None or distribution.log:
        raise UserError("a grid needs lists or ranges of values: choice(...) or range(...), not interval(...)")
    count = int((distribution.high - distribution.low) / distribution.step + 1e-9) + 1
    return [distribution.low + distribution.step * index for index in range(count)]


def open_study(storage: str | Path, direction: Any, name: str = "search") -> Any:
    """Return the Optuna study of a journal file or of a database's URL; a new one where there is none.

    Raises:
        UserError: if the journal is broken, or the study has another direction.
    """
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    try:
        opened: Any = str(storage) if "://" in str(storage) else _journal(Path(storage))
        study = optuna.create_study(storage=opened, study_name=name, direction=direction, load_if_exists=True)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{storage} is no journal of Optuna ({error}): move it away, and the search starts anew"
        ) from error
    except optuna.exceptions.StorageInternalError as error:
        raise UserError(f"the database {storage} does not open: {error}") from error
    if study.direction.name.lower() != direction:
        raise UserError(
            f"{storage} holds a search that wants to {study.direction.name.lower()}, hydra.sweeper.direction is"
            f" {direction}: give another name=... or hydra.sweeper.study_name=..."
        )
    return study


class FileLock:
    """A lock that ends with its process, for JournalFileBackend: Optuna's own stay behind when a process is killed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: TextIO | None = None

    def acquire(self) -> bool:
        self.file = self.path.open("w")
        fcntl.lockf(self.file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        assert self.file is not None
        self.file.close()
        self.file = None


def _journal(file: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    old = file.with_name("trials.jsonl")
    if old.exists() and not file.exists():
        raise UserError(
            f"{old} was written by an earlier version, whose searches do not resume: give another name=..., or move"
            " the file away to search anew (finished trials answer at once)"
        )
    lock: Any = FileLock(file.with_name(f"{file.name}.lock"))
    lock.acquire()
    try:
        _cut_torn_line(file)
    finally:
        lock.release()
    return JournalStorage(JournalFileBackend(str(file), lock_obj=lock))


def _cut_torn_line(file: Path) -> None:
    """Cut off a last line without its end: its writer was killed, and Optuna would append to it."""
    if not file.is_file():
        return
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            json.loads(line)
        except ValueError as error:
            raise UserError(
                f"{file}, line {number} is broken ({error}): move the file away, and the search starts anew"
            ) from error
    if len(whole) < len(content):
        log.warning("%s: a line that was not written to its end is dropped", file)
        with file.open("r+b") as handle:
            handle.truncate(len(whole))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file against other processes; it is free again when this process ends, however it ends."""
    lock = FileLock(path)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def living_worker(folder: Path) -> Iterator[str]:
    """Yield the name of this process in a study, whose lock is held while the process lives."""
    name = f"{os.uname().nodename}-{uuid.uuid4().hex[:12]}"
    workers = folder / ".workers"
    workers.mkdir(exist_ok=True)
    try:
        with locked(workers / name):
            yield name
    finally:
        (workers / name).unlink(missing_ok=True)


def is_alive(folder: Path, worker: str | None, *, own: str) -> bool:
    """Return whether the process that proposed a trial still lives; `own` is the name of this one, which fcntl's locks
    do not hold off.
    """
    if worker == own:
        return True
    if worker is None or not (folder / ".workers" / worker).exists():
        return False
    with (folder / ".workers" / worker).open("r+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def contiguous(numbers: Sequence[int]) -> list[list[int]]:
    """Return the numbers in groups without gaps: a launcher counts on from the first of its jobs.

    Example:
        >>> contiguous([2, 3, 7])
        [[2, 3], [7]]
    """
    groups = itertools.groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0])
    return [[number for _, number in group] for _, group in groups]


def _resumed(study: Any, frozen: Any, space: dict[str, Any]) -> Any:
    """Return an unfinished trial to resume; a setting that its process had not yet drawn is drawn now."""
    import optuna

    trial = optuna.trial.Trial(study, frozen._trial_id)
    for name, distribution in space.items():
        if name in frozen.params:
            continue
        if isinstance(distribution, optuna.distributions.CategoricalDistribution):
            trial.suggest_categorical(name, distribution.choices)
        elif isinstance(distribution, optuna.distributions.IntDistribution):
            trial.suggest_int(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
        else:
            trial.suggest_float(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
    return trial


def _is_exhausted(study: Any) -> bool:
    from optuna.samplers import GridSampler

    return isinstance(study.sampler, GridSampler) and study.sampler.is_exhausted(study)


def _tell(study: Any, number: int, outcome: Any) -> bool:
    """Store a trial's value, or that it failed; return whether it has one."""
    from optuna.trial import TrialState

    try:
        value = float(outcome.return_value)
    except Exception as error:
        log.warning("trial %d failed: %s", number, error)
        study.tell(number, state=TrialState.FAIL)
        return False
    # A grid that is used up asks the study to stop, which Optuna allows only inside its own loop.
    try:
        told = study.tell(number, value)
    except RuntimeError as error:
        if "Study.stop" not in str(error):
            raise
        return True
    return bool(told.state == TrialState.COMPLETE)


def _write_best(study: Any, folder: Path) -> None:
    from optuna.trial import TrialState

    if not study.get_trials(states=(TrialState.COMPLETE,)):
        return
    best = study.best_trial
    log.info("best of %d trials: %s with %s", len(study.trials), best.value, best.params)
    results = {"name": "optuna", "best_params": best.params, "best_value": best.value, "best_trial": best.number}
    write_whole(folder / "optimization_results.yaml", OmegaConf.to_yaml(OmegaConf.create(results)))
