"""What `transface --help` says can be typed, and its output can be cut short."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import transface
from transface.__main__ import VERBS, main

EXAMPLES = {
    verb: text.split(f"transface {verb} ", 1)[1] for verb, text in VERBS.items() if f"transface {verb} " in text
}


@pytest.mark.parametrize(
    "verb", ["train", "evaluate", "align", "cluster", "embed", "export", "compare", "search", "synthesize"]
)
def test_every_example_of_the_help_composes(verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    words = EXAMPLES[verb].replace("...", "model").split()
    assert main([verb, *words, "--cfg=job"]) == 0
    said = capfd.readouterr().out
    for word in words:
        assert word.rpartition("=")[2].strip("[]") in said


def test_a_reader_that_has_seen_enough_gets_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    environment = os.environ | {"PYTHONPATH": str(Path(transface.__file__).parents[1])}
    command = [sys.executable, "-m", "transface", "synthesize", "--help"]
    child = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    os.close(write)
    assert child.returncode == 1
    assert child.stderr == ""
