"""What `transface train` does around training."""

import logging
from pathlib import Path

import pytest

from transface.cli.train import write_report


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
