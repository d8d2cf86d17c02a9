"""True accept rate at given false accept rates, by two rules, from the top tail of the impostor scores alone.

`nearest`: the ROC point whose FAR lies nearest to the target, the larger TAR on ties; the points are those
scikit-learn's roc_curve keeps with drop_intermediate=True. Published tables use it; its FAR may exceed the target.
`strict`: the largest TAR with FAR <= target.
Shapes: G genuine scores, I impostor scores, K targets. A pair is accepted if its score >= threshold; higher is more
alike.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torchmetrics import Metric

Rule = Literal["nearest", "strict"]
RULES: tuple[Rule, ...] = ("nearest", "strict")
IJB_FARS: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)

Scores = NDArray[np.floating[Any]]


class OperatingPoint(NamedTuple):
    """Where a rule puts the threshold for a target FAR.

    Attributes:
        target: the FAR asked for.
        rule: "nearest" or "strict".
        tar: share of genuine pairs accepted.
        far: share of impostor pairs accepted.
        threshold: the score at and above which a pair is accepted (infinite if none is).
        num_false_accepts: far * I, the impostors that stand behind the number.
    """

    target: float
    rule: Rule
    tar: float
    far: float
    threshold: float
    num_false_accepts: int


@overload
def tar_at_far(genuine: ArrayLike | Tensor, impostor: ArrayLike | Tensor, far: float, rule: Rule = ...) -> float: ...
@overload
def tar_at_far(
    genuine: ArrayLike | Tensor,
    impostor: ArrayLike | Tensor,
    far: Sequence[float] | NDArray[Any] | Tensor,
    rule: Rule = ...,
) -> NDArray[np.float64]: ...
def tar_at_far(
    genuine: ArrayLike | Tensor,
    impostor: ArrayLike | Tensor,
    far: float | Sequence[float] | NDArray[Any] | Tensor,
    rule: Rule = "nearest",
) -> float | NDArray[np.float64]:
    """Return the TAR at a FAR: a float for one target, (K,) float64 for K of them.

    Raises:
        ValueError: if a class is empty, a score is not finite, a FAR is not in [0, 1], or the rule is unknown.

    Example:
        >>> tar_at_far([0.9, 0.8, 0.3], [0.5, 0.4, 0.2, 0.1], 0.25, rule="strict")
        0.6666666666666666
    """
    targets = np.asarray(far.detach().cpu() if isinstance(far, Tensor) else far)
    points = operating_points(genuine, impostor, np.atleast_1d(targets), rules=(rule,))
    if targets.ndim == 0:
        return points[0].tar
    return np.array([point.tar for point in points])


def operating_points(
    genuine: ArrayLike | Tensor,
    impostor: ArrayLike | Tensor,
    fars: Sequence[float] | NDArray[Any],
    *,
    rules: Sequence[Rule] = RULES,
) -> list[OperatingPoint]:
    """Return one OperatingPoint for each target and rule, targets outermost; errors as in `tar_at_far`."""
    genuine_scores, impostor_scores = as_scores(genuine, name="genuine"), as_scores(impostor, name="impostor")
    # A float32 of .01 lies a little below .01 and would refuse an impostor that .01 allows: the number meant is the one
    # it is written as.
    targets = [float(str(far)) if isinstance(far, np.float32) else float(far) for far in fars]
    if not all(0 <= target <= 1 for target in targets):
        raise ValueError(f"a false accept rate lies in [0, 1], got {targets}")
    if set(rules) - set(RULES):
        raise ValueError(f"rule must be 'nearest' or 'strict', got {sorted(set(rules) - set(RULES))}")
    curve = TailCurve(genuine_scores, impostor_scores)
    curve.grow(int(max(targets, default=0) * len(impostor_scores)) + 64)
    return [
        curve.nearest(target) if rule == "nearest" else curve.strict(target) for target in targets for rule in rules
    ]


def as_scores(scores: ArrayLike | Tensor, *, name: str = "pair") -> Scores:
    """Return scores as a flat float32 or float64 array.

    Raises:
        ValueError: if there are none, they are not one-dimensional, or one is NaN or infinite.
    """
    if isinstance(scores, Tensor):
        scores = scores.detach().to(device="cpu", dtype=torch.promote_types(scores.dtype, torch.float32)).numpy()
    array = np.asarray(scores)
    array = array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(
            f"{name} scores must be a non-empty list of numbers, got shape {array.shape}: a set needs both classes"
        )
    # A sum is finite only if all its terms are; only a doubtful sum is looked at term by term.
    if not np.isfinite(array.sum()) and not np.isfinite(array).all():
        raise ValueError(f"{int((~np.isfinite(array)).sum())} of {array.size} {name} scores are NaN or infinite")
    return array


class _Points(NamedTuple):
    """ROC points of rising FAR at the distinct scores of a tail; `whole` if the tail is everything."""

    thresholds: Scores
    false_accepts: NDArray[np.int64]
    true_accepts: NDArray[np.int64]
    kept: NDArray[np.bool_]
    whole: bool


class TailCurve:
    """The part of a ROC curve that low FARs need: grows as far down the impostor scores as the targets ask."""

    def __init__(self, genuine: Scores, impostor: Scores) -> None:
        dtype = np.result_type(genuine, impostor)
        self.genuine = np.sort(genuine.astype(dtype, copy=False))
        self.impostor = impostor.astype(dtype, copy=False)
        self.tail = self.impostor[:0]  # the largest impostor scores, sorted, rising

    def strict(self, target: float) -> OperatingPoint:
        """Return the point of the largest TAR whose FAR does not exceed the target."""
        total = len(self.impostor)
        allowed = int(np.floor(target * total))
        while allowed < total and (allowed + 1) / total <= target:
            allowed += 1
        while allowed / total > target:
            allowed -= 1
        if allowed >= total:
            return self._point(target, "strict", min(self.genuine[0], self.impostor.min()))
        refused = self.grow(allowed + 1)[0]
        return self._point(target, "strict", np.nextafter(refused, np.array(np.inf, refused.dtype)))

    def nearest(self, target: float) -> OperatingPoint:
        """Return the kept ROC point nearest to the target FAR, the larger TAR on ties."""
        total = len(self.impostor)
        size = int(target * total) + 64
        while True:
            points = self._points(size)
            # (0, 0) is always a point; of equally near ones the last has the larger TAR.
            far = np.concatenate([[0.0], points.false_accepts[points.kept] / total])
            distance = np.abs(far - target)
            nearest = len(far) - 1 - int(np.argmin(distance[::-1]))
            unseen_far = points.false_accepts[-1] / total
            if points.whole or (unseen_far >= target and unseen_far - target > distance[nearest]):
                thresholds = np.concatenate([[np.inf], points.thresholds[points.kept].astype(np.float64)])
                return self._point(target, "nearest", thresholds[nearest])
            size *= 2

    def grow(self, size: int) -> Scores:
        """Return at least the `size` largest impostor scores, rising (all of them if there are fewer)."""
        size = min(size, len(self.impostor))
        if len(self.tail) < size:
            top = (
                self.impostor
                if size == len(self.impostor)
                else np.partition(self.impostor, len(self.impostor) - size)[-size:]
            )
            self.tail = np.sort(top)
        return self.tail[-size:]

    def _points(self, size: int) -> _Points:
        tail = self.grow(size)
        whole = len(tail) == len(self.impostor)
        # Scores equal to the lowest of the tail may lie outside it: look only above, where the counts are whole.
        lowest = -np.inf if whole else tail[0]
        impostor = tail[np.searchsorted(tail, lowest, side="right") :]
        genuine = self.genuine[np.searchsorted(self.genuine, lowest, side="right") :]
        thresholds = np.unique(np.concatenate([genuine, impostor]))[::-1]
        false_accepts = len(impostor) - np.searchsorted(impostor, thresholds, side="left")
        true_accepts = len(genuine) - np.searchsorted(genuine, thresholds, side="left")
        if len(thresholds) == 0:
            none = np.zeros(1, np.int64)
            return _Points(np.full(1, np.inf), none, none, np.zeros(1, bool), whole)
        return _Points(thresholds, false_accepts, true_accepts, _kept(false_accepts, true_accepts, whole=whole), whole)

    def _point(self, target: float, rule: Rule, threshold: Any) -> OperatingPoint:
        accepted = len(self.genuine) - int(np.searchsorted(self.genuine, threshold, side="left"))
        if len(self.tail) and threshold > self.tail[0]:
            false_accepts = len(self.tail) - int(np.searchsorted(self.tail, threshold, side="left"))
        else:
            false_accepts = int(np.count_nonzero(self.impostor >= threshold))
        return OperatingPoint(
            target,
            rule,
            accepted / len(self.genuine),
            false_accepts / len(self.impostor),
            float(threshold),
            false_accepts,
        )


def _kept(false_accepts: NDArray[np.int64], true_accepts: NDArray[np.int64], *, whole: bool) -> NDArray[np.bool_]:
    """Points that roc_curve keeps: both ends, and those where the steps before and after differ. The last of a part is
    not known: False.
    """
    kept = np.ones(len(false_accepts), bool)
    if len(kept) > 2:
        kept[1:-1] = (np.diff(false_accepts, 2) != 0) | (np.diff(true_accepts, 2) != 0)
    if not whole:
        kept[-1] = len(kept) == 1
    return kept


class TarAtFar(Metric):
    """TAR at several FARs by both rules, over all ranks.

    `update(scores (B,), is_same (B,))`; `compute()` gives the OperatingPoints, targets outermost, `nearest` before
    `strict`.

    Args:
        fars: target false accept rates.
        rules: which rules.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    scores: list[Tensor]
    is_same: list[Tensor]

    def __init__(
        self, fars: Sequence[float] = IJB_FARS, *, rules: Sequence[Rule] = RULES, **metric_arguments: Any
    ) -> None:
        super().__init__(**metric_arguments)
        self.fars, self.rules = tuple(fars), tuple(rules)
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("is_same", default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, is_same: Tensor) -> None:
        """Take scores and labels of some pairs; raises ValueError if they differ in shape."""
        if scores.shape != is_same.shape or scores.ndim != 1:
            raise ValueError(f"want scores (B,) and is_same (B,), got {tuple(scores.shape)} and {tuple(is_same.shape)}")
        self.scores.append(scores.detach())
        self.is_same.append(is_same.bool())

    def compute(self) -> list[OperatingPoint]:
        """Return the operating points of all pairs."""
        scores = torch.cat(self.scores) if isinstance(self.scores, list) else self.scores
        is_same = torch.cat(self.is_same) if isinstance(self.is_same, list) else self.is_same
        return operating_points(scores[is_same], scores[~is_same], self.fars, rules=self.rules)
