"""An ONNX file stands in for a backbone."""

from pathlib import Path

import onnx
import pytest
import torch

import transface
from transface.backbones.face_vit import FaceViT
from transface.export.agreement import random_faces
from transface.export.onnx_backbone import OnnxBackbone


def test_it_is_opened_like_any_model(backbone: FaceViT, onnx_file: Path) -> None:
    model = transface.load(onnx_file)
    faces = random_faces((112, 112), num_faces=5)
    with torch.no_grad():
        wanted = torch.nn.functional.normalize(backbone(faces).embedding)
    torch.testing.assert_close(model.embed(faces, batch_size=2), wanted, rtol=1e-4, atol=1e-4)
    assert model.embedding_size == 16
    assert model.backbone.patch_importance(faces) is None


def test_a_file_of_fixed_batch_size_takes_any_number(backbone: FaceViT, onnx_file: Path, tmp_path: Path) -> None:
    graph = onnx.load(onnx_file)
    for entry in (graph.graph.input[0], graph.graph.output[0]):
        entry.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(graph, tmp_path / "fixed.onnx")
    faces = random_faces((112, 112), num_faces=5)
    found, wanted = OnnxBackbone(tmp_path / "fixed.onnx")(faces).embedding, OnnxBackbone(onnx_file)(faces).embedding
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_what_is_no_recogniser_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        OnnxBackbone(tmp_path / "absent.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"broken\.onnx cannot be opened"):
        transface.load(tmp_path / "broken.onnx")
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    shape = (onnx.TensorProto.FLOAT, [1, 5])
    graph = onnx.helper.make_graph([node], "g", [value("x", *shape)], [value("y", *shape)])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10), tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="no face recogniser"):
        OnnxBackbone(tmp_path / "other.onnx")
