"""YuNet as OpenCV's FaceDetectorYN runs it, from an .onnx file of the user's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transface.artifacts import hash_file
from transface.file_kinds import kind_or
from transface.images.detection import Faces, no_faces, sorted_faces
from transface.images.fit import resize

FIRST_SIDE = 640  # of what is looked at first: faces of some 10 to 300 pixels are found
WHERE = "OpenCV's Zoo publishes face_detection_yunet_*.onnx"


class YunetDetector:
    """YuNet: one small network. Looks at a picture of at most 640 pixels, and at the whole one if it finds nothing.

    Args:
        file: the .onnx.
        score_threshold: faces below are left out.

    Raises:
        ValueError: if OpenCV is missing or too old, or the file is no such network.
        FileNotFoundError: if the file is not there.
    """

    def __init__(self, file: str | Path, *, score_threshold: float = 0.6) -> None:
        try:
            import cv2
        except ImportError as error:
            raise ValueError(
                f"detector=yunet needs OpenCV ({error}): 'pip install opencv-python-headless' installs it"
            ) from None
        if not Path(file).is_file():
            raise FileNotFoundError(f"no detector at {file}: {WHERE}")
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # each object warns of its graph engine
        try:
            self.network: Any = cv2.FaceDetectorYN.create(str(file), "", (320, 320), score_threshold, 0.3, 5000)
        except (cv2.error, AttributeError) as error:
            raise ValueError(f"{file} cannot be opened by OpenCV's FaceDetectorYN: {kind_or(error, file)}") from None
        network = f"{Path(file).name} {hash_file(file)[:12]}"
        self.name = f"yunet ({network}, OpenCV {cv2.__version__}, scores from {score_threshold:g})"

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Faces]:
        """Return the faces of each picture."""
        return [self._detect(image) for image in images]

    def _detect(self, image: NDArray[np.uint8]) -> Faces:
        side = max(image.shape[:2])
        if side > FIRST_SIDE:
            scale = FIRST_SIDE / side
            found = self._look(_reduced(image, scale))
            if len(found):
                return Faces((found.boxes + 0.5) / scale - 0.5, (found.points + 0.5) / scale - 0.5, found.scores)
        return self._look(image)

    def _look(self, image: NDArray[np.uint8]) -> Faces:
        self.network.setInputSize((image.shape[1], image.shape[0]))
        _, rows = self.network.detect(np.ascontiguousarray(image[:, :, ::-1]))
        if rows is None:
            return no_faces()
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        return sorted_faces(boxes, rows[:, 4:14], rows[:, 14])


def _reduced(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    import torch

    sides = (max(round(image.shape[0] * scale), 1), max(round(image.shape[1] * scale), 1))
    return np.ascontiguousarray(
        resize(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1), sides).permute(1, 2, 0).numpy()
    )
