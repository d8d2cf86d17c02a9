"""What `transface --help` says can be typed, and its output can be cut short."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import transface
from transface.__main__ import VERBS, main
from transface.cli.config.folder import conf_folder

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


def test_the_help_of_a_verb_shows_groups_and_settings_and_imports_no_torch() -> None:
    code = (
        "import sys; from transface.__main__ import main; code = main(['train', 'system=attributes', '--help']);"
        " assert not {'torch', 'lightning', 'timm'} & set(sys.modules); sys.exit(code)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(transface.__file__).parents[1])}
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert child.returncode == 0, child.stderr
    assert "usage: transface train" in child.stdout
    assert "  system: attributes," in child.stdout
    assert "\nseed: 0\n" in child.stdout
    assert "\nmargin:" not in child.stdout, "a setting that this system does not read is shown"


def test_the_help_knows_the_configs_of_a_folder_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "margin").mkdir()
    (tmp_path / "margin" / "mine.yaml").write_text("_target_: transface.margins.cosface.CosFace\nscale: 7.5\n")
    assert main(["train", "--config-dir", str(tmp_path), "margin=mine", "--help"]) == 0
    assert "  scale: 7.5\n" in capsys.readouterr().out


@pytest.mark.parametrize("verb", sorted(verb for verb in VERBS if (conf_folder() / f"{verb}.yaml").is_file()))
def test_the_help_of_a_verb_shows_values_and_no_references(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    said = capsys.readouterr().out.partition("Settings (key=value)")[0]
    assert "${" not in said
    assert not re.search(r"^  [\w.]+\.\*$", said, re.M), "a section is listed that says nothing of itself"


def test_the_kinds_of_made_up_people_are_read_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synthesize", "--help"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("  kind="))
    kinds = [clause.split(":")[0].split()[-1] for clause in line.split("; ")]
    assert kinds == ["identities", "attributes", "expressions", "ages", "world"]


@pytest.mark.parametrize("kind", ["default", "no_folder"])
def test_a_warning_on_the_screen_is_a_sentence_without_date_and_module(kind: str) -> None:
    said = yaml.safe_load((conf_folder() / "hydra" / f"{kind}.yaml").read_text())["job_logging"]
    form = said["formatters"][said["handlers"]["console"]["formatter"]]["format"]
    record = logging.LogRecord("transface.a.b", logging.WARNING, "a.py", 1, "a sentence", None, None)
    assert logging.Formatter(form).format(record) == "WARNING: a sentence"
