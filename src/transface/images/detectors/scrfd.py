"""SCRFD: a detection .onnx of InsightFace's, given by the user, run by ONNX Runtime.

Shapes: A anchors of a level. A level of stride s has one or two anchors at each multiple of s; the network gives for
each a score, the distances of the box's sides and of the five points, in strides.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import nms

from transface.artifacts import hash_file
from transface.file_kinds import kind_or
from transface.images.detection import Faces, no_faces, sorted_faces
from transface.images.fit import resize

DEFAULT_SIDE = 640


class Levels(NamedTuple):
    """Strides of the levels, and anchors at each place."""

    strides: tuple[int, ...]
    num_anchors: int


LEVELS = {
    9: Levels((8, 16, 32), 2),
    15: Levels((8, 16, 32, 64, 128), 1),
}  # by the number of outputs: scores, boxes, points of each level
WITHOUT_POINTS = (6, 10)


class ScrfdDetector:
    """SCRFD.

    Args:
        file: the .onnx, of a kind with five points (det_10g, det_500m, scrfd_*_bnkps).
        score_threshold, nms_threshold: as InsightFace has them.

    Raises:
        ValueError: if ONNX Runtime is missing or the file is no such network.
        FileNotFoundError: if it is not there.
    """

    def __init__(self, file: str | Path, *, score_threshold: float = 0.5, nms_threshold: float = 0.4) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ValueError(
                f"detector=scrfd needs onnxruntime ({error}): 'pip install onnxruntime' installs it"
            ) from None
        if not Path(file).is_file():
            raise FileNotFoundError(f"no detector at {file}: InsightFace publishes them in its model packs")
        try:
            self.session: Any = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own classes
            raise ValueError(f"{file} cannot be opened by ONNX Runtime: {kind_or(error, file)}") from None
        outputs, (entry, *_) = self.session.get_outputs(), self.session.get_inputs()
        if len(outputs) in WITHOUT_POINTS:
            raise ValueError(
                f"{file} gives boxes without points: alignment needs a detector with five points (det_10g,"
                " scrfd_*_bnkps)"
            )
        if len(outputs) not in LEVELS:
            raise ValueError(f"{file} is no SCRFD detector: expected 9 or 15 outputs, got {len(outputs)}")
        self.levels = LEVELS[len(outputs)]
        self.entry = entry.name
        self.outputs = [output.name for output in outputs]
        sides = entry.shape[2:]
        self.size = (
            (sides[0], sides[1]) if all(isinstance(side, int) for side in sides) else (DEFAULT_SIDE, DEFAULT_SIDE)
        )
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        size = f"{self.size[0]}x{self.size[1]}"
        self.name = f"scrfd ({Path(file).name} {hash_file(file)[:12]}, {size}, scores from {score_threshold:g})"

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Faces]:
        """Return the faces of each picture."""
        return [self._detect(image) for image in images]

    def _detect(self, image: NDArray[np.uint8]) -> Faces:
        scale = min(self.size[0] / image.shape[0], self.size[1] / image.shape[1])
        inner = (
            min(max(round(image.shape[0] * scale), 1), self.size[0]),
            min(max(round(image.shape[1] * scale), 1), self.size[1]),
        )
        small = resize(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1), inner)
        square = torch.zeros(1, 3, *self.size)
        square[0, :, : inner[0], : inner[1]] = small
        rows = self.session.run(self.outputs, {self.entry: ((square - 127.5) / 128).numpy()})
        return self._faces(rows, scale)

    def _faces(self, rows: Sequence[NDArray[np.float32]], scale: float) -> Faces:
        count = len(self.levels.strides)
        boxes, points, scores = [], [], []
        for level, stride in enumerate(self.levels.strides):
            score = rows[level].reshape(-1)
            centres = anchor_centres(self.size, stride, self.levels.num_anchors)
            chosen = np.flatnonzero(score >= self.score_threshold)
            sides = rows[level + count].reshape(-1, 4)[chosen] * stride
            offsets = rows[level + 2 * count].reshape(-1, 5, 2)[chosen] * stride
            boxes.append(np.concatenate([centres[chosen] - sides[:, :2], centres[chosen] + sides[:, 2:]], axis=1))
            points.append(centres[chosen][:, None] + offsets)
            scores.append(score[chosen])
        all_boxes, all_scores = np.concatenate(boxes).astype(np.float32), np.concatenate(scores).astype(np.float32)
        if not len(all_scores):
            return no_faces()
        kept = nms(torch.from_numpy(all_boxes), torch.from_numpy(all_scores), self.nms_threshold).numpy()
        return sorted_faces(all_boxes[kept] / scale, np.concatenate(points)[kept] / scale, all_scores[kept])


def anchor_centres(size: tuple[int, int], stride: int, num_anchors: int) -> NDArray[np.float32]:
    """Return the centres (A, 2), x and y, of a level's anchors, row by row."""
    rows, columns = size[0] // stride, size[1] // stride
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2) * stride
    return np.repeat(grid, num_anchors, axis=0).astype(np.float32)
