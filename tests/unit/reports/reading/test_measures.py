"""Numbers are printed as the field prints them."""

import pytest

from transface.evaluation.results import Measure
from transface.reports.reading.measures import best_of, cell_of, spoken_value, tar_rule, title_of, value_text


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("accuracy", "Accuracy %"),
        ("auc", "AUC"),
        ("eer", "EER %"),
        ("threshold_cosine", "Threshold (cosine)"),
        ("tar@far=1e-04/nearest", "TAR % at FAR 1e-4"),
        ("tpir@fpir=0.01", "TPIR % at FPIR 0.01"),
        ("rank-1", "Rank-1 %"),
        ("skewed_error_ratio", "Skewed error ratio"),
    ],
)
def test_titles(name: str, title: str) -> None:
    assert title_of(name) == title


def test_a_rate_is_per_cent_with_its_spread_and_interval() -> None:
    measure = Measure("accuracy", 0.99783, 0.9965, 0.9991, std=0.0026)
    assert value_text(measure) == "99.78 +- 0.26"
    assert cell_of(measure).interval == "[99.65, 99.91]"
    assert spoken_value(measure) == "accuracy 99.78 %"


def test_a_threshold_and_an_area_are_plain_numbers() -> None:
    assert value_text(Measure("threshold_cosine", 0.31415)) == "0.314"
    assert value_text(Measure("auc", 0.99871)) == "0.9987"
    assert spoken_value(Measure("auc", 0.9987)) == "AUC 0.9987"


def test_no_interval_no_brackets_and_no_measure_no_text() -> None:
    assert cell_of(Measure("rank-1", 0.5, 0.4, None)).interval == ""
    assert cell_of(None).text == ""
    assert cell_of(Measure("a", 0.5, warning="few")).doubtful


def test_the_best_of_an_error_is_the_lowest_and_a_threshold_has_none() -> None:
    low, high = Measure("eer", 0.1), Measure("eer", 0.2)
    assert best_of("eer", [high, low, None]) is low
    assert best_of("accuracy", [Measure("accuracy", 0.1), m := Measure("accuracy", 0.2)]) is m
    assert best_of("threshold_cosine", [Measure("threshold_cosine", 0.1), Measure("threshold_cosine", 0.3)]) is None
    assert best_of("accuracy", [low, None]) is None


def test_the_rule_of_a_tar() -> None:
    assert tar_rule("tar@far=1e-04/strict") == "strict"
    assert tar_rule("accuracy") == ""
