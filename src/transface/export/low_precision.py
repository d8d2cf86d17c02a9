"""Smaller and faster ONNX files: half precision, and 8-bit integers calibrated on real faces.

Shapes: N faces, H x W pixels. Input and output stay float32, so that the same tools open the file.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel
from torch import Tensor

from transface.export.quiet import quiet
from transface.export.to_onnx import describe, hide_pixel_scaling_names, writing_graph

Check = Callable[[Path], None]  # of a file that is written, and not yet in its place
CALIBRATION_BATCH = 8
FEWEST_CALIBRATION_FACES = 32
QUANTIZED_OPERATORS = ["Conv", "MatMul", "Gemm"]


class CalibrationFaces(CalibrationDataReader):
    """Hands faces (N, 3, H, W), float in [-1, 1], to the calibration in small batches."""

    def __init__(self, input_name: str, faces: Tensor) -> None:
        self.input_name = input_name
        self.batches = self._batches(faces)

    def _batches(self, faces: Tensor) -> Iterator[NDArray[Any]]:
        for part in faces.float().cpu().split(CALIBRATION_BATCH):
            yield np.ascontiguousarray(part.numpy())

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """Return the next batch, or None after the last."""
        batch = next(self.batches, None)
        return None if batch is None else {self.input_name: batch}


def to_float16(source: str | Path, path: str | Path, *, check: Check | None = None) -> None:
    """Write the ONNX model `source` with half-precision weights and arithmetic to `path`.

    Args:
        check: called with the file before it takes its place; may raise.
    """
    with quiet():
        graph = convert_float_to_float16(onnx.load(source), keep_io_types=True)
        OnnxModel(graph).topological_sort()  # the casts of input and output were put at the end
    _finish(graph, Path(path), {"precision": "float16"}, check)


def to_int8(source: str | Path, path: str | Path, calibration_faces: Tensor, *, check: Check | None = None) -> None:
    """Write the ONNX model `source` with 8-bit convolutions and matrix products to `path`.

    Ranges of activations are the extremes over `calibration_faces` (N, 3, H, W), float in [-1, 1]; weights have one
    scale per output channel. Norms, softmax and the gate stay float.

    Args:
        check: called with the file before it takes its place; may raise.

    Raises:
        ValueError: if there are fewer than 32 calibration faces: ranges of noise or of a few faces ruin a recogniser.
    """
    if len(calibration_faces) < FEWEST_CALIBRATION_FACES:
        raise ValueError(
            f"int8 needs at least {FEWEST_CALIBRATION_FACES} real faces to calibrate on, got {len(calibration_faces)}"
        )
    with tempfile.TemporaryDirectory() as folder, quiet():
        prepared, written = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(source), str(prepared), skip_optimization=False, skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(written),
            CalibrationFaces(onnx.load(prepared, load_external_data=False).graph.input[0].name, calibration_faces),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTIZED_OPERATORS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Signed weights at 7 bits: without VNNI, x86 adds two 8 x 8 bit products in 16 bits and they overflow.
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
        )
        graph = onnx.load(written)
    words = {entry.key: entry.value for entry in onnx.load(source, load_external_data=False).metadata_props}
    onnx.helper.set_model_props(graph, words)
    _finish(graph, Path(path), {"precision": "int8", "calibration_faces": len(calibration_faces)}, check)


def _finish(graph: onnx.ModelProto, path: Path, words: Mapping[str, Any], check: Check | None) -> None:
    describe(graph, words)
    hide_pixel_scaling_names(graph)
    with writing_graph(graph, path) as written:
        if check is not None:
            check(written)
