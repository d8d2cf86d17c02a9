"""insightface's own recogniser class opens our files and gives our numbers (`make test-insightface` installs it
apart).
"""

from pathlib import Path

import numpy as np
import pytest
import torch

import transface

model_zoo = pytest.importorskip(
    "insightface.model_zoo", reason="the package insightface is not installed: make test-insightface"
)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_its_router_takes_the_file_for_a_recogniser(
    onnx_file: Path, tmp_path: Path, pictures: np.ndarray, precision: str
) -> None:
    path = onnx_file
    if precision == "float16":
        from transface.export.low_precision import to_float16

        path = tmp_path / "half.onnx"
        to_float16(onnx_file, path)
    opened = model_zoo.get_model(str(path), providers=["CPUExecutionProvider"])
    assert type(opened).__name__ == "ArcFaceONNX"
    assert (opened.input_mean, opened.input_std, opened.input_size) == (127.5, 127.5, (112, 112))
    rows = opened.get_feat([picture[..., ::-1] for picture in pictures])  # it takes BGR, as OpenCV reads
    found = torch.nn.functional.normalize(torch.from_numpy(rows))
    wanted = transface.load(onnx_file).embed(pictures)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 if precision == "float32" else 5e-3)
