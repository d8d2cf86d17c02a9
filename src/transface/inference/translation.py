"""Carries embeddings of one model over to another by a linear map fitted on the same pictures.

An embedding that can be carried over is not anonymous. Shapes: n pictures, d_a and d_b embedding sizes of the old and
the new model.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.artifacts import writing_file
from transface.file_kinds import open_npz
from transface.inference.folders.embeddings_file import NamedEmbeddings, require_distinct_names, require_models_equal

RIDGES = tuple(10.0**power for power in range(-4, 2))  # times tr(A'A) / d


class Translation(NamedTuple):
    """A map between two models.

    Attributes:
        matrix: (d_a, d_b): new = normalise(old @ matrix).
        kind: "procrustes" or "ridge".
        about: the fingerprints of both models, and what it was fitted on.
    """

    matrix: NDArray[np.float64]
    kind: str
    about: dict[str, Any]

    def apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return embeddings (n, d_a) of the old model as unit vectors (n, d_b) beside those of the new."""
        return unit_rows(vectors.astype(np.float64) @ self.matrix).astype(np.float32)


def unit_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows of length 1."""
    scaled: NDArray[np.float64] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return scaled


def procrustes(old: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the orthogonal matrix (d, d) W that brings old @ W nearest to new: with old' new = U S V', W = U V'."""
    if old.shape != new.shape:
        raise ValueError(
            f"an orthogonal map needs embeddings of one size, got {old.shape} and {new.shape}: take kind='ridge'"
        )
    u, _, v = np.linalg.svd(old.T @ new)
    rotation: NDArray[np.float64] = u @ v
    return rotation


def ridge(old: NDArray[np.float64], new: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """Return W (d_a, d_b) = (A'A + k I)^-1 A'B with k = strength x tr(A'A) / d_a."""
    gram = old.T @ old
    penalty = strength * np.trace(gram) / len(gram)
    solved: NDArray[np.float64] = np.linalg.solve(gram + penalty * np.eye(len(gram)), old.T @ new)
    return solved


def fit_translation(
    old: NamedEmbeddings, new: NamedEmbeddings, *, kind: str = "auto", people: NDArray[Any] | None = None, seed: int = 0
) -> Translation:
    """Return the map from an old model's embeddings to a new one's, fitted on the pictures that both files name.

    Args:
        kind: "procrustes" (one size of embedding), "ridge", or "auto": procrustes where it can be.
        people: (n,) of the old file's pictures; a fifth of them is held out to choose ridge's strength. By default
            pictures are.

    Raises:
        ValueError: for files of one model, too few pictures in common, or another kind.
    """
    if kind not in ("auto", "procrustes", "ridge"):
        raise ValueError(f"kind must be auto, procrustes or ridge, got {kind!r}")
    require_distinct_names(old, "the old file")
    require_distinct_names(new, "the new file")
    if old.about.get("model") and old.about.get("model") == new.about.get("model"):
        raise ValueError("both files hold embeddings of one model: there is nothing to translate")
    places = {str(name): place for place, name in enumerate(new.names)}
    rows = np.array([place for place, name in enumerate(old.names) if str(name) in places], dtype=np.int64)
    if len(rows) < 2:
        raise ValueError(
            f"the two files have {len(rows)} pictures of one name in common: embed the same pictures with both models"
        )
    a = unit_rows(old.vectors[rows].astype(np.float64))
    b = unit_rows(new.vectors[[places[str(old.names[row])] for row in rows]].astype(np.float64))
    chosen = kind if kind != "auto" else "procrustes" if a.shape == b.shape else "ridge"
    strength = None
    if chosen == "ridge":
        groups = np.arange(len(rows)) if people is None else np.unique(np.asarray(people)[rows], return_inverse=True)[1]
        strength = best_strength(a, b, groups, seed=seed)
    matrix = procrustes(a, b) if strength is None else ridge(a, b, strength)
    about = {
        "old": old.about.get("model"),
        "new": new.about.get("model"),
        "old_source": old.about.get("source"),
        "new_source": new.about.get("source"),
        "old_flip": old.about.get("flip"),
        "new_flip": new.about.get("flip"),
        "num_pictures": len(rows),
        "strength": strength,
    }
    return Translation(matrix, chosen, about)


def best_strength(
    old: NDArray[np.float64], new: NDArray[np.float64], groups: NDArray[np.int64], *, seed: int = 0
) -> float:
    """Return the ridge strength whose translated vectors are nearest to the new ones of held-out groups (a fifth of
    them).
    """
    count = int(groups.max()) + 1
    held = np.isin(groups, np.random.default_rng([seed, 0x71]).permutation(count)[: max(count // 5, 1)])
    if held.all() or not held.any():
        return RIDGES[len(RIDGES) // 2]
    cosines = [
        (unit_rows(old[held] @ ridge(old[~held], new[~held], strength)) * new[held]).sum(1).mean()
        for strength in RIDGES
    ]
    return RIDGES[int(np.argmax(cosines))]


def carried_over(
    old: NamedEmbeddings, translation: Translation, *, name: str = "the embeddings", map_name: str = "the map"
) -> NamedEmbeddings:
    """Return embeddings of the old model as such of the new one; they carry the fingerprints of both, and the flip of
    those of the new model that the map was fitted on. A quality, which ranks faces of the old model, goes.

    Raises:
        ValueError: if they are of another model or another flip than the map was fitted for.
    """
    about = translation.about
    require_models_equal(
        old.about, name, {"model": about.get("old") or "", "source": about.get("old_source")}, map_name
    )
    flips = [str(value or "") for value in (old.about.get("flip"), about.get("old_flip"))]
    if all(flips) and flips[0] != flips[1]:
        raise ValueError(
            f"{name} was embedded with flip={flips[0]}, and {map_name} was fitted on embeddings of flip={flips[1]}:"
            " embed the pictures so, or fit a map on such"
        )
    flip = {"flip": about["new_flip"]} if about.get("new_flip") else {}
    told = {
        **{name: value for name, value in old.about.items() if name not in ("key", "quality")},
        **flip,
        "model": about.get("new"),
        "source": about.get("new_source"),
        "translated_from": about.get("old"),
        "translation": translation.kind,
    }
    return old._replace(vectors=translation.apply(old.vectors), about=told, quality=None)


def write_translation(path: str | Path, translation: Translation) -> None:
    """Write a map as .npz, whole or not at all."""
    with writing_file(path) as file:
        np.savez(
            file,
            matrix=translation.matrix,
            kind=np.array(translation.kind),
            about=np.array(json.dumps(translation.about)),
        )


def read_translation(path: str | Path) -> Translation:
    """Return a map that `write_translation` wrote.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is none.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no map at {path}: 'transface translate old.npz new.npz output={path}' fits one")
    try:
        with open_npz(path) as stored:
            return Translation(stored["matrix"], str(stored["kind"]), json.loads(str(stored["about"])))
    except Exception as error:  # NumPy, zipfile and json each have errors of their own for a broken file
        raise ValueError(f"{path} is no map of 'transface translate': {error}") from error
