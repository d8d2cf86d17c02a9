"""Opens a detector by its name and file."""

import torch

from transface.images.detection import Detector
from transface.images.detectors.mtcnn import MtcnnDetector
from transface.images.detectors.scrfd import ScrfdDetector
from transface.images.detectors.yunet import YunetDetector


def open_detector(detector: str | Detector, *, device: str | torch.device = "cpu") -> Detector:
    """Return a detector: "mtcnn", "yunet:FILE.onnx", "scrfd:FILE.onnx", or one that is open already.

    Nothing is downloaded: MTCNN's weights are part of facenet-pytorch; the other two take a file of the user's.

    Raises:
        ValueError: for another name, a missing package or no file, with what to do.
        FileNotFoundError: if the file is not there.
    """
    if not isinstance(detector, str) and hasattr(detector, "detect"):
        return detector
    name, _, file = str(detector).partition(":")
    if name == "mtcnn" and not file:
        return MtcnnDetector(device=device)
    if name == "yunet" and file:
        return YunetDetector(file)
    if name == "scrfd" and file:
        return ScrfdDetector(file)
    raise ValueError(f"detector must be mtcnn, yunet:FILE.onnx or scrfd:FILE.onnx, got {detector!r}")
