"""StepProfiler: a trace a viewer opens, and a table that names the parts of a step."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from transface.training.logging.profiling import StepProfiler


def test_a_profiled_run_leaves_a_trace_and_a_table(
    tmp_path: Path, train: Callable[..., Any], make_module: Callable[..., Any]
) -> None:
    train(make_module(), [], steps=5, profiler=StepProfiler(tmp_path, wait=1, warmup=1, active=2, rows=10))
    trace = json.loads((tmp_path / "trace.json").read_text())
    names = [event.get("name", "") for event in trace["traceEvents"]]
    assert sum(name == "run_training_batch" for name in names) in (2, 3)
    assert any("aten::linear" in name or "aten::addmm" in name or "aten::mm" in name for name in names)
    assert "Self CPU" in (tmp_path / "slowest_parts.txt").read_text()


def test_a_run_too_short_to_profile_says_so(
    tmp_path: Path, train: Callable[..., Any], make_module: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    train(make_module(), [], steps=2, profiler=StepProfiler(tmp_path, wait=5, warmup=1, active=2))
    assert not (tmp_path / "trace.json").exists()
    assert "training ended before 7 batches" in capsys.readouterr().out


def test_profiling_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="active"):
        StepProfiler("x", active=0)
