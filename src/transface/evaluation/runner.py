"""Runs a frozen network over images: decoding overlapped with the network, all its named outputs, mirrored images too,
over all ranks.

The one place that runs networks for an evaluation, and checks what they answer. Shapes: M images, B of them in a batch,
H x W pixels.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transface.backbones.features import Output
from transface.backbones.parts.evaluating import evaluating
from transface.backbones.parts.sound_answers import check_answers
from transface.backbones.weights.fingerprints import fingerprint_of
from transface.distributed import all_gather_rows, batch_sizes, rank, world_size
from transface.images.pixels import normalise
from transface.images.sources import FaceSource
from transface.progress import working

Precision = Literal["32", "bf16"]


class ModelRunner:
    """Runs image sources through one frozen network.

    Args:
        network: images (B, 3, H, W) in [-1, 1] -> a NamedTuple with a field for each of its `outputs`; has
            `image_size`. It is put into eval mode for the time of a run and back as it was; no random number is drawn.
        device: where it runs; None: where its parameters are.
        batch_size: images in a batch.
        num_workers: threads that decode while the network runs; 0: nothing is decoded ahead.
        precision: "32", or "bf16" for autocast.
        checkpoint_hash: goes into results.
        progress: tell on rank 0 how far it is, a bar on a terminal and lines elsewhere; "lines": no bar.
        forward_context: makes the context of a forward pass, e.g. a trainer's precision; wins over `precision`.

    Raises:
        ValueError: for a setting out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        device: torch.device | str | None = None,
        batch_size: int = 256,
        num_workers: int = 2,
        precision: Precision = "32",
        checkpoint_hash: str = "",
        progress: bool | Literal["lines"] = True,
        forward_context: Callable[[], contextlib.AbstractContextManager[Any]] | None = None,
    ) -> None:
        if precision not in ("32", "bf16"):
            raise ValueError(f"precision must be '32' or 'bf16', got {precision!r}")
        if batch_size < 1 or num_workers < 0:
            raise ValueError(
                f"batch_size must be at least 1 and num_workers at least 0, got {batch_size} and {num_workers}"
            )
        self.network: Any = network
        parameter = next(network.parameters(), torch.zeros(()))
        self.device = parameter.device if device is None else torch.device(device)
        self.dtype = parameter.dtype if parameter.is_floating_point() else torch.float32
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.precision = precision
        self.checkpoint_hash = checkpoint_hash
        self.progress = progress
        self.forward_context = forward_context or self._autocast
        self.in_training = forward_context is not None  # where a network may not know faces apart yet
        self._fingerprint: str | None = None

    def fingerprint(self) -> str:
        """Return the fingerprint of the network, computed once; a threshold is held against it."""
        if self._fingerprint is None:
            self._fingerprint = fingerprint_of(self.network)
        return self._fingerprint

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images that the network takes."""
        height, width = self.network.image_size
        return int(height), int(width)

    def image_size_for(self, outputs: Sequence[str]) -> tuple[int, int]:
        """Height and width of the images on which some outputs are asked: a network may look at them at another
        size.
        """
        height, width = self._network_for(outputs).image_size
        return int(height), int(width)

    def _network_for(self, outputs: Sequence[str]) -> Any:
        """Return what gives some outputs alone, where the network tells; else the whole network."""
        return answering(self.network, outputs)

    @property
    def outputs(self) -> dict[str, Output]:
        """The named outputs of the network."""
        return dict(getattr(self.network, "outputs", {}))

    def require(self, outputs: Sequence[str]) -> None:
        """Raise ValueError where the network has no output of one of the names."""
        missing = [name for name in outputs if name not in self.outputs]
        if missing:
            raise ValueError(
                f"the network answers {', '.join(self.outputs) or 'nothing by name'}, and {', '.join(missing)} is"
                " wanted: choose another protocol"
            )

    def run(self, source: FaceSource, outputs: Sequence[str], *, flip: bool = False) -> dict[str, NDArray[np.float32]]:
        """Return {name: (M, ...) float32} of all M images, on every rank; ranks share the work.

        Args:
            source: the images.
            outputs: names of outputs of the network.
            flip: add the raw answers to the mirrored images to those to the images, halved; for kinds that a flip
                leaves as they are.

        Raises:
            ValueError: if the network has no such output, an image cannot be read, or an answer is NaN or infinite.
        """
        if len(source) == 0:
            raise ValueError(f"{source.name} holds no images")
        self.require(outputs)
        network = self._network_for(outputs)
        size = (int(network.image_size[0]), int(network.image_size[1]))
        bounds = [len(source) * number // world_size() for number in range(world_size() + 1)]
        start, end = bounds[rank()], bounds[rank() + 1]
        parts: dict[str, list[Tensor]] = {name: [] for name in outputs}
        with evaluating(self.network), self._progress(source.name, start, end) as advance:
            for _, images in self._decoded(source, start, end, size=size):
                for name, rows in self._answers(network, images, outputs, flip=flip).items():
                    parts[name].append(rows)
                advance(len(images))
        return {name: self._gathered(name, rows, source) for name, rows in parts.items()}

    def run_each(
        self, source: FaceSource, outputs: Sequence[str]
    ) -> Iterator[tuple[int, dict[str, NDArray[np.float32]]]]:
        """Yield (number of the first image, {name: (B, ...) float32}) of this rank's share of the images, a batch at a
        time: for answers as large as maps, which nobody keeps.

        Raises:
            ValueError: as `run`.
        """
        if len(source) == 0:
            raise ValueError(f"{source.name} holds no images")
        self.require(outputs)
        network = self._network_for(outputs)
        size = (int(network.image_size[0]), int(network.image_size[1]))
        start, end = (len(source) * number // world_size() for number in (rank(), rank() + 1))
        with evaluating(self.network), self._progress(source.name, start, end) as advance:
            for first, images in self._decoded(source, start, end, size=size):
                rows = self._answers(network, images, outputs, flip=False)
                if broken := [name for name, one in rows.items() if not bool(torch.isfinite(one).all())]:
                    raise ValueError(
                        f"answers ({broken[0]}) to {source.name} are NaN or infinite, in the batch of image {first}"
                    )
                yield first, {name: one.numpy() for name, one in rows.items()}
                advance(len(images))

    def _answers(self, network: Any, images: Tensor, outputs: Sequence[str], *, flip: bool) -> dict[str, Tensor]:
        with torch.no_grad():
            faces = self._inputs(images)
            with self.forward_context():
                found = network(faces)
                mirrored = network(faces.flip(-1)) if flip else None
            named = {name: getattr(found, name).float() for name in outputs}
            if mirrored is not None:
                named = {name: (rows + getattr(mirrored, name).float()) / 2 for name, rows in named.items()}
        return {name: rows.cpu() for name, rows in named.items()}

    def _inputs(self, images: Tensor) -> Tensor:
        return normalise(images.to(self.device, non_blocking=True)).to(self.dtype)

    def _gathered(self, name: str, parts: list[Tensor], source: FaceSource) -> NDArray[np.float32]:
        """Return the rows of all ranks, in order."""
        rows = torch.cat(parts)
        if world_size() > 1:
            shape = rows.shape
            rows = rows.flatten(1).to(self.device) if rows.ndim > 1 else rows[:, None].to(self.device)
            (rows,) = all_gather_rows([rows], sizes=batch_sizes(len(rows), self.device))
            rows = rows.cpu().unflatten(1, shape[1:]) if len(shape) > 1 else rows[:, 0].cpu()
        embeds = getattr(self.outputs.get(name), "kind", "") == "embedding"
        check_answers(name, rows, of=source.name, is_embedding=embeds)
        everyone: NDArray[np.float32] = rows.numpy()
        return everyone

    def _decoded(
        self, source: FaceSource, start: int, end: int, *, size: tuple[int, int] | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield (first index, uint8 batch) of a size, a few batches being decoded ahead."""
        size = self.image_size if size is None else size
        spans = [(first, min(first + self.batch_size, end)) for first in range(start, end, self.batch_size)]
        with ThreadPoolExecutor(max(self.num_workers, 1), thread_name_prefix="decode") as threads:
            ahead: deque[tuple[int, Future[Tensor]]] = deque()
            try:
                for span in spans:
                    ahead.append((span[0], threads.submit(source.read, range(*span), size)))
                    if len(ahead) > self.num_workers:
                        first, batch = ahead.popleft()
                        yield first, batch.result()
                while ahead:
                    first, batch = ahead.popleft()
                    yield first, batch.result()
            finally:
                for _, batch in ahead:
                    batch.cancel()

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    @contextlib.contextmanager
    def _progress(self, name: str, start: int, end: int) -> Iterator[Callable[[int], None]]:
        if not self.progress or rank() != 0:
            yield lambda _: None
            return
        with working(name, end - start, bar=self.progress is True) as advance:
            yield advance


def answering(network: nn.Module, outputs: Sequence[str]) -> Any:
    """Return what answers some outputs of a network alone, where it has them and tells how; else the network."""
    own: Any = network
    if not hasattr(own, "answering") or any(name not in own.outputs for name in outputs):
        return own
    return own.answering(list(outputs))
