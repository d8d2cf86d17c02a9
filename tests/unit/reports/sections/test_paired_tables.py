"""Two results on the same samples, in tables: pairs of faces, labels, errors; against sums by hand."""

import numpy as np
import pytest

from transface.evaluation.results import Measure, Result, ResultTable
from transface.metrics.significance import holm, mcnemar
from transface.reports.sections.paired_tables import paired_table, paired_tables
from transface.reports.statistics.paired_answers import compare_labels, compare_values

NAMES = ["Hat", "Beard", "Young"]


def test_runs_on_the_same_pairs_are_compared(make_result) -> None:
    one, two = make_result(margin=4, seed=1), make_result(margin=2, seed=2)
    table = paired_table({"a": one, "b": two})
    measure, difference, only_first, only_second, p = (cell.text for cell in table.rows[0].cells)
    assert measure == "Accuracy"
    assert [row.cells[0].text for row in table.rows[1:]] == ["TAR at FAR 1e-3", "TAR at FAR 1e-2"]
    correct = one.arrays["correct"], two.arrays["correct"]
    assert float(difference) == pytest.approx(100 * (correct[0].mean() - correct[1].mean()), abs=0.005)
    assert int(only_first) == (correct[0] & ~correct[1]).sum()
    assert int(only_second) == (~correct[0] & correct[1]).sum()
    assert p == "< 0.0001"
    assert paired_table({"a": one}) is None
    assert paired_table({"a": one, "b": make_result(samples_hash="other")}) is None


def labelled(seed: int, right: float, *, people: bool = True) -> Result:
    """A result of 300 images of 60 people with three labels, one of which 50 images lack."""
    generator = np.random.default_rng(seed)
    known = np.ones((300, 3), dtype=bool)
    known[:50, 1] = False
    arrays = {"correct": (generator.random((300, 3)) < right) & known, "known": known}
    if people:
        arrays["subjects"] = np.repeat(np.arange(60), 5)
    rows: dict = {name: [Measure("accuracy", 0.9)] for name in NAMES}
    return Result(
        protocol="attributes",
        name="celeba",
        mode="test",
        kind="classes",
        measures=(Measure("accuracy", 0.9),),
        counts={"images": 300},
        tables={"Attributes": ResultTable(["accuracy"], rows)},
        samples_hash="same",
        arrays=arrays,
    )


@pytest.mark.parametrize("people", [True, False])
def test_each_label_has_its_test_and_all_are_adjusted_together(people: bool) -> None:
    one, other = labelled(1, 0.9, people=people), labelled(2, 0.7, people=people)
    compared = compare_labels(one, other)
    assert compared is not None
    assert list(compared.labels) == NAMES
    first, second, known = one.arrays["correct"], other.arrays["correct"], one.arrays["known"]
    expected, shares = [], []
    for place in range(3):
        rows = known[:, place]
        b = int((first[rows, place] & ~second[rows, place]).sum())
        c = int((~first[rows, place] & second[rows, place]).sum())
        expected.append(mcnemar(b, c))
        shares.append(second[rows, place].mean() - first[rows, place].mean())
        assert compared.labels[NAMES[place]].num_images == rows.sum()
    assert [test.p_value for test in compared.labels.values()] == pytest.approx(expected)
    assert list(compared.adjusted.values()) == pytest.approx(holm(expected).tolist())
    assert compared.mean.difference == pytest.approx(np.mean(shares))
    assert compared.mean.low < compared.mean.difference < compared.mean.high < 0


def test_runs_with_labels_are_tabled_label_by_label() -> None:
    (table,) = paired_tables({"good": labelled(1, 0.9), "bad": labelled(2, 0.7)})
    assert [row.header for row in table.rows] == ["mean over labels", *NAMES]
    assert all(float(row.cells[0].text) > 0 for row in table.rows)
    assert paired_tables({"good": labelled(1, 0.9)}) == []


def aged(seed: int, spread: float, samples_hash: str = "same") -> Result:
    """A result of 200 images with errors in years."""
    error = np.abs(np.random.default_rng(seed).normal(0, spread, 200))
    measures = (Measure("mae", float(error.mean()), unit="years", better="lower"),)
    return Result(
        protocol="regression",
        name="ages",
        mode="years",
        kind="values",
        measures=measures,
        counts={"images": 200},
        samples_hash=samples_hash,
        arrays={"error": error},
    )


def test_errors_are_compared_image_by_image_in_their_unit() -> None:
    one, other = aged(1, 4.0), aged(2, 8.0)
    test = compare_values(one, other)
    assert test is not None
    assert test.difference == pytest.approx(float((other.arrays["error"] - one.arrays["error"]).mean()))
    assert test.p_value < 0.01
    (table,) = paired_tables({"one": one, "other": other})
    assert table.columns[1] == "Difference of the mean error, years"
    assert float(table.rows[0].cells[0].text) == pytest.approx(-test.difference, abs=0.005)
    assert compare_values(one, aged(2, 8.0, samples_hash="another")) is None
