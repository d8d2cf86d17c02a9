"""What a protocol promises, and how it is run: timed, its results stamped with what made them.

A protocol is a class with plain constructor arguments; `evaluate` runs its images through the network and returns one
Result for each set and mode.
"""

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from transface.artifacts import package_versions, platform_versions, utc_now
from transface.evaluation.results import Provenance, Result
from transface.evaluation.runner import ModelRunner


class NothingToMeasureError(ValueError):
    """No image of a set has a label that is known: known before anything is measured."""


@runtime_checkable
class BenchmarkProtocol(Protocol):
    """Anything `transface evaluate` and validation inside training can run.

    Attributes:
        names: of the sets it evaluates; an empty list means that there is nothing to do.
    """

    names: list[str]

    def prepare(self) -> None:
        """Read the lists and hold them against each other and what lies there; raises FileNotFoundError or ValueError.

        `evaluate` does so by itself. Training does it before the first step, so that a misspelt path does not end it
        hours later.
        """
        ...

    def evaluate(self, runner: Any, *, detailed: bool = True) -> list[Result]:
        """Return the results of what a ModelRunner runs (an Embedder where embeddings are wanted).

        `detailed=False` leaves out intervals, curves, scores and thumbnails (inside training).
        """
        ...


def check_settings(
    *,
    fars: Sequence[float] = (),
    fpirs: Sequence[float] = (),
    ranks: Sequence[int] = (),
    num_bootstraps: int = 0,
    max_impostors: int = 1,
) -> None:
    """Raise ValueError naming a setting of a protocol that cannot be: when it is built, not after its faces are
    embedded.
    """
    for name, rates in (("fars", fars), ("fpirs", fpirs)):
        if not all(0 <= rate <= 1 for rate in rates):
            raise ValueError(f"{name} must lie in [0, 1], got {list(rates)}")
    if not all(rank >= 1 for rank in ranks):
        raise ValueError(f"ranks must be at least 1, got {list(ranks)}")
    if num_bootstraps < 0 or num_bootstraps == 1 or max_impostors < 1:
        raise ValueError(
            "num_bootstraps must be at least 0, not 1 (one replicate says nothing), and max_impostors at least 1,"
            f" got {num_bootstraps} and {max_impostors}"
        )


def require_distinct_sets(names: Sequence[str]) -> None:
    """Raise ValueError for two sets of one name: their results would be one file."""
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"two pair sets are named {sorted(twice)[0]}: results would overwrite each other, rename one")


def run_protocol(protocol: BenchmarkProtocol, runner: ModelRunner, *, detailed: bool = True) -> list[Result]:
    """Return the results of a protocol, timed and stamped with what made them: weights, versions, device, settings.

    Evaluation and validation both run protocols here. Results of a protocol that runs others keep the stamps of those.
    """
    started = time.perf_counter()
    results = protocol.evaluate(runner, detailed=detailed)
    if all(result.provenance.created for result in results):
        return results
    device = runner.device
    stamp = Provenance(
        checkpoint_hash=runner.checkpoint_hash,
        model_fingerprint=runner.fingerprint() if detailed else "",  # every weight is hashed
        settings={**settings_of(protocol), "precision": runner.precision},
        versions=platform_versions() | package_versions(),
        device=f"{device.type}: {_cuda_name(device.index)}" if device.type == "cuda" else device.type,
        seconds=round(time.perf_counter() - started, 3),
        created=utc_now(),
        seed=int(getattr(protocol, "seed", 0)),
    )
    return [r if r.provenance.created else dataclasses.replace(r, provenance=stamp) for r in results]


def settings_of(part: Any) -> dict[str, Any]:
    """Return the plain settings of a protocol, by name: what decides on its numbers beside samples and network.

    Paths are left out, for the samples are known by their hash; so is what a protocol keeps for itself (`_...`).
    """
    kept = {name: _plain(value) for name, value in vars(part).items() if not name.startswith("_") and name != "names"}
    return {name: value for name, value in sorted(kept.items()) if value is not NotImplemented}


def _plain(value: Any) -> Any:
    """Return a setting as JSON holds it, NotImplemented where it is none."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        entries = [_plain(entry) for entry in value]
        return NotImplemented if any(entry is NotImplemented for entry in entries) else entries
    return NotImplemented


def stamped(
    results: Iterable[Result],
    *,
    label: str = "",
    checkpoint: str = "",
    config: Mapping[str, Any] | None = None,
    commit: str = "",
) -> list[Result]:
    """Return stamped results with what their runner does not know: the run's label, checkpoint path, config, commit."""
    told = {"label": label, "checkpoint": checkpoint, "config": dict(config or {}), "commit": commit}
    noted = [dataclasses.replace(r.provenance, **told) for r in results]  # type: ignore[arg-type]
    return [dataclasses.replace(r, provenance=p) for r, p in zip(results, noted, strict=True)]


def _cuda_name(index: int | None) -> str:
    return torch.cuda.get_device_name(index)
