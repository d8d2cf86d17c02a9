"""The protocol `rfw`: ten-fold accuracy for each of four groups of people, their mean and spread, and the skewed error
ratio.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from transface.data.benchmarks.pairs import PairSet
from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.protocol import check_settings
from transface.evaluation.recognition.pair_results import IntervalSettings
from transface.evaluation.recognition.pair_sets import PAIR_FARS, evaluate_pair_set, read_verification_sets
from transface.evaluation.results import Measure, Result
from transface.images.fit import Fit, check_fit

EQUAL_GROUPS = "skewed_error_ratio/of_equal_groups"
GROUPS = ("African", "Asian", "Caucasian", "Indian")


class Rfw:
    """Racial Faces in the Wild: one pair set a group.

    Args:
        root: folder that holds <group>.bin for each group.
        groups: names of the files.
        flip: add the mirrored image's embedding.
        fars: of the groups' own results.
        num_bootstraps: replicates of the intervals; 0: none.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        groups: Sequence[str] = GROUPS,
        flip: bool = True,
        fit: Fit = "refuse",
        fars: Sequence[float] = PAIR_FARS,
        num_bootstraps: int = 1000,
        seed: int = 0,
    ) -> None:
        check_settings(fars=fars, num_bootstraps=num_bootstraps)
        if len(groups) < 2:
            raise ValueError(f"a ratio between groups needs at least two of them, got {list(groups)}")
        self.root, self.groups, self.flip, self.fars = Path(root), tuple(groups), flip, tuple(fars)
        self.num_bootstraps, self.seed = num_bootstraps, seed
        self.names = ["rfw"]
        self.fit = check_fit(fit)
        self._sets: list[PairSet] | None = None

    def prepare(self) -> None:
        """Read the groups' sets: their encoded images stay in memory."""
        self._read()

    def _read(self) -> list[PairSet]:
        if self._sets is None:
            self._sets = read_verification_sets([self.root / f"{group}.bin" for group in self.groups])
        return self._sets

    def evaluate(self, embedder: Embedder, *, detailed: bool = True) -> list[Result]:
        """Return the Result over groups, then one for each group.

        Raises:
            FileNotFoundError: if a group's file is missing.
            ValueError: if one is not a pair set.
        """
        settings = IntervalSettings(self.fars, self.num_bootstraps, self.seed, detailed)
        results = [
            evaluate_pair_set(
                embedder, pair_set, flip=self.flip, fit=self.fit, num_folds=10, settings=settings, protocol="rfw"
            )
            for pair_set in self._read()
        ]
        sizes = np.array([result.counts["pairs"] for result in results])
        bootstraps = self.num_bootstraps if detailed else 0
        summary = Result(
            protocol="rfw",
            name="rfw",
            mode=results[0].mode,
            measures=group_measures(
                [result.measures[0] for result in results],
                self.groups,
                sizes,
                num_bootstraps=bootstraps,
                seed=self.seed,
            ),
            counts={"groups": len(results), "pairs": int(sizes.sum())},
        )
        return [summary, *results]


def group_measures(
    accuracies: Sequence[Measure], groups: Sequence[str], sizes: np.ndarray, *, num_bootstraps: int, seed: int
) -> tuple[Measure, ...]:
    """Return the mean accuracy with its spread over groups, the skewed error ratio (largest error / smallest), the
    ratio that equal groups of these sizes would show, and each accuracy.

    Chance alone makes the largest of some errors larger than the smallest. The ratio expected of equal groups is the
    mean over draws in which every group has the error of all pairs together, its interval where 95 % of them lie.

    A group without errors counts half a wrong pair in the ratio, which would be infinite. Intervals: pairs drawn again
    in each group.
    """
    values = np.array([accuracy.value for accuracy in accuracies])
    mean, ratio = Measure("accuracy", float(values.mean()), std=float(values.std())), float(_ratio(values, sizes))
    skewed = Measure("skewed_error_ratio", ratio, unit="ratio", better="lower")
    if num_bootstraps:
        drawn = np.random.default_rng(seed).binomial(sizes, values, size=(num_bootstraps, len(values))) / sizes
        half = 1.96 * float(drawn.mean(axis=1).std(ddof=1))
        mean = mean._replace(low=max(mean.value - half, 0.0), high=min(mean.value + half, 1.0))
        low, high = np.quantile(_ratio(drawn, sizes), [0.025, 0.975])
        skewed = Measure(
            "skewed_error_ratio", ratio, min(float(low), ratio), max(float(high), ratio), unit="ratio", better="lower"
        )
    equal = _equal_groups(values, sizes, num_bootstraps=num_bootstraps, seed=seed) if num_bootstraps else None
    if equal is not None and equal.high is not None and ratio <= equal.high:
        warning = "groups of one and the same error would show this ratio by chance: no difference between them is seen"
        skewed = skewed._replace(warning=warning)
    return (
        mean,
        skewed,
        *(() if equal is None else (equal,)),
        *(accuracy._replace(name=f"accuracy/{group}") for accuracy, group in zip(accuracies, groups, strict=True)),
    )


def _equal_groups(values: np.ndarray, sizes: np.ndarray, *, num_bootstraps: int, seed: int) -> Measure:
    """Return the ratio expected of groups of these sizes that all have the error of all pairs together."""
    pooled = float((values * sizes).sum() / sizes.sum())
    drawn = np.random.default_rng(seed).binomial(sizes, pooled, size=(num_bootstraps, len(sizes))) / sizes
    ratios = _ratio(drawn, sizes)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Measure(EQUAL_GROUPS, float(ratios.mean()), float(low), float(high), unit="ratio", better=None)


def _ratio(accuracies: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    errors = np.maximum(1 - accuracies, 0.5 / sizes)
    return errors.max(axis=-1) / errors.min(axis=-1)
