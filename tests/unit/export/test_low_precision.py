"""Half precision and 8 bits: smaller files of the same shape, close to the original."""

from pathlib import Path

import onnx
import pytest
import torch

from transface.backbones.face_vit import FaceViT
from transface.export.agreement import compare, random_faces
from transface.export.low_precision import to_float16, to_int8
from transface.export.onnx_backbone import OnnxBackbone
from transface.export.to_onnx import runner


def test_half_precision_is_half_the_size_and_close(backbone: FaceViT, onnx_file: Path, tmp_path: Path) -> None:
    small = tmp_path / "half.onnx"
    to_float16(onnx_file, small)
    found = compare(runner(backbone), runner(OnnxBackbone(small)), random_faces((112, 112)))
    # x86 multiplies halves in float32, Arm adds in half precision too: 6 times its eps was seen there
    assert 1e-7 < found.max_difference < 16 * torch.finfo(torch.half).eps
    assert found.min_cosine > 0.999
    assert small.stat().st_size < 0.6 * onnx_file.stat().st_size
    check_front(small, "float16")


def test_eight_bits_are_a_quarter_of_the_size_and_near(backbone: FaceViT, onnx_file: Path, tmp_path: Path) -> None:
    small, faces = tmp_path / "int8.onnx", random_faces((112, 112), num_faces=32, seed=1)
    to_int8(onnx_file, small, faces)
    found = compare(runner(backbone), runner(OnnxBackbone(small)), faces)
    assert found.max_difference > 1e-5
    assert found.min_cosine > 0.95
    assert small.stat().st_size < 0.45 * onnx_file.stat().st_size
    check_front(small, "int8")
    weights = [
        entry
        for entry in onnx.load(small).graph.initializer
        if entry.data_type == onnx.TensorProto.INT8 and len(entry.dims) > 1
    ]
    assert weights


def check_front(path: Path, precision: str) -> None:
    graph = onnx.load(path)
    onnx.checker.check_model(graph)
    assert [entry.name for entry in graph.graph.input] == ["input.1"]
    assert graph.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert graph.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert not any(node.name.startswith(("Sub", "_minus", "Mul", "_mul")) for node in graph.graph.node)
    words = {entry.key: entry.value for entry in graph.metadata_props}
    assert words["transface.precision"] == precision
    assert words["transface.colours"] == "RGB"


def test_a_few_faces_are_no_calibration(onnx_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 32 real faces to calibrate on, got 8"):
        to_int8(onnx_file, tmp_path / "a.onnx", random_faces((112, 112)))
