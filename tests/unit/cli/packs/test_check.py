"""`transface pack check`: what it shows, writes and draws, and when it looks at all."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from transface.cli.pack import main
from transface.cli.packs import check as pack_check
from transface.data.benchmarks.pairs import write_pair_set
from transface.data.recordio.reader import RecordReader
from transface.data.sources.identity_pack import IdentityPack
from transface.synthetic.datasets import write_identity_pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_identity_pack(tmp_path_factory.mktemp("packs") / "pack", 6, images_per_identity=4)


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_check_says_what_is_wrong_in_all_its_outputs(
    tmp_path: Path, make_bad_pack: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_check_compares_people_by_a_model(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def tiny_picture(checkpoint: Path, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda images: torch.nn.functional.adaptive_avg_pool2d(images.float() - 128, 8).flatten(1)

    monkeypatch.setattr(pack_check, "embedder_of", tiny_picture)
    own = IdentityPack(pack)
    write_pair_set(tmp_path / "test.bin", [own.encoded(9), own.encoded(9)], [True])
    words = (
        "check",
        pack,
        "--against",
        tmp_path / "test.bin",
        "--checkpoint",
        "model",
        "--json",
        tmp_path / "report.json",
    )
    assert run(*words, "--alike", 0.2) == 1
    found = json.loads((tmp_path / "report.json").read_text())["findings"]["overlap"]
    assert found[0]["labels"] == [2]
    assert "looks like image 0 of test" in found[0]["detail"]
    assert found[0]["test_image"] == [str(tmp_path / "test.bin"), 0]
    assert run(*words, "--alike", 0.2, "--sheet", tmp_path / "sheet.png", "--allow", "overlap", "look_alike") == 0
    rows = {
        kind: min(len(found), 3)
        for kind, found in json.loads((tmp_path / "report.json").read_text())["findings"].items()
    }
    assert Image.open(tmp_path / "sheet.png").size[1] == 132 * (3 + sum(rows.values()))
    assert run(*words, "--alike", 1.01) == 2, "no cosine"


def test_outputs_are_made_room_for_before_the_looking_begins(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", pack, "--json", tmp_path / "a/b/report.json", "--sheet", tmp_path / "c/sheet.png") == 0
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == [
        "a/b/report.json",
        "c/sheet.png",
    ]
    capsys.readouterr()
    monkeypatch.setattr("transface.packs.check.check_pack", lambda *a, **k: pytest.fail("it looked"))
    assert run("check", pack, "--json", tmp_path / "a") == 2
    assert "a cannot be written: it is a folder" in capsys.readouterr().err
    assert run("check", pack, "--sheet", tmp_path / "c/sheet.png/x.png") == 2
    assert "a file stands where a folder is wanted" in capsys.readouterr().err
