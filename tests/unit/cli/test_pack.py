"""`transface pack`: each verb from its command line, exit codes, one line for a mistake."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from transface.cli.pack import main, plain_progress
from transface.data.identities import IdentityPack
from transface.data.pairs import write_pair_set
from transface.data.recordio import RecordReader
from transface.data.synthetic import write_identity_pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_identity_pack(tmp_path_factory.mktemp("packs") / "pack", 6, images_per_identity=4)


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_every_verb_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    said = capsys.readouterr().out
    for verb in ("from-folder", "from-list", "to-folder", "index", "shuffle", "split", "merge", "check"):
        assert verb in said
        assert run(verb, "--help") == 0


def test_a_round_through_all_verbs(pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("to-folder", pack, tmp_path / "folder") == 0
    assert run("from-folder", tmp_path / "folder", tmp_path / "again") == 0
    assert f"{tmp_path / 'again'}: 24 images of 6 identities" in capsys.readouterr().out
    assert (tmp_path / "again" / "train.rec").read_bytes() == (pack / "train.rec").read_bytes()
    files = sorted((tmp_path / "folder").rglob("*.jpg"))
    (tmp_path / "list.csv").write_text("path,label\n" + "".join(f"{path},{path.parent.name}\n" for path in files))
    assert run("from-list", tmp_path / "list.csv", tmp_path / "listed", "--root", tmp_path / "folder", "--threads", 2) == 0
    assert (tmp_path / "listed" / "train.rec").read_bytes() == (pack / "train.rec").read_bytes()
    assert run("split", pack, tmp_path / "a", tmp_path / "b", "--shares", 0.5, 0.5) == 0
    assert run("merge", tmp_path / "a", tmp_path / "b", "--output", tmp_path / "merged") == 0
    assert run("shuffle", tmp_path / "merged", tmp_path / "shuffled", "--seed", 1) == 0
    (tmp_path / "shuffled" / "train.idx").unlink()
    assert run("index", tmp_path / "shuffled") == 0
    assert len(IdentityPack(tmp_path / "shuffled")) == 24
    assert run("check", tmp_path / "shuffled") == 0
    assert "nothing wrong was found" in capsys.readouterr().out


def test_bad_images_are_skipped_on_request(tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("to-folder", pack, tmp_path / "folder")
    bad = next((tmp_path / "folder").rglob("*.jpg"))
    bad.write_bytes(b"no image")
    capsys.readouterr()
    assert run("from-folder", tmp_path / "folder", tmp_path / "again") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert run("from-folder", tmp_path / "folder", tmp_path / "again", "--skip-bad") == 0
    said = capsys.readouterr()
    assert bad.name in said.err
    assert "23 images of 6 identities" in said.out


def test_a_person_without_a_good_image_is_told_of(tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("to-folder", pack, tmp_path / "folder")
    person = min(path for path in (tmp_path / "folder").iterdir() if path.is_dir())
    for image in person.iterdir():
        image.write_bytes(b"no image")
    assert run("from-folder", tmp_path / "folder", tmp_path / "again", "--skip-bad") == 0
    assert "1 identities all of whose images were skipped" in capsys.readouterr().err
    assert run("check", tmp_path / "again") == 1  # the gap is found there too


def test_check_says_what_is_wrong_in_all_its_outputs(tmp_path: Path, make_bad_pack: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_bad_pack(tmp_path / "pack")
    words = ("check", root, "--json", tmp_path / "report.json", "--sheet", tmp_path / "sheet.png")
    assert run(*words) == 1
    said = capsys.readouterr().out
    assert "undecodable" in said
    assert "key 3" in said
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["counts"] == {"undecodable": 1}
    assert report["findings"]["undecodable"][0]["keys"] == [3]
    assert Image.open(tmp_path / "sheet.png").size[1] > 112
    assert run("check", root, "--allow", "undecodable") == 0


@pytest.fixture
def make_bad_pack(pack: Path) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        root.mkdir(parents=True)
        for name in ("train.rec", "train.idx", "property"):
            (root / name).write_bytes((pack / name).read_bytes())
        offset = int(RecordReader(pack / "train.rec").index.offsets[3])
        with (root / "train.rec").open("r+b") as file:
            file.seek(offset + 32)
            file.write(b"\0" * 16)
        return root

    return make


def test_check_compares_people_by_a_model(pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import transface.cli.pack as home

    def tiny_picture(checkpoint: Path, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda images: torch.nn.functional.adaptive_avg_pool2d(images.float() - 128, 8).flatten(1)

    monkeypatch.setattr(home, "_embedder", tiny_picture)
    own = IdentityPack(pack)
    write_pair_set(tmp_path / "test.bin", [own.encoded(9), own.encoded(9)], [True])
    words = ("check", pack, "--against", tmp_path / "test.bin", "--checkpoint", "model", "--json", tmp_path / "report.json")
    assert run(*words, "--alike", 0.2) == 1
    found = json.loads((tmp_path / "report.json").read_text())["findings"]["overlap"]
    assert found[0]["labels"] == [2]
    assert "looks like image 0 of test" in found[0]["detail"]
    assert found[0]["test_image"] == [str(tmp_path / "test.bin"), 0]
    assert run(*words, "--alike", 0.2, "--sheet", tmp_path / "sheet.png", "--allow", "overlap", "look_alike") == 0
    rows = {kind: min(len(found), 3) for kind, found in json.loads((tmp_path / "report.json").read_text())["findings"].items()}
    assert Image.open(tmp_path / "sheet.png").size[1] == 132 * (3 + sum(rows.values()))
    assert run(*words, "--alike", 1.01) == 0


def test_without_a_terminal_a_line_a_minute_tells_of_progress(capsys: pytest.CaptureFixture[str]) -> None:
    now = 100.0
    tell = plain_progress("pack", 500, clock=lambda: now)
    for now in (130.0, 159.0, 160.0, 200.0, 220.0):  # noqa: B007 - the clock reads it
        tell(30)
    assert capsys.readouterr().err.splitlines() == ["pack: 90 of 500, 2 a second", "pack: 150 of 500, 1 a second"]


def test_outputs_are_made_room_for_before_the_looking_begins(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", pack, "--json", tmp_path / "a/b/report.json", "--sheet", tmp_path / "c/sheet.png") == 0
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == ["a/b/report.json", "c/sheet.png"]
    capsys.readouterr()
    monkeypatch.setattr("transface.data.checking.check_pack", lambda *a, **k: pytest.fail("it looked"))
    assert run("check", pack, "--json", tmp_path / "a") == 2
    assert "a cannot be written: it is a folder" in capsys.readouterr().err
    assert run("check", pack, "--sheet", tmp_path / "c/sheet.png/x.png") == 2
    assert "a file stands where a folder is wanted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "required"),
        (["dance"], "dance"),
        (["check", "nowhere"], "no data folder nowhere"),
        (["check", "{pack}", "--size", "0"], "--size"),
        (["check", "{pack}", "--threads", "x"], "--threads"),
        (["check", "{pack}", "--allow", "everything"], "--allow everything: no such kind; there are file"),
        (["check", "{pack}", "--against", "a.bin"], "--against needs --checkpoint"),
        (["from-folder", "nowhere", "{tmp}/out"], "nowhere"),
        (["from-list", "nowhere.csv", "{tmp}/out"], "no list nowhere.csv"),
        (["to-folder", "{pack}", "{pack}"], "exists already"),
        (["split", "{pack}", "{tmp}/a", "{tmp}/b", "--shares", "1", "1"], "sum to 1"),
        (["merge", "{pack}", "--output", "{pack}"], "holds a pack already"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    assert run(*(word.format(pack=pack, tmp=tmp_path) for word in words)) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())
