"""Embeddings with the names of their images, in an .npz or a .parquet file that other tools read too.

Shapes: N faces, E embedding size. No file holds or runs a pickle.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.artifacts import writing_path
from transface.file_kinds import kind_or, open_npz
from transface.told_once import warn_once

SUFFIXES = (".npz", ".parquet")
UNIT_LENGTH = 1e-5  # how far a vector of length 1 may be off it
ARRAYS = ("names", "embeddings", "norms", "skipped", "about")
log = logging.getLogger(__name__)


class NamedEmbeddings(NamedTuple):
    """Embeddings of named images.

    Attributes:
        names: (N,) of the images, relative to their folder.
        vectors: (N, E) float32 of unit length.
        norms: (N,) the norm the backbone gave.
        skipped: names of images that could not be read.
        about: plain values: which model made them ("model": its fingerprint), of what, how.
        quality: (N,) of the faces, which ranks those of this model alone; None where it was not asked for.
    """

    names: NDArray[np.str_]
    vectors: NDArray[np.float32]
    norms: NDArray[np.float32]
    skipped: NDArray[np.str_]
    about: dict[str, Any]
    quality: NDArray[np.float32] | None = None

    def fingerprint(self) -> str:
        """Return the fingerprint of the model that made them, "" where the file does not tell."""
        return str(self.about.get("model") or "")

    def take(self, rows: NDArray[np.int64]) -> "NamedEmbeddings":
        """Return the embeddings at `rows`."""
        quality = None if self.quality is None else self.quality[rows]
        return self._replace(
            names=self.names[rows], vectors=self.vectors[rows], norms=self.norms[rows], quality=quality
        )


def require_one_model(files: Sequence[NamedEmbeddings], names: Sequence[object]) -> None:
    """Raise if embeddings come from different models, or were made with and without mirrored faces: such vectors have
    nothing, or less, in common.

    Raises:
        ValueError: naming the two files and what differs.
    """
    for place, file in enumerate(files[1:], 1):
        require_models_equal(files[0].about, names[0], file.about, names[place])
        for setting, word_of in (("flip", str), ("keypoints", _kind_of_keypoints)):
            found = [word_of(one.about.get(setting) or "") for one in (files[0], file)]
            if all(found) and found[0] != found[1]:
                raise ValueError(
                    f"{names[0]} was embedded with {setting}={found[0]} and {names[place]} with {setting}={found[1]}:"
                    " their cosines are not those of faces embedded alike; embed both with one"
                )


def _kind_of_keypoints(source: str) -> str:
    """Return what key points came from: files of different pictures are one kind."""
    return "a .csv file" if source.split(" ")[0].endswith(".csv") else source or "template"


def require_models_equal(
    first: dict[str, Any], first_name: object, second: dict[str, Any], second_name: object
) -> None:
    """Raise if what two embeddings or models say of themselves (`about`) does not name one model.

    Raises:
        ValueError: naming both.
    """
    marks = [str(about.get("model") or "") for about in (first, second)]
    if not any(marks):
        warn_once(
            log,
            "neither %s nor %s says which model made it: of two models, cosines mean nothing",
            first_name,
            second_name,
        )
    if marks[0] != marks[1]:
        sources = [about.get("source") or "a model that is not told" for about in (first, second)]
        raise ValueError(
            f"{first_name} and {second_name} hold embeddings of two models ({sources[0]}, {marks[0][:12]};"
            f" {sources[1]}, {marks[1][:12]}), which cannot be compared: embed both with one, or carry the older over"
            " with 'transface translate'"
        )


def join_embeddings(files: Sequence[NamedEmbeddings], names: Sequence[object]) -> NamedEmbeddings:
    """Return the embeddings of several files as one; quality is kept where all have it, of one kind.

    Raises:
        ValueError: for files of two models or modes, or two images of one name.
    """
    require_one_model(files, names)
    for file, name in zip(files, names, strict=True):
        require_distinct_names(file, name)
    joined = np.concatenate([file.names for file in files])
    found, counts = np.unique(joined, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"{found[np.argmax(counts > 1)]} is in several of the files: embed each picture once")
    kind = files[0].about.get("quality")
    rated = [file.quality for file in files if file.quality is not None and file.about.get("quality") == kind]
    return NamedEmbeddings(
        joined,
        np.concatenate([file.vectors for file in files]),
        np.concatenate([file.norms for file in files]),
        np.concatenate([file.skipped for file in files]),
        files[0].about,
        np.concatenate(rated) if len(rated) == len(files) else None,
    )


def require_distinct_names(found: NamedEmbeddings, name: object) -> None:
    """Raise ValueError if a file has two embeddings of one name: which of them is meant, nothing tells."""
    names, counts = np.unique(found.names, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"{name} has {counts.max()} embeddings of {names[np.argmax(counts)]}: keep one")


def is_embeddings(path: str | Path) -> bool:
    """Return whether a path is that of a file of embeddings, by its ending."""
    return Path(path).suffix in SUFFIXES


def checked_output(path: str | Path) -> Path:
    """Return the path of an embeddings file to write.

    Raises:
        ValueError: if it ends neither in .npz nor in .parquet.
    """
    path = Path(path)
    if not is_embeddings(path):
        raise ValueError(f"output must end in .npz or .parquet, got {path}")
    return path


def write_embeddings(path: str | Path, found: NamedEmbeddings) -> None:
    """Write an .npz or .parquet file; it appears only when whole."""
    path = checked_output(path)
    with writing_path(path) as writing:
        (_write_npz if path.suffix == ".npz" else _write_parquet)(writing, found)


def read_embeddings(path: str | Path) -> NamedEmbeddings:
    """Return the embeddings in a file of `write_embeddings`.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no such file.
    """
    path = Path(path)
    if not is_embeddings(path):
        raise ValueError(
            f"embeddings lie in files ending in .npz or .parquet, got {path}: 'transface embed' makes them"
        )
    if not path.is_file():
        raise FileNotFoundError(f"no embeddings at {path}: 'transface embed output={path}' makes them")
    try:
        return _checked(_read_npz(path) if path.suffix == ".npz" else _read_parquet(path))
    except Exception as error:  # NumPy, zipfile, pyarrow and json each have errors of their own for a broken file
        raise ValueError(f"{path} is no file of embeddings: {kind_or(error, path)}") from error


def _checked(found: NamedEmbeddings) -> NamedEmbeddings:
    """Return what a file holds with vectors of unit length, float32; files of other tools may hold others.

    Raises:
        ValueError: naming the first embedding that is none, or what the arrays should have been.
    """
    names, vectors = found.names, np.asarray(found.vectors)
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ValueError(f"names must be (N,) texts, got {names.shape} of {names.dtype}")
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu" or len(vectors) != len(names):
        raise ValueError(
            f"embeddings must be ({len(names)}, E) numbers, one row a name, got {vectors.shape} of {vectors.dtype}"
        )
    for what, values in (("norms", found.norms), ("quality", found.quality)):
        if values is not None and (values.shape != (len(names),) or values.dtype.kind not in "fiu"):
            raise ValueError(f"{what} must be ({len(names)},) numbers, got {values.shape} of {values.dtype}")
    if not isinstance(found.about, dict):
        raise ValueError(f"about must say by name how they were made, got {type(found.about).__name__}")
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    broken = ~np.isfinite(lengths) | (lengths == 0)
    if broken.any():
        raise ValueError(
            f"{int(broken.sum())} of {len(names)} embeddings are zero or not finite, the first is that of"
            f" {names[int(np.argmax(broken))]}"
        )
    if (np.abs(lengths - 1) > UNIT_LENGTH).any():
        vectors = vectors / lengths[:, None]
    return found._replace(vectors=np.asarray(vectors, np.float32))


def _write_npz(path: Path, found: NamedEmbeddings) -> None:
    arrays: dict[str, Any] = {
        "names": found.names,
        "embeddings": found.vectors,
        "norms": found.norms,
        "skipped": found.skipped,
        "about": np.array(json.dumps(found.about)),
    }
    if found.quality is not None:
        arrays["quality"] = found.quality
    with path.open("wb") as stream:
        np.savez(stream, **arrays)


def _read_npz(path: Path) -> NamedEmbeddings:
    with open_npz(path) as stored:
        if missing := [name for name in ARRAYS if name not in stored.files]:
            raise ValueError(f"'transface embed' writes {', '.join(ARRAYS)}, it has no {' and no '.join(missing)}")
        about = json.loads(str(stored["about"]))
        return NamedEmbeddings(
            stored["names"],
            stored["embeddings"],
            stored["norms"],
            stored["skipped"],
            about,
            stored["quality"] if "quality" in stored.files else None,
        )


def _write_parquet(path: Path, found: NamedEmbeddings) -> None:
    import pyarrow
    from pyarrow import parquet

    width = found.vectors.shape[1]
    values = pyarrow.array(np.ascontiguousarray(found.vectors).reshape(-1), type=pyarrow.float32())
    columns = {
        "name": pyarrow.array([str(name) for name in found.names], type=pyarrow.string()),
        "embedding": pyarrow.FixedSizeListArray.from_arrays(values, width),
        "norm": pyarrow.array(found.norms, type=pyarrow.float32()),
    }
    if found.quality is not None:
        columns["quality"] = pyarrow.array(found.quality, type=pyarrow.float32())
    words = {
        "transface.about": json.dumps(found.about),
        "transface.skipped": json.dumps([str(name) for name in found.skipped]),
    }
    parquet.write_table(pyarrow.table(columns).replace_schema_metadata(words), path)


def _read_parquet(path: Path) -> NamedEmbeddings:
    import pyarrow
    from pyarrow import compute, parquet

    table = parquet.read_table(path)
    words = table.schema.metadata or {}
    if missing := [name for name in ("name", "embedding", "norm") if name not in table.column_names]:
        raise ValueError(f"'transface embed' writes name, embedding and norm, it has no {' and no '.join(missing)}")
    column = table.column("embedding").combine_chunks()
    for what, values in (("names", table.column("name")), ("embeddings", column)):
        if values.null_count:
            raise ValueError(f"{values.null_count} of its {len(table)} {what} are missing")
    if not pyarrow.types.is_nested(column.type) or not hasattr(column, "flatten"):
        raise ValueError(f"its embeddings must be lists of numbers, got {column.type}")
    widths = compute.unique(compute.list_value_length(column)).to_pylist()
    if len(widths) > 1:
        raise ValueError(f"its embeddings must be of one length, got {min(widths)} to {max(widths)} numbers")
    width = widths[0] if widths else getattr(column.type, "list_size", 0)
    return NamedEmbeddings(
        np.array(table.column("name").to_pylist(), dtype=np.str_),
        column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), width),
        table.column("norm").to_numpy().astype(np.float32),
        np.array(json.loads(words.get(b"transface.skipped", b"[]")), dtype=np.str_),
        json.loads(words.get(b"transface.about", b"{}")),
        table.column("quality").to_numpy().astype(np.float32) if "quality" in table.column_names else None,
    )
