"""Nothing that lies in a file from elsewhere is run, and no file takes more memory than it should (SECURITY.md)."""

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import transface
from transface.__main__ import main
from transface.backbones.face_vit import FaceViT
from transface.data.benchmarks.pairs import read_pair_set
from transface.data.sources.image_files import open_list
from transface.evaluation.recognition.own_protocols import PairsCsv
from transface.evaluation.results import Measure, Result, read_arrays, read_result, write_result
from transface.inference.face_model import FaceModel
from transface.inference.folders.embeddings_file import read_embeddings
from transface.inference.publishing import publish
from transface.inference.search.search_page import Answer, Hit, search_page


class Bomb:
    """Makes a folder when a pickle with it is read by someone who runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    publish(FaceModel(FaceViT(embed_dim=16, depth=1, num_heads=2, embedding_size=8)), folder)
    return folder


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "trainer.ckpt", "pairs.bin"])
@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_code_in_a_pickle_is_never_run(tmp_path: Path, name: str, kind: str) -> None:
    content = {"state_dict": {"a": torch.zeros(1)}, "extra": Bomb(tmp_path / "ran")}
    if kind == "torch":
        torch.save(content, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(([b"x"], [Bomb(tmp_path / "ran")]), protocol=4))
    with pytest.raises(ValueError, match=name):
        (read_pair_set if name == "pairs.bin" else transface.load)(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    objects = np.array([Bomb(tmp_path / "ran")], dtype=object)
    np.savez(tmp_path / "e.npz", embeddings=objects, names=objects, norms=objects, skipped=objects, about=objects)
    with pytest.raises(ValueError, match=r"e\.npz|pickle"):
        read_embeddings(tmp_path / "e.npz")
    written = write_result(Result("pair_sets", "a", "F1", (Measure("accuracy", 1.0),)), tmp_path)
    np.savez(written.with_suffix(".npz"), scores=objects)
    with pytest.raises(ValueError, match="broken"):
        read_arrays(read_result(written))
    assert not (tmp_path / "ran").exists()


def bomb_of(path: Path, names: list[str], *, size: int = 1 << 30) -> Path:
    """Write an archive of zeros that unpacks to `size` bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            with archive.open(name, "w", force_zip64=True) as stream:
                for _ in range(size >> 24):
                    stream.write(bytes(1 << 24))
    return path


@pytest.mark.parametrize("name", ["w.pt", "trainer.ckpt", "e.npz", "pair_sets_a_F1.npz"])
def test_a_zip_bomb_is_refused_unread(tmp_path: Path, name: str) -> None:
    bomb = bomb_of(tmp_path / name, ["scores.npy" if name.endswith("npz") else "archive/data.pkl"], size=1 << 28)
    assert bomb.stat().st_size < 1 << 20
    result = write_result(Result("pair_sets", "a", "F1", (Measure("accuracy", 1.0),)), tmp_path)
    readers = {"e.npz": read_embeddings, "pair_sets_a_F1.npz": lambda _: read_arrays(read_result(result))}
    with pytest.raises(ValueError, match="would unpack to"):
        readers.get(name, transface.load)(bomb)


@pytest.mark.parametrize("verb", ["report", "run"])
def test_tags_in_yaml_are_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRANSFACE_TRACEBACK", raising=False)
    run = tmp_path / "runs" / "evil"
    run.mkdir(parents=True)
    for name in ("config.yaml", "composed.yaml"):
        (run / name).write_text(f"name: !!python/object/apply:os.mkdir ['{tmp_path}/ran']\n")
    write_result(Result("pair_sets", "a", "F1", (Measure("accuracy", 1.0),)), run / "results")
    code = main(["report", str(run)] if verb == "report" else ["train", f"run={run}"])
    said = capsys.readouterr().err
    assert code in (1, 2)
    assert "Traceback" not in said
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "target",
    [
        "os.mkdir",
        "builtins.eval",
        "subprocess.Popen",
        "torch.load",
        "transface.backbones.weights.files.os.mkdir",
        "transface.backbones.timm_face.importlib.import_module",
        "transface.inference.opening.load",
        "transface.systems.recognition.module.RecognitionModule",
    ],
)
def test_a_downloaded_config_cannot_choose_what_runs(published: Path, tmp_path: Path, target: str) -> None:
    config = json.loads((published / "config.json").read_text())
    folder = tmp_path / "downloaded"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((published / "model.safetensors").read_bytes())
    config["backbone"] = {"_target_": target, "path": str(tmp_path / "ran")}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"_target_|backbone"):
        transface.load(folder)
    torch.save({"state_dict": {}, "transface": {"network": config["backbone"]}}, tmp_path / "trainer.ckpt")
    with pytest.raises(ValueError, match=r"_target_|backbone"):
        transface.load(tmp_path / "trainer.ckpt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("place", ["../secret.bin", "{folder}/secret.bin"])
def test_onnx_data_outside_the_folder_of_the_model_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "secret.bin").write_bytes(np.ones(3 * 4, np.float32).tobytes())
    weight = onnx.TensorProto(name="weight", data_type=onnx.TensorProto.FLOAT, dims=[4, 3])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=place.format(folder=tmp_path))
    weight.external_data.add(key="length", value="48")
    nodes = [
        onnx.helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        onnx.helper.make_node("Flatten", ["pooled"], ["flat"]),
        onnx.helper.make_node("Gemm", ["flat", "weight"], ["embedding"], transB=1),
    ]
    shape = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "evil",
        [shape("images", onnx.TensorProto.FLOAT, ["N", 3, 112, 112])],
        [shape("embedding", onnx.TensorProto.FLOAT, ["N", 4])],
        [weight],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "evil.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"evil\.onnx"):
        transface.load(folder / "evil.onnx")


@pytest.mark.parametrize("name", ["../private.png", "a/../../private.png", "{folder}/private.png"])
def test_a_list_cannot_name_files_outside_its_root(tmp_path: Path, name: str) -> None:
    own = tmp_path / "set"
    own.mkdir()
    Image.new("RGB", (112, 112)).save(tmp_path / "private.png")
    for own_name in ("a.png", "b.png"):
        Image.new("RGB", (112, 112)).save(own / own_name)
    path = name.format(folder=tmp_path)
    (own / "list.csv").write_text(f"path,label\na.png,0\n{path},1\n")
    with pytest.raises(ValueError, match="lies outside"):
        open_list(own / "list.csv")
    assert len(open_list(own / "list.csv", root="/")) == 2 if name.startswith("{") else True
    rows = ["a.png,b.png,1", f"a.png,{path},0"] * 6
    (own / "pairs.csv").write_text("\n".join(["image1,image2,is_same", *rows]))
    with pytest.raises(ValueError, match="lies outside"):
        PairsCsv(own / "pairs.csv").prepare()


def test_names_are_text_in_pages(tmp_path: Path) -> None:
    evil = '<img src=x onerror=alert(1)>"><script>alert(1)</script>'
    page = search_page([Answer(evil, tmp_path / "a.png", [Hit(evil, b"", 0.5)])], title=evil)
    assert "<script" not in page
    assert "<img src=x" not in page
    run = tmp_path / "run"
    write_result(Result("pair_sets", evil[:30], "F1", (Measure("accuracy", 0.5, warning=evil),)), run / "results")
    (run / "config.yaml").write_text(f"name: {json.dumps(evil)}\n")
    assert main(["report", str(run)]) == 0
    (report,) = run.rglob("*.html")
    text = report.read_text()
    assert "<img src=x" not in text
    assert "alert(1)</script>" not in text
