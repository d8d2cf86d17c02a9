"""UniTSFace: beside the loss against class centres, one threshold between a face and the latest face of every class.

UniTSFace (NeurIPS 2023). A bank keeps the last embedding of each class, without a gradient; the loss against it is
softplus(-(s (c_y - m) - b)) + sum_j softplus(s c_j - b) over the classes seen. b is 0 until its first use, when it
becomes the mean log-sum-exp of s c_j over other classes, and is learned from then on.
Shapes: B faces, G faces of all ranks, E embedding size, C identities.
"""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from transface.classifiers.class_walk import Walk, default_chunk_size, others_logsumexp
from transface.classifiers.margin_cross_entropy import (
    Terms,
    WalkTerms,
    check_labels,
    frozen_margin,
    own_cosines,
    sample_losses,
    split_norms,
    working_type,
)
from transface.distributed import all_gather_rows, batch_sizes
from transface.margins.cosface import CosFace
from transface.margins.margin import learned_parameters
from transface.margins.uniface import UniFace


class Classifier(Protocol):
    """What UniTSFace stands on: a classifier with class centres, as FullSoftmax and PartialFC are."""

    num_identities: int
    embedding_size: int


class UniTSFace(nn.Module):
    """Per-sample losses of a classifier, plus those against the bank of latest embeddings.

    In training the bank takes in the embeddings of all ranks after each loss (of one class the last in the batch), and
    is saved; in its first epochs it is filled only. Faces whose class it does not hold yet, and classes not seen, are
    left out.

    Args:
        classifier: FullSoftmax or PartialFC with its margin (CosFace with m = 0.4 in the paper).
        margin, scale: m and s of the loss against the bank.
        bank_weight: its factor.
        bank_from_epoch: the epoch, from 0, in which that loss begins.
        chunk_size: how many classes are walked at once, or None for what suits the device.

    Raises:
        ValueError: if a setting is out of range.
    """

    bank: Tensor
    is_seen: Tensor

    def __init__(
        self,
        classifier: nn.Module,
        *,
        margin: float = 0.1,
        scale: float = 64.0,
        bank_weight: float = 1.0,
        bank_from_epoch: int = 1,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        if bank_weight < 0 or bank_from_epoch < 0:
            raise ValueError(
                f"bank_weight and bank_from_epoch must be at least 0, got {bank_weight} and {bank_from_epoch}"
            )
        self.classifier = classifier
        sizes: Any = classifier
        self.num_identities = int(sizes.num_identities)
        self.embedding_size = int(sizes.embedding_size)
        self.threshold_loss = UniFace(self.num_identities, scale, margin=margin, first_threshold=0.0)
        self.bank_weight = bank_weight
        self.bank_from_epoch = bank_from_epoch
        self.chunk_size = chunk_size
        self.register_buffer("bank", torch.zeros(self.num_identities, self.embedding_size))
        self.register_buffer("is_seen", torch.zeros(self.num_identities, dtype=torch.bool))
        self._epoch = 0
        self._remembered: tuple[Tensor, Tensor] | None = (
            None  # written once backward no longer needs the bank as it was
        )
        hook: Any = self.register_state_dict_pre_hook
        hook(lambda module, *_: module.write_remembered())
        self._sees_all = False  # asked of the device until it does, and never after

    def unreached(self, *, steps: int, epochs: int) -> list[str]:
        """Return in words what a run of so many steps and epochs never comes to."""
        late = self.bank_from_epoch >= epochs
        return [f"the loss against the bank begins from epoch {self.bank_from_epoch}"] if late else []

    def follow(self, *, step: int, epoch: int) -> None:
        """Note the epoch; tell the classifier below."""
        self._epoch = epoch
        follow = getattr(self.classifier, "follow", None)
        if follow is not None:
            follow(step=step, epoch=epoch)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the losses (B,) of embeddings (B, E), not normalised, with labels (B,) int64."""
        self.write_remembered()
        losses = self.classifier(embeddings, labels)
        if self._epoch >= self.bank_from_epoch:
            losses = losses + self.bank_weight * self.bank_losses(embeddings, labels)
        else:
            # DDP waits for the gradient of the threshold in every step.
            losses = losses + 0.0 * self.threshold_loss.threshold
        if self.training:
            self.remember(embeddings.detach(), labels)
        return losses

    def bank_losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the losses (B,) against the bank as it is; 0 for faces whose class it does not hold."""
        check_labels(labels, self.num_identities, num_faces=len(embeddings))
        with torch.autocast(embeddings.device.type, enabled=False):
            unit = split_norms(embeddings, working_type(embeddings, self.bank))
            self._sees_all = self._sees_all or bool(self.is_seen.all())
            rows = None if self._sees_all else self.is_seen.nonzero()[:, 0]
            held = self.is_seen[labels]
            own = own_cosines(unit.directions.detach(), self.bank, torch.where(held, labels, -1))
            places = labels if rows is None else torch.where(held, torch.searchsorted(rows, labels), -1)
            size = self.chunk_size or default_chunk_size(len(embeddings), embeddings.device)
            walk = Walk(places, own, frozen_margin(self.threshold_loss), size, rows)
            if self.training:
                self._first_threshold(unit.directions.detach(), walk)
            learned = learned_parameters(self.threshold_loss)
            # The bank is a constant: its gradient is made by the walk and let go.
            terms = Terms(*WalkTerms.apply(unit.directions, self.bank, walk, None, *learned))
            return torch.where(held, sample_losses(self.threshold_loss, terms, unit.norms), 0.0)

    @torch.no_grad()
    def _first_threshold(self, unit_embeddings: Tensor, walk: Walk) -> None:
        """Set the threshold from this batch, as long as it is not above 0."""
        plain = walk._replace(margin=CosFace(self.threshold_loss.scale, 0.0))
        hardest = others_logsumexp(unit_embeddings, self.bank, plain)
        (hardest,) = all_gather_rows([hardest], sizes=batch_sizes(len(hardest), hardest.device))
        finite = hardest[hardest.isfinite()]
        mean = finite.mean() if len(finite) else hardest.new_zeros(())
        threshold = self.threshold_loss.threshold
        threshold.copy_(torch.where(threshold > 0, threshold, mean.to(threshold.dtype)))

    @torch.no_grad()
    def remember(self, embeddings: Tensor, labels: Tensor) -> None:
        """Keep the embeddings of all ranks for the bank; they are in it from the next call on, and in what is saved."""
        sizes = batch_sizes(len(labels), labels.device)
        faces, classes = all_gather_rows([embeddings.to(self.bank.dtype), labels], sizes=sizes)
        self._remembered = (faces, classes)

    @torch.no_grad()
    def write_remembered(self) -> None:
        """Put what is remembered into the bank; of equal labels the last one stays."""
        if self._remembered is None:
            return
        faces, classes = self._remembered
        self._remembered = None
        order = torch.arange(len(classes), device=classes.device)
        last = torch.full((self.num_identities,), -1, device=classes.device).scatter_reduce(0, classes, order, "amax")
        rows = last[classes]  # the same row for all faces of a class, so that the order of writing does not matter
        self.bank[classes] = faces[rows]
        self.is_seen[classes] = True
