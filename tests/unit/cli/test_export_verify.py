"""`transface export verify=PROTOCOL`: any protocol of any system, before and after, within a stated tolerance."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from transface.__main__ import main
from transface.backbones.face_vit import FaceViT
from transface.backbones.headed import HeadedNetwork
from transface.backbones.timm_encoder import TimmEncoder
from transface.cli import export
from transface.evaluation.changes import changes
from transface.evaluation.results import Measure, Result
from transface.inference.face_model import FaceModel
from transface.inference.publishing import publish

WORDS = ("happiness", "sadness")
OUTPUTS = {
    "expression": {"kind": "one_of", "names": WORDS},
    "age": {"kind": "number", "unit": "years"},
}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three answers, a folder of classes, UTKFace names, and a table of attributes."""
    root = tmp_path_factory.mktemp("room")
    torch.manual_seed(3)
    network = HeadedNetwork(TimmEncoder("test_vit", image_size=48), OUTPUTS)
    with torch.no_grad():
        network.heads["age"].bias.fill_(30.0)
    publish(FaceModel(network), root / "model")
    random = np.random.default_rng(0)
    lines = ["path,Glasses,Beard,split"]
    for index in range(24):
        word = WORDS[index % 2]
        picture = Image.fromarray(random.integers(0, 256, (48, 48, 3), dtype=np.uint8))
        for path in (
            root / "classes" / word / f"{index}.png",
            root / "ages" / f"{20 + index}_{index % 2}_0_{index}.png",
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
        lines.append(f"classes/{word}/{index}.png,{index % 2},{index // 2 % 2},test")
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


PROTOCOLS = {
    "classes": (["verify=photographs", "verify.root={room}/classes", "verify.column=expression"], "accuracy"),
    "values": (["verify=photographs", "verify.root={room}/ages", "verify.column=age"], "mae"),
}


@pytest.mark.parametrize(("kind", "file_format"), zip(PROTOCOLS, ["onnx", "torch_export"], strict=True))
def test_a_protocol_of_any_kind_is_measured_before_and_after(
    kind: str, file_format: str, room: Path, capsys: pytest.CaptureFixture
) -> None:
    words, measure = PROTOCOLS[kind]
    command = [
        "export",
        f"checkpoint={room}/model",
        f"format={file_format}",
        *(word.format(room=room) for word in words),
    ]
    assert main(command) == 0
    printed = capsys.readouterr().out
    before, after = re.search(rf"_\w+: {measure} ([\d.]+) \S+ before, ([\d.]+) \S+ after", printed).groups()
    assert before == after
    assert len(list(Path("exports").iterdir())) == 1


def test_a_file_whose_numbers_moved_too_far_is_not_let_out_and_an_older_one_stays(
    room: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OffBy(torch.nn.Module):
        def __init__(self, network: torch.nn.Module) -> None:
            super().__init__()
            self.network, self.outputs, self.image_size = network, network.outputs, network.image_size

        def forward(self, images: torch.Tensor) -> object:
            found = self.network(images)
            return found._replace(age=found.age + 9)

    written = export.Verification._written
    monkeypatch.setattr(export.Verification, "_written", lambda self, path: OffBy(written(self, path)))
    words = [word.format(room=room) for word in PROTOCOLS["values"][0]]
    assert main(["export", f"checkpoint={room}/model", "format=torch_export", *words]) == 2
    assert "beyond verify_tolerance=0.01" in capsys.readouterr().err
    assert not list(Path("exports").iterdir())
    Path("exports/model.pt2").write_text("older")
    words.append("overwrite=true")
    assert main(["export", f"checkpoint={room}/model", "format=torch_export", *words]) == 2
    assert [path.read_text() for path in Path("exports").iterdir()] == ["older"]


@pytest.mark.parametrize("words", [["precision=float32"], ["precision=float16", "min_cosine=0.5"]])
def test_the_verified_file_is_the_written_one_and_no_copy(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    publish(FaceModel(FaceViT(embed_dim=16, depth=1, num_heads=2, embedding_size=8)), Path("model"))
    seen: list[int] = []
    monkeypatch.setattr(export.Verification, "check", lambda self, path: seen.append(path.stat().st_ino))
    assert main(["export", "checkpoint=model", "output=exports/a.onnx", *words]) == 0
    assert seen == [Path("exports/a.onnx").stat().st_ino]
    assert len(list(Path("exports").iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["verify=photographs"], "no value for verify.column, verify.root"),
        (["verify=attributes"], "needs verify.root"),
        (["verify=[absent.bin]"], "no pair set absent.bin: verify.files names .bin files"),
        (["verify=nothing"], "nothing"),
        (["verify=attributes", "verify.root={room}/table.csv", "format=safetensors"], "holds the weights"),
        (["verify=attributes", "verify.root={room}/table.csv", "verify_tolerance=-1"], "at least 0"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    words: list[str], message: str, room: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["export", f"checkpoint={room}/model", *(word.format(room=room) for word in words)]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert not Path("exports").exists()


def result(value: float, unit: str, name: str = "a") -> Result:
    return Result("p", name, "", (Measure("m", value, unit=unit), Measure("other", 7.0)))


def test_rates_move_as_they_are_and_errors_as_a_share() -> None:
    (rate,), (years,) = (
        changes([result(before, unit)], [result(after, unit)])
        for before, after, unit in ((0.80, 0.78, "rate"), (5.0, 5.5, "years"))
    )
    assert rate.amount == pytest.approx(0.02)
    assert years.amount == pytest.approx(0.1)
    assert str(years) == "p_a: m 5.00 years before, 5.50 years after"
    with pytest.raises(ValueError, match="the two runs gave other results"):
        changes([result(1, "rate")], [result(1, "rate", "b")])
