"""Frozen backbone + encoded images -> embeddings: decoding overlapped with the network, mirrored images too, over all
ranks.

Shapes: M images, B of them in a batch, E embedding size, H x W pixels.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transface.backbones.parts.evaluating import evaluating
from transface.distributed import all_gather_rows, batch_sizes, rank, world_size
from transface.evaluation.embedding.cache import EmbeddingCache
from transface.evaluation.runner import ModelRunner, Precision, answering
from transface.images.sources import FaceSource


class FaceEmbeddings(NamedTuple):
    """Embeddings, not normalised, of M images: `original` and `mirrored`, both (M, E) float32, possibly
    memory-mapped.
    """

    original: NDArray[np.float32]
    mirrored: NDArray[np.float32]

    def unit(self, *, flip: bool = True) -> NDArray[np.float32]:
        """Return (M, E) unit vectors, of image plus mirrored image, or of the image alone.

        Raises:
            ValueError: if an embedding is NaN, infinite or zero.
        """
        rows = self.original + self.mirrored if flip else np.array(self.original)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        broken = ~np.isfinite(norms[:, 0]) | (norms[:, 0] == 0)
        if broken.any():
            raise ValueError(
                f"{int(broken.sum())} of {len(rows)} embeddings are NaN, infinite or zero, the first is image"
                f" {int(np.argmax(broken))}"
            )
        unit: NDArray[np.float32] = rows / norms
        return unit


class Embedder(ModelRunner):
    """Embeds face sources with one frozen backbone.

    Args:
        backbone: images (B, 3, H, W) in [-1, 1] -> FaceFeatures; has `image_size` and `embedding_size`. It is put into
            eval mode for the time of an embedding and back as it was; no random number is drawn.
        device: where it runs; None: where its parameters are.
        batch_size: images in a batch; each runs twice, as it is and mirrored.
        num_workers: threads that decode while the network runs; 0: nothing is decoded ahead.
        precision: "32", or "bf16" for autocast.
        cache: folder for memory-mapped embeddings, or None to keep them in memory.
        checkpoint_hash: keys the cache and goes into results.
        model_settings: plain values that shape the network beside its file (averaged weights or not, order of colours):
            the cache of one setting is refused to another.
        progress: tell on rank 0 how far it is, a bar on a terminal and lines elsewhere; "lines": no bar.
        forward_context, in_training: as of a ModelRunner.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        device: torch.device | str | None = None,
        batch_size: int = 256,
        num_workers: int = 2,
        precision: Precision = "32",
        cache: str | Path | None = None,
        checkpoint_hash: str = "",
        model_settings: Mapping[str, Any] | None = None,
        progress: bool | Literal["lines"] = True,
        forward_context: Callable[[], contextlib.AbstractContextManager[Any]] | None = None,
        in_training: bool = False,
    ) -> None:
        super().__init__(
            backbone,
            device=device,
            batch_size=batch_size,
            num_workers=num_workers,
            precision=precision,
            checkpoint_hash=checkpoint_hash,
            progress=progress,
            forward_context=forward_context,
            in_training=in_training,
        )
        if cache is not None and world_size() > 1:
            raise ValueError(
                "a cache of embeddings is written by one process: leave it out when evaluating on several ranks"
            )
        self.backbone: Any = answering(backbone, ["embedding"])
        self.cache = cache
        self.model_settings = dict(model_settings or {})
        self._kept: dict[str, FaceEmbeddings] | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the faces that are embedded."""
        height, width = self.backbone.image_size
        return int(height), int(width)

    def embed(self, source: FaceSource) -> FaceEmbeddings:
        """Return the embeddings of all M faces, on every rank; ranks share the work.

        Raises:
            ValueError: if the network gives no embedding, an image cannot be decoded or has another size, or the cache
                is of other images.
        """
        self.require(["embedding"])
        if len(source) == 0:
            raise ValueError(f"{source.name} holds no images")
        if self._kept is None:
            return self._embed(source)
        fingerprint = source.fingerprint()
        if fingerprint not in self._kept:
            self._kept[fingerprint] = self._embed(source)
        return self._kept[fingerprint]

    def embed_anew(self, source: FaceSource) -> FaceEmbeddings:
        """Return the same, from forward passes of now: neither a cache nor what is remembered is read or written."""
        rows = self._embed_in_memory(source, (len(source), 2, int(self.backbone.embedding_size)))
        return FaceEmbeddings(rows[:, 0], rows[:, 1])

    @contextlib.contextmanager
    def remembering(self) -> Iterator[None]:
        """Embed each face source once only for as long as this lasts: several protocols out of one pass over their
        common images.
        """
        outer = self._kept
        self._kept = {} if outer is None else outer
        try:
            yield
        finally:
            self._kept = outer

    def _embed(self, source: FaceSource) -> FaceEmbeddings:
        size = (len(source), 2, int(self.backbone.embedding_size))
        if self.cache is None:
            rows = self._embed_in_memory(source, size)
        else:
            rows = self._embed_into(EmbeddingCache(self.cache, source.name, **self._cache_key(source, size)), source)
        return FaceEmbeddings(rows[:, 0], rows[:, 1])

    def _cache_key(self, source: FaceSource, size: tuple[int, int, int]) -> dict[str, Any]:
        settings = {"precision": self.precision, "image_size": list(self.image_size), **self.model_settings}
        return {
            "checkpoint_hash": self.checkpoint_hash,
            "image_hash": source.fingerprint(),
            "shape": size,
            "settings": settings,
        }

    def _embed_in_memory(self, source: FaceSource, size: tuple[int, int, int]) -> NDArray[np.float32]:
        """Each rank embeds a run of neighbouring images; all ranks get all rows."""
        bounds = [len(source) * number // world_size() for number in range(world_size() + 1)]
        start, end = bounds[rank()], bounds[rank() + 1]
        mine = torch.empty(end - start, *size[1:])
        for first, rows in self._batches(source, start, end):
            mine[first - start : first - start + len(rows)] = rows.cpu()
        if world_size() > 1:
            mine = mine.to(self.device)
            (mine,) = all_gather_rows([mine], sizes=batch_sizes(len(mine), self.device))
        everyone: NDArray[np.float32] = mine.cpu().numpy()
        return everyone

    def _embed_into(self, cache: EmbeddingCache, source: FaceSource) -> NDArray[np.float32]:
        try:
            for first, rows in self._batches(source, cache.num_done, len(source)):
                cache.write(first, rows.cpu().numpy())
        finally:
            cache.flush()
        return cache.rows

    def _batches(self, source: FaceSource, start: int, end: int) -> Iterator[tuple[int, Tensor]]:
        """Yield (first index, (B, 2, E) float32 rows) over start..end."""
        with evaluating(self.network), self._progress(source.name, start, end) as advance:
            for first, images in self._decoded(source, start, end):
                yield first, self._forward(images, source.name, first)
                advance(len(images))

    def _forward(self, images: Tensor, name: str, first: int) -> Tensor:
        answers = self._answers(self.backbone, images, ["embedding"], mirrored=True, of=name)
        return self._checked("embedding", torch.stack(answers["embedding"], dim=1), of=name, first=first)
