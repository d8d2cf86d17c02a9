"""Draws the pictures of docs/metrics/ from made-up scores: python benchmarks/metric_pictures.py."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from transface.metrics.attribute_accuracy import attribute_counts
from transface.metrics.error_discard import error_discard_curve, pair_quality
from transface.metrics.identification import rank_rate, search, tpir_at_fpir
from transface.metrics.points import error_curve
from transface.metrics.regions import confusion_matrix, region_f1
from transface.metrics.tar_at_far import operating_points
from transface.metrics.verification import THRESHOLDS, verify_distances
from transface.plots import FAINT, INK, SERIES, blank_figure, label_axes, legend_below, percent_axis, to_png

FOLDER = Path(__file__).parents[1] / "docs" / "pictures" / "metrics"
NUM = 4000


def scores() -> tuple[np.ndarray, np.ndarray]:
    """Return genuine and impostor cosines (NUM,) each."""
    rng = np.random.default_rng(0)
    return rng.normal(0.55, 0.18, NUM).clip(-1, 1), rng.normal(0.05, 0.14, NUM).clip(-1, 1)


def two_panels() -> tuple[Figure, list]:
    """Return a figure of two plots beside each other."""
    return blank_figure(8.4, 3.2, columns=2)


def verification_accuracy() -> Figure:
    """Accuracy over the threshold, and the folds' thresholds."""
    genuine, impostor = scores()
    distances = 2 - 2 * np.stack([genuine, impostor], 1).ravel()
    same = np.tile([True, False], NUM)
    found = verify_distances(distances, same)
    right = [((distances < t) == same).mean() for t in THRESHOLDS]
    figure, (ax,) = blank_figure(6.4, 3.2)
    ax.plot(THRESHOLDS, right, color=SERIES[0], linewidth=1.8, label="accuracy of all pairs")
    for index, t in enumerate(found.thresholds):
        ax.axvline(t, color=SERIES[1], linewidth=0.8, label="thresholds of the folds" if index == 0 else None)
    ax.set_xlim(0, 3)
    percent_axis(ax.yaxis)
    label_axes(ax, x="threshold on the squared distance", y="accuracy, %")
    legend_below(ax)
    return figure


def tar_at_far() -> Figure:
    """The threshold of FAR 0.01 among the scores, and the ROC."""
    genuine, impostor = scores()
    (point,) = operating_points(genuine, impostor, [0.01], rules=["strict"])
    figure, (left, right) = two_panels()
    bins = np.linspace(-0.6, 1, 60)
    left.hist(impostor, bins, color=SERIES[1], alpha=0.45)
    left.hist(genuine, bins, color=SERIES[0], alpha=0.45)
    left.axvline(point.threshold, color=INK, linestyle="--", linewidth=1.2)
    label_axes(left, x="cosine", y="pairs", title="impostor, genuine, FAR 0.01")
    far = np.logspace(-3.5, 0, 80)
    tar = [one.tar for one in operating_points(genuine, impostor, far, rules=["strict"])]
    right.plot(far, tar, color=SERIES[0], linewidth=1.8)
    right.plot([0.01], [point.tar], "o", color=INK, markersize=5)
    right.set_xscale("log")
    percent_axis(right.yaxis)
    label_axes(right, x="false accept rate", y="true accept rate, %", title="ROC")
    return figure


def identification() -> Figure:
    """Rank-k over k, TPIR over FPIR."""
    rng = np.random.default_rng(0)
    people = rng.normal(size=(200, 24))
    shown = np.repeat(people, 3, 0) + rng.normal(0, 1.1, (600, 24))
    strangers = rng.normal(size=(300, 24))
    gallery, probes = people, np.concatenate([shown, strangers])
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (probes, gallery)]
    who = np.concatenate([np.repeat(np.arange(200), 3), 1000 + np.arange(300)])
    found = search(unit[0].astype(np.float32), who, unit[1].astype(np.float32), np.arange(200))
    figure, (left, right) = two_panels()
    left.plot(range(1, 21), [rank_rate(found, k) for k in range(1, 21)], "o-", color=SERIES[0], markersize=3.5)
    percent_axis(left.yaxis)
    label_axes(left, x="k, of a gallery of 200", y="mate among the k best, %", title="Closed set")
    fpir = np.logspace(-2.3, 0, 60)
    right.plot(fpir, [point.tar for point in tpir_at_fpir(found, fpir)], color=SERIES[0], linewidth=1.8)
    right.set_xscale("log")
    percent_axis(right.yaxis)
    label_axes(right, x="FPIR", y="TPIR, %", title="Open set")
    return figure


def auc_eer() -> Figure:
    """The area under a ROC on linear axes, and the point of equal errors."""
    genuine, impostor = scores()
    genuine = genuine - 0.2
    far = np.linspace(0, 1, 400)
    tar = np.array([one.tar for one in operating_points(genuine, impostor, far, rules=["strict"])])
    figure, (ax,) = blank_figure(4.6, 3.6)
    ax.plot(far, tar, color=SERIES[0], linewidth=1.8)
    ax.fill_between(far, tar, color=SERIES[0], alpha=0.14, linewidth=0, label="AUC")
    ax.plot([0, 1], [1, 0], color=FAINT, linewidth=0.8, linestyle=":")
    equal = int(np.abs(1 - tar - far).argmin())
    ax.plot([far[equal]], [tar[equal]], "o", color=INK, label=f"EER {100 * far[equal]:.1f} %")
    label_axes(ax, x="false accept rate", y="true accept rate")
    legend_below(ax)
    return figure


def landmarks() -> Figure:
    """The share of images below an error, of two models."""
    rng = np.random.default_rng(0)
    figure, (ax,) = blank_figure(6.4, 3.2)
    for index, (name, size) in enumerate((("one model", 0.045), ("another", 0.06))):
        curve = error_curve(rng.gamma(6, size / 6, 500), 0.1)
        label = f"{name}: AUC {curve.auc:.2f}, failures {100 * curve.failure_rate:.1f} %"
        ax.plot(curve.errors, curve.share, color=SERIES[index], linewidth=1.8, label=label)
    percent_axis(ax.yaxis)
    label_axes(ax, x="NME", y="images below it, %")
    legend_below(ax)
    return figure


def age() -> Figure:
    """The cumulative score of two models."""
    rng = np.random.default_rng(0)
    figure, (ax,) = blank_figure(6.4, 3.2)
    years = np.arange(0, 16)
    for index, spread in enumerate((4.0, 7.0)):
        error = np.abs(rng.normal(0, spread, 2000))
        share = [(error <= year).mean() for year in years]
        ax.plot(years, share, "o-", color=SERIES[index], markersize=3.5, label=f"MAE {error.mean():.1f} years")
    percent_axis(ax.yaxis)
    label_axes(ax, x="years", y="images within, %")
    legend_below(ax)
    return figure


def parsing_f1() -> Figure:
    """F1 of squares of growing size that are found a pixel to the side."""
    sides = np.arange(3, 60, 2)
    found = []
    for side in sides:
        true, predicted = np.zeros((2, 80, 80), int)
        true[10 : 10 + side, 10 : 10 + side] = 1
        predicted[10 : 10 + side, 11 : 11 + side] = 1
        found.append(region_f1(confusion_matrix(true, predicted, 2))[1])
    figure, (ax,) = blank_figure(6.4, 3.2)
    ax.plot(sides, found, color=SERIES[0], linewidth=1.8)
    percent_axis(ax.yaxis)
    label_axes(ax, x="side of a square region, pixels", y="F1, %, found one pixel off")
    return figure


def attributes() -> Figure:
    """Accuracy and balanced accuracy of always saying no."""
    shares = np.linspace(0.01, 0.99, 99)
    labels = (np.arange(1000)[:, None] < 1000 * shares).astype(int)
    known = np.ones_like(labels, bool)
    counts = attribute_counts(np.zeros_like(known), labels, known)
    figure, (ax,) = blank_figure(6.4, 3.2)
    ax.plot(shares, counts.accuracy(), color=SERIES[0], linewidth=1.8, label="accuracy")
    ax.plot(shares, counts.balanced_accuracy(), color=SERIES[1], linewidth=1.8, label="balanced accuracy")
    percent_axis(ax.xaxis)
    percent_axis(ax.yaxis)
    label_axes(ax, x="images with the attribute, %", y="always saying no reaches, %")
    legend_below(ax)
    return figure


def calibration() -> Figure:
    """Share of yes over the probability, of a model that is too sure."""
    rng = np.random.default_rng(0)
    true = rng.random(20_000)
    odds = np.log(true / (1 - true))
    told, yes = 1 / (1 + np.exp(-1.8 * odds)), rng.random(20_000) < true
    bins = np.minimum((told * 15).astype(int), 14)
    figure, (ax,) = blank_figure(4.6, 3.6)
    share = [yes[bins == index].mean() for index in range(15)]
    ax.bar((np.arange(15) + 0.5) / 15, share, width=0.06, color=SERIES[0], alpha=0.7, label="share of yes")
    ax.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--", label="calibrated")
    label_axes(ax, x="probability told", y="share of yes")
    legend_below(ax)
    return figure


def error_discard() -> Figure:
    """Error over discard by a quality that tells and by one that guesses."""
    rng = np.random.default_rng(0)
    worst = pair_quality(rng.random((NUM, 2)))
    errors = rng.random(NUM) < 0.2 * (1 - worst) ** 2
    figure, (ax,) = blank_figure(6.4, 3.2)
    for index, (name, quality) in enumerate((("quality that tells", worst), ("one that guesses", rng.random(NUM)))):
        curve = error_discard_curve(errors, quality, fewest_left=200)
        ax.plot(curve.discarded, curve.error, color=SERIES[index], linewidth=1.8, label=name)
    percent_axis(ax.xaxis)
    percent_axis(ax.yaxis)
    ax.set_ylim(bottom=0)
    label_axes(ax, x="pairs left out, %", y="false non-matches, %")
    legend_below(ax)
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    draw.__name__: draw
    for draw in (
        verification_accuracy,
        tar_at_far,
        identification,
        auc_eer,
        landmarks,
        age,
        parsing_f1,
        attributes,
        calibration,
        error_discard,
    )
}


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for stem, draw_figure in FIGURES.items():
        (FOLDER / f"{stem}.png").write_bytes(to_png(draw_figure(), dpi=90))
