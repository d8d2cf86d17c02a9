"""Fits what combines two runs of a chain, once, and keeps the answers beside them: students by SVM and network, and the
control of two baselines.

Shapes: n test images.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transface.artifacts import writing_file
from transface.evaluation.occluded_faces import OccludedFaces
from transface.systems.occlusion.combined_students import (
    Split,
    embeddings_of,
    fit_classes,
    fit_network,
    fit_numbers,
    joined,
)
from transface.systems.occlusion.stages import open_network

SPLITS = ("train", "val", "test")


def combined_answers(
    runs: list[Path], protocol: Any, view: str, column: str, names: tuple[str, ...], folder: Path
) -> dict[str, NDArray[Any]]:
    """Return {"svm": (n,), "network": (n,)}: right answers (bool) of classes, absolute errors of numbers, on the test
    images of a view.

    Args:
        runs: the folders of the runs whose embeddings are joined.
        protocol: makes the OccludedFaces of a split.
        view: which occluder hides the images.
        column: the label.
        names: of the classes; empty for a number.
        folder: where answers and embeddings are kept.
    """
    stem = "+".join(run.name.replace("seed=", "").replace(",stage=", "-") for run in runs)
    kept = folder / f"{stem}_{view}_{column}.npz"
    if not kept.is_file() or any(
        (run / "finished.json").stat().st_mtime > kept.stat().st_mtime
        for run in runs
        if (run / "finished.json").is_file()
    ):
        parts = {split: _split(runs, protocol(split), view, column, folder) for split in SPLITS}
        train, val, test = (parts[split] for split in SPLITS)
        if names:
            machine = fit_classes(train, val, test.embeddings)
            small = fit_network(train, val, test.embeddings, num_classes=len(names))
            answers = {"svm": machine == test.labels, "network": small == test.labels}
        else:
            line = fit_numbers(train, val, test.embeddings)
            small = fit_network(train, val, test.embeddings, num_classes=None)
            answers = {"svm": np.abs(line - test.labels), "network": np.abs(small - test.labels)}
        with writing_file(kept) as file:
            np.savez(file, **answers)  # type: ignore[arg-type]
    with np.load(kept, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _split(runs: list[Path], protocol: OccludedFaces, view: str, column: str, folder: Path) -> Split:
    source = protocol.source(view, column)
    labels = source.truth()
    known = np.isfinite(labels.astype(np.float64)) & (labels.astype(np.float64) >= 0)
    embeddings = joined([_embedded(run, source, f"{run.name}_{view}_{protocol.split}", folder) for run in runs])
    return Split(embeddings[known], labels[known])


def _embedded(run: Path, source: Any, stem: str, folder: Path) -> NDArray[np.float32]:
    """Return a run's embeddings of a source, kept as long as its checkpoint and the images are the same."""
    checkpoint = run / "checkpoints" / "last"
    name = source.samples_hash(np.zeros(0, dtype=np.int8))
    path = folder / f"{stem}_embeddings.npz"
    state = f"{checkpoint.resolve().name} {(checkpoint / 'trainer.ckpt').stat().st_mtime_ns} {name}"
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["of"]) == state:
                found: NDArray[np.float32] = stored["embeddings"]
                return found
    embeddings = embeddings_of(open_network(checkpoint), source)
    with writing_file(path) as file:
        np.savez(file, embeddings=embeddings, of=np.array(state))
    return embeddings
