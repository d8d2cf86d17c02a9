"""Files of embeddings, those of other tools too: read as unit vectors, or refused by what is wrong with them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from transface.inference.folders.embeddings_file import (
    NamedEmbeddings,
    join_embeddings,
    read_embeddings,
    require_one_model,
    write_embeddings,
)

NAMES = np.array([f"p{place // 2}/{place}.png" for place in range(6)])
UNIT = np.random.default_rng(0).normal(size=(6, 4))
UNIT /= np.linalg.norm(UNIT, axis=1, keepdims=True)


def write_npz(path: Path, **changed: Any) -> Path:
    """Write a good file of embeddings but for what is `changed`; None: left out."""
    arrays: dict[str, Any] = {
        "names": NAMES,
        "embeddings": UNIT.astype(np.float32),
        "norms": np.ones(6, np.float32),
        "skipped": np.array([], np.str_),
        "about": np.array(json.dumps({"model": "m", "flip": "none"})),
    }
    arrays |= changed
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def write_parquet(path: Path, embeddings: Any, **changed: Any) -> Path:
    columns = {"name": NAMES.tolist(), "embedding": embeddings, "norm": np.ones(6, np.float32)} | changed
    parquet.write_table(pa.table({name: value for name, value in columns.items() if value is not None}), path)
    return path


@pytest.mark.parametrize(
    "rows",
    [
        UNIT * np.array([[1], [2], [3], [10], [0.1], [7]]),
        UNIT.astype(np.float16),
        (UNIT * 1e5).astype(np.int64),
        UNIT,
    ],
    ids=["lengths", "float16", "integers", "float64"],
)
def test_vectors_of_any_length_and_type_are_read_as_unit_vectors(tmp_path: Path, rows: np.ndarray) -> None:
    found = read_embeddings(write_npz(tmp_path / "a.npz", embeddings=rows)).vectors
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found, UNIT, atol=1e-3)


def test_what_was_written_comes_back_bit_by_bit(tmp_path: Path) -> None:
    written = read_embeddings(write_npz(tmp_path / "a.npz"))
    for ending in ("npz", "parquet"):
        write_embeddings(tmp_path / f"b.{ending}", written)
        np.testing.assert_array_equal(read_embeddings(tmp_path / f"b.{ending}").vectors, UNIT.astype(np.float32))
    empty = written._replace(names=NAMES[:0], vectors=written.vectors[:0], norms=written.norms[:0])
    for ending in ("npz", "parquet"):
        write_embeddings(tmp_path / f"b.{ending}", empty)
        assert read_embeddings(tmp_path / f"b.{ending}").vectors.shape == (0, 4)


def spoilt(value: float) -> np.ndarray:
    rows = UNIT.astype(np.float32)
    rows[3] = value
    return rows


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"embeddings": spoilt(np.nan)}, "1 of 6 embeddings are zero or not finite, the first is that of p1/3.png"),
        ({"embeddings": spoilt(np.inf)}, "zero or not finite"),
        ({"embeddings": spoilt(0)}, "zero or not finite"),
        ({"embeddings": UNIT[0]}, r"embeddings must be \(6, E\) numbers, one row a name, got \(4,\)"),
        ({"embeddings": UNIT[:2]}, r"one row a name, got \(2, 4\)"),
        ({"embeddings": UNIT.astype(str)}, "of <U32"),
        ({"embeddings": UNIT + 0j}, "of complex128"),
        ({"names": np.arange(6)}, "names must be"),
        ({"names": NAMES.astype(bytes)}, "names must be"),
        ({"norms": np.ones(5)}, r"norms must be \(6,\) numbers"),
        ({"quality": np.ones((6, 1))}, r"quality must be \(6,\) numbers"),
        ({"about": np.array("[1]")}, "about must say by name"),
        ({"about": None}, "it has no about"),
    ],
)
def test_what_is_no_embedding_is_refused_by_name(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=rf"a\.npz is no file of embeddings: .*{said}"):
        read_embeddings(write_npz(tmp_path / "a.npz", **changed))


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float64(), 4)]
)
def test_lists_of_any_kind_are_read_from_parquet(tmp_path: Path, kind: pa.DataType) -> None:
    found = read_embeddings(write_parquet(tmp_path / "a.parquet", pa.array(UNIT.tolist(), kind)))
    np.testing.assert_allclose(found.vectors, UNIT, atol=1e-6)


def test_what_is_no_column_of_embeddings_is_refused(tmp_path: Path) -> None:
    rows = UNIT.tolist()
    whole = pa.array(rows, pa.list_(pa.float32(), 4))
    for column, words, said in (
        (pa.array([*rows[:5], rows[5][:3]], pa.list_(pa.float32())), {}, "of one length, got 3 to 4 numbers"),
        (pa.array([*rows[:5], None], pa.list_(pa.float32(), 4)), {}, "1 of its 6 embeddings are missing"),
        (pa.array([str(row) for row in rows]), {}, "must be lists of numbers, got string"),
        (whole, {"norm": None}, "it has no norm"),
        (whole, {"name": [None, *NAMES[1:].tolist()]}, "1 of its 6 names are missing"),
    ):
        with pytest.raises(ValueError, match=said):
            read_embeddings(write_parquet(tmp_path / "a.parquet", column, **words))  # type: ignore[arg-type]


def named(start: int, **about: Any) -> NamedEmbeddings:
    names = np.array([f"{start + place}.png" for place in range(6)])
    quality = np.ones(6, np.float32) if "quality" in about else None
    return NamedEmbeddings(names, UNIT.astype(np.float32), np.ones(6), names[:0], {"model": "m", **about}, quality)


def test_files_that_were_made_otherwise_are_not_joined() -> None:
    files = ["a.npz", "b.npz"]
    with pytest.raises(ValueError, match=r"a\.npz was embedded with flip=none and b\.npz with flip=sum"):
        require_one_model([named(0, flip="none"), named(6, flip="sum")], files)
    assert join_embeddings([named(0, quality="norm"), named(6, quality="norm")], files).quality is not None
    assert join_embeddings([named(0, quality="norm"), named(6, quality="tokens")], files).quality is None
    with pytest.raises(ValueError, match=r"0\.png is in several of the files"):
        join_embeddings([named(0), named(0)], files)
    twice = named(0)._replace(names=np.array(["a.png"] * 6))
    with pytest.raises(ValueError, match=r"b\.npz has 6 embeddings of a\.png: keep one"):
        join_embeddings([named(0), twice], files)
