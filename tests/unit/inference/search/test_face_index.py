"""The index finds what sorting all cosines finds."""

import importlib.util

import numpy as np
import pytest
import torch

from transface.inference.search import face_index
from transface.inference.search.face_index import FaceIndex

HAS_FAISS = importlib.util.find_spec("faiss") is not None
faiss_too = pytest.param("faiss", marks=pytest.mark.skipif(not HAS_FAISS, reason="faiss-cpu is not installed"))


def unit_rows(rows: int, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=(rows, 16))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("engine", ["exact", faiss_too])
@pytest.mark.parametrize("top_k", [1, 3, 50, 99])
def test_hits_are_those_of_a_full_sort(monkeypatch: pytest.MonkeyPatch, engine: str, top_k: int) -> None:
    monkeypatch.setattr(face_index, "CHUNK", 7)
    gallery, queries = unit_rows(50, 0), unit_rows(4, 1)
    found = FaceIndex(gallery, engine=engine).search(queries, top_k)
    cosines = queries.astype(np.float64) @ gallery.T.astype(np.float64)
    order = np.argsort(-cosines, axis=1)[:, :top_k]
    assert np.array_equal(found.positions, order)
    np.testing.assert_allclose(found.scores, np.take_along_axis(cosines, order, 1), atol=1e-6)


def test_auto_is_faiss_where_it_is_installed() -> None:
    assert FaceIndex(unit_rows(3, 0)).engine == ("faiss" if HAS_FAISS else "exact")


def test_faiss_that_is_not_installed_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    assert FaceIndex(unit_rows(3, 0)).engine == "exact"
    with pytest.raises(ValueError, match="pip install faiss-cpu"):
        FaceIndex(unit_rows(3, 0), engine="faiss")


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(G, E\)"):
        FaceIndex(torch.zeros(0, 4))
    with pytest.raises(ValueError, match=r"\(Q, 16\), got \(2, 3\)"):
        FaceIndex(unit_rows(3, 0)).search(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="top_k"):
        FaceIndex(unit_rows(3, 0)).search(unit_rows(1, 0), 0)


@pytest.mark.parametrize("engine", ["exact", faiss_too])
def test_a_long_vector_is_no_better_hit(engine: str) -> None:
    gallery, queries = unit_rows(20, 0), unit_rows(4, 1)
    lengths = np.random.default_rng(2).uniform(0.1, 30, (20, 1))
    expected, found = (
        FaceIndex(rows, engine=engine).search(scale * queries, 5)
        for rows, scale in ((gallery, 1), (lengths * gallery, 7))
    )
    assert np.array_equal(found.positions, expected.positions)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_vectors_without_a_direction_are_refused(value: float) -> None:
    rows = unit_rows(3, 0)
    rows[1] = value
    with pytest.raises(ValueError, match="the gallery holds embeddings that are zero or not finite"):
        FaceIndex(rows)
    with pytest.raises(ValueError, match="queries holds embeddings that are zero or not finite"):
        FaceIndex(unit_rows(3, 0)).search(rows)


@pytest.mark.parametrize("engine", ["exact", faiss_too])
def test_vectors_of_any_make_are_indexed(engine: str) -> None:
    gallery = unit_rows(20, 0)
    expected = FaceIndex(gallery, engine=engine).search(gallery, 3).positions
    for kind in (
        gallery.astype(">f4"),
        gallery[::-1][::-1],
        list(torch.from_numpy(gallery)),
        torch.from_numpy(gallery).requires_grad_(),
    ):
        assert np.array_equal(FaceIndex(kind, engine=engine).search(kind, np.int64(3)).positions, expected)
