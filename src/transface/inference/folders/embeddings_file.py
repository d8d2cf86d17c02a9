"""Embeddings with the names of their images, in an .npz or a .parquet file that other tools read too.

Shapes: N faces, E embedding size. No file holds or runs a pickle.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SUFFIXES = (".npz", ".parquet")


class NamedEmbeddings(NamedTuple):
    """Embeddings of named images.

    Attributes:
        names: (N,) of the images, relative to their folder.
        vectors: (N, E) float32 of unit length.
        norms: (N,) the norm the backbone gave.
        skipped: names of images that could not be read.
        about: plain values: which model made them, of what, how.
    """

    names: NDArray[np.str_]
    vectors: NDArray[np.float32]
    norms: NDArray[np.float32]
    skipped: NDArray[np.str_]
    about: dict[str, Any]


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
    path.parent.mkdir(parents=True, exist_ok=True)
    writing = path.with_name(f".{path.name}.writing")
    try:
        (_write_npz if path.suffix == ".npz" else _write_parquet)(writing, found)
        writing.replace(path)
    finally:
        writing.unlink(missing_ok=True)


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
    with path.open("wb") as stream:
        np.savez(
            stream,
            names=found.names,
            embeddings=found.vectors,
            norms=found.norms,
            skipped=found.skipped,
            about=np.array(json.dumps(found.about)),
        )


def _read_npz(path: Path) -> NamedEmbeddings:
    with np.load(path, allow_pickle=False) as stored:
        about = json.loads(str(stored["about"]))
        return NamedEmbeddings(stored["names"], stored["embeddings"], stored["norms"], stored["skipped"], about)


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
    )
