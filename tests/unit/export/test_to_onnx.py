"""The ONNX file gives PyTorch's numbers at any batch size, says how it is fed, and is not let out when it does not
agree.
"""

import errno
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from transface.backbones.face_vit import FaceViT
from transface.backbones.features import FaceFeatures
from transface.export import to_onnx
from transface.export.agreement import Agreement, ExportError, random_faces
from transface.export.onnx_backbone import OnnxBackbone, open_session
from transface.export.to_onnx import export_onnx, hide_pixel_scaling_names


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_onnxruntime_gives_the_numbers_of_torch(backbone: FaceViT, onnx_file: Path, batch_size: int) -> None:
    faces = random_faces((112, 112), num_faces=batch_size, seed=3)
    session = onnxruntime.InferenceSession(str(onnx_file))
    found = session.run(None, {session.get_inputs()[0].name: faces.numpy()})[0]
    with torch.no_grad():
        wanted = backbone(faces).embedding.numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.linalg.norm(wanted, axis=1).max())


def test_the_file_has_the_shape_insightface_tools_expect(onnx_file: Path) -> None:
    graph = onnx.load(onnx_file)
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(str(onnx_file))
    (given,), (out,) = session.get_inputs(), session.get_outputs()
    assert given.name == "input.1"
    assert given.type == out.type == "tensor(float)"
    assert isinstance(given.shape[0], str)
    assert given.shape[1:] == [3, 112, 112]
    assert out.shape[1:] == [16]
    assert next(entry.version for entry in graph.opset_import if entry.domain == "") >= 18


def test_the_metadata_say_how_to_feed_it_and_nothing_of_the_machine(onnx_file: Path) -> None:
    words = onnxruntime.InferenceSession(str(onnx_file)).get_modelmeta().custom_metadata_map
    assert words["transface.colours"] == "RGB"
    assert words["transface.mean"] == words["transface.std"] == "[127.5, 127.5, 127.5]"
    assert words["transface.source"] == "made up"
    assert b"/home/" not in onnx_file.read_bytes()
    assert str(Path(__file__).parents[3]).encode() not in onnx_file.read_bytes()


def test_no_node_at_the_front_looks_like_pixel_scaling(onnx_file: Path) -> None:
    assert not any(node.name.startswith(("Sub", "_minus", "Mul", "_mul")) for node in onnx.load(onnx_file).graph.node)
    graph = onnx.ModelProto()
    graph.graph.node.add(op_type="Sub", name="Sub_0")
    graph.graph.node.add(op_type="Mul", name="Mul_1")
    hide_pixel_scaling_names(graph)
    assert [node.name for node in graph.graph.node] == ["node_Sub_0", "node_Mul_1"]


class Unstable(nn.Module):
    """Gives other numbers whenever it is called, so that no export of it can agree."""

    image_size = (32, 32)
    embedding_size = 4

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(3, 4)
        self.calls = 0

    def forward(self, images: Tensor) -> FaceFeatures:
        self.calls += 1
        return FaceFeatures(self.project(images.mean((2, 3))) + float(self.calls))


def test_a_file_that_does_not_agree_is_not_let_out(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="beyond the tolerance"):
        export_onnx(Unstable().eval(), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_backbone_is_left_as_it_was(tmp_path: Path) -> None:
    network = FaceViT(embed_dim=8, depth=1, num_heads=2, embedding_size=4, token_drop_rate=0.5).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    export_onnx(network, tmp_path / "a.onnx")
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_wrong_endings_and_old_opsets_are_refused(backbone: FaceViT, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"end in \.onnx"):
        export_onnx(backbone, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="at least 18, got 12"):
        export_onnx(backbone, tmp_path / "a.onnx", opset=12)


def test_weights_beside_the_file_take_the_place_of_older_ones(
    backbone: FaceViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_onnx, "INLINE_LIMIT", 1000)
    path, beside = tmp_path / "large.onnx", tmp_path / "large.onnx.data"
    to_onnx.export_onnx(backbone, path)
    size = beside.stat().st_size
    to_onnx.export_onnx(backbone, path)
    (again,) = tmp_path.glob("*.data")
    assert again.stat().st_size == size
    assert again != beside  # until the new model is there, the old one needs its own
    opened = onnx.load(path)
    assert len(opened.graph.initializer[0].raw_data) > 0
    monkeypatch.setattr(to_onnx, "INLINE_LIMIT", 1 << 30)
    to_onnx.export_onnx(backbone, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["large.onnx"]


@pytest.mark.parametrize("inline_limit", [1000, 1 << 30], ids=["weights beside", "one file"])
def test_an_old_model_stays_whole_where_the_new_one_cannot_be_written(
    backbone: FaceViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, onnx_file: Path, inline_limit: int
) -> None:
    monkeypatch.setattr(to_onnx, "INLINE_LIMIT", inline_limit)
    path, graph = tmp_path / "face.onnx", onnx.load(onnx_file)
    to_onnx.save_graph(graph, path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("transface.artifacts.sync", full)
    with pytest.raises(OSError, match="No space left"):
        to_onnx.save_graph(graph, path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("inline_limit", [1000, 1 << 30], ids=["weights beside", "one file"])
def test_a_file_is_checked_where_it_was_written_and_an_older_one_stays_where_it_does_not_pass(
    backbone: FaceViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inline_limit: int
) -> None:
    monkeypatch.setattr(to_onnx, "INLINE_LIMIT", inline_limit)
    path = tmp_path / "face.onnx"
    export_onnx(backbone, path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    looked_at = []

    def refuse(written: Path, agreement: Agreement) -> None:
        assert agreement.max_difference <= 1e-4
        looked_at.append(OnnxBackbone(written).embedding_size)
        raise ExportError("not as good as the older one")

    with pytest.raises(ExportError, match="not as good"):
        export_onnx(backbone, path, check=refuse)
    assert looked_at == [16]
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_model_is_written_once_and_read_by_the_comparison_alone(
    backbone: FaceViT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, written = [], []
    monkeypatch.setattr(onnx, "load", lambda *_, **__: pytest.fail("the graph is at hand"))
    monkeypatch.setattr(
        "transface.export.onnx_backbone.open_session", lambda path: opened.append(path) or open_session(path)
    )
    write_bytes = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda path, data: written.append(path) or write_bytes(path, data))
    export_onnx(backbone, tmp_path / "face.onnx")
    assert opened == written
    assert len(written) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["face.onnx"]
