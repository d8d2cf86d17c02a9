"""Makes loaders whose workers read and decode whole batches, and batches of encoded images that are decoded where they
are used.
"""

import os
import signal
from collections.abc import Sequence
from types import FrameType
from typing import Any, Protocol, cast

import torch
from lightning.fabric.utilities import move_data_to_device
from torch.utils.data import DataLoader, Dataset, Sampler

from transface.data.batches import EncodedBatch, EncodedFaces, FaceBatch
from transface.data.labels.label import to_tensors
from transface.images.decoding import check_sizes, decode_images
from transface.images.fit import Fit, check_fit

# Each means "end" to its sender: a scheduler, a service manager, a closed terminal, CTRL-C.
ENDING_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")


def collate_identity(batch: Any) -> Any:
    """Return the batch: it left `__getitems__` collated."""
    return batch


class _FirstIsLeft:
    """A signal handler of a loader's worker: the first of each kind is left to the main process, the second ends the
    worker.
    """

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if number in self.seen:
            os._exit(128 + number)
        self.seen.add(number)


def leave_signals(worker: int) -> None:  # noqa: ARG001 - what a DataLoader calls it with
    """Let a loader's worker outlive a signal that means "end" and was sent to the whole process group: the main process
    saves and ends it.

    `timeout`, systemd, `kill %1`, srun and scancel signal every process of a job; a worker that died of it would take
    the run with it.
    """
    handler = _FirstIsLeft()
    for name in ENDING_SIGNALS:
        signal.signal(getattr(signal, name), handler)


def make_loader(
    dataset: object,
    batches: Sampler[list[int]],
    *,
    num_workers: int = 2,
    pin_memory: bool | None = None,
    prefetch_factor: int = 4,
    multiprocessing_context: str | None = None,
) -> DataLoader:
    """Return a loader whose workers read and decode whole batches, in the order of the batch sampler `batches`.

    Args:
        dataset: has `__getitems__(indices) -> batch`, e.g. an IdentityPack.
        num_workers: processes that read; 0 reads in this one.
        pin_memory: copy batches to page-locked memory, for fast copies to a GPU; by default where there is one.
        prefetch_factor: batches each worker reads ahead.
        multiprocessing_context: "fork", "spawn" or "forkserver"; by default the system's.
    """
    return DataLoader(
        cast(Dataset, dataset),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=collate_identity,
        pin_memory=torch.cuda.is_available() if pin_memory is None else pin_memory,
        prefetch_factor=prefetch_factor if num_workers else None,
        persistent_workers=num_workers > 0,
        multiprocessing_context=multiprocessing_context if num_workers else None,
        worker_init_fn=leave_signals if num_workers else None,
    )


def close_loader(loader: DataLoader) -> None:
    """Stop the workers of a loader now.

    After an error came out of a worker, the garbage collector would do it late, and wait 5 seconds for each of them.
    """
    iterator = getattr(loader, "_iterator", None)
    if iterator is not None and hasattr(iterator, "_shutdown_workers"):
        iterator._shutdown_workers()
        loader._iterator = None


class NamedImages(Protocol):
    """A source whose images are brought to one size, and have names for errors.

    `fit` says what happens to images of another size; a source without it refuses them.
    """

    @property
    def image_size(self) -> tuple[int, int]: ...

    def name(self, index: int) -> str: ...


class EncodedSource(NamedImages, Protocol):
    """A source that also gives its images undecoded."""

    def read_encoded(self, indices: Sequence[int]) -> EncodedFaces: ...


def fit_of(source: object) -> Fit:
    """Return what a source does with images of another size than its own."""
    return check_fit(getattr(source, "fit", "refuse"))


def face_batch(faces: EncodedFaces, *, indices: Sequence[int], source: NamedImages) -> FaceBatch:
    """Return the decoded batch of the images at `indices` of `source`."""
    images = decode_images(faces.payloads, size=source.image_size, names=_Names(source, indices), fit=fit_of(source))
    return FaceBatch(images, to_tensors(faces.labels), torch.tensor(list(indices), dtype=torch.int64))


def encoded_batch(source: EncodedSource, indices: Sequence[int]) -> EncodedBatch:
    """Return the images at `indices` of `source`, undecoded; of their sizes it is made sure here.

    Raises:
        ImageError: naming the first that is no JPEG or PNG, or has another size.
    """
    faces = source.read_encoded(indices)
    check_sizes(faces.payloads, source.image_size, _Names(source, indices), fit=fit_of(source))
    data = torch.frombuffer(bytearray().join(faces.payloads), dtype=torch.uint8)
    lengths = torch.tensor([len(payload) for payload in faces.payloads])
    return EncodedBatch(data, lengths, to_tensors(faces.labels), torch.tensor(list(indices)))


def decode_batch(batch: EncodedBatch, source: NamedImages, *, device: torch.device | str) -> FaceBatch:
    """Return the decoded batch on `device`; on a CUDA device its JPEGs are decoded there.

    Raises:
        ImageError: naming the first image that cannot be decoded.
    """
    parts = [memoryview(part.numpy()) for part in batch.data.split(batch.lengths.tolist())]
    names = _Names(source, batch.keys.tolist())
    images = decode_images(parts, size=source.image_size, names=names, device=device, fit=fit_of(source))
    return FaceBatch(images, *(move_data_to_device(part, device) for part in (batch.labels, batch.keys)))


class _Names(Sequence[str]):
    """Names of the images of a batch, made only for an error."""

    def __init__(self, source: NamedImages, indices: Sequence[int]) -> None:
        self.source, self.indices = source, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: Any) -> Any:
        return self.source.name(int(self.indices[place]))
