"""An ONNX file as a backbone: onnxruntime runs it, evaluation and the API use it like any other.

Shapes: N faces, E embedding size.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from transface.artifacts import hash_file
from transface.backbones.features import FACE_OUTPUTS, FaceFeatures
from transface.export.input_range import PIXELS, SIGNED, InputRange, range_of, stated_range
from transface.file_kinds import described_file

log = logging.getLogger(__name__)
NUMBERS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxBackbone(nn.Module):
    """Runs an ONNX recogniser: one input (N, 3, H, W), RGB float of any precision, and one output (N, E).

    Files whose batch size is fixed are run in pieces of it. There are no tokens and nothing can be trained.

    Args:
        batch_size: of a file that does not fix it: run in pieces of so many; None: whole batches.
        input_range: the numbers that the file takes for black and white; None: those it states, else a guess
            (`range_of`), which is logged where it is another than [-1, 1].

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no such model, or the range is none.
    """

    outputs = FACE_OUTPUTS

    patch_size = 0
    grid_size = (0, 0)

    def __init__(self, path: str | Path, *, batch_size: int | None = None, input_range: Any = None) -> None:
        super().__init__()
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no ONNX model at {path}")
        self.session = open_session(path)
        self.file_hash = hash_file(path)  # its weights, as far as a fingerprint is concerned
        shapes = [tuple(entry.shape) for entry in (*self.session.get_inputs(), *self.session.get_outputs())]
        if (
            len(shapes) != 2
            or len(shapes[0]) != 4
            or shapes[0][1] != 3
            or not all(isinstance(side, int) for side in shapes[0][2:])
        ):
            raise ValueError(
                f"{path} is no face recogniser: expected one input (N, 3, H, W) and one output (N, E), got {shapes}"
            )
        if (numbers := self.session.get_inputs()[0].type) not in NUMBERS:
            raise ValueError(f"{path} takes {numbers}, expected images of floating-point numbers")
        self.numbers = NUMBERS[numbers]
        self.input_name, self.output_name = self.session.get_inputs()[0].name, self.session.get_outputs()[0].name
        self.image_size = (int(shapes[0][2]), int(shapes[0][3]))
        self.fixed_batch_size = shapes[0][0] if isinstance(shapes[0][0], int) else batch_size
        with torch.inference_mode():
            self.input_range = SIGNED
            self.embedding_size = int(self._run(torch.zeros(self.fixed_batch_size or 1, 3, *self.image_size)).shape[1])
            self.input_range = self._guessed_range(path) if input_range is None else stated_range(input_range)
        if self.input_range != SIGNED:  # the same file is another network for another range
            self.file_hash = f"{self.file_hash} for {self.input_range}"

    def forward(self, images: Tensor) -> FaceFeatures:
        """Return FaceFeatures with the embedding (N, E) alone, on the device of the images (N, 3, H, W)."""
        if self.fixed_batch_size is None:
            return FaceFeatures(self._run(images))
        pieces = [self._run_padded(piece, self.fixed_batch_size) for piece in images.split(self.fixed_batch_size)]
        return FaceFeatures(torch.cat(pieces))

    def _guessed_range(self, path: Path) -> InputRange:
        guess = range_of(
            onnx.load(path, load_external_data=False), lambda images: self(images).embedding, self.image_size
        )
        if guess.range != SIGNED:
            other = SIGNED if guess.range == PIXELS else PIXELS
            log.warning(
                "%s takes images in %s (%s); input_range=%s says otherwise", path, guess.range, guess.reason, other
            )
        return guess.range

    def patch_importance(self, images: Tensor) -> Tensor | None:
        """Return None: there is no gate."""
        return None

    def _run(self, images: Tensor) -> Tensor:
        faces = images.detach().float().cpu()
        pixels = np.ascontiguousarray(self.input_range.of(faces).numpy(), dtype=self.numbers)
        rows = self.session.run([self.output_name], {self.input_name: pixels})[0]
        return torch.from_numpy(np.asarray(rows, dtype=np.float32)).to(images.device)

    def _run_padded(self, images: Tensor, size: int) -> Tensor:
        missing = size - len(images)
        return self._run(torch.cat([images, images.new_zeros(missing, *images.shape[1:])]) if missing else images)[
            : len(images)
        ]


def open_session(path: Path) -> Any:
    """Return an onnxruntime session on the devices it was built for, with as many threads as torch uses.

    Raises:
        ValueError: if the file is no ONNX model.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=onnxruntime.get_available_providers())
    except Exception as error:  # onnxruntime raises a class of its own for each way a file can be broken
        said = described_file(path) or str(error).splitlines()[0]
        raise ValueError(f"{path} cannot be opened by onnxruntime: {said}") from error
