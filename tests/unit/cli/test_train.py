"""What `transface train` does around training."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from transface.backbones.features import Output
from transface.cli.config.errors import UserError
from transface.cli.train import classes_told, refuse_other_direction, write_report


@pytest.mark.parametrize(
    ("error", "level"), [(ValueError("nothing to report"), logging.INFO), (KeyError("accuracy"), logging.WARNING)]
)
def test_a_report_that_fails_costs_the_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, level: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("transface.cli.report.report_runs", fail)
    with caplog.at_level(logging.INFO, logger="transface.cli.train"):
        write_report(tmp_path)
    (record,) = caplog.records
    assert record.levelno == level
    assert f"no report of {tmp_path}" in record.getMessage()


def test_the_classes_of_an_answer_are_told_in_their_order() -> None:
    outputs = {
        "expression": Output("one_of", ("neutral", "anger")),
        "age": Output("number", unit="years"),
        "kind": Output("one_of", tuple(map(str, range(23)))),
    }
    first, second = classes_told(SimpleNamespace(outputs=outputs))
    assert first == "expression is one of neutral, anger"
    assert second.endswith("18, 19 and 3 more")
    assert classes_told(object()) == []


@pytest.mark.parametrize(("stated", "better"), [("max", "lower"), ("min", "higher")])
def test_the_worst_value_of_a_measure_is_not_taken_for_the_best(stated: str, better: str) -> None:
    with pytest.raises(
        UserError, match=f"checkpoint.mode={stated}, and of val/mean/x the {better} value is the better"
    ):
        refuse_other_direction("checkpoint.mode", stated, "val/mean/x", {"val/mean/x": better}, words=("max", "min"))
    for fine in (None, "min" if stated == "max" else "max"):
        refuse_other_direction("checkpoint.mode", fine, "val/mean/x", {"val/mean/x": better}, words=("max", "min"))
    refuse_other_direction("checkpoint.mode", stated, "val/mean/threshold", {}, words=("max", "min"))
