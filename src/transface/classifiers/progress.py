"""The progress of a run that a classifier may read: epoch and step."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class FollowsTraining(Protocol):
    """A classifier whose loss depends on how far training has come; the system tells it before each training batch."""

    def follow(self, *, step: int, epoch: int) -> None:
        """Note the optimizer steps done so far and the epoch, both from 0."""
        ...
