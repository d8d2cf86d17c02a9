"""Runs a frozen network over images: decoding overlapped with the network, all its named outputs, mirrored images too,
over all ranks.

The one place that runs networks over images, for an evaluation and for FaceModel, and checks what they answer.
Shapes: M images, B of them in a batch, H x W pixels.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transface.backbones.features import FACE_OUTPUTS, Output
from transface.backbones.parts.evaluating import evaluating
from transface.backbones.parts.sound_answers import check_answers, check_told_apart
from transface.backbones.weights.fingerprints import fingerprint_of
from transface.distributed import all_gather_rows, batch_sizes, rank, world_size
from transface.images.pixels import normalised
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
        in_training: the network may not tell faces apart yet, and one embedding for all of them is no error.

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
        in_training: bool = False,
    ) -> None:
        if precision not in ("32", "bf16"):
            raise ValueError(f"precision must be '32' or 'bf16', got {precision!r}")
        if batch_size < 1 or num_workers < 0:
            raise ValueError(
                f"batch_size must be at least 1 and num_workers at least 0, got {batch_size} and {num_workers}"
            )
        self.network: Any = network
        weights = [*network.parameters(), *network.buffers()] or [torch.zeros(())]
        self.device = weights[0].device if device is None else torch.device(device)
        self.dtype = next((value.dtype for value in network.parameters() if value.is_floating_point()), torch.float32)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.precision = precision
        self.checkpoint_hash = checkpoint_hash
        self.progress = progress
        self.forward_context = forward_context or self._autocast
        self.in_training = in_training
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
        """The named outputs of the network; a backbone that names none gives an embedding."""
        return outputs_of(self.network)

    def require(self, outputs: Sequence[str]) -> None:
        """Raise ValueError where the network has no output of one of the names."""
        require_outputs(self.network, outputs)

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
        network, size = self._network_and_size(source, outputs)
        bounds = [len(source) * number // world_size() for number in range(world_size() + 1)]
        start, end = bounds[rank()], bounds[rank() + 1]
        parts: dict[str, list[Tensor]] = {name: [] for name in outputs}
        with evaluating(self.network), self._progress(source.name, start, end) as advance:
            for _, images in self._decoded(source, start, end, size=size):
                for name, views in self._answers(network, images, outputs, mirrored=flip, of=source.name).items():
                    parts[name].append((views[0] if len(views) == 1 else (views[0] + views[1]) / 2).cpu())
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
        network, size = self._network_and_size(source, outputs)
        start, end = (len(source) * number // world_size() for number in (rank(), rank() + 1))
        with evaluating(self.network), self._progress(source.name, start, end) as advance:
            for first, images in self._decoded(source, start, end, size=size):
                found = self._answers(network, images, outputs, mirrored=False, of=source.name)
                rows = {
                    name: self._checked(name, views[0].cpu(), of=source.name, first=first)
                    for name, views in found.items()
                }
                yield first, {name: one.numpy() for name, one in rows.items()}
                advance(len(images))

    def run_batches(
        self,
        batches: Iterable[Tensor],
        outputs: Sequence[str],
        *,
        add_mirrored: bool = False,
        reduce: Callable[[str, Tensor], Tensor] | None = None,
        of: str,
    ) -> dict[str, Tensor]:
        """Return {name: (M, ...), on the CPU} of images that are read already, by this process alone; a name is missing
        where there is no batch.

        Args:
            batches: (B, 3, H, W) of the network's own size, uint8, or float in [-1, 1].
            outputs: names of outputs of the network.
            add_mirrored: add the raw answers to the mirrored images.
            reduce: what is kept of a batch's raw answers (name, (B, ...) float32), e.g. the region of each pixel and
                not its logits; None: the raw answers.
            of: whose images these are, for messages.

        Raises:
            ValueError: if the network has no such output, or an answer is none (`check_answers`, `check_told_apart`).
        """
        self.require(outputs)
        parts: dict[str, list[Tensor]] = {name: [] for name in outputs}
        first = 0
        with torch.inference_mode(), evaluating(self.network):
            for images in batches:
                answers = self._answers(self.network, images, outputs, mirrored=add_mirrored, of=of)
                for name, views in answers.items():
                    rows = views[0] + views[1] if add_mirrored else views[0]
                    if reduce is not None:
                        rows = reduce(name, self._checked(name, rows, of=of, first=first)).cpu()
                    parts[name].append(rows)
                first += len(images)
            # One copy for all: a copy per batch would make the device wait.
            found = {name: torch.cat(kept).cpu() for name, kept in parts.items() if kept}
        if reduce is not None:
            return {name: rows.clone() for name, rows in found.items()}  # no inference tensors
        return {name: self._checked(name, rows.clone(), of=of) for name, rows in found.items()}

    def _network_and_size(self, source: FaceSource, outputs: Sequence[str]) -> tuple[Any, tuple[int, int]]:
        """Return what is asked for some outputs of a source's images, and the size at which it takes them."""
        if len(source) == 0:
            raise ValueError(f"{source.name} holds no images")
        self.require(outputs)
        network = self._network_for(outputs)
        return network, (int(network.image_size[0]), int(network.image_size[1]))

    def _answers(
        self, network: Any, images: Tensor, outputs: Sequence[str], *, mirrored: bool, of: str
    ) -> dict[str, list[Tensor]]:
        """Return by name the answers (B, ...) float32 to images, and where wanted those to the mirrored images, on the
        device. Every forward pass of evaluation and of FaceModel is this one.
        """
        with torch.no_grad():
            faces = normalised(images.to(self.device, non_blocking=True)).to(self.dtype)
            with self.forward_context():
                found = [network(faces), *([network(faces.flip(-1))] if mirrored else [])]
            named = {name: [getattr(answer, name).detach().float() for answer in found] for name in outputs}
            for name, views in named.items():
                if self._embeds(name) and not self.in_training:
                    check_told_apart(faces, views[0], of=of)
        return named

    def _embeds(self, name: str) -> bool:
        return getattr(self.outputs.get(name), "kind", "") == "embedding"

    def _checked(self, name: str, rows: Tensor, *, of: str, first: int = 0) -> Tensor:
        return check_answers(name, rows, of=of, is_embedding=self._embeds(name), first=first)

    def _gathered(self, name: str, parts: list[Tensor], source: FaceSource) -> NDArray[np.float32]:
        """Return the rows of all ranks, in order."""
        rows = torch.cat(parts)
        if world_size() > 1:
            shape = rows.shape
            rows = rows.flatten(1).to(self.device) if rows.ndim > 1 else rows[:, None].to(self.device)
            (rows,) = all_gather_rows([rows], sizes=batch_sizes(len(rows), self.device))
            rows = rows.cpu().unflatten(1, shape[1:]) if len(shape) > 1 else rows[:, 0].cpu()
        everyone: NDArray[np.float32] = self._checked(name, rows, of=source.name).numpy()
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


def outputs_of(network: nn.Module) -> dict[str, Output]:
    """Return the named outputs of a network; a backbone that names none gives an embedding."""
    return dict(getattr(network, "outputs", FACE_OUTPUTS))


def require_outputs(network: nn.Module, outputs: Sequence[str]) -> None:
    """Raise ValueError where a network has no output of one of the names."""
    own = outputs_of(network)
    missing = [name for name in outputs if name not in own]
    if missing:
        raise ValueError(
            f"the network answers {', '.join(own) or 'nothing by name'}, and {', '.join(missing)} is wanted: choose"
            " another protocol"
        )


def answering(network: nn.Module, outputs: Sequence[str]) -> Any:
    """Return what answers some outputs of a network alone, where it has them and tells how; else the network."""
    own: Any = network
    if not hasattr(own, "answering") or any(name not in own.outputs for name in outputs):
        return own
    return own.answering(list(outputs))
