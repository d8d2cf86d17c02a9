"""Curves are step functions of the FAR with their band; DET is 1 - TAR; axes end where the pairs end."""

import numpy as np
import pytest

from transface.evaluation.results import RocCurve, ScoreHistogram
from transface.reports.recognition.curves import (
    curve_arrays,
    curves_of,
    det_figure,
    histogram_figure,
    lowest_far,
    occupied_range,
    roc_figure,
)

CURVE = RocCurve(
    [0.0, 0.01, 0.1, 1.0], [0.5, 0.7, 0.9, 1.0], [1.0, 0.8, 0.4, -1.0], [0.4, 0.6, 0.8, 1.0], [0.6, 0.8, 0.95, 1.0]
)


@pytest.mark.parametrize("start", [0.001, 0.01, 0.05])
def test_the_cut_curve_says_the_same_tar_at_every_far(start: float) -> None:
    far, tar, low, high = curve_arrays(CURVE, start)

    def step(x: float, xs: np.ndarray, ys: np.ndarray) -> float:
        return [y for a, y in zip(xs, ys, strict=True) if a <= x][-1]

    for x in (start, 0.06, 0.1, 0.3, 1.0):
        assert step(x, far, tar) == step(x, np.array(CURVE.far), np.array(CURVE.tar))
        assert step(x, far, low) == step(x, np.array(CURVE.far), np.array(CURVE.tar_low))
        assert step(x, far, high) == step(x, np.array(CURVE.far), np.array(CURVE.tar_high))
    assert far[0] == start
    assert far[-1] == 1
    assert (np.diff(far) >= 0).all()


def test_roc_has_a_logarithmic_axis_a_line_and_a_band_for_each_curve() -> None:
    figure = roc_figure({"a": CURVE, "b": RocCurve([0.0, 1.0], [0.2, 1.0], [1.0, 0.0])}, num_impostors=1000)
    (ax,) = figure.axes
    assert ax.get_xscale() == "log"
    assert ax.get_xlim() == (0.001, 1)
    assert len(ax.lines) == 2
    assert len(ax.collections) == 1  # b has no interval
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    assert ax.get_ylim()[0] < 0.2


def test_det_is_one_minus_tar_and_never_below_one_error() -> None:
    (ax,) = det_figure({"a": CURVE}, num_genuine=50, num_impostors=1000).axes
    drawn = np.asarray(ax.lines[0].get_ydata(), float)
    np.testing.assert_allclose(drawn, [0.5, 0.3, 0.1, 0.02, 0.02], atol=1e-12)
    assert ax.get_xscale() == ax.get_yscale() == "log"


def test_the_axis_starts_at_one_false_accept() -> None:
    assert lowest_far({"a": CURVE}, 200) == 1 / 200
    assert lowest_far({"a": CURVE}, 0) == 0.01
    assert lowest_far({"a": RocCurve([0.0], [1.0], [0.0])}, 0) == 1e-4


def test_histograms_are_shares_of_their_own_class_and_show_the_threshold() -> None:
    histogram = ScoreHistogram([0.0, 0.25, 0.5, 0.75, 1.0], [0, 0, 5, 5], [0, 90, 10, 0])
    (ax,) = histogram_figure(histogram, threshold=0.4).axes
    heights = [patch.get_data().values for patch in ax.patches]
    assert any(np.allclose(h, [0, 0.9, 0.1, 0]) for h in heights)
    assert any(np.allclose(h, [0, 0, 0.5, 0.5]) for h in heights)
    assert len(ax.lines) == 1
    assert len(histogram_figure(histogram).axes[0].lines) == 0
    low, high = occupied_range(histogram)
    assert 0.2 < low < 0.25
    assert 1.0 < high < 1.1


def test_a_set_without_a_curve_is_left_out(make_result) -> None:
    with_curve, without = make_result("a"), make_result("b", roc=None)
    assert list(curves_of({"a": with_curve, "b": without})) == ["a"]


def test_a_curve_of_one_class_only_in_the_first_point_is_drawn() -> None:
    perfect = RocCurve([0.0, 1.0], [1.0, 1.0], [0.5, -1.0])
    assert len(roc_figure({"perfect": perfect}).axes[0].lines) == 1
    assert len(det_figure({"perfect": perfect}, num_genuine=10).axes[0].lines) >= 1
