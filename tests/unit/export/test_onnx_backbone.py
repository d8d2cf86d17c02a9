"""An ONNX file stands in for a backbone."""

from pathlib import Path
from typing import Any

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
from transface.inference.face_model import FaceModel
from transface.inference.publishing import publish


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


def with_front(
    onnx_file: Path, path: Path, steps: list[tuple[str, list[float]]], *, constants: str = "initializer"
) -> Path:
    """Write the file with nodes without telling names before its first one: (operation, its constants)."""
    graph = onnx.load(onnx_file)
    name, nodes = "pixels", []
    for number, (kind, values) in enumerate(steps):
        names = [f"value_{number}_{place}" for place in range(len(values))]
        for own, value in zip(names, values, strict=True):
            array = np.float32(value) if kind != "BatchNormalization" else np.full(3, value, np.float32)
            tensor = onnx.numpy_helper.from_array(array, own)
            if constants == "initializer":
                graph.graph.initializer.append(tensor)
            else:
                nodes.append(onnx.helper.make_node("Constant", [], [own], value=tensor))
        out = "input.1" if number == len(steps) - 1 else f"between_{number}"
        nodes.append(onnx.helper.make_node(kind, [name, *names], [out], name=f"node_{number}"))
        name = out
    for node in reversed(nodes):
        graph.graph.node.insert(0, node)
    graph.graph.input[0].name = "pixels"
    del graph.metadata_props[:]  # ours state their range
    onnx.save(graph, path)
    return path


PIXEL_FRONTS = {
    "sub, mul": [("Sub", [127.5]), ("Mul", [1 / 127.5])],
    "sub, div": [("Sub", [127.5]), ("Div", [128.0])],
    "mul, add": [("Mul", [1 / 127.5]), ("Add", [-1.0])],
    "div, sub": [("Div", [127.5]), ("Sub", [1.0])],
    "batch norm": [("BatchNormalization", [1.0, 0.0, 127.5, 127.5**2])],
}


@pytest.mark.parametrize("constants", ["initializer", "node"])
@pytest.mark.parametrize("steps", PIXEL_FRONTS.values(), ids=PIXEL_FRONTS)
def test_a_file_that_scales_pixels_itself_gets_pixels(
    onnx_file: Path, tmp_path: Path, steps: Any, constants: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = with_front(onnx_file, tmp_path / "own.onnx", steps, constants=constants)
    faces = random_faces((112, 112), num_faces=3)
    found, wanted = transface.load(path), transface.load(onnx_file)
    assert str(found.backbone.input_range) == "[0,255]"
    assert "takes images in [0,255] (it begins with x * 0.00" in caplog.text
    assert "input_range=[-1,1] says otherwise" in caplog.text
    torch.testing.assert_close(found.embed(faces), wanted.embed(faces), rtol=1e-2, atol=1e-2)
    caplog.clear()
    other = transface.load(path, input_range=[-1, 1])
    assert caplog.text == ""
    assert (other.embed(faces) - wanted.embed(faces)).norm(dim=1).min() > 0.05  # the old, silent fault
    assert other.fingerprint() != found.fingerprint()


def test_a_file_that_takes_numbers_from_zero_to_one_gets_them(onnx_file: Path, tmp_path: Path) -> None:
    path = with_front(onnx_file, tmp_path / "own.onnx", [("Sub", [0.5]), ("Div", [0.5])])
    faces = random_faces((112, 112), num_faces=3)
    found = transface.load(path)
    assert str(found.backbone.input_range) == "[0,1]"
    torch.testing.assert_close(found.embed(faces), transface.load(onnx_file).embed(faces), rtol=1e-4, atol=1e-4)


def linear_file(path: Path, *, factor: float, offset: float) -> Path:
    """Write a network that is one product of pixels, into whose weights x * factor + offset is folded."""
    weights = np.random.default_rng(0).normal(size=(3 * 16 * 16, 8)).astype(np.float32)
    value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    nodes = [
        onnx.helper.make_node("Flatten", ["x"], ["flat"]),
        onnx.helper.make_node("Gemm", ["flat", "weight", "bias"], ["y"]),
    ]
    graph = onnx.helper.make_graph(nodes, "g", [value("x", kind, ["N", 3, 16, 16])], [value("y", kind, ["N", 8])])
    for name, array in (("weight", weights * factor), ("bias", weights.sum(0) * offset)):
        graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_a_file_with_the_scaling_inside_its_weights_is_seen_through(tmp_path: Path) -> None:
    folded = transface.load(linear_file(tmp_path / "folded.onnx", factor=1 / 127.5, offset=-1.0))
    plain = transface.load(linear_file(tmp_path / "plain.onnx", factor=1.0, offset=0.0))
    assert [str(model.backbone.input_range) for model in (folded, plain)] == ["[0,255]", "[-1,1]"]
    faces = random_faces((16, 16), num_faces=3)
    torch.testing.assert_close(folded.embed(faces), plain.embed(faces), rtol=1e-3, atol=1e-3)


def test_names_of_mxnet_tell_where_no_constant_does(onnx_file: Path, tmp_path: Path) -> None:
    graph = onnx.load(onnx_file)
    del graph.metadata_props[:]
    graph.graph.node[0].name, graph.graph.node[1].name = "_minusscalar0", "_mulscalar0"
    onnx.save(graph, tmp_path / "old.onnx")
    assert str(OnnxBackbone(tmp_path / "old.onnx").input_range) == "[0,255]"


def test_our_own_files_state_their_range(onnx_file: Path) -> None:
    assert "transface.range" in {entry.key for entry in onnx.load(onnx_file).metadata_props}
    assert str(OnnxBackbone(onnx_file).input_range) == "[-1,1]"


@pytest.mark.parametrize("value", [[0], [1, 0], "pixels", [0, float("nan")], [0, 1, 2], 255, [None, 1]])
def test_a_range_that_is_none_is_refused(onnx_file: Path, value: Any) -> None:
    with pytest.raises(ValueError, match=r"input_range must be the numbers for black and white.*got"):
        transface.load(onnx_file, input_range=value)


def test_a_range_of_what_is_no_file_of_elsewhere_is_refused(backbone: FaceViT, tmp_path: Path) -> None:
    publish(FaceModel(backbone), tmp_path / "own")
    with pytest.raises(ValueError, match=r"input_range=\[0, 255\] is for \.onnx files of elsewhere"):
        transface.load(tmp_path / "own", input_range=[0, 255])


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
