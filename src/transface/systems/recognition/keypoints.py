"""Where the five points of KP-RPE come from: a file with a line a record, or a detector or small predictor run on the
images.

The third place, the template of aligned faces, is the backbone's own. Key points (B, 5, 2) are x, y as fractions of the
image, in the order left eye, right eye, nose, left and right corner of the mouth, as the viewer sees them.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from transface.backbones.parts.keypoint_positions import aligned_keypoints
from transface.images.alignment import read_points
from transface.images.detection import Detector, choose, detect_faces
from transface.images.detectors.opening import open_detector
from transface.images.pixels import to_uint8

log = logging.getLogger(__name__)


class KeypointSource(Protocol):
    """Gives the key points of a batch before it is mirrored.

    Attributes:
        sees: "records", whose numbers it looks up, or "images", on which it is run after they were changed.
    """

    sees: Literal["records", "images"]


class FileKeypoints:
    """Key points from a CSV file of lines `record,x1,y1,...,x5,y5`: the record's position in the data set (0, 1, ...)
    and pixels of its image. A record without a line has the template's points; they are counted and told once.

    Args of the constructor:
        path: the file.
        image_size: height and width of the images in pixels, or one side.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming a line whose first word is no position, or a position that comes twice.
    """

    sees: Literal["records", "images"] = "records"

    def __init__(self, path: str | Path, *, image_size: int | tuple[int, int] = 112) -> None:
        height, width = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        found: dict[int, Tensor] = {}
        for word, points, *_ in read_points(path):
            if not word.isdigit():
                raise ValueError(f"{path}: a line begins with the position of a record in the data set, got {word!r}")
            if int(word) in found:
                raise ValueError(f"{path}: record {int(word)} has two lines")
            found[int(word)] = points / torch.tensor([width, height], dtype=points.dtype)
        self.path = Path(path)
        self.template = aligned_keypoints((height, width))
        self.table = self.template.repeat(max(found, default=-1) + 2, 1, 1)  # the last row is that of all others
        self.stated = torch.zeros(len(self.table), dtype=torch.bool)
        for record, points in found.items():
            self.table[record] = points.float()
            self.stated[record] = True
        self.num_missing = 0

    def __call__(self, keys: Tensor) -> Tensor:
        """Return the key points (B, 5, 2), float32, of records (B,)."""
        rows = keys.clamp(max=len(self.table) - 1).cpu()
        missing = int((~self.stated[rows]).sum())
        if missing and not self.num_missing:
            log.warning("%s has no points for some records: they get those of the template", self.path)
        self.num_missing += missing
        return self.table[rows].to(keys.device)


class PredictedKeypoints:
    """Key points that a predictor sees in the images: images (B, 3, H, W), RGB float in [-1, 1] -> (B, 5, 2).

    Args of the constructor:
        predictor: any such callable; an nn.Module is moved to the images' device, frozen and run in eval mode.
    """

    sees: Literal["records", "images"] = "images"

    def __init__(self, predictor: Callable[[Tensor], Tensor]) -> None:
        self.predictor = predictor
        if isinstance(predictor, torch.nn.Module):
            predictor.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the key points (B, 5, 2)."""
        if isinstance(self.predictor, torch.nn.Module):
            self.predictor.to(images.device)
        return self.predictor(images)


class DetectedKeypoints:
    """Key points of the largest face that a detector finds; where it finds none, the template's, counted in
    `num_missing`.

    Args of the constructor:
        detector: "mtcnn", "yunet:FILE.onnx", "scrfd:FILE.onnx", or one that is open.
    """

    sees: Literal["records", "images"] = "images"

    def __init__(self, detector: str | Detector = "mtcnn") -> None:
        self.detector = open_detector(detector)
        self.num_missing = 0

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the key points (B, 5, 2) of images (B, 3, H, W), RGB float in [-1, 1]."""
        height, width = images.shape[-2:]
        pictures = list(to_uint8(images).permute(0, 2, 3, 1).cpu().numpy())
        points = aligned_keypoints((height, width)).repeat(len(images), 1, 1)
        for row, faces in enumerate(detect_faces(self.detector, pictures)):
            taken = choose(faces, "largest", picture=(height, width))
            if taken:
                points[row] = torch.from_numpy(faces.points[taken[0]] / np.array([width, height], np.float32))
            else:
                self.num_missing += 1
        return points.to(images.device)
