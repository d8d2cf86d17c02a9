"""docs/results/evidence.md and evidence.csv say what their records say; every run of `make evidence` can be made."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.evidence.page import group_table, page_of, table_of, write_page
from benchmarks.evidence.records import Record, read_record, read_records, write_record
from benchmarks.evidence.run import RESULTS, ended, filled, planned_runs, read_groups

from transface.cli.config.compose import compose
from transface.evaluation.results import Measure, Result

GROUPS = read_groups()
PLAN = [one for name, group in GROUPS.items() for one in planned_runs(name, group)]
# Runs of a curve differ by one number: the first stands for them.
COMPOSED = [
    one
    for one in PLAN
    if one.seed == 0 and ("curve" not in GROUPS[one.group] or one.run == next(iter(GROUPS[one.group]["runs"])))
]


def record_of(run: str, seed: int, accuracy: float) -> Record:
    right = np.arange(100) < round(100 * accuracy)
    measures = (Measure("accuracy", accuracy, accuracy - 0.05, accuracy + 0.05), Measure("auc", 0.8, unit="ratio"))
    result = Result("pair_sets", "lfw", "F1", measures, samples_hash="same", arrays={"correct": right})
    made = {"command": "transface train", "cpu_seconds": 60.0, "processor": "one", "versions": {}, "created": ""}
    return Record("recognition", run, seed, results=(result,), trained={}, commit="0" * 40, **made)


def test_the_page_and_the_table_are_those_of_the_records() -> None:
    records = read_records(RESULTS / "evidence")
    assert records
    assert (RESULTS / "evidence.md").read_text(encoding="utf-8") == page_of(GROUPS, records)
    assert (RESULTS / "evidence.csv").read_text(encoding="utf-8") == table_of(records)


def test_every_record_is_of_a_planned_run_and_names_no_folder_of_a_machine() -> None:
    planned = {f"{one.group}/{one.run}-seed{one.seed}" for one in PLAN}
    for path in (RESULTS / "evidence").glob("*/*.json"):
        assert path.relative_to(RESULTS / "evidence").with_suffix("").as_posix() in planned
        assert not re.search(r"/(home|root|work|tmp)/", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("one", COMPOSED, ids=lambda one: f"{one.group}/{one.run}")
def test_a_planned_run_composes(one, tmp_path: Path) -> None:
    places = {"data": "DATA", "made": "MADE", "runs": "RUNS", "folder": "FOLDER"}
    for command in one.commands:
        program, verb, *words = filled(command, places)
        assert program == "transface"
        compose(verb, [word for word in words if word != "-m"])


def test_a_record_comes_back_as_it_was_and_its_decisions_are_compared(tmp_path: Path) -> None:
    for seed in (0, 1):
        for run, accuracy in (("plain", 0.7), ("gate", 0.8)):
            record = record_of(run, seed, accuracy + 0.01 * seed)
            back = read_record(write_record(record, tmp_path / "evidence"))
            assert back == record
            np.testing.assert_array_equal(back.results[0].arrays["correct"], record.results[0].arrays["correct"])
    page = write_page(GROUPS, tmp_path).read_text(encoding="utf-8")
    assert "| gate | 80.00 [75.00, 85.00] | 81.00 [76.00, 86.00] | - | 80.50 +- 0.71" in page
    assert "+10.00 [+10.00, +10.00]" in page
    assert "4 of 15 runs are done" in page
    assert (tmp_path / "evidence.csv").read_text(encoding="utf-8").count("\n") == 1 + 4 * 2


def test_a_measure_of_several_sets_must_name_one() -> None:
    record = record_of("plain", 0, 0.7)
    both = replace(record, results=(*record.results, replace(record.results[0], name="cfp")))
    group_table({"plain": [both]}, GROUPS["recognition"], "lfw/accuracy")
    with pytest.raises(ValueError, match="accuracy is of cfp, lfw"):
        group_table({"plain": [both]}, GROUPS["recognition"], "accuracy")


def test_a_run_that_has_not_ended_is_known(tmp_path: Path) -> None:
    assert not ended(tmp_path)
    (tmp_path / "finished.json").write_text("{}")
    assert ended(tmp_path)
