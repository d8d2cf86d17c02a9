"""metrics.csv is read as it is written, holes, resumed steps and a torn last line included."""

import math
from pathlib import Path

import numpy as np
import pytest

from transface.reports.sections.training_curves import (
    accuracies_of,
    losses_of,
    read_traces,
    smoothed,
    training_figure,
    trainings_figure,
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
    assert list(accuracies_of(traces)) == ["a"]
    more = {**traces, "train/loss/landmarks": traces["train/loss"], "val/b/accuracy": traces["val/a/accuracy"]}
    assert list(losses_of(more)) == ["total", "margin", "landmarks"]
    assert list(accuracies_of(more)) == ["a", "b", "mean"]


def test_the_figure_has_a_panel_for_what_was_logged(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(TEXT)
    traces = read_traces(tmp_path / "metrics.csv")
    figure = training_figure(traces)
    assert figure is not None
    assert [ax.get_title("left") for ax in figure.axes] == ["Loss", "Accuracy"]
    only_loss = training_figure({"train/loss": traces["train/loss"]})
    assert only_loss is not None
    assert len(only_loss.axes) == 1
    assert training_figure({"lr": traces["train/loss"]}) is None


def test_several_runs_lie_over_each_other(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        "step,train/loss,val/a/accuracy,val/b/accuracy,val/mean/accuracy\n0,2,.5,.7,.6\n1,1,.6,.8,.7\n"
    )
    traces = read_traces(tmp_path / "m.csv")
    figure = trainings_figure({"one": traces, "two": {"train/loss": traces["train/loss"]}, "none": {}})
    assert figure is not None
    loss, accuracy = figure.axes
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["one", "two"]
    assert list(accuracy.lines[0].get_ydata()) == [0.6, 0.7]
    assert trainings_figure({"none": {}}) is None
