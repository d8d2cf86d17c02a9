"""Errors of TAR equal those of a naive bootstrap that draws pairs or people one by one, and intervals hold the
truth.
"""

import numpy as np
import pytest
from scipy import stats

from transface.metrics import tar_bootstrap
from transface.metrics.tar_at_far import operating_points
from transface.metrics.tar_bootstrap import tar_standard_errors, tar_with_intervals


def strict_tar(
    genuine: np.ndarray, impostor: np.ndarray, genuine_weights: np.ndarray, impostor_weights: np.ndarray, far: float
) -> float:
    """TAR at the lowest threshold at which the weighted FAR does not exceed the target."""
    order = np.argsort(-impostor)
    shares = np.cumsum(impostor_weights[order]) / impostor_weights.sum()
    refused = impostor[order][min(int(np.sum(shares <= far)), len(order) - 1)]
    return float(genuine_weights[genuine > refused].sum() / genuine_weights.sum())


def test_drawn_pairs_give_the_error_of_a_naive_bootstrap() -> None:
    random = np.random.default_rng(0)
    genuine, impostor = random.normal(3, 1, 400), random.normal(0, 1, 5000)
    naive = [strict_tar(genuine, impostor, random.poisson(1, 400), random.poisson(1, 5000), 0.01) for _ in range(1500)]
    found = tar_standard_errors(genuine, impostor, [0.01, 0.1], num_bootstraps=1500)
    assert found[0] == pytest.approx(np.std(naive), rel=0.12)
    assert found[1] < found[0]


def some_people(
    seed: int, num_people: int = 80, num_impostors: int = 4000
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    ease, likeness = 0.7 * random.normal(size=num_people), 0.5 * random.normal(size=num_people)
    own = np.repeat(np.arange(num_people), 5)
    first = random.integers(0, num_people, num_impostors)
    pairs = np.stack([first, (first + random.integers(1, num_people, num_impostors)) % num_people], axis=1)
    genuine = 3.5 + ease[own] + random.normal(size=len(own))
    return genuine, likeness[pairs].sum(axis=1) + random.normal(size=num_impostors), own, pairs


@pytest.mark.parametrize("dense_cells", [1 << 26, 0], ids=["dense table", "sparse table"])
def test_drawn_people_give_the_error_of_a_naive_bootstrap(dense_cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_bootstrap, "DENSE_CELLS", dense_cells)
    monkeypatch.setattr(tar_bootstrap, "DIRECT_PAIRS", 100 if dense_cells else 1024)
    monkeypatch.setattr(tar_bootstrap._People, "real_shares", lambda self, order, targets: np.ones(len(targets)))
    genuine, impostor, own, pairs = some_people(0)
    random = np.random.default_rng(5)
    naive = []
    for _ in range(1000):
        drawn = random.poisson(1, 80)
        naive.append(strict_tar(genuine, impostor, drawn[own], drawn[pairs].prod(axis=1), 0.1))
    found = tar_standard_errors(
        genuine, impostor, [0.1], genuine_subjects=own * 3 + 7, impostor_subjects=pairs * 3 + 7, num_bootstraps=1000
    )
    assert found[0] == pytest.approx(np.std(naive) * np.sqrt(80 / 78), rel=0.12)


def test_the_real_share_is_that_of_the_pairs_above_the_threshold() -> None:
    _, impostor, own, pairs = some_people(1)
    people = tar_bootstrap._People.of(own, pairs, len(own), len(pairs))
    order = np.argsort(-impostor)
    accepted = np.isin(np.arange(4000), order[:400]).astype(float) - 0.1
    low, high = pairs.min(axis=1), pairs.max(axis=1)
    of_people = sum(float(accepted[(low == p) | (high == p)].sum() ** 2) for p in range(80))
    of_dyads = sum(float(accepted[(low * 80 + high) == d].sum() ** 2) for d in np.unique(low * 80 + high))
    assert people.real_shares(order, np.array([0.1]))[0] == pytest.approx(
        np.sqrt((of_people - of_dyads) / (of_people + of_dyads)), rel=1e-6
    )


def test_people_who_search_alone_are_drawn_alone() -> None:
    genuine, impostor, own, _ = some_people(2)
    searcher = np.random.default_rng(0).integers(0, 80, len(impostor))
    as_people = tar_standard_errors(genuine, impostor, [0.05], genuine_subjects=own, impostor_subjects=searcher)
    random = np.random.default_rng(6)
    naive = []
    for _ in range(1000):
        drawn = random.poisson(1, 80)
        naive.append(strict_tar(genuine, impostor, drawn[own], drawn[searcher], 0.05))
    assert as_people[0] == pytest.approx(np.std(naive), rel=0.12)


def test_seeds_and_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine, impostor, own, pairs = some_people(3)
    settings = {"genuine_subjects": own, "impostor_subjects": pairs}
    first = tar_standard_errors(genuine, impostor, [0.01], **settings)
    np.testing.assert_array_equal(first, tar_standard_errors(genuine, impostor, [0.01], **settings))
    assert first != tar_standard_errors(genuine, impostor, [0.01], seed=1, **settings)
    monkeypatch.setattr(tar_bootstrap, "CHUNK_CELLS", 10_000)
    assert tar_standard_errors(genuine, impostor, [0.01], **settings) == pytest.approx(first, rel=0.2)


def test_points_and_intervals_belong_together() -> None:
    genuine, impostor, *_ = some_people(4)
    found = tar_with_intervals(genuine, impostor, [0.01, 0.1], num_bootstraps=100)
    assert [estimate.point for estimate in found] == operating_points(genuine, impostor, [0.01, 0.1])
    assert all(estimate.interval.low <= estimate.point.tar <= estimate.interval.high for estimate in found)


def test_intervals_hold_the_truth_of_simulated_people() -> None:
    # 120 sets; the slow test_coverage.py has 500 of each kind.
    tau = np.sqrt(1.5) * stats.norm.isf(0.05)
    truth = stats.norm.sf((tau - 3.5) / np.sqrt(1.49))
    held = []
    for seed in range(120):
        genuine, impostor, own, pairs = some_people(1000 + seed)
        (found,) = tar_with_intervals(
            genuine,
            impostor,
            [0.05],
            rules=["strict"],
            genuine_subjects=own,
            impostor_subjects=pairs,
            num_bootstraps=150,
            seed=seed,
        )
        held.append(found.interval.low <= truth <= found.interval.high)
    assert 0.9 <= np.mean(held) <= 0.99


def test_bad_input_is_refused() -> None:
    genuine, impostor, own, pairs = some_people(5)
    with pytest.raises(ValueError, match="of both the genuine and the impostor"):
        tar_standard_errors(genuine, impostor, [0.1], genuine_subjects=own)
    with pytest.raises(ValueError, match=r"subjects must be \(400,\)"):
        tar_standard_errors(genuine, impostor, [0.1], genuine_subjects=own, impostor_subjects=pairs[1:])
    with pytest.raises(ValueError, match="non-empty"):
        tar_standard_errors(genuine[:0], impostor, [0.1])


def test_the_type_of_subject_numbers_changes_nothing() -> None:
    """The number of the one who stands for nobody is one above the largest, which a byte cannot hold: it was person
    0.
    """
    random = np.random.default_rng(0)
    genuine, impostor = random.normal(1, 1, 256), random.normal(0, 1, 512)
    own, alone = np.arange(256), np.arange(512) % 256
    small, large = (
        tar_standard_errors(
            genuine,
            impostor,
            [0.05],
            genuine_subjects=own.astype(kind),
            impostor_subjects=alone.astype(kind),
            num_bootstraps=50,
        )
        for kind in (np.uint8, np.int64)
    )
    assert small == large
