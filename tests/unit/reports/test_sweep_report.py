"""The report of a sweep: its table, its curve, the best setting, what is not finished."""

from pathlib import Path

import pytest

from transface.evaluation.results import Measure, Result
from transface.reports.page.document import Table
from transface.reports.reading.measures import MeasureName
from transface.reports.reading.trials import read_trials
from transface.reports.sections.setting_curves import sweep_figure
from transface.reports.sections.training_curves import validated_by
from transface.reports.statistics.settings import by_settings
from transface.reports.sweep_report import best_setting, sweep_document, write_sweep_report

MARGINS = {3: 2.2, 7: 3.6, 15: 2.8}

ACCURACY = MeasureName("accuracy", "rate", "higher")


@pytest.fixture
def sweep(tmp_path: Path, make_run, make_result) -> Path:
    for k, margin in MARGINS.items():
        for seed in (0, 1):
            folder = tmp_path / "sweep" / f"perturbation.num_patches={k},seed={seed}"
            results = [
                make_result(name, margin=margin + 0.1 * seed, seed=10 * seed + k, thumbnails=False)
                for name in ("easy", "hard")
            ]
            make_run(folder, results, config={"seed": seed, "perturbation": {"num_patches": k}})
    return tmp_path / "sweep"


def table_of(document) -> Table:
    return next(block for section in document.sections for block in section.blocks if isinstance(block, Table))


def test_the_table_and_the_best_setting(sweep: Path) -> None:
    path = write_sweep_report(sweep)
    assert path == sweep / "report" / "report.md"
    text = path.read_text()
    assert "perturbation.num_patches=7: " in text
    assert "| 7 **(best)** |" in text
    assert "over 2 seeds" in text
    assert "optimistic" in text
    assert (path.parent / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (path.parent / "report.html").read_text()


def test_rows_are_in_the_order_of_the_value_with_intervals(sweep: Path) -> None:
    table = table_of(sweep_document(read_trials(sweep), title="t"))
    assert [row.header for row in table.rows] == ["3", "7", "15"]
    assert table.columns[:5] == (
        "perturbation.num_patches",
        "Accuracy %",
        "easy: Accuracy %",
        "hard: Accuracy %",
        "Seeds",
    )
    assert all(row.cells[0].interval.startswith("[") for row in table.rows)
    assert [row.kind for row in table.rows] == ["run", "best", "run"]
    assert table.rows[1].cells[-2].text == ""
    assert table.rows[0].cells[-2].text.startswith("+")


def test_the_curve_has_the_interval_at_every_value(sweep: Path) -> None:
    settings = by_settings(read_trials(sweep), ACCURACY)
    figure = sweep_figure(settings, ["perturbation.num_patches"], ACCURACY, best_setting(settings, ACCURACY))
    (ax,) = figure.axes
    bars = ax.containers[0]
    assert list(bars.lines[0].get_xdata()) == [3, 7, 15]
    assert list(bars.lines[0].get_ydata()) == [setting.estimate.value for setting in settings]
    ends = [segment[:, 1].tolist() for segment in bars.lines[2][0].get_segments()]
    assert ends == [pytest.approx([setting.estimate.low, setting.estimate.high]) for setting in settings]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["3", "7", "15"]


def test_a_grid_of_two_keys_is_a_line_for_each_value_of_the_second(tmp_path: Path, make_run, make_result) -> None:
    for k in (3, 7, 15):
        for rule in ("paper", "released"):
            config = {"seed": 0, "k": k, "rule": rule}
            make_run(tmp_path / f"k={k},rule={rule}", [make_result(margin=MARGINS[k], thumbnails=False)], config=config)
    settings = by_settings(read_trials(tmp_path), ACCURACY)
    assert len(settings) == 6
    (ax,) = sweep_figure(settings, ["k", "rule"], ACCURACY, settings[0]).axes
    assert [container.get_label() for container in ax.containers] == ["rule=paper", "rule=released"]


def test_an_unfinished_trial_is_named_and_the_rest_reported(sweep: Path, make_run) -> None:
    make_run(sweep / "perturbation.num_patches=40,seed=0", [], config={"seed": 0, "perturbation": {"num_patches": 40}})
    text = write_sweep_report(sweep, formats=["md"]).read_text()
    assert "1 of 1 trials measured no accuracy" in text
    assert "| 40 | - |" in text


def test_metrics_csv_stands_in_for_results_and_may_be_named(tmp_path: Path, make_run) -> None:
    for k in (3, 7):
        make_run(tmp_path / f"k={k}", [], config={"seed": 0, "k": k, "monitor": "val/mean/accuracy"})
    text = write_sweep_report(tmp_path, formats=["md"]).read_text()
    assert "val/mean/accuracy %" in text
    assert "have no interval" in text
    loss = write_sweep_report(tmp_path, metric="train/loss", formats=["md"]).read_text()
    assert "train/loss" in loss
    with pytest.raises(ValueError, match=r"measured 'nonsense': there are val/"):
        write_sweep_report(tmp_path, metric="nonsense")


def test_the_best_loss_is_the_lowest(tmp_path: Path, make_run) -> None:
    for k, steps in ((3, 40), (7, 200)):
        make_run(tmp_path / f"k={k}", [], config={"seed": 0, "k": k}, steps=steps)
    settings = by_settings(read_trials(tmp_path), MeasureName("train/loss", "", "lower"))
    assert best_setting(settings, MeasureName("train/loss", "", "lower")).name == "k=7"
    assert best_setting(settings, MeasureName("val/mean/accuracy", "rate", "higher")).estimate is not None


def test_one_set_can_be_the_metric(sweep: Path) -> None:
    table = table_of(sweep_document(read_trials(sweep), title="t", metric="hard/accuracy"))
    assert table.columns == ("perturbation.num_patches", "hard: Accuracy %", "Seeds", "Best minus this", "p")


def test_measures_of_one_name_are_not_averaged_over_protocols_or_units(tmp_path: Path, make_run) -> None:
    def results(shift: float) -> list[Result]:
        kinds = {"ages": ("years", 4.0), "weights": ("kg", 70.0), "later": ("years", 6.0)}
        values = [
            Result("regression", name, name, (Measure("mae", own + shift, unit=unit, better="lower"),), kind="values")
            for name, (unit, own) in kinds.items()
        ]
        return [Result("pair_sets", "lfw", "F1", (Measure("accuracy", 0.9),)), *values]

    for place, shift in enumerate((0.0, 1.0)):
        folder = tmp_path / "sweep" / f"optimizer.lr={place}"
        config = {"seed": 0, "monitor": "val/weights/mae", "optimizer": {"lr": place}}
        make_run(folder, results(shift), config=config)
    trials = read_trials(tmp_path / "sweep")
    for metric, first in (("mae", "70"), ("ages/mae", "4"), ("later/mae", "6")):
        table = table_of(sweep_document(trials, title="t", metric=metric))
        assert table.rows[0].cells[0].text.startswith(first), metric
    text = write_sweep_report(tmp_path / "sweep", metric="mae").read_text()
    assert "MAE (kg) is that of weights alone" in text
    assert "metric=ages/mae reports another (or later/mae)" in text
    assert "ages: MAE (years)" in text
    assert "weights: MAE (kg)" in text
    for trial in trials:
        assert validated_by(trial.run) == ("mae", "kg", ("ages", "later"))
