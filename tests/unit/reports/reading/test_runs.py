"""A run folder is read as it lies, whatever is missing; rows are labelled so that no two are the same."""

from dataclasses import replace
from pathlib import Path

import pytest

from transface.evaluation.results import Provenance, write_result
from transface.reports.reading.runs import (
    Run,
    SetKey,
    baseline_label,
    is_baseline,
    named_results,
    read_run,
    set_keys,
    unused,
)


def test_a_whole_run_folder(tmp_path: Path, make_run, make_result) -> None:
    run = read_run(make_run(tmp_path / "demo", [make_result()], config={"seed": 3}))
    assert run.label == "demo"
    assert run.config == {"seed": 3}
    assert run.environment["commit"] == "abc"
    assert "train/loss" in run.traces
    assert [r.name for r in run.results] == ["easy"]


def test_an_empty_folder_is_an_empty_run_and_no_folder_is_an_error(tmp_path: Path) -> None:
    assert read_run(tmp_path).results == ()
    with pytest.raises(FileNotFoundError, match="no run folder"):
        read_run(tmp_path / "absent")


def test_results_of_an_earlier_run_kept_below_are_not_taken(tmp_path: Path, make_run, make_result) -> None:
    make_run(tmp_path / "previous" / "1", [make_result("old")])
    write_result(make_result("now"), tmp_path)
    (tmp_path / "environment.json").write_text("{}")
    assert [r.name for r in read_run(tmp_path).results] == ["now"]


def test_a_torn_config_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: [1\n")
    with pytest.raises(ValueError, match=r"config\.yaml cannot be read"):
        read_run(tmp_path)
    (tmp_path / "config.yaml").write_text("- 1\n")
    with pytest.raises(ValueError, match="must hold a mapping, got list"):
        read_run(tmp_path)


def test_raw_pixels_are_a_baseline_and_stand_last(make_result) -> None:
    pixels = make_result(mode="pixels", label="")
    assert is_baseline(pixels)
    assert is_baseline(make_result(label="raw-pixel cosine"))
    assert not is_baseline(make_result())
    assert baseline_label(make_result(mode="pixels", label="raw pixels")) == "raw pixels, cosine"
    rows = named_results(
        [Run("a", results=(pixels, make_result())), Run("b", results=(pixels, make_result()))],
        SetKey("pair_sets", "easy"),
    )
    assert list(rows) == ["a", "b", "raw-pixel cosine"]


def test_runs_of_one_name_and_modes_of_one_run_are_told_apart(make_result) -> None:
    run = Run("a", results=(make_result(mode="F1"), make_result(mode="F0")))
    assert list(named_results([run], SetKey("pair_sets", "easy"))) == ["a (F1)", "a (F0)"]
    same = [Run("a", results=(make_result(),))] * 3
    assert list(named_results(same, SetKey("pair_sets", "easy"))) == ["a", "a #2", "a #3"]
    assert unused("b", ["a"]) == "b"


def test_sets_come_in_the_order_of_the_config(make_result) -> None:
    config = {"protocol": {"files": ["data/medium.bin", "data/easy.bin"]}}
    results = [replace(make_result(name), provenance=Provenance(config=config)) for name in ("easy", "other", "medium")]
    assert [key.name for key in set_keys(results)] == ["medium", "easy", "other"]
    assert [key.name for key in set_keys([make_result("b"), make_result("a")])] == ["b", "a"]


def test_a_run_has_its_results_in_the_order_of_its_sets(tmp_path: Path, make_run, make_result) -> None:
    provenance = Provenance(config={"protocol": {"files": ["medium.bin", "easy.bin"]}})
    make_run(tmp_path / "a", [make_result(name, provenance=provenance) for name in ("easy", "medium")])
    assert [result.name for result in read_run(tmp_path / "a").results] == ["medium", "easy"]
