"""MTCNN as the package facenet-pytorch brings it, with its weights.

facenet-pytorch 2.6.0 pins older versions of torch, NumPy and Pillow than it needs: it is installed with --no-deps.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from transface.images.detection import Faces, no_faces, sorted_faces

CORNER = 0.5  # its points count from the corner of the first pixel, ours from its centre
INSTALL = "'pip install --no-deps facenet-pytorch==2.6.0' and 'pip install requests' install it"


class MtcnnDetector:
    """MTCNN: three small networks over a pyramid of the picture.

    Args:
        min_face_size: pixels of the shorter side of a face's box.
        device: where the networks run.

    Raises:
        ValueError: if the package is missing.
    """

    def __init__(self, *, min_face_size: int = 20, device: str | torch.device = "cpu") -> None:
        try:
            from facenet_pytorch import MTCNN
        except ImportError as error:
            raise ValueError(f"detector=mtcnn needs facenet-pytorch ({error}): {INSTALL}") from None
        self.name = f"mtcnn (facenet-pytorch 2.6, faces from {min_face_size} px)"
        self.min_face_size = min_face_size
        self.network: Any = MTCNN(
            min_face_size=min_face_size, keep_all=True, select_largest=False, device=torch.device(device)
        )

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Faces]:
        """Return the faces of each picture; pictures of one size are looked at together."""
        found: list[Faces] = [no_faces() for _ in images]
        by_size: dict[tuple[int, ...], list[int]] = {}
        for place, image in enumerate(images):
            if min(image.shape[:2]) >= self.min_face_size:  # the networks fail at smaller ones
                by_size.setdefault(image.shape, []).append(place)
        for places in by_size.values():
            batch = np.stack([images[place] for place in places])
            boxes, scores, points = self.network.detect(batch, landmarks=True)
            for place, box, score, five in zip(places, boxes, scores, points, strict=True):
                if box is not None:
                    found[place] = sorted_faces(
                        np.asarray(box, float), np.asarray(five, float) - CORNER, np.asarray(score, float)
                    )
        return found
