"""An ONNX file with named outputs as a network: what `transface export` wrote of any system, opened again.

Shapes: N images of H x W pixels.
"""

import json
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from transface.artifacts import hash_file
from transface.backbones.features import Output, as_output
from transface.export.onnx_backbone import open_session
from transface.file_kinds import described_file

OUTPUTS_KEY = "transface.outputs"


class OnnxNetwork(nn.Module):
    """Runs an ONNX file whose metadata say what its outputs are. Nothing can be trained.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it does not say what its outputs are, or is no such model.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        path = Path(path)
        described = stated_outputs(path)
        if described is None:
            raise ValueError(f"{path} does not say what its outputs are: expected a file of 'transface export'")
        self.outputs: dict[str, Output] = described
        self.session = open_session(path)
        self.file_hash = hash_file(path)  # its weights, as far as a fingerprint is concerned
        shape = self.session.get_inputs()[0].shape
        names = [entry.name for entry in self.session.get_outputs()]
        if len(shape) != 4 or shape[1] != 3 or names != list(self.outputs):
            raise ValueError(
                f"{path} has an input {shape} and outputs {names}, and states {list(self.outputs)}: export it again"
            )
        self.image_size = (int(shape[2]), int(shape[3]))
        self.input_name = self.session.get_inputs()[0].name
        widths = {entry.name: entry.shape[-1] for entry in self.session.get_outputs()}
        self.embedding_size = int(widths["embedding"]) if "embedding" in widths else 0
        self._answer = namedtuple("Answers", names)  # type: ignore[misc]

    def forward(self, images: Tensor) -> Any:
        """Return the NamedTuple of raw outputs for images (N, 3, H, W), on their device."""
        pixels = np.ascontiguousarray(images.detach().float().cpu().numpy())
        rows = self.session.run(list(self.outputs), {self.input_name: pixels})
        return self._answer(*(torch.from_numpy(np.asarray(row, dtype=np.float32)).to(images.device) for row in rows))


def stated_outputs(path: str | Path) -> dict[str, Output] | None:
    """Return the outputs that a file's metadata state, by name; None where it states none.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no ONNX model, or what it states is none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no ONNX model at {path}")
    try:
        graph = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf raises classes of its own
        said = described_file(path) or (str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise ValueError(f"{path} cannot be opened as an ONNX file: {said}") from error
    text = next((entry.value for entry in graph.metadata_props if entry.key == OUTPUTS_KEY), None)
    if text is None:
        return None
    try:
        return {str(name): as_output(value) for name, value in json.loads(text).items()}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: its {OUTPUTS_KEY} are none: {error}") from error
