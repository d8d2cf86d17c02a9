"""`transface models` prints one file of families, whose figures are those that reports show as published."""

import json

import pytest

from transface.__main__ import main
from transface.cli.models import published_models
from transface.reports.reading.published import read_published


def test_every_family_says_who_publishes_it_and_under_which_terms(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    for name, about in published_models().items():
        assert {"what", "owner", "where", "opens", "licence", "models"} == set(about)
        assert f"{name}: " in said
        assert about["licence"] in said
    assert main(["models", "--json", "adaface"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["adaface"]


def test_what_is_said_of_the_families_stands_in_one_column(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert {len(line) - len(line[2:].partition(" ")[2].lstrip()) for line in lines} == {13}


def test_the_figures_are_those_of_reports() -> None:
    rows = {(row.model.split(",")[0], row.trained_on): row.figures for row in read_published("recognition")}
    listed = [model for about in published_models().values() for model in about["models"]]
    assert listed
    for model in listed:
        figures = rows[model["name"], model["trained_on"]]
        for far, value in zip(("1e-05", "1e-04"), model["ijbc"], strict=True):
            assert figures["ijbc", f"tar@far={far}/nearest"] == pytest.approx(value / 100)
        for name, value in zip(("lfw", "cfp_fp", "agedb_30"), model.get("pairs", ()), strict=False):
            assert figures[name, "accuracy"] == pytest.approx(value / 100)
