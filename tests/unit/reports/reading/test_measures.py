"""Numbers are printed as the field prints them."""

from typing import Any

import pytest

from transface.evaluation.results import Measure
from transface.reports.reading.measures import (
    MeasureName,
    best_of,
    cell_of,
    named_value_text,
    tar_rule,
    title_of,
    value_text,
)


@pytest.mark.parametrize(
    ("name", "unit", "title"),
    [
        ("accuracy", "rate", "Accuracy %"),
        ("auc", "ratio", "AUC"),
        ("eer", "rate", "EER %"),
        ("mae", "years", "MAE (years)"),
        ("nme", "ratio", "NME"),
        ("threshold_cosine", "", "Threshold (cosine)"),
        ("tar@far=1e-04/nearest", "rate", "TAR % at FAR 1e-4"),
        ("tpir@fpir=0.01", "rate", "TPIR % at FPIR 0.01"),
        ("rank-1", "rate", "Rank-1 %"),
        ("skewed_error_ratio", "ratio", "Skewed error ratio"),
    ],
)
def test_titles(name: str, unit: Any, title: str) -> None:
    assert title_of(MeasureName(name, unit)) == title


def test_an_error_in_years_is_no_rate_and_its_lowest_is_best() -> None:
    young, old = (
        Measure("mae", 4.25, 4.0, 4.5, unit="years", better="lower"),
        Measure("mae", 5.0, unit="years", better="lower"),
    )
    assert value_text(young) == "4.25"
    assert cell_of(young).interval == "[4.00, 4.50]"
    assert best_of([old, young]) is young


def test_a_rate_is_per_cent_with_its_spread_and_interval() -> None:
    measure = Measure("accuracy", 0.99783, 0.9965, 0.9991, std=0.0026)
    assert value_text(measure) == "99.78 +- 0.26"
    assert cell_of(measure).interval == "[99.65, 99.91]"
    assert named_value_text(measure) == "accuracy 99.78 %"


def test_a_threshold_and_an_area_are_plain_numbers() -> None:
    assert value_text(Measure("threshold_cosine", 0.31415, unit="", better=None)) == "0.314"
    assert value_text(Measure("auc", 0.99871, unit="ratio")) == "0.9987"
    assert named_value_text(Measure("auc", 0.9987, unit="ratio")) == "AUC 0.9987"


def test_no_interval_no_brackets_and_no_measure_no_text() -> None:
    assert cell_of(Measure("rank-1", 0.5, 0.4, None)).interval == ""
    assert cell_of(None).text == ""
    assert cell_of(Measure("a", 0.5, warning="few")).doubtful


def test_the_best_of_an_error_is_the_lowest_and_a_threshold_has_none() -> None:
    low, high = Measure("eer", 0.1, better="lower"), Measure("eer", 0.2, better="lower")
    assert best_of([high, low, None]) is low
    assert best_of([Measure("accuracy", 0.1), m := Measure("accuracy", 0.2)]) is m
    assert (
        best_of([Measure("threshold_cosine", 0.1, better=None), Measure("threshold_cosine", 0.3, better=None)]) is None
    )
    assert best_of([low, None]) is None


def test_the_rule_of_a_tar() -> None:
    assert tar_rule("tar@far=1e-04/strict") == "strict"
    assert tar_rule("accuracy") == ""
