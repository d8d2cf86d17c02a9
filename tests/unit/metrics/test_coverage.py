"""Over 500 simulated sets of known truth, the 95 % intervals hold it in 93 to 97 %: accuracies and TAR, pairs and
people drawn.
"""

import numpy as np
import pytest
from scipy import stats

from transface.metrics.confidence import accuracy_interval
from transface.metrics.tar_bootstrap import tar_with_intervals
from transface.metrics.verification import fold_of_each_pair, verify_distances

NUM_SETS = 500


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gap", "num_pairs"), [(0.5, 2000), (1.0, 600), (2.0, 600), (4.0, 999), (3.0, 6000), (5.0, 6000), (6.0, 6000)]
)
def test_accuracy_of_ten_folds(gap: float, num_pairs: int) -> None:
    # Distances of two normals, 0.15 wide: the best threshold lies between them.
    truth = stats.norm.cdf(gap / 2)
    folds, held = fold_of_each_pair(num_pairs), []
    same = np.arange(num_pairs) % 2 == 0
    for seed in range(NUM_SETS):
        random = np.random.default_rng(seed)
        distances = random.normal(np.where(same, 2 - 0.075 * gap, 2 + 0.075 * gap), 0.15)
        verified = verify_distances(distances, same)
        found = accuracy_interval(
            verified.correct, folds, best_accuracy=verified.best_accuracy, num_bootstraps=300, seed=seed
        )
        held.append(found.low <= truth <= found.high)
    assert 0.93 <= np.mean(held) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(
    ("far", "num_impostors", "gap"), [(1e-3, 20_000, 4.0), (1e-2, 20_000, 3.0), (1e-4, 160_000, 5.0)]
)
def test_tar_of_independent_pairs(far: float, num_impostors: int, gap: float) -> None:
    truth, held = stats.norm.sf(stats.norm.isf(far) - gap), []
    for seed in range(NUM_SETS):
        random = np.random.default_rng(seed)
        genuine, impostor = random.normal(gap, 1, 1000), random.normal(0, 1, num_impostors)
        (found,) = tar_with_intervals(genuine, impostor, [far], rules=["strict"], num_bootstraps=300, seed=seed)
        held.append(found.interval.low <= truth <= found.interval.high)
    assert 0.93 <= np.mean(held) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(
    ("far", "num_people", "num_impostors"), [(1e-3, 500, 20_000), (1e-2, 500, 20_000), (1e-1, 300, 20_000)]
)
def test_tar_of_people(far: float, num_people: int, num_impostors: int) -> None:
    # Each person is easy or hard by 0.7, and looks like others by 0.3: pairs that share a person are alike.
    threshold = np.sqrt(1 + 2 * 0.3**2) * stats.norm.isf(far)
    truth, held = stats.norm.sf((threshold - 4) / np.sqrt(1 + 0.7**2)), []
    own = np.repeat(np.arange(num_people), 4)
    for seed in range(NUM_SETS):
        random = np.random.default_rng(seed)
        ease, likeness = 0.7 * random.normal(size=num_people), 0.3 * random.normal(size=num_people)
        first = random.integers(0, num_people, num_impostors)
        pairs = np.stack([first, (first + random.integers(1, num_people, num_impostors)) % num_people], axis=1)
        (found,) = tar_with_intervals(
            4 + ease[own] + random.normal(size=len(own)),
            likeness[pairs].sum(axis=1) + random.normal(size=num_impostors),
            [far],
            rules=["strict"],
            genuine_subjects=own,
            impostor_subjects=pairs,
            num_bootstraps=300,
            seed=seed,
        )
        held.append(found.interval.low <= truth <= found.interval.high)
    assert 0.93 <= np.mean(held) <= 0.97
