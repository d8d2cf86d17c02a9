"""What a result says of the scores of pairs: its curve and the band around it."""

import numpy as np
import pytest

from transface.evaluation.recognition.pair_results import PairScores, summarise_tar, tar_name


def test_the_band_of_the_curve_closes_where_the_tar_nears_one() -> None:
    generator = np.random.default_rng(0)
    is_same = np.repeat([True, False], 500)
    pairs = PairScores(np.where(is_same, 1.0, 0.0) + generator.standard_normal(1000), is_same)
    curve = summarise_tar(pairs, [1e-2, 1e-1], num_bootstraps=200, seed=0).roc
    assert curve is not None
    far, tar = np.array(curve.far), np.array(curve.tar)
    width = np.array(curve.tar_high) - np.array(curve.tar_low)
    binomial = 2 * 1.96 * np.sqrt(tar * (1 - tar) / 500)
    beyond = (far > 0.1) & (tar > 0.5) & (tar < 0.99)
    assert beyond.sum() > 10
    assert (width[beyond] < 2.5 * binomial[beyond]).all()
    assert (width[beyond] > 0.8 * binomial[beyond]).all()
    assert (np.diff(width[(far > 0.2)]) < 0.01).all()


@pytest.mark.parametrize(
    ("far", "written"),
    [(1e-4, "1e-04"), (0.01, "1e-02"), (0.0015, "1.5e-03"), (0.025, "2.5e-02"), (0, "0e+00"), (1, "1e+00")],
)
def test_a_tar_is_named_by_its_far_and_by_no_other(far: float, written: str) -> None:
    assert tar_name(far, "strict") == f"tar@far={written}/strict"
