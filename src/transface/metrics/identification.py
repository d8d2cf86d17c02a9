"""1:N identification: at which rank a probe finds its mate, rank-k rates, and TPIR at FPIR of open-set search.

Closed set: rank-k is the share of the mated probes whose best mate is among the k best gallery entries. Open set: a
probe without mate that scores at or above the threshold is a false positive; FPIR is their share, TPIR the share of
mated probes whose best mate comes first and lies above the threshold.
Shapes: P probes, G gallery entries, E embedding size.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torchmetrics import Metric

from transface.metrics.tar_at_far import OperatingPoint, operating_points

PROBE_BLOCK = 1024
NO_MATE = 0  # the rank of a probe whose subject is not in the gallery


class Searches(NamedTuple):
    """What searching each probe in the gallery gave.

    Attributes:
        mate_ranks: (P,) rank of the best mate, 1 is best, NO_MATE where there is none. Tied others count as better.
        mate_scores: (P,) score of the best mate, -inf where there is none.
        other_scores: (P,) best score among entries of other people, -inf where there are none.
    """

    mate_ranks: NDArray[np.int64]
    mate_scores: NDArray[np.float32]
    other_scores: NDArray[np.float32]

    @property
    def is_mated(self) -> NDArray[np.bool_]:
        return self.mate_ranks != NO_MATE


def search(
    probes: ArrayLike | Tensor,
    probe_subjects: ArrayLike,
    gallery: ArrayLike | Tensor,
    gallery_subjects: ArrayLike,
    *,
    device: str | torch.device = "cpu",
) -> Searches:
    """Return the outcome of searching unit probes (P, E) among unit gallery entries (G, E), a block of probes at a
    time.

    A subject may have several gallery entries; a negative subject number is a distractor, nobody's mate.

    Raises:
        ValueError: if the shapes do not fit or a value is not finite.
    """
    entries = _as_matrix(gallery, "gallery").to(device)
    faces = _as_matrix(probes, "probes")
    own, theirs = torch.as_tensor(np.asarray(probe_subjects)), torch.as_tensor(np.asarray(gallery_subjects)).to(device)
    if own.shape != faces.shape[:1] or theirs.shape != entries.shape[:1] or faces.shape[1] != entries.shape[1]:
        raise ValueError(
            f"want a subject for each of the {len(faces)} probes and {len(entries)} gallery entries, of one embedding"
            f" size; got {tuple(own.shape)}, {tuple(theirs.shape)}, sizes {faces.shape[1]} and {entries.shape[1]}"
        )
    blocks = [
        _search_block(block.to(device), subjects.to(device), entries, theirs)
        for block, subjects in zip(faces.split(PROBE_BLOCK), own.split(PROBE_BLOCK), strict=True)
    ]
    return Searches(*(np.concatenate([getattr(block, name) for block in blocks]) for name in Searches._fields))


def _as_matrix(rows: ArrayLike | Tensor, name: str) -> Tensor:
    matrix = torch.as_tensor(np.asarray(rows) if not isinstance(rows, Tensor) else rows).detach().float()
    if matrix.ndim != 2 or matrix.numel() == 0:
        raise ValueError(f"{name} must be a non-empty (N, E) array, got {tuple(matrix.shape)}")
    if not bool(matrix.isfinite().all()):
        raise ValueError(
            f"{name} hold NaN or infinity in {int((~matrix.isfinite()).any(1).sum())} of {len(matrix)} rows"
        )
    return matrix


def _search_block(probes: Tensor, subjects: Tensor, gallery: Tensor, gallery_subjects: Tensor) -> Searches:
    scores = probes @ gallery.T
    is_mate = (subjects[:, None] == gallery_subjects) & (subjects[:, None] >= 0)
    mates = scores.masked_fill(~is_mate, -torch.inf).amax(1)
    others = scores.masked_fill(is_mate, -torch.inf)
    ranks = 1 + (others >= mates[:, None]).sum(1)
    ranks = torch.where(is_mate.any(1), ranks, NO_MATE)
    return Searches(ranks.cpu().numpy(), mates.cpu().numpy(), others.amax(1).cpu().numpy())


def rank_hits(searches: Searches, rank: int) -> NDArray[np.bool_]:
    """Return for each mated probe whether its mate is among the `rank` best.

    Raises:
        ValueError: if no probe has a mate in the gallery.
    """
    if not searches.is_mated.any():
        raise ValueError("no probe has a mate in the gallery: rank-k needs some")
    return searches.mate_ranks[searches.is_mated] <= rank


def rank_rate(searches: Searches, rank: int) -> float:
    """Return the share of mated probes whose mate is among the `rank` best; raises ValueError as `rank_hits`."""
    return float(rank_hits(searches, rank).mean())


def open_set_scores(searches: Searches) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return what a threshold decides on: scores of mated probes (the lowest possible where the mate is not first), top
    scores of others.

    Raises:
        ValueError: if all probes have a mate, or none has.
    """
    mated = searches.is_mated
    if mated.all() or not mated.any():
        raise ValueError(
            f"{int(mated.sum())} of {len(mated)} probes have a mate in the gallery: open-set search needs both kinds"
        )
    lowest = np.float32(min(searches.other_scores[~mated].min(), searches.mate_scores[mated].min()) - 1)
    first = np.where(searches.mate_ranks[mated] == 1, searches.mate_scores[mated], lowest)
    return first, searches.other_scores[~mated]


def tpir_at_fpir(searches: Searches, fpirs: Sequence[float]) -> list[OperatingPoint]:
    """Return, for each FPIR, the largest TPIR whose FPIR does not exceed it (`tar` is the TPIR, `far` the FPIR);
    ValueError as above.
    """
    mated, others = open_set_scores(searches)
    return operating_points(mated, others, fpirs, rules=("strict",))


class IdentificationResult(NamedTuple):
    """Rank-k rates by k, the operating points of open-set search (`tar` is the TPIR, `far` the FPIR), and the searches
    behind them.
    """

    rank_rates: dict[int, float]
    points: list[OperatingPoint]
    searches: Searches


class Identification(Metric):
    """1:N identification of probes in a gallery, gathered from all ranks: each batch of probes is searched as it is
    fed.

    `update(probes (B, E), subjects (B,), positions (B,))`: unit embeddings, who they are, and the number of each probe;
    one fed twice (a sampler's padding) counts once. `compute()` gives an IdentificationResult on every rank, probes in
    the order of their numbers.

    Args:
        gallery: (G, E) unit embeddings.
        gallery_subjects: (G,) who they are; negative: distractors, nobody's mates.
        ranks: k of the rank-k rates.
        fpirs: false positive identification rates; none: closed set.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    gallery: Tensor
    mate_ranks: list[Tensor]
    mate_scores: list[Tensor]
    other_scores: list[Tensor]
    positions: list[Tensor]

    def __init__(
        self,
        gallery: ArrayLike | Tensor,
        gallery_subjects: ArrayLike | Tensor,
        *,
        ranks: Sequence[int] = (1, 5, 10),
        fpirs: Sequence[float] = (0.01, 0.1),
        **metric_arguments: Any,
    ) -> None:
        super().__init__(**metric_arguments)
        self.ranks, self.fpirs = tuple(ranks), tuple(fpirs)
        self.register_buffer("gallery", _as_matrix(gallery, "gallery"), persistent=False)
        self.gallery_subjects = torch.as_tensor(gallery_subjects).cpu().numpy()
        for name in (*Searches._fields, "positions"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, probes: Tensor, subjects: Tensor, positions: Tensor) -> None:
        """Search a batch; raises ValueError if the shapes do not fit or a value is not finite."""
        if positions.shape != probes.shape[:1]:
            raise ValueError(
                f"want probes (B, E) and positions (B,), got {tuple(probes.shape)} and {tuple(positions.shape)}"
            )
        found = search(probes, subjects.cpu(), self.gallery, self.gallery_subjects, device=self.gallery.device)
        for name, values in zip(Searches._fields, found, strict=True):
            getattr(self, name).append(torch.from_numpy(values).to(self.gallery.device))
        self.positions.append(positions.to(self.gallery.device))

    def compute(self) -> IdentificationResult:
        """Return the result of all probes; raises ValueError as `rank_rate` and `tpir_at_fpir`."""
        joined = [_joined(getattr(self, name)) for name in (*Searches._fields, "positions")]
        _, first = np.unique(joined[-1], return_index=True)
        searches = Searches(*(values[first] for values in joined[:-1]))
        points = tpir_at_fpir(searches, self.fpirs) if self.fpirs else []
        return IdentificationResult({rank: rank_rate(searches, rank) for rank in self.ranks}, points, searches)


def _joined(parts: list[Tensor] | Tensor) -> NDArray[Any]:
    joined: NDArray[Any] = (torch.cat(parts) if isinstance(parts, list) else parts).cpu().numpy()
    return joined
