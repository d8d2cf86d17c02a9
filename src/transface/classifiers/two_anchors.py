"""Two anchors: a face is held by the centre of its class and by the expectation of its class's embeddings.

LVFace (ICCV 2025, arXiv 2501.13420), after notes on the paper: no official training code exists, see
docs/papers/past_transface.md. With N_w = sum_j exp(s c_j) over the centres of other classes, c_y the own cosine, and
N_e, c^e_y the same of expectations: loss = log(1 + N_w exp(-s (c_y - m1)) + N_e exp(-s (c^e_y - m2))).
An expectation moves to e <- a e + (1 - a) x with a = sigmoid(cos(x, e)), x the mean direction of its images in a batch.
Shapes: B faces, G faces of all ranks, E embedding size, C identities.
"""

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transface.classifiers.class_walk import Walk, default_chunk_size
from transface.classifiers.margin_cross_entropy import Terms, WalkTerms, own_cosines, split_norms, working_type
from transface.distributed import all_gather_rows, batch_sizes
from transface.margins.cosface import CosFace

Anchors = Literal["centers", "both"]
Negatives = Literal["expectations", "centers"]
Update = Literal["moving", "frozen"]


class OfExpectations(NamedTuple):
    """A face against its expectation.

    Attributes:
        terms: own cosines and the log-sum-exp over the expectations of other classes, each (B,).
        is_held: (B,) whether there is an expectation of the own class.
    """

    terms: Terms
    is_held: Tensor


class TwoAnchors(nn.Module):
    """Per-sample losses of a classifier, to which the expectations of classes are a second anchor.

    A class without an expectation gets its first face of a step in which expectations move or are used; until then its
    faces have one anchor, and it is nobody's negative. The table (C, E) is on every rank, and saved.

    Args:
        classifier: FullSoftmax or PartialFC with its margin (CosFace with m1 = 0.4 in the paper).
        margin, scale: m2 and s of the second anchor; s must be the margin's own.
        anchors: "centers" is the classifier alone, to the bit; "both" adds the expectations.
        expectations: "moving" or "frozen", while both anchors are in use.
        expectation_negatives: what N_e sums over: "expectations" as in the paper's equation, or "centers" (N_e = N_w),
            which needs no second product.
        chunk_size: how many classes are walked at once, or None for what suits the device.

    Raises:
        ValueError: if a setting is out of range.
    """

    expectations: Tensor
    is_known: Tensor

    def __init__(
        self,
        classifier: nn.Module,
        *,
        margin: float = 0.4,
        scale: float = 64.0,
        anchors: Anchors = "both",
        expectation_update: Update = "moving",
        expectation_negatives: Negatives = "expectations",
        chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        inner: Any = classifier
        if inner.margin.scale != scale:
            raise ValueError(f"both anchors have one scale: the margin's is {inner.margin.scale}, got {scale}")
        _check(expectation_negatives, Negatives, "expectation_negatives")
        self.classifier: Any = classifier
        self.num_identities = int(inner.num_identities)
        self.embedding_size = int(inner.embedding_size)
        self.second = CosFace(scale, margin)
        self.expectation_negatives = expectation_negatives
        self.chunk_size = chunk_size
        self._anchors = _check(anchors, Anchors, "anchors")
        self._update = _check(expectation_update, Update, "expectation_update")
        self.register_buffer("expectations", torch.zeros(self.num_identities, self.embedding_size))
        self.register_buffer("is_known", torch.zeros(self.num_identities, dtype=torch.bool))
        # Written once backward no longer needs the table as it was.
        self._moved: tuple[Tensor, Tensor] | None = None
        hook: Any = self.register_state_dict_pre_hook
        hook(lambda module, *_: module.write_moved())

    @property
    def anchors(self) -> str:
        """Which anchors hold a face."""
        return self._anchors

    @anchors.setter
    def anchors(self, value: str) -> None:
        self._anchors = _check(value, Anchors, "anchors")

    @property
    def expectation_update(self) -> str:
        """Whether expectations of known classes move."""
        return self._update

    @expectation_update.setter
    def expectation_update(self, value: str) -> None:
        self._update = _check(value, Update, "expectation_update")

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the losses (B,) of embeddings (B, E), not normalised, with labels (B,) int64."""
        self.write_moved()
        if self._anchors == "centers":
            return self.classifier(embeddings, labels)
        sizes = batch_sizes(len(labels), labels.device)
        (every_label,) = all_gather_rows([labels], sizes=sizes)
        draw = getattr(self.classifier, "sample", None)
        classes = None if draw is None else draw(every_label)
        found = self.classifier.terms(embeddings, labels, classes=classes)
        second = self._second_terms(embeddings, labels, classes)
        own = self.classifier.margin.target_logits(found.terms.target_cosines, found.norms)
        others = found.terms.others_logsumexp
        negatives = others if self.expectation_negatives == "centers" else second.terms.others_logsumexp
        surplus = negatives - self.second.target_logits(second.terms.target_cosines, None)
        surplus = torch.where(second.is_held, surplus, -torch.inf)
        losses = torch.logaddexp(torch.logaddexp(torch.zeros_like(own), others - own), surplus)
        if self.training:
            self._move(embeddings.detach(), labels, sizes)
        return losses

    def _second_terms(self, embeddings: Tensor, labels: Tensor, classes: Tensor | None) -> OfExpectations:
        with torch.autocast(embeddings.device.type, enabled=False):
            unit = split_norms(embeddings, working_type(embeddings, self.expectations)).directions
            held = self.is_known[labels]
            rows = self.is_known.nonzero()[:, 0] if classes is None else classes[self.is_known[classes]]
            own = own_cosines(unit.detach(), self.expectations, torch.where(held, labels, -1))
            places = torch.where(held, torch.searchsorted(rows, labels), -1)
            if self.expectation_negatives == "centers":  # the own expectation alone is walked: no other is needed
                kept = torch.unique(labels)
                rows = kept[self.is_known[kept]]
                places = torch.where(held, torch.searchsorted(rows, labels), -1)
            size = self.chunk_size or default_chunk_size(len(embeddings), embeddings.device)
            walk = Walk(places, own, self.second, size, rows)
            return OfExpectations(Terms(*WalkTerms.apply(unit, self.expectations, walk, None)), held)

    @torch.no_grad()
    def _move(self, embeddings: Tensor, labels: Tensor, sizes: list[int]) -> None:
        """Keep where the expectations of the classes of all ranks' faces go."""
        directions = F.normalize(embeddings.to(self.expectations.dtype), dim=1)
        faces, every_label = all_gather_rows([directions, labels], sizes=sizes)
        classes, places = every_label.unique(return_inverse=True)
        means = torch.zeros(len(classes), self.embedding_size, dtype=faces.dtype, device=faces.device)
        means = F.normalize(means.index_add_(0, places, faces), dim=1)
        before = self.expectations[classes]
        kept = torch.sigmoid(torch.linalg.vecdot(means, F.normalize(before, dim=1)))[:, None]
        after = kept * before + (1 - kept) * means if self._update == "moving" else before
        self._moved = (classes, torch.where(self.is_known[classes, None], after, means))

    @torch.no_grad()
    def write_moved(self) -> None:
        """Put the expectations that moved into the table."""
        if self._moved is None:
            return
        classes, values = self._moved
        self._moved = None
        self.expectations[classes] = values
        self.is_known[classes] = True


def _check(value: str, kind: Any, name: str) -> str:
    if value not in get_args(kind):
        raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {value!r}")
    return value
