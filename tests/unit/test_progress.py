"""Long work says how far it is without a terminal: a line whenever nothing was said for a while."""

import threading

import pytest

from transface import progress
from transface.__main__ import main
from transface.progress import LINE_SECONDS, Teller, duration, working


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_comes_at_least_every_thirty_seconds_and_no_more_often_than_due() -> None:
    clock, said = Clock(), list[str]()
    teller = Teller(said.append, clock=clock)
    with teller.working("lfw", 12_000, "images") as work:
        times = []
        for _ in range(60):
            clock.now += LINE_SECONDS / 4  # how often the thread looks
            work.done += 500 // 4
            before = len(said)
            teller.beat()
            times += [clock.now] * (len(said) - before)
    gaps = [after - before for before, after in zip([100.0, *times], times, strict=False)]
    assert len(gaps) == 15
    assert max(gaps) <= 30
    assert said[0] == "lfw: 500 of 12,000 images, 25 a second, 8 min left"


def test_work_without_steps_and_work_that_has_not_begun_say_so() -> None:
    clock, said = Clock(), list[str]()
    teller = Teller(said.append, clock=clock)
    with teller.working("evaluate", None, "images"):
        clock.now += LINE_SECONDS
        teller.beat()
        with teller.working("lfw", 10, "images"):
            clock.now += LINE_SECONDS
            teller.beat()
        clock.now += LINE_SECONDS
        teller.beat()
    clock.now += LINE_SECONDS
    teller.beat()  # nothing is under way
    assert said == ["evaluate: at work for 20 s", "lfw: 0 of 10 images", "evaluate: at work for 60 s"]


def test_lines_of_others_put_the_next_one_off() -> None:
    clock, said = Clock(), list[str]()
    teller = Teller(said.append, clock=clock)
    with teller.working("train", None, "images"):
        for _ in range(10):
            clock.now += LINE_SECONDS - 1
            teller.told()
            teller.beat()
    assert said == []


def test_a_step_that_takes_long_is_told_of_while_it_lasts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = threading.Event()
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.01)
    monkeypatch.setattr(progress, "_teller", Teller(lambda line: said.set()))
    with working("slow", 3):
        assert said.wait(timeout=60)
    assert threading.active_count() >= 1
    assert not [thread for thread in threading.enumerate() if thread.name == "progress" and thread.is_alive()]
    assert capsys.readouterr().out == ""


def test_every_verb_is_work_and_other_ranks_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    titles = []
    monkeypatch.setattr(progress, "_teller", teller := Teller(print))
    monkeypatch.setattr(Teller, "_start", lambda own: titles.append(own.works[-1].title))
    assert main(["models"]) == 0
    assert titles == ["models"]
    monkeypatch.setenv("LOCAL_RANK", "1")
    with working("models", 3) as advance:
        advance(1)
        assert teller.works == []


def test_durations_are_words() -> None:
    assert [duration(seconds) for seconds in (0.4, 119, 150, 9000)] == ["0 s", "119 s", "2 min", "2.5 h"]
