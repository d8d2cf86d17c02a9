"""An ONNX file stands in for a backbone."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.transformers.float16 import convert_float_to_float16

import transface
from transface.backbones.face_vit import FaceViT
from transface.export.agreement import random_faces
from transface.export.onnx_backbone import OnnxBackbone
from transface.export.quiet import quiet


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


def test_a_file_that_scales_pixels_itself_gets_pixels(onnx_file: Path, tmp_path: Path) -> None:
    graph = onnx.load(onnx_file)
    for name, value in (("shift", 127.5), ("scale", 1 / 127.5)):
        graph.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(value), name))
    first = [("Sub", ["pixels", "shift"], "moved"), ("Mul", ["moved", "scale"], "input.1")]
    nodes = [onnx.helper.make_node(kind, given, [out], name=f"{kind}_front") for kind, given, out in first]
    for node in reversed(nodes):
        graph.graph.node.insert(0, node)
    graph.graph.input[0].name = "pixels"
    onnx.save(graph, tmp_path / "old.onnx")
    faces = random_faces((112, 112), num_faces=3)
    found, wanted = OnnxBackbone(tmp_path / "old.onnx"), OnnxBackbone(onnx_file)
    assert found.takes_pixels
    assert not wanted.takes_pixels
    torch.testing.assert_close(found(faces).embedding, wanted(faces).embedding, rtol=1e-3, atol=1e-3)


def test_a_file_of_half_precision_throughout_is_opened(onnx_file: Path, tmp_path: Path) -> None:
    with quiet():
        onnx.save(convert_float_to_float16(onnx.load(onnx_file), keep_io_types=False), tmp_path / "half.onnx")
    faces = random_faces((112, 112), num_faces=3)
    found, wanted = OnnxBackbone(tmp_path / "half.onnx")(faces).embedding, OnnxBackbone(onnx_file)(faces).embedding
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02)


def test_a_file_of_whole_numbers_is_refused(tmp_path: Path) -> None:
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.UINT8
    node = onnx.helper.make_node("Flatten", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [value("x", kind, ["N", 3, 8, 8])], [value("y", kind, ["N", 192])])
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10),
        tmp_path / "bytes.onnx",
    )
    with pytest.raises(ValueError, match=r"takes tensor\(uint8\), expected images of floating-point numbers"):
        OnnxBackbone(tmp_path / "bytes.onnx")


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
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10),
        tmp_path / "other.onnx",
    )
    with pytest.raises(ValueError, match="no face recogniser"):
        OnnxBackbone(tmp_path / "other.onnx")


def test_files_of_other_weights_have_other_fingerprints(onnx_file: Path, tmp_path: Path) -> None:
    model = onnx.load(onnx_file)
    weight = next(entry for entry in model.graph.initializer if entry.name.endswith("weight"))
    values = onnx.numpy_helper.to_array(weight)
    weight.CopyFrom(onnx.numpy_helper.from_array(values * 1.5, weight.name))
    onnx.save(model, tmp_path / "other.onnx")
    assert transface.load(onnx_file).fingerprint() == transface.load(onnx_file).fingerprint()
    assert transface.load(onnx_file).fingerprint() != transface.load(tmp_path / "other.onnx").fingerprint()
