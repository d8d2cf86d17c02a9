"""The finished trials of a sweep or an ablation: which settings differ between them, which seed, what each one
measured.

A trial is a run folder. What was swept is read from the overrides a sweep leaves (trial.json, .hydra/overrides.yaml),
else from folder names like `margin.m=0.4,seed=1`, else from what differs between the config.yaml files. A trial that
began (trial.json) and has not ended (finished.json) has measured nothing yet.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from transface.reports.reading.runs import Run, read_mapping, read_run

Value = int | float | str
SEED = "seed"
# Differ between trials without being what is swept.
IGNORED = re.compile(
    r"^(name|resume|devices|num_nodes|run|variant_of)$"
    r"|^(hydra|paths|logger|callbacks|checkpoint|monitor)(\.|$)|(^|\.)_target_$"
)
SKIPPED_FOLDERS = {"previous", "checkpoints", "results", "report", "tensorboard"}


@dataclass(frozen=True)
class Trial:
    """One run of a sweep: its folder read, its settings (swept keys to values), its seed."""

    run: Run
    settings: Mapping[str, Value] = field(default_factory=dict)
    seed: int | None = None

    @property
    def name(self) -> str:
        """The settings in words: "margin.m=0.4, weighting=none"."""
        return ", ".join(f"{key}={value}" for key, value in self.settings.items()) or self.run.label


def read_trials(folder: str | Path) -> list[Trial]:
    """Return the trials below a folder, in the order they were swept where that is known, else by value.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if no run lies in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: give the folder of a sweep, whose trials lie below it")
    folders = trial_folders(folder)
    if not folders:
        raise ValueError(f"no trial in {folder}: expected run folders with a config.yaml below it")
    runs = [
        read_run(path) if has_ended(path) else Run(path.name, path, config=read_mapping(path / "config.yaml"))
        for path in folders
    ]
    overrides = [overrides_of(path, folder) for path in folders]
    configs = [flattened(run.config) for run in runs]
    keys = swept_keys(overrides, configs)
    trials = [
        Trial(run, {key: setting(key, given, config) for key in keys}, seed_of(given, config))
        for run, given, config in zip(runs, overrides, configs, strict=True)
    ]
    order = sweep_order(folder)
    return sorted(trials, key=lambda t: [*(place(key, t.settings[key], order) for key in keys), (0, t.seed or 0, "")])


def has_ended(folder: Path) -> bool:
    """Return whether a trial ran to its end, as far as is known: a sweep marks both its begin and its end."""
    return (folder / "finished.json").is_file() or not (folder / "trial.json").is_file()


def trial_folders(folder: Path) -> list[Path]:
    """Return the run folders below a folder, the folder itself only if it holds no others."""
    found = []
    for path in sorted(folder.rglob("config.yaml")):
        inside = path.parent.relative_to(folder).parts
        if inside and not any(part in SKIPPED_FOLDERS or part.startswith(".") for part in inside):
            found.append(path.parent)
    if not found and (folder / "config.yaml").is_file():
        return [folder]
    return found


def overrides_of(folder: Path, top: Path) -> dict[str, str]:
    """Return the overrides a trial was started with, as text, {} where they are not known."""
    began = read_mapping(folder / "trial.json")
    path = folder / ".hydra" / "overrides.yaml"
    if "overrides" in began:
        words = list(map(str, began["overrides"]))
    elif path.is_file():
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or []
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
        words = [str(word) for word in content] if isinstance(content, list) else []
    else:
        words = [word for part in folder.relative_to(top).parts for word in split_commas(part) if "=" in word]
    return {word.partition("=")[0].lstrip("+~"): word.partition("=")[2] for word in words if "=" in word}


def split_commas(text: str) -> list[str]:
    """Return the parts between commas that stand in no brackets."""
    return [part for part in re.split(r",(?![^\[({]*[\])}])", text) if part]


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Return a config as dotted keys and plain values: lists as text, an absent part as "none"."""
    flat: dict[str, Value] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flattened(value, f"{name}."))
        elif isinstance(value, bool) or not isinstance(value, int | float | str):
            flat[name] = "none" if value is None else str(value)
        else:
            flat[name] = value
    return flat


def swept_keys(overrides: Sequence[Mapping[str, str]], configs: Sequence[Mapping[str, Value]]) -> list[str]:
    """Return the keys whose values differ between trials, the seed and what only names or places a run left out."""
    by_override = differing(overrides)
    if by_override or all(overrides):
        return by_override
    keys = differing(configs)
    # A value an interpolation copied differs in several places: the shortest name is where it was set.
    kept: list[str] = []
    for key in sorted(keys, key=lambda k: (k.count("."), len(k))):
        column = [config.get(key) for config in configs]
        if not any([config.get(other) for config in configs] == column for other in kept):
            kept.append(key)
    return sorted(kept, key=keys.index)


def differing(mappings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys, in the order they appear, whose values are not the same in all mappings."""
    keys = dict.fromkeys(key for mapping in mappings for key in mapping)
    chosen = [key for key in keys if key != SEED and not key.endswith(f".{SEED}") and not IGNORED.search(key)]
    return [key for key in chosen if len({str(mapping.get(key)) for mapping in mappings}) > 1]


def setting(key: str, overrides: Mapping[str, str], config: Mapping[str, Value]) -> Value:
    """Return the value of a key in a trial: as its config has it, else as its override says, else "default"."""
    if key in config:
        return config[key]
    return as_value(overrides[key]) if key in overrides else "default"


def seed_of(overrides: Mapping[str, str], config: Mapping[str, Value]) -> int | None:
    """Return the seed of a trial, or None."""
    value = config.get(SEED, as_value(overrides[SEED]) if SEED in overrides else None)
    return value if isinstance(value, int) else None


def as_value(text: str) -> Value:
    """Return a number if the text is one, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def sweep_order(folder: Path) -> dict[str, list[str]]:
    """Return the values of each swept key in the order the sweep was started with ({} where Hydra's multirun.yaml is
    missing).
    """
    settings = flattened(read_mapping(folder / "multirun.yaml"))
    params = {
        key.removeprefix("hydra.sweeper.params."): str(v)
        for key, v in settings.items()
        if key.startswith("hydra.sweeper.params.")
    }
    listed = as_list(settings.get("hydra.overrides.task", ""))
    words = {word.partition("=")[0].lstrip("+"): word.partition("=")[2] for word in listed}
    return {key: split_commas(text) for key, text in {**params, **words}.items()}


def as_list(text: Value) -> list[str]:
    """Return the words of a list that `flattened` turned into text."""
    content = yaml.safe_load(str(text)) if text else []
    return list(map(str, content)) if isinstance(content, list) else []


def place(key: str, value: Value, order: Mapping[str, list[str]]) -> tuple[int, float, str]:
    """Return where a value sorts: numbers by size, words as the sweep listed them, then by name."""
    if isinstance(value, int | float):
        return (0, float(value), "")
    listed = order.get(key, [])
    return (1, listed.index(value) if value in listed else len(listed), value)
