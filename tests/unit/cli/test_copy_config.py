"""`transface config` copies a config so that it composes as the one it came from."""

from pathlib import Path

import pytest

from transface.__main__ import main
from transface.cli.config.compose import conf_folder
from transface.cli.copy_config import groups


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("word", ["experiment=demo", "experiment=transface/vit_s_ms1mv2", "margin=arcface"])
def test_the_copy_composes_as_the_original(word: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["config", word]) == 0
    said = capfd.readouterr().out
    command = said.split("transface train ")[1].split()
    rest = [] if word.startswith("experiment") else ["experiment=demo"]
    assert main(["train", *command, *rest, "--cfg", "job"]) == 0
    ours = capfd.readouterr().out
    assert main(["train", word, *rest, "--cfg", "job"]) == 0
    assert capfd.readouterr().out == ours


def test_without_a_word_the_groups_are_listed_and_a_group_lists_its_options(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["config"]) == 0
    said = capsys.readouterr().out
    assert all(f"{group}: " in said for group in groups())
    assert "hydra: " not in said, "what a word cannot choose is offered"
    assert "hydra/sweeper: optuna\n" in said
    assert main(["config", "margin"]) == 0
    assert "adaface\narcface\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["experiment=nope"], "no experiment=nope: there are demo, "),
        (["nope=demo"], "no group 'nope'"),
        (["experiment=demo", "margin=arcface"], "config copies one file"),
        (["experiment=demo", "output=mine.yaml"], "a folder named experiment"),
        (["experiment=demo", "output=x/experiment/demo.yaml"], "is a config of transface"),
    ],
)
def test_what_cannot_be_copied_is_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_file_that_is_there_is_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "experiment=demo", "output=x/experiment/mine.yaml"]) == 0
    copy = Path("x/experiment/mine.yaml")
    assert copy.read_text() == (conf_folder() / "experiment" / "demo.yaml").read_text()
    copy.write_text("mine")
    assert main(["config", "experiment=demo", "output=x/experiment/mine.yaml"]) == 2
    assert copy.read_text() == "mine"
    assert "is there already" in capsys.readouterr().err
