"""How far a pack verb has come, told without a terminal."""

import pytest

from transface.cli.packs.progress import plain_progress


def test_without_a_terminal_a_line_a_minute_tells_of_progress(capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    tell = plain_progress("pack", 500, clock=lambda: now)
    for now in (130.0, 159.0, 160.0, 200.0, 220.0):  # noqa: B007 - the clock reads it
        tell(30)
    assert capsys.readouterr().err.splitlines() == ["pack: 90 of 500, 2 a second", "pack: 150 of 500, 1 a second"]
