"""Deals an epoch's order to ranks batch by batch, and knows its position exactly, so that a run resumes where it
stopped.

Global batch g is the next world_size * batch_size samples of the order; rank r takes its r-th run of batch_size. The
position is counted in samples of the order, so a run saved on W ranks resumes on any other number of ranks or batch
size.
"""

import logging
import zlib
from collections.abc import Iterator
from typing import Literal

import numpy as np
from torch.utils.data import Sampler

from transface.data.sampling.orders import EpochOrder

logger = logging.getLogger(__name__)

CHECKED = 4096  # samples of an order by which it is known again


class RankBatches(Sampler[list[int]]):
    """A batch sampler for one rank: yields lists of batch_size indices; every rank yields the same number of them.

    Args:
        order: what to walk, see `orders.py`.
        batch_size: samples a rank.
        rank, world_size: which of how many ranks this is.
        accumulation: global batches of one optimizer step: an epoch holds whole steps, so that none is of fewer images
            than the others at the same learning rate.
        tail: what happens to the samples after the last whole global batch: "drop" leaves them out (others each epoch,
            as the order changes), "pad" fills the last global batch with the first samples of the epoch's order.

    Raises:
        ValueError: for numbers out of range, a batch that would cut groups (P x K), or an epoch without a single batch.
    """

    def __init__(
        self,
        order: EpochOrder,
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        accumulation: int = 1,
        tail: Literal["drop", "pad"] = "drop",
    ) -> None:
        if batch_size < 1 or not 0 <= rank < world_size:
            raise ValueError(
                f"batch_size must be at least 1 and rank in 0..world_size-1, got {batch_size}, rank {rank} of"
                f" {world_size}"
            )
        if tail not in ("drop", "pad"):
            raise ValueError(f"tail must be 'drop' or 'pad', got {tail!r}")
        if accumulation < 1 or (accumulation > 1 and tail == "pad"):
            raise ValueError(f"accumulation must be at least 1, and 1 with tail='pad', got {accumulation}")
        if batch_size % order.group:
            raise ValueError(
                f"batch_size must be a multiple of {order.group} (P identities x K images), got {batch_size}"
            )
        self.order = order
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.accumulation = accumulation
        self.tail = tail
        self.epoch = 0
        self._consumed = 0  # samples of this epoch's order before the first batch of the next __iter__
        self._batches = 0  # global batches of this epoch before it
        self._dealt = 0  # batches dealt by the latest __iter__
        self._order_sum: int | None = None  # a checksum of this epoch's order, once it is known
        self._stated_sum: int | None = None  # the one of the position that was loaded
        if self._remaining() == 0:
            parts = f"{world_size} x {batch_size}" + (f" x {accumulation}" if accumulation > 1 else "")
            raise ValueError(
                f"{order.num_samples} samples make no global batch of {parts}: take a smaller batch"
                " (data.total_batch_size)"
            )

    @property
    def sampler(self) -> "RankBatches":
        """This sampler itself: trainers look here for `set_epoch`."""
        return self

    @property
    def first_batch(self) -> int:
        """The batches of this epoch before the position it was resumed at."""
        return self._batches

    def _remaining(self) -> int:
        left, size = self.order.num_samples - self._consumed, self.batch_size * self.world_size
        if self.tail == "pad":
            return -(-left // size)
        whole = left // size
        return max(whole - (self._batches + whole) % self.accumulation, 0)

    def __len__(self) -> int:
        """Return the batches of this epoch, those before the position it was resumed at included."""
        return self._batches + self._remaining()

    def __iter__(self) -> Iterator[list[int]]:
        order = self.order(self.epoch)
        self._dealt = 0
        self._order_sum = zlib.crc32(np.asarray(order[:CHECKED], dtype=np.int64).tobytes())
        if self._consumed and self._stated_sum not in (None, self._order_sum):
            logger.warning(
                "this epoch is resumed at sample %d in another order than it began in (another seed or kind of order):"
                " some images come twice, some not at all",
                self._consumed,
            )
        size = self.batch_size * self.world_size
        for number in range(self._remaining()):
            start = self._consumed + number * size + self.rank * self.batch_size
            batch = order[start : start + self.batch_size]
            if len(batch) < self.batch_size:
                batch = order[np.arange(start, start + self.batch_size) % len(order)]
            self._dealt = number + 1
            yield batch.tolist()

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of `epoch`; where this is the epoch already, its position stays."""
        if epoch != self.epoch:
            self.epoch, self._consumed, self._batches, self._dealt = epoch, 0, 0, 0
            self._order_sum = self._stated_sum = None

    def state_dict(self, *, batches: int | None = None) -> dict[str, int]:
        """Return the position after `batches` global batches of this epoch; by default after those dealt so far.

        Workers fetch ahead of training: with workers, say how many batches training has finished.
        """
        done = self._dealt if batches is None else batches - self._batches
        if done < 0:
            raise ValueError(
                f"this epoch was resumed after {self._batches} batches, so {batches} cannot be its position"
            )
        consumed = min(self._consumed + done * self.batch_size * self.world_size, self.order.num_samples)
        known = {} if self._order_sum is None else {"order_sum": self._order_sum}
        return {
            "epoch": self.epoch,
            "consumed": consumed,
            "batches": self._batches + done,
            "num_samples": self.order.num_samples,
            **known,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a position that `state_dict` returned, on any number of ranks.

        Raises:
            ValueError: if it is the position in another set of samples.
        """
        if state["num_samples"] != self.order.num_samples:
            raise ValueError(
                f"the position to resume from is one among {state['num_samples']} samples, and there are"
                f" {self.order.num_samples} now: resume with the data, weights and P x K it was made with"
            )
        self.epoch, self._consumed, self._batches = state["epoch"], state["consumed"], state["batches"]
        self._dealt = 0
        self._order_sum, self._stated_sum = None, state.get("order_sum")
