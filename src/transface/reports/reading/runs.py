"""A run to report: its folder read, its results sorted by set, baselines told apart from trained models.

A run folder holds config.yaml, environment.json, metrics.csv, checkpoints/ and results/*.json; any but the results may
be missing.
"""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from transface.evaluation.results import Result, read_results
from transface.reports.reading.traces import Trace, read_traces

BEFORE = "before training"  # how the label of a result begins that was measured before a run's first step


class SetKey(NamedTuple):
    """What two results must share to stand in one table."""

    protocol: str
    name: str


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: its label in tables, where it lies, what it left.

    Attributes:
        label: the folder's name.
        folder: or None for results that come without one.
        results: of all protocols, baselines included.
        config: the resolved config, {} where missing.
        environment: versions, commit, command; {} where missing.
        traces: metrics over the steps; {} where missing.
        trained: what was trained, in numbers; {} where missing.
    """

    label: str
    folder: Path | None = None
    results: tuple[Result, ...] = ()
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    environment: dict[str, Any] = dataclasses.field(default_factory=dict)
    traces: dict[str, Trace] = dataclasses.field(default_factory=dict)
    trained: dict[str, Any] = dataclasses.field(default_factory=dict)


def read_run(folder: str | Path, results: Sequence[Result] | None = None) -> Run:
    """Return the run of a folder; `results` stand in for those of its results/ folder.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if one of its files is not what its name says.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no run folder {folder}: give a folder that 'transface train' wrote, e.g. runs/demo")
    metrics = folder / "metrics.csv"
    found = results if results is not None else results_of(folder)
    order = set_keys(found)
    return Run(
        label=folder.resolve().name,
        folder=folder,
        results=tuple(sorted(found, key=lambda result: order.index(SetKey(result.protocol, result.name)))),
        config=read_mapping(folder / "config.yaml"),
        environment=read_mapping(folder / "environment.json"),
        traces=read_traces(metrics) if metrics.is_file() else {},
        trained=read_mapping(folder / "trained.json"),
    )


def results_of(folder: Path) -> list[Result]:
    """Return the results of a run: those in its results/ folder, at any depth, else any in the folder itself.

    Folders below that are of other checkpoints are left out; baselines in them are not.
    """
    if (folder / "results").is_dir():
        return _of_this_checkpoint(read_results([folder / "results"]), folder / "results")
    return [result for path in sorted(folder.glob("*.json")) for result in read_results_of_file(path)]


def _of_this_checkpoint(results: Sequence[Result], folder: Path) -> list[Result]:
    """Return the results without those in folders below that are of other weights than those in the folder itself."""
    own = [r for r in results if not is_baseline(r) and r.path is not None and r.path.parent == folder]
    known = [r for r in own if r.provenance.model_fingerprint or r.provenance.checkpoint_hash]
    if not known or len(known) < len(own):
        return list(results)
    return [
        r
        for r in results
        if is_baseline(r) or r.path is None or r.path.parent == folder or any(r.is_of_model_of(one) for one in known)
    ]


def read_results_of_file(path: Path) -> list[Result]:
    """Return the one result of a .json file, or [] where it is another kind of JSON."""
    from_folder = path.read_text(encoding="utf-8", errors="replace")[:200]
    return read_results([path]) if '"transface.result/' in from_folder else []


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML or JSON file, {} where there is no file.

    Raises:
        ValueError: if it holds something else.
    """
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (yaml.YAMLError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a mapping, got {type(content).__name__}")
    return content


def is_baseline(result: Result) -> bool:
    """Return whether a result is not of a model: it says so, or it is of raw pixels."""
    return result.role == "baseline" or "pixel" in result.mode.lower() or "pixel" in result.provenance.label.lower()


def set_keys(results: Iterable[Result]) -> list[SetKey]:
    """Return the sets of results: as their config lists the files, else in the order they first appear."""
    results = list(results)
    listed = [Path(file).stem for result in results for file in listed_files(result)]
    keys = dict.fromkeys(SetKey(result.protocol, result.name) for result in results)
    return sorted(keys, key=lambda key: listed.index(key.name) if key.name in listed else len(listed))


def listed_files(result: Result) -> list[str]:
    """Return the files of pairs a result's config names (protocol.files), [] where it names none."""
    protocol = result.provenance.config.get("protocol")
    files = protocol.get("files") if isinstance(protocol, dict) else None
    return [file for file in files or [] if isinstance(file, str)]


def named_results(runs: Sequence[Run], key: SetKey) -> dict[str, Result]:
    """Return the results of one set by row label: models first, then baselines (one of each kind: they need no
    training).

    A run's label is its name, with the mode where the run has several of the set; labels that two runs share get a
    number.
    """
    models: dict[str, Result] = {}
    baselines: dict[str, Result] = {}
    for run in runs:
        of_set = [result for result in run.results if SetKey(result.protocol, result.name) == key]
        own = [result for result in of_set if not is_baseline(result)]
        for result, words in zip(own, told_apart(own), strict=True):
            models[unused(f"{run.label} ({words})" if words else run.label, models)] = result
        for result in of_set:
            if is_baseline(result):
                baselines.setdefault(baseline_label(result), result)
    return {**models, **{unused(label, models): result for label, result in baselines.items()}}


def of_one_setting(run: Run) -> list[Result]:
    """Return the results of a run's model, one of each set and mode: of several settings the one measured first."""
    found: dict[tuple[str, str, str], Result] = {}
    for result in run.results:
        if not is_baseline(result):
            found.setdefault((result.protocol, result.name, result.mode), result)
    return list(found.values())


def told_apart(results: Sequence[Result]) -> list[str]:
    """Return in words what tells each of some results of one set from the others: mode, settings, number of pairs."""
    facts = [
        {"": result.mode, **result.provenance.settings, **{f"{k} there": v for k, v in result.counts.items()}}
        for result in results
    ]
    differing = [
        name for name in dict.fromkeys(k for f in facts for k in f) if len({str(f.get(name)) for f in facts}) > 1
    ]
    settings = [name for name in differing if not name.endswith(" there")] or differing
    return [", ".join(f"{name}={own.get(name)}" if name else str(own[name]) for name in settings) for own in facts]


def baseline_label(result: Result) -> str:
    """Return the row label of a baseline."""
    label = result.provenance.label
    if label.startswith(BEFORE):
        return label
    if "pixel" not in label.lower():
        return "raw-pixel cosine"
    return label if "cosine" in label.lower() else f"{label}, cosine"


def unused(label: str, taken: Iterable[str]) -> str:
    """Return the label, with a number behind it if it is taken."""
    taken = set(taken)
    if label not in taken:
        return label
    return next(f"{label} #{number}" for number in range(2, len(taken) + 3) if f"{label} #{number}" not in taken)
