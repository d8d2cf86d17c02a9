"""metrics.csv is read as it is written, holes, resumed steps and a torn last line included."""

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from transface.evaluation.results import Measure
from transface.plots import INK, SERIES
from transface.reports.reading.runs import Run
from transface.reports.reading.traces import read_traces
from transface.reports.sections.training_curves import (
    Trace,
    elapsed,
    losses_of,
    smoothed,
    training_figures,
    trainings_figures,
    validated_by,
    validations_of,
)

TEXT = """step,epoch,train/loss,val/lfw/accuracy,lr-AdamW
0,0,10.0,,0.1
1,0,8.0,,
1,0,,0.5,
1,0,7.0,,
2,1,nan,0.75,
3,1,5.
"""


def test_traces_skip_empty_cells_and_keep_the_last_value_of_a_step(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(TEXT)
    traces = read_traces(tmp_path / "metrics.csv")
    assert traces["train/loss"].steps.tolist() == [0, 1, 2, 3]
    assert traces["train/loss"].values[[0, 1, 3]].tolist() == [10.0, 7.0, 5.0]
    assert math.isnan(traces["train/loss"].values[2])
    assert traces["val/lfw/accuracy"].values.tolist() == [0.5, 0.75]
    assert traces["lr-AdamW"].steps.tolist() == [0]
    assert "step" not in traces


def test_steps_come_out_rising(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("step,a\n5,1\n2,2\n")
    assert read_traces(tmp_path / "m.csv")["a"].steps.tolist() == [2, 5]


def test_what_is_not_a_metrics_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no metrics file"):
        read_traces(tmp_path / "metrics.csv")
    (tmp_path / "m.csv").write_bytes(b"step,a\n\xff\xfe,1\n")
    with pytest.raises(ValueError, match=r"m\.csv is not a metrics file"):
        read_traces(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_text("step,a\ninf,1\nnan,2\n3,4\n")
    assert read_traces(tmp_path / "m.csv")["a"].steps.tolist() == [3]
    (tmp_path / "m.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="no column 'step'"):
        read_traces(tmp_path / "m.csv")


@pytest.mark.parametrize("window", [1, 2, 3, 7, 100])
def test_smoothing_is_the_mean_of_the_window(window: int) -> None:
    values = np.random.default_rng(0).normal(size=20)
    values[4] = math.nan
    expected = []
    for i in range(len(values)):
        near = [
            values[j]
            for j in range(len(values))
            if i - window // 2 <= j <= i + (window - 1) // 2 and not math.isnan(values[j])
        ]
        expected.append(sum(near) / len(near) if near else 0.0)
    np.testing.assert_allclose(smoothed(values, window), expected)


def test_the_parts_of_a_loss_are_shown_only_where_there_are_several(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("step,train/loss,train/loss/margin,val/a/accuracy,val/mean/accuracy\n0,1,1,.5,.5\n")
    traces = read_traces(tmp_path / "m.csv")
    assert list(losses_of(traces)) == ["total"]
    assert list(validations_of(traces)) == ["a"]
    more = {**traces, "train/loss/landmarks": traces["train/loss"], "val/b/accuracy": traces["val/a/accuracy"]}
    assert list(losses_of(more)) == ["total", "margin", "landmarks"]
    assert list(validations_of(more)) == ["a", "b", "mean"]


def test_the_figure_has_a_panel_for_what_was_logged(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(TEXT)
    traces = read_traces(tmp_path / "metrics.csv")
    figures = training_figures(traces)
    assert {name: figure.axes[0].get_title("left") for name, figure in figures.items()} == {
        "loss": "Loss",
        "accuracy": "Accuracy",
    }
    assert list(training_figures({"train/loss": traces["train/loss"]})) == ["loss"]
    assert training_figures({"lr": traces["train/loss"]}) == {}


def trace(*values: float) -> Trace:
    return Trace(np.arange(1, len(values) + 1) * 10, np.array(values))


def test_a_set_has_one_colour_in_every_plot_and_the_mean_has_none() -> None:
    traces = {f"val/{name}/accuracy": trace(0.5, 0.6) for name in ("easy", "hard", "mean", "pair_sets/mean")}
    figure = training_figures(traces, sets=["medium", "hard", "easy"])["accuracy"]
    colours = {line.get_label(): line.get_color() for line in figure.axes[0].lines}
    assert colours == {"hard": SERIES[1], "easy": SERIES[2], "mean": INK}


def test_time_stands_above_the_steps_and_goes_on_after_a_resume() -> None:
    np.testing.assert_allclose(elapsed(np.array([10.0, 30.0, 5.0, 20.0])), [10, 30, 35, 50])
    traces = {"train/loss": trace(3.0, 2.0, 1.0), "speed/seconds": trace(120.0, 240.0, 360.0)}
    steps, time = training_figures(traces)["loss"].axes
    assert time.get_xlabel() == "minutes"
    places = dict(zip((label.get_text() for label in time.get_xticklabels()), time.get_xticks(), strict=True))
    assert len(places) > 2
    for minutes, step in places.items():
        assert step == pytest.approx(5 * float(minutes))
    assert time.get_xlim() == steps.get_xlim()


def test_a_title_above_the_time_stands_inside_its_figure_and_above_the_ticks() -> None:
    traces = {"train/loss": trace(3.0, 2.0, 1.0), "speed/seconds": trace(120.0, 240.0, 360.0)}
    figure = training_figures(traces)["loss"]
    figure.canvas.draw()
    title = figure.axes[0].get_title("left")
    (text,) = (found for found in figure.axes[0].findobj(Text) if found.get_text() == title)
    box = text.get_window_extent()
    assert box.y1 <= figure.bbox.y1
    assert box.y0 >= max(label.get_window_extent().y1 for label in figure.axes[1].get_xticklabels())


def test_several_runs_lie_over_each_other(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        "step,train/loss,val/a/accuracy,val/b/accuracy,val/mean/accuracy\n0,2,.5,.7,.6\n1,1,.6,.8,.7\n"
    )
    traces = read_traces(tmp_path / "m.csv")
    figures = trainings_figures({"one": traces, "two": {"train/loss": traces["train/loss"]}, "none": {}})
    loss, accuracy = figures["loss"].axes[0], figures["accuracy"].axes[0]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["one", "two"]
    assert list(accuracy.lines[0].get_ydata()) == [0.6, 0.7]
    assert trainings_figures({"none": {}}) == {}


def test_the_measure_of_the_monitor_is_shown_in_its_unit(tmp_path: Path, make_result) -> None:
    (tmp_path / "m.csv").write_text("step,train/loss,val/faces/mae,val/faces/accuracy\n0,1,9.5,.5\n1,1,7.5,.6\n")
    traces = read_traces(tmp_path / "m.csv")
    mae = make_result(measures=(Measure("mae", 7.5, unit="years", better="lower"),))
    measure = validated_by(Run("a", results=(mae,), config={"monitor": "val/mean/mae"}))
    assert measure == ("mae", "years", ())
    assert validations_of(traces, measure)["faces"].values.tolist() == [9.5, 7.5]
    (axes,) = training_figures(traces, measure=measure)["mae"].axes
    assert axes.get_ylabel() == "validation mae, years"
    assert axes.lines[0].get_ydata().tolist() == [9.5, 7.5]
    assert validated_by(Run("b")) == ("accuracy", "rate", ())
    assert validated_by(Run("b", config={"monitor": "val/points/mean/nme"})) == ("nme", "", ())
