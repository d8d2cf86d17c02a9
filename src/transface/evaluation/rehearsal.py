"""What protocols will measure, before anything is measured: they are run on drawn answers, without network and images.

Shapes: M images, C classes, A labels, P points, R regions.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from transface.evaluation.embedding.embedder import Embedder, FaceEmbeddings
from transface.evaluation.protocol import BenchmarkProtocol, NothingToMeasureError
from transface.evaluation.results import Result
from transface.images.sources import FaceSource

log = logging.getLogger(__name__)
WIDTH = 4  # of drawn embeddings


class Rehearsal(Embedder):
    """Answers every image at random, in the form that a network states; reads no image and runs no network.

    Args:
        network: whose outputs are answered.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network, progress=False, in_training=True)
        self._generator = np.random.default_rng(0)

    def run(self, source: FaceSource, outputs: Sequence[str], *, flip: bool = False) -> dict[str, NDArray[np.float32]]:
        """Return drawn answers {name: (M, ...)}."""
        self.require(outputs)
        suppose_size = getattr(source, "suppose_size", None)
        if suppose_size is not None:
            suppose_size(self.image_size_for(outputs))
        return {name: self._drawn(name, len(source)) for name in outputs}

    def run_each(
        self, source: FaceSource, outputs: Sequence[str]
    ) -> Iterator[tuple[int, dict[str, NDArray[np.float32]]]]:
        """Yield drawn answers to the first image alone."""
        self.require(outputs)
        yield 0, {name: self._drawn(name, 1) for name in outputs}

    def embed_anew(self, source: FaceSource) -> FaceEmbeddings:
        """Return drawn embeddings (M, 4)."""
        return self._embed(source)

    def _embed(self, source: FaceSource) -> FaceEmbeddings:
        rows = self._generator.normal(size=(len(source), WIDTH)).astype(np.float32)
        return FaceEmbeddings(rows, rows)

    def _drawn(self, name: str, count: int) -> NDArray[np.float32]:
        output = self.outputs[name]
        shape: dict[str, tuple[int, ...]] = {
            "number": (count,),
            "points": (count, len(output.names), 2),
            "regions": (count, len(output.names), *self.image_size_for([name])),
            "embedding": (count, WIDTH),
        }
        drawn = self._generator.random(size=shape.get(output.kind, (count, len(output.names))))
        return drawn.astype(np.float32)


def rehearsed(protocols: Sequence[BenchmarkProtocol], network: nn.Module) -> list[Result] | None:
    """Return results of the names and measures that protocols will give for a network; their values mean nothing. None
    where one of them needs more than answers, such as tokens of the network.

    Raises:
        NothingToMeasureError: for a set of which no label is known.
    """
    runner: Any = Rehearsal(network)
    try:
        return [result for protocol in protocols for result in protocol.evaluate(runner, detailed=False)]
    except NothingToMeasureError:
        raise
    except Exception as error:  # of a protocol of anybody's: what is wrong with it is told by its first validation
        log.debug("the measures are not known before the first validation: %s", error)
        return None
