"""The first error of any rank is the one that all ranks say and end with."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from transface.training.callbacks import rank_failures
from transface.training.callbacks.rank_failures import RankFailure, RankFailures, describe, read_failure, write_first


class Ended:
    """Stands for the end of a process: keeps the exit code."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.happened = threading.Event()

    def __call__(self, code: int) -> None:
        self.code = code
        self.happened.set()


@pytest.fixture
def on_rank(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    def make(rank: int, world_size: int = 2) -> tuple[RankFailures, Ended]:
        monkeypatch.setattr(rank_failures, "rank", lambda: rank)
        monkeypatch.setattr(rank_failures, "world_size", lambda: world_size)
        ended = Ended()
        line = lambda error: str(error) if isinstance(error, ValueError) else None  # noqa: E731
        return RankFailures(tmp_path / "run", user_line=line, seconds_between_looks=0.01, end_process=ended), ended

    return make


TRAINER: Any = SimpleNamespace(strategy=SimpleNamespace(barrier=lambda name: None))
MODULE: Any = None


def test_a_rank_that_waits_says_the_other_s_error_and_ends(
    on_rank: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting, ended = on_rank(0)
    waiting.setup(TRAINER, MODULE, "fit")
    write_first(tmp_path / "run" / "failure.json", RankFailure(1, "record 5 is bad", 2))
    assert ended.happened.wait(20)
    waiting.teardown(TRAINER, MODULE, "fit")
    assert ended.code == 2
    assert "rank 1 failed: record 5 is bad" in capsys.readouterr().err


def test_a_rank_says_where_it_stood_when_another_waited_for_it_in_vain(
    on_rank: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hanging, ended = on_rank(1)
    hanging.setup(TRAINER, MODULE, "fit")
    write_first(tmp_path / "run" / "failure.json", RankFailure(0, "nobody came", 1, late=True))
    assert ended.happened.wait(20)  # the place the main thread hangs at
    hanging.teardown(TRAINER, MODULE, "fit")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("transface: rank 1 stood at ")
    assert second == "transface: rank 0 failed: nobody came"


def test_a_rank_that_waited_in_vain_says_so_in_the_file(on_rank: Any, tmp_path: Path) -> None:
    waiting, _ = on_rank(0)
    waiting.is_late = lambda error: "waited" in str(error)
    waiting.on_exception(TRAINER, MODULE, RuntimeError("waited"))
    assert read_failure(tmp_path / "run" / "failure.json") == RankFailure(0, "RuntimeError: waited", 1, late=True)


def test_the_rank_that_fails_writes_its_error_and_raises_on_its_own(on_rank: Any, tmp_path: Path) -> None:
    failing, ended = on_rank(1)
    failing.on_exception(TRAINER, MODULE, ValueError("record 5 is bad"))
    assert read_failure(tmp_path / "run" / "failure.json") == RankFailure(1, "record 5 is bad", 2)
    assert ended.code is None


def test_an_error_that_follows_from_another_rank_s_gives_way_to_it(
    on_rank: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    on_rank(1)[0].on_exception(TRAINER, MODULE, RuntimeError("out of memory"))
    following, ended = on_rank(0)
    following.on_exception(TRAINER, MODULE, RuntimeError("connection closed by peer"))
    assert ended.code == 1
    assert "rank 1 failed: RuntimeError: out of memory" in capsys.readouterr().err


def test_ranks_that_follow_rank_0_leave_the_exit_code_to_it(on_rank: Any) -> None:
    on_rank(0)[0].on_exception(TRAINER, MODULE, ValueError("record 5 is bad"))
    following, ended = on_rank(1)
    following.on_exception(TRAINER, MODULE, RuntimeError("connection closed by peer"))
    assert ended.code == 0


def test_the_same_mistake_on_all_ranks_is_each_rank_s_own(on_rank: Any) -> None:
    on_rank(1)[0].on_exception(TRAINER, MODULE, ValueError("another architecture"))
    same, ended = on_rank(0)
    same.on_exception(TRAINER, MODULE, ValueError("another architecture"))
    assert ended.code is None


def test_an_earlier_run_s_failure_is_forgotten(on_rank: Any, tmp_path: Path) -> None:
    write_first(tmp_path / "run" / "failure.json", RankFailure(1, "of yesterday", 1))
    fresh, ended = on_rank(0)
    fresh.setup(TRAINER, MODULE, "fit")
    assert not ended.happened.wait(0.1)
    fresh.teardown(TRAINER, MODULE, "fit")
    assert read_failure(tmp_path / "run" / "failure.json") is None


@pytest.mark.parametrize(
    ("world_size", "error"), [(1, ValueError("alone")), (2, SystemExit(143)), (2, KeyboardInterrupt())]
)
def test_one_process_a_preemption_and_a_key_are_no_failure_of_a_rank(
    on_rank: Any, tmp_path: Path, world_size: int, error: BaseException
) -> None:
    part, ended = on_rank(0, world_size)
    part.on_exception(TRAINER, MODULE, error)
    assert not (tmp_path / "run" / "failure.json").exists()
    assert ended.code is None


def test_a_half_written_file_is_no_failure_yet(tmp_path: Path) -> None:
    (tmp_path / "failure.json").write_text('{"rank": 1, "mess')
    assert read_failure(tmp_path / "failure.json") is None


def test_an_error_is_described_by_its_type_unless_it_is_the_user_s() -> None:
    assert describe(KeyError("x"), rank=3, line=None) == RankFailure(3, "KeyError: 'x'", 1)
    assert describe(ValueError("long\ntext"), rank=0, line="short") == RankFailure(0, "short", 2)
