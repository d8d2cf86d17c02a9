"""Says what happens to a record that cannot be used in training: raise, or skip it and count.

A skipped record costs itself alone: its place in the batch goes to the next good record of the set, whatever the rank,
so batches keep their size and ranks stay in step.
"""

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import torch
from lightning.fabric.utilities import move_data_to_device
from torch.utils.data import get_worker_info

from transface.data.batches import EncodedBatch, FaceBatch
from transface.data.loaders import decode_batch, encoded_batch

logger = logging.getLogger(__name__)

COUNTED_WORKERS = 512
LOGGED_A_WORKER = 10
FEWEST_READ = 1000  # a share is judged over at least so many reads, or one pass of a smaller set


class ImageDataset(Protocol):
    """A set of labelled images that is read by batches of indices; to be decoded on a device it also has what
    `loaders.EncodedSource` names.
    """

    def __len__(self) -> int: ...

    def __getitems__(self, indices: Sequence[int]) -> Any: ...


class BadRecordError(ValueError):
    """A record that cannot be used, or too many of them. Stays one line when a worker hands it to the main process."""

    def __init__(self, message: str) -> None:
        if message.startswith("Caught "):  # a DataLoader puts the worker's traceback before it
            message = re.split(r"BadRecordError: ", message)[-1].strip()
        super().__init__(message)


Fetch = Callable[[Sequence[int]], Any]


def _joined(parts: Sequence[Any]) -> Any:
    """Return batches of one record each as one batch: tensors end to end, the parts of NamedTuples each for itself."""
    first = parts[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(list(parts))
    return type(first)(*(_joined(same) for same in zip(*parts, strict=True)))


class BadRecords(NamedTuple):
    """Records that were skipped, and all that were read."""

    bad: int
    read: int


class TolerantDataset:
    """The images of `source`, where a bad record raises or is skipped.

    Args:
        source: a data set that raises ValueError or OSError for a record it cannot deliver.
        on_bad_record: "raise" or "skip".
        max_bad_share: more than this share of bad records among those read stops the run.
        decode: "workers": batches are decoded; "device": they are encoded, for `decoded` to be called with.

    Raises:
        ValueError: for other words, or a share outside 0..1.
    """

    def __init__(
        self,
        source: ImageDataset,
        *,
        on_bad_record: Literal["raise", "skip"] = "raise",
        max_bad_share: float = 0.001,
        decode: Literal["workers", "device"] = "workers",
    ) -> None:
        if on_bad_record not in ("raise", "skip"):
            raise ValueError(f"on_bad_record must be 'raise' or 'skip', got {on_bad_record!r}")
        if not 0 <= max_bad_share <= 1:
            raise ValueError(f"max_bad_share must be in 0..1, got {max_bad_share}")
        if decode not in ("workers", "device"):
            raise ValueError(f"decode must be 'workers' or 'device', got {decode!r}")
        if decode == "device" and not hasattr(source, "read_encoded"):
            raise ValueError(
                f"decode='device' needs a source that gives its images undecoded, {type(source).__name__} does not"
            )
        self.source = source
        self.on_bad_record = on_bad_record
        self.max_bad_share = max_bad_share
        self.decode = decode
        # A row a worker, so that no two write to one number; shared, so that the main process sees them.
        self._counts = torch.zeros(COUNTED_WORKERS, 2, dtype=torch.int64).share_memory_()
        self._taken = BadRecords(0, 0)
        self._stand_ins: dict[int, int] = {}  # bad record -> the one read in its place

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """Return the batch of `indices`, a FaceBatch, or an EncodedBatch to be `decoded`; its keys say which records
        stand in for bad ones.

        Raises:
            BadRecordError: for a bad record under "raise", for too many under "skip".
        """
        fetch = self.source.__getitems__ if self.decode == "workers" else self._encoded
        try:
            batch = fetch(indices)
        except (ValueError, OSError) as error:
            batch = self._mended(indices, fetch, error)
        if self.on_bad_record == "skip":
            self._row()[1] += len(indices)
        return batch

    def _encoded(self, indices: Sequence[int]) -> EncodedBatch:
        return encoded_batch(self.source, indices)  # type: ignore[arg-type]

    def decoded(self, batch: EncodedBatch, device: torch.device | str) -> FaceBatch:
        """Return the decoded batch on `device`; what a bad image costs is as in `__getitems__`, which could not see
        that it is one.

        Raises:
            BadRecordError: as `__getitems__` does.
        """
        try:
            return decode_batch(batch, self.source, device=device)  # type: ignore[arg-type]
        except ValueError as error:
            mended = self._mended(batch.keys.tolist(), self.source.__getitems__, error)
            return move_data_to_device(mended, device)

    def _mended(self, indices: Sequence[int], fetch: Fetch, error: Exception) -> Any:
        """Record by record: each bad one is replaced by the next of the set that is good."""
        if self.on_bad_record == "raise":
            raise BadRecordError(f"{error}; on_bad_record=skip leaves such records out") from error
        singles = [self._good(int(index), fetch) for index in indices]
        return _joined(singles)

    def _good(self, index: int, fetch: Fetch) -> Any:
        place, reason = self._stand_ins.get(index, index), "known from before"
        if place != index:
            self._count(index, reason)
        for _ in range(len(self)):
            try:
                return fetch([place])
            except (ValueError, OSError) as error:
                reason = str(error)
            if place == index:
                self._count(index, reason)
            place = (place + 1) % len(self)
            self._stand_ins[index] = place
        raise BadRecordError(f"none of the {len(self)} records is good; the latest: {reason}")

    def _row(self) -> torch.Tensor:
        worker = get_worker_info()
        return self._counts[0 if worker is None else 1 + worker.id % (COUNTED_WORKERS - 1)]

    def _count(self, index: int, reason: str) -> None:
        self._row()[0] += 1
        if index not in self._stand_ins and len(self._stand_ins) < LOGGED_A_WORKER:
            logger.warning("record %d is skipped: %s", index, reason)
        counts = self._sum()
        if counts.bad > self.max_bad_share * max(counts.read, min(len(self), FEWEST_READ)):
            raise BadRecordError(f"{_too_many(counts, self.max_bad_share)}; the latest: {reason}")

    def _sum(self) -> BadRecords:
        bad, read = self._counts.sum(0).tolist()
        return BadRecords(bad, read)

    def take_counts(self) -> BadRecords:
        """Return the counts over all workers of this process since the last call; call it in the main process at the
        end of an epoch.
        """
        now = self._sum()
        taken = BadRecords(now.bad - self._taken.bad, now.read - self._taken.read)
        self._taken = now
        return taken

    def check_share(self, counts: BadRecords) -> None:
        """Raise BadRecordError if `counts` (an epoch's, summed over ranks) hold more than the allowed share."""
        if counts.bad > self.max_bad_share * counts.read:
            raise BadRecordError(_too_many(counts, self.max_bad_share))


def _too_many(counts: BadRecords, share: float) -> str:
    return (
        f"{counts.bad} of the {counts.read} records read so far were bad, more than max_bad_share={share:g} allows; "
        "'transface pack check' lists them"
    )
