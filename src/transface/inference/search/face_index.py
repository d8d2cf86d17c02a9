"""Finds the faces of a gallery most like a given one: exactly with torch, or with faiss where it is installed.

Shapes: G gallery faces, Q queries, E embedding size, K hits of each query.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transface.inference.similarity import as_rows, unit_rows

CHUNK = 65_536
Engine = Literal["auto", "exact", "faiss"]


class Hits(NamedTuple):
    """The best of each query, the best first: cosines (Q, K) and positions in the gallery (Q, K)."""

    scores: NDArray[np.float32]
    positions: NDArray[np.int64]


class FaceIndex:
    """An index of embeddings (G, E); of any norm, what is compared are their directions.

    Args:
        engine: "exact" walks the gallery with torch; "faiss" uses its flat index (as exact); "auto" is faiss where it
            is installed.
        device: where the exact search runs.

    Raises:
        ValueError: if the vectors are not (G, E), one is zero or not finite, or faiss is asked for and not installed.
    """

    def __init__(self, vectors: Any, *, engine: Engine = "auto", device: str | torch.device = "cpu") -> None:
        self.vectors = unit_rows(vectors, "the gallery").detach().float()
        if self.vectors.ndim != 2 or not len(self.vectors):
            raise ValueError(f"an index needs vectors (G, E), got {tuple(self.vectors.shape)}")
        check_search(engine)
        self.device = torch.device(device)
        self.flat = None if engine == "exact" else _flat_index(self.vectors, required=engine == "faiss")

    @property
    def engine(self) -> str:
        """What searches: "faiss" or "exact"."""
        return "exact" if self.flat is None else "faiss"

    def search(self, queries: Any, top_k: int = 5) -> Hits:
        """Return the Hits of queries (Q, E); K is at most the size of the gallery.

        Raises:
            ValueError: if the queries are not (Q, E) of the gallery's E, one is zero or not finite, or top_k is below
                1.
        """
        rows = as_rows(queries).detach()
        if rows.ndim != 2 or rows.shape[1] != self.vectors.shape[1]:
            raise ValueError(f"queries must be (Q, {self.vectors.shape[1]}), got {tuple(rows.shape)}")
        rows = unit_rows(rows, "queries").float()
        check_search(top_k=top_k)
        top_k = min(int(top_k), len(self.vectors))
        if self.flat is not None:
            scores, positions = self.flat.search(np.ascontiguousarray(rows.cpu().numpy()), top_k)
            return Hits(scores, positions.astype(np.int64))
        return exact_search(self.vectors, rows, top_k, device=self.device)


def check_search(engine: str = "auto", top_k: int = 1) -> None:
    """Raise ValueError for an engine that is not known or a top_k below 1; to be asked before a gallery is embedded."""
    if engine not in ("auto", "exact", "faiss"):
        raise ValueError(f'engine must be "auto", "exact" or "faiss", got {engine!r}')
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")


def exact_search(gallery: Tensor, queries: Tensor, top_k: int, *, device: torch.device) -> Hits:
    """Return the Hits over all of the gallery, walked in chunks so that no (Q, G) matrix stands."""
    rows = queries.to(device)
    best = rows.new_empty(len(rows), 0)
    places = torch.empty(len(rows), 0, dtype=torch.int64, device=device)
    for start in range(0, len(gallery), CHUNK):
        scores = rows @ gallery[start : start + CHUNK].to(device).T
        found, index = scores.topk(min(top_k, scores.shape[1]), dim=1)
        best, places = torch.cat([best, found], dim=1), torch.cat([places, index + start], dim=1)
        best, order = best.topk(min(top_k, best.shape[1]), dim=1)
        places = places.gather(1, order)
    return Hits(best.cpu().numpy(), places.cpu().numpy())


def _flat_index(vectors: Tensor, *, required: bool) -> Any:
    try:
        import faiss
    except ImportError as error:
        if required:
            raise ValueError(
                "engine=faiss needs the package faiss-cpu: 'pip install faiss-cpu', or engine=exact"
            ) from error
        return None
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors.cpu().numpy()))
    return index
