"""The scripts of `transface completion` complete verbs, keys and options of groups."""

import shutil
import subprocess
from pathlib import Path

import pytest

from transface.__main__ import VERBS, main
from transface.cli.completion import script


def bash_replies(tmp_path: Path, line: str, *, breaks: str = "= ") -> list[str]:
    """What bash would offer at the end of a line."""
    (tmp_path / "complete.sh").write_text(script("bash"))
    words = line.split(" ")
    program = (
        f'source {tmp_path}/complete.sh; COMP_WORDBREAKS="{breaks}"; COMP_LINE="{line}"; COMP_POINT={len(line)};'
        f" COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _transface;"
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    told = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    return told.stdout.split()


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


@needs_bash
def test_bash_completes_verbs_keys_and_options(tmp_path: Path) -> None:
    assert bash_replies(tmp_path, "transface e") == ["evaluate", "embed", "export"]
    assert bash_replies(tmp_path, "transface embed check") == ["checkpoint="]
    assert bash_replies(tmp_path, "transface train experiment=de") == ["demo"]
    assert "transface/vit_s_ms1mv2" in bash_replies(tmp_path, "transface train experiment=transface/vit_s")
    assert bash_replies(tmp_path, "transface evaluate protocol=ijbb") == ["ijbb"]


@needs_bash
def test_where_words_are_not_broken_at_an_equals_sign_the_key_comes_along(tmp_path: Path) -> None:
    assert bash_replies(tmp_path, "transface train experiment=de", breaks=" ") == ["experiment=demo"]


@needs_bash
def test_a_value_that_is_no_option_is_completed_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"")
    assert bash_replies(tmp_path, "transface embed images=pho") == ["photo.jpg"]
    assert bash_replies(tmp_path, "transface compare pho") == ["photo.jpg"]


def test_zsh_and_fish_know_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    assert "bashcompinit" in capsys.readouterr().out
    assert main(["completion", "fish"]) == 0
    said = capsys.readouterr().out
    assert all(f"-a {verb} " in said for verb in VERBS)
    assert "experiment=demo" in said
