"""Embeddings with the names of their images, in an .npz or a .parquet file that other tools read too.

Shapes: N faces, E embedding size. No file holds or runs a pickle.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.artifacts import writing_path
from transface.file_kinds import open_npz

SUFFIXES = (".npz", ".parquet")


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
    """Raise if embeddings come from different models, or from none that is told: such vectors have nothing in common.

    Raises:
        ValueError: naming the two files and models.
    """
    for place, file in enumerate(files[1:], 1):
        require_models_equal(files[0].about, names[0], file.about, names[place])


def require_models_equal(
    first: dict[str, Any], first_name: object, second: dict[str, Any], second_name: object
) -> None:
    """Raise if what two embeddings or models say of themselves (`about`) does not name one model.

    Raises:
        ValueError: naming both.
    """
    marks = [str(about.get("model", "")) for about in (first, second)]
    if marks[0] != marks[1]:
        sources = [about.get("source") or "a model that is not told" for about in (first, second)]
        raise ValueError(
            f"{first_name} and {second_name} hold embeddings of two models ({sources[0]}, {marks[0][:12]};"
            f" {sources[1]}, {marks[1][:12]}), which cannot be compared: embed both with one, or carry the older over"
            " with 'transface translate'"
        )


def join_embeddings(files: Sequence[NamedEmbeddings], names: Sequence[object]) -> NamedEmbeddings:
    """Return the embeddings of several files as one; quality is kept where all have it.

    Raises:
        ValueError: for files of two models, or two images of one name.
    """
    require_one_model(files, names)
    joined = np.concatenate([file.names for file in files])
    found, counts = np.unique(joined, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"{found[np.argmax(counts > 1)]} is in several of the files: embed each picture once")
    rated = [file.quality for file in files if file.quality is not None]
    return NamedEmbeddings(
        joined,
        np.concatenate([file.vectors for file in files]),
        np.concatenate([file.norms for file in files]),
        np.concatenate([file.skipped for file in files]),
        files[0].about,
        np.concatenate(rated) if len(rated) == len(files) else None,
    )


def checked_output(path: str | Path) -> Path:
    """Return the path of an embeddings file to write.

    Raises:
        ValueError: if it ends neither in .npz nor in .parquet.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
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
    path = checked_output(path)
    if not path.is_file():
        raise FileNotFoundError(f"no embeddings at {path}: 'transface embed output={path}' makes them")
    try:
        return _read_npz(path) if path.suffix == ".npz" else _read_parquet(path)
    except Exception as error:  # NumPy, zipfile, pyarrow and json each have errors of their own for a broken file
        raise ValueError(f"{path} is no file of embeddings: {error}") from error


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
    from pyarrow import parquet

    table = parquet.read_table(path)
    words = table.schema.metadata or {}
    column = table.column("embedding").combine_chunks()
    vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), column.type.list_size)
    return NamedEmbeddings(
        np.array(table.column("name").to_pylist(), dtype=np.str_),
        vectors.astype(np.float32),
        table.column("norm").to_numpy().astype(np.float32),
        np.array(json.loads(words.get(b"transface.skipped", b"[]")), dtype=np.str_),
        json.loads(words.get(b"transface.about", b"{}")),
        table.column("quality").to_numpy().astype(np.float32) if "quality" in table.column_names else None,
    )
