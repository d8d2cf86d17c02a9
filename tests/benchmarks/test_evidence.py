"""docs/results/evidence.md and evidence.csv say what their records say; every run of `make evidence` can be made."""

import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmarks.evidence import run as evidence
from benchmarks.evidence.children import ENDING, Children
from benchmarks.evidence.page import group_table, page_of, table_of, write_page
from benchmarks.evidence.records import Record, read_record, read_records, write_record
from benchmarks.evidence.run import RESULTS, ended, filled, planned_runs, read_groups

from transface.cli.config.compose import compose
from transface.evaluation.results import Measure, Result, write_result

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
    assert "| gate | 80.00 [75.00, 85.00] | 81.00 [76.00, 86.00] | - | 80.50 ± 0.71" in page
    assert "+10.00 [+10.00, +10.00]" in page
    assert "4 of 15 runs are done" in page
    assert (tmp_path / "evidence.csv").read_text(encoding="utf-8").count("\n") == 1 + 4 * 2


def test_a_measure_of_several_sets_must_name_one() -> None:
    record = record_of("plain", 0, 0.7)
    both = replace(record, results=(*record.results, replace(record.results[0], name="cfp")))
    group_table({"plain": [both]}, GROUPS["recognition"], "lfw/accuracy")
    with pytest.raises(ValueError, match="accuracy is of cfp, lfw"):
        group_table({"plain": [both]}, GROUPS["recognition"], "accuracy")


def test_years_are_not_held_within_those_of_a_rate_and_a_run_of_another_task_has_no_row() -> None:
    def aged(seed: int, years: float) -> Record:
        record = record_of("joint", seed, 0.7)
        measures = (Measure("mae", years, unit="years", better="lower"),)
        return replace(record, results=(replace(record.results[0], measures=measures, arrays={}),))

    runs = {"joint": [aged(0, 11.0), aged(1, 12.0)], "identity": [record_of("identity", 0, 0.7)]}
    (row,) = group_table(runs, {"seeds": [0, 1], "baseline": "joint"}, "mae").rows
    assert row.cells[2].interval == "[5.15, 17.85]"  # 11.5 ± 12.71 x 0.707 / sqrt(2)


def test_a_run_that_has_not_ended_is_known(tmp_path: Path) -> None:
    assert not ended(tmp_path)
    (tmp_path / "finished.json").write_text("{}")
    assert ended(tmp_path)


# What `make evidence` starts, in place of transface: the first command ends, the others train until told to end.
PROGRAM = """
import json, os, pathlib, signal, sys, time
name = next(word for word in sys.argv if word.startswith("name=")).removeprefix("name=")
runs = pathlib.Path(next(word for word in sys.argv if word.startswith("paths.runs=")).removeprefix("paths.runs="))
(runs / name).mkdir(parents=True, exist_ok=True)
def save(number, frame):
    (runs / name / "saved").write_text(signal.Signals(number).name)
    raise SystemExit(128 + number)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, save)
(runs / name / "pid").write_text(str(os.getpid()))
os.rename(runs / name / "pid", runs / name / "training")
while not pathlib.Path(sys.argv[1]).exists() and name.endswith("seed1"):
    time.sleep(0.01)
os.symlink(pathlib.Path(sys.argv[1]).parent / "results", runs / name / "results")
(runs / name / "finished.json").write_text("{}")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_to_make_evidence_ends_the_run_at_work_and_begins_no_other(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = {"recognition": {**GROUPS["recognition"], "runs": {"plain": ""}, "command": ["transface train"]}}
    monkeypatch.setattr(evidence, "read_groups", lambda: groups)
    monkeypatch.setattr(evidence, "prepare", lambda data, made: [])
    monkeypatch.setattr(evidence, "PROGRAM", (sys.executable, "-c", PROGRAM, str(tmp_path / "go")))
    write_result(record_of("plain", 0, 0.7).results[0], tmp_path / "results")
    words = ["--data", str(tmp_path), "--output", str(tmp_path / "out"), "--results", str(tmp_path / "docs")]
    runner = os.fork()
    if runner == 0:
        os._exit(exit_code_of(words))
    runs = tmp_path / "out" / "runs" / "recognition"
    at_work = runs / "plain-seed1" / "training"
    wait_until(at_work.exists)
    os.kill(runner, number)
    assert os.waitstatus_to_exitcode(os.waitpid(runner, 0)[1]) == 128 + number
    assert (runs / "plain-seed1" / "saved").read_text() == number.name
    with pytest.raises(ProcessLookupError):
        os.kill(int(at_work.read_text()), 0)
    assert not (runs / "plain-seed2").exists()
    assert "1 of 3 runs are done" in (tmp_path / "docs" / "evidence.md").read_text()
    (tmp_path / "go").touch()
    before = [signal.getsignal(one) for one in ENDING]
    assert evidence.main(words) == 0
    for one, handler in zip(ENDING, before, strict=True):
        signal.signal(one, handler)
    assert len(list((tmp_path / "docs" / "evidence" / "recognition").iterdir())) == 3


def test_a_run_that_fails_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = {"recognition": {**GROUPS["recognition"], "runs": {"plain": ""}, "command": ["transface train"]}}
    monkeypatch.setattr(evidence, "read_groups", lambda: groups)
    monkeypatch.setattr(evidence, "prepare", lambda data, made: [])
    program = PROGRAM.replace(
        "(runs / name).mkdir", "seed1 = name.endswith('seed1') and sys.exit(3)\n(runs / name).mkdir"
    )
    monkeypatch.setattr(evidence, "PROGRAM", (sys.executable, "-c", program, str(tmp_path / "go")))
    write_result(record_of("plain", 0, 0.7).results[0], tmp_path / "results")
    words = ["--data", str(tmp_path), "--output", str(tmp_path / "out"), "--results", str(tmp_path / "docs")]
    before = [signal.getsignal(one) for one in ENDING]
    assert evidence.main(words) == 1
    for one, handler in zip(ENDING, before, strict=True):
        signal.signal(one, handler)
    said = capsys.readouterr().out
    assert said.count("failed, no record") == 1
    assert "ended with 3: see" in said
    records = (tmp_path / "docs" / "evidence" / "recognition").iterdir()
    assert sorted(path.stem for path in records) == ["plain-seed0", "plain-seed2"]


def test_commands_end_with_their_runner_whatever_ends_it(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux tells a child that its parent is gone")
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    runner = os.fork()
    if runner == 0:
        Children((sys.executable, "-c", code), python_path=tmp_path).call([], log=tmp_path / "log", seconds=600)
        os._exit(0)
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    os.kill(runner, signal.SIGKILL)
    os.waitpid(runner, 0)
    child = Path("/proc") / (tmp_path / "pid").read_text()
    wait_until(lambda: not child.exists() or ") Z " in (child / "stat").read_text())


def exit_code_of(words: list[str]) -> int:
    """Return the exit code of `make evidence`."""
    try:
        return evidence.main(words)
    except SystemExit as ended_by:
        return int(ended_by.code or 0)
    except BaseException:
        return 99


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(3000):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come true in a minute")
