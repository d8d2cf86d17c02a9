"""A setting on the command line that nothing would read is refused by its name, before anything is read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from transface.__main__ import main
from transface.backbones.face_vit import FaceViT
from transface.cli.config.compose import compose
from transface.cli.config.model_options import quoted, words_and_keys
from transface.images.detectors import opening
from transface.inference.face_model import FaceModel
from transface.inference.publishing import publish

EVALUATE = ("evaluate", "checkpoint=model")
UNREAD = {
    "align quality": ["align", "faces", "output=out", "kind=png", "quality=10"],
    "embed faces": ["embed", "faces", "checkpoint=model", "output=e.npz", "faces=central"],
    "compare faces": ["compare", "faces/0.png", "faces/1.png", "checkpoint=model", "faces=only"],
    "compare far": ["compare", "faces/0.png", "faces/1.png", "checkpoint=model", "far=0.1"],
    "search far": ["search", "faces/0.png", "checkpoint=model", "gallery=faces", "far=0.1", "threshold=0.2"],
    "search pictures": ["search", "faces/0.png", "checkpoint=model", "gallery=faces", "pictures=faces"],
    "predict faces": ["predict", "faces", "checkpoint=model", "faces=largest"],
    "demo points": ["demo", "checkpoint=model", "points=p.csv"],
    "translate kind": ["translate", "old.npz", "map=map.npz", "kind=ridge"],
    "translate results": ["translate", "old.npz", "map=map.npz", "results=out"],
    "evaluate protocol.faces": [*EVALUATE, "protocol=folder", "protocol.root=.", "protocol.faces=score"],
    "evaluate protocol.missing": [*EVALUATE, "protocol=pairs_csv", "protocol.file=p.csv", "protocol.missing=center"],
    "evaluate protocol.max_impostors": [
        *EVALUATE,
        "protocol=error_discard",
        "protocol.files=[p.csv]",
        "protocol.max_impostors=9",
    ],
    "evaluate protocol.sides": [*EVALUATE, "protocol=masked_pairs", "protocol.files=[faces]", "protocol.sides=[one]"],
    "evaluate protocol.image_size": [
        *EVALUATE,
        "protocol=masked_pairs",
        "protocol.files=[p.csv]",
        "protocol.image_size=96",
    ],
    "evaluate cache": [*EVALUATE, "protocol=error_discard", "protocol.root=.", "cache=kept"],
    "export min_cosine": ["export", "checkpoint=model", "min_cosine=0.5"],
    "export opset": ["export", "checkpoint=model", "format=torch_export", "opset=17"],
    "export card.licence": ["export", "checkpoint=model", "card.licence=MIT"],
    "export tolerance": ["export", "checkpoint=model", "format=safetensors", "tolerance=0.1"],
    "export num_calibration_images": ["export", "checkpoint=model", "num_calibration_images=3"],
    "export verify_tolerance": ["export", "checkpoint=model", "verify_tolerance=0.5"],
}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("room")
    torch.manual_seed(0)
    publish(FaceModel(FaceViT(embed_dim=16, depth=1, num_heads=2, embedding_size=8)), root / "model")
    rng = np.random.default_rng(0)
    (root / "faces").mkdir()
    for number in range(3):
        Image.fromarray(rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)).save(root / "faces" / f"{number}.png")
    for name in ("old.npz", "map.npz", "p.csv"):
        (root / name).write_bytes(b"")
    return root


@pytest.mark.parametrize("case", UNREAD)
def test_a_setting_that_nothing_reads_is_refused(
    room: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, case: str
) -> None:
    monkeypatch.chdir(room)
    before = sorted(room.rglob("*"))
    assert main(UNREAD[case]) == 2
    name = case.split()[1].rstrip(",")
    assert f"transface: {name}= is not read, because " in capsys.readouterr().err
    assert sorted(room.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        ["embed", "faces", "images=faces", "checkpoint=model", "output=e.npz"],
        ["compare", "faces/0.png", "faces/1.png", "first=faces/2.png", "checkpoint=model"],
        ["search", "faces/0.png", "query=faces", "gallery=faces", "checkpoint=model"],
        ["cluster", "old.npz", "embeddings=[map.npz]"],
        ["translate", "old.npz", "map.npz", "new=old.npz"],
    ],
    ids=lambda words: words[0],
)
def test_a_word_and_its_key_are_not_both_taken(
    room: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, words: list[str]
) -> None:
    monkeypatch.chdir(room)
    assert main(words) == 2
    assert "is given twice" in capsys.readouterr().err


def test_overlays_of_the_last_run_are_no_photographs(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(room / "faces", tmp_path / "faces")
    monkeypatch.chdir(tmp_path)
    words = ["predict", "faces", f"checkpoint={room}/model", "overlay=faces/drawn", "output=a.json"]
    assert main(words) == 0
    assert main(words) == 0
    assert "3 pictures answered\na.json" in capsys.readouterr().out.replace(" held something else", "")
    assert len(list((tmp_path / "faces" / "drawn").iterdir())) == 3
    assert main([*words[:3], "overlay=faces"]) == 2


def test_answers_are_printed_as_json_and_written_where_both_are_asked_for(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["predict", f"{room}/faces", f"checkpoint={room}/model", "output=a.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(Path("a.json").read_text())


def test_two_detector_files_of_one_name_are_two_detectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2 = pytest.importorskip("cv2")
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_: object())
    names = []
    for content in (b"one", b"two"):
        (tmp_path / "yunet.onnx").write_bytes(content)
        names.append(opening.open_detector(f"yunet:{tmp_path}/yunet.onnx").name)
    assert len(set(names)) == 2, "faces that one found are kept, and would be taken for the other's"


def test_a_threshold_is_a_cosine(room: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(room)
    words = ("compare", "faces/0.png", "faces/1.png", "checkpoint=model")
    for wrong in ("2", "nan"):
        assert main([*words, f"threshold={wrong}"]) == 2
        assert "threshold is a cosine in -1..1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["outputs=[]"], "outputs must be a list of names, [a,b], got []"),
        (["outputs=age"], "outputs must be a list of names, [a,b], got 'age'"),
        (["labels=Smiling"], "labels must be a list of names, [a,b], got 'Smiling'"),
        (["labels=[Smiling]"], "labels: the model knows no Smiling; it knows no labels"),
    ],
)
def test_names_of_answers_are_a_list_of_those_that_are_answered(
    room: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, words: list[str], said: str
) -> None:
    monkeypatch.chdir(room)
    assert main(["predict", "faces", "checkpoint=model", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_seed_is_no_negative_number(
    room: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(room)
    assert main([*EVALUATE, "protocol=folder", "protocol.root=.", "protocol.seed=-1"]) == 2
    assert "protocol.seed must be 0 or more, got -1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    [
        "it's",
        "a\\b",
        "a\\",
        "a\\'b",
        "${y}.jpg",
        "\\${y}",
        "a\\\\b",
        "$x",
        "'",
        "\\\\",
        "new\nline",
        "a\\\\'c",
        "{}",
        "a, b",
        "",
    ],
)
def test_a_path_of_any_signs_comes_through_the_command_line(name: str) -> None:
    assert compose("predict", [f"images={quoted(name)}"]).images == name
    if "${" not in name:  # in a list OmegaConf keeps the backslash before it
        assert compose("cluster", [f"embeddings=[{quoted(name)},{quoted('x')}]"]).embeddings == [name, "x"]


def test_files_whose_names_look_like_overrides_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["~t.jpg", "+plus.jpg", "flip=sum.jpg", "a.jpg"]
    assert words_and_keys(names) == (["a.jpg"], names[:3])
    for name in names:
        Path(name).touch()
    assert words_and_keys([*names, "flip=sum"]) == (names, ["flip=sum"])
