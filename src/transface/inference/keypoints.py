"""Where a model with KP-RPE gets the five points of a face when it is used: the template of aligned faces, a file, a
detector, or a small predictor.

Key points (B, 5, 2) are x, y as fractions of the image that the network is given.
"""

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transface.artifacts import hash_file
from transface.backbones.parts.keypoint_positions import aligned_keypoints, mirror_keypoints
from transface.images.alignment import five_points
from transface.images.fit import Fit, check_fit, fit_image, placement
from transface.images.pixels import to_uint8
from transface.images.user_images import read_picture
from transface.images.user_points import points_by_name
from transface.systems.recognition.keypoints import DetectedKeypoints, PredictedKeypoints

log = logging.getLogger(__name__)
TEMPLATE = "template"
PREDICTORS = (".pt2", ".onnx")


class PictureKeypoints:
    """Key points from a CSV file of lines `image,x1,y1,...,x5,y5`, in pixels of the pictures as they lie on the disk.

    A picture is known again by its pixels as the network is given them, so that every verb may ask in any order and
    batch, mirrored too. A picture without a line has the template's points; they are counted and told once.

    Args of the constructor:
        path: the file; the pictures are relative to its folder.
        image_size: height and width that the network takes.
        fit: how pictures of another size are brought to it.

    Raises:
        FileNotFoundError: no such file, or a picture it names.
        ValueError: for a line that is none, points of another picture than lies there now, or two pictures of the same
            pixels with other points.
    """

    def __init__(self, path: str | Path, *, image_size: tuple[int, int], fit: Fit = "refuse") -> None:
        self.path = Path(path)
        self.template = aligned_keypoints(image_size)
        self.num_missing = 0
        self._found: dict[bytes, Tensor] = {}
        listed = points_by_name(path)
        listed.check(listed, lambda name: self.path.parent / name)
        for name, points in listed.items():
            picture = read_picture(self.path.parent / name, name=name)
            size = (int(picture.shape[-2]), int(picture.shape[-1]))
            seen = fit_image(picture, image_size, fit=fit, name=name)
            moved = moved_points(five_points(torch.from_numpy(points)).double(), size, image_size, fit=fit)
            for pixels, five in ((seen, moved), (seen.flip(-1), mirror_keypoints(moved))):
                known = self._found.setdefault(digest_of(pixels), five.float())
                if not torch.allclose(known, five.float(), atol=1e-4):
                    raise ValueError(f"{path}: {name} has the pixels of another picture, and other points")

    def __call__(self, images: Tensor) -> Tensor:
        """Return the key points (B, 5, 2) of images (B, 3, H, W), RGB float in [-1, 1]."""
        rows = [self._found.get(digest_of(one)) for one in to_uint8(images.float()).cpu()]
        missing = sum(row is None for row in rows)
        if missing and not self.num_missing:
            log.warning("%s has no points for some pictures: they get those of the template", self.path)
        self.num_missing += missing
        return torch.stack([self.template if row is None else row for row in rows]).to(images.device)


def digest_of(pixels: Tensor) -> bytes:
    """Return a digest of a picture (3, H, W), uint8."""
    return hashlib.sha256(np.ascontiguousarray(pixels.numpy()).tobytes()).digest()


def moved_points(points: Tensor, found: tuple[int, int], size: tuple[int, int], *, fit: Fit) -> Tensor:
    """Return points (P, 2) in pixels of a picture of size `found` as fractions of it at `size`; sizes are (height,
    width).
    """
    plan = placement(found, size, fit=fit)
    corner = points.new_tensor([plan.source_left, plan.source_top])
    scale = points.new_tensor([plan.inner[1] / plan.source[1], plan.inner[0] / plan.source[0]])
    offset = points.new_tensor([plan.left, plan.top])
    # Points count from the centre of the first pixel, sides from its edge.
    moved = (points + 0.5 - corner) * scale + offset
    return (moved - 0.5) / points.new_tensor([size[1], size[0]])


class OnnxPredictor:
    """A predictor in an ONNX file: images (B, 3, H, W), RGB float in [-1, 1] -> key points (B, 5, 2) or (B, 10)."""

    def __init__(self, path: str | Path) -> None:
        from transface.export.onnx_backbone import open_session  # onnxruntime is an extra

        self.session = open_session(Path(path))
        self.input = self.session.get_inputs()[0].name

    def __call__(self, images: Tensor) -> Tensor:
        """Return the key points (B, 5, 2)."""
        (found, *_) = self.session.run(None, {self.input: images.float().cpu().numpy()})
        return five_of(torch.from_numpy(found), images)


class ProgramPredictor:
    """A predictor in a torch.export program (.pt2): images (B, 3, H, W) -> key points (B, 5, 2) or (B, 10)."""

    def __init__(self, path: str | Path) -> None:
        self.program: Any = torch.export.load(Path(path)).module()

    def __call__(self, images: Tensor) -> Tensor:
        """Return the key points (B, 5, 2)."""
        return five_of(self.program(images.float().cpu()), images)


def five_of(found: Any, images: Tensor) -> Tensor:
    """Return what a predictor gave as key points (B, 5, 2) on the images' device.

    Raises:
        ValueError: for another shape, or numbers that are not finite.
    """
    points = found if isinstance(found, Tensor) else next(iter(found))
    if points.numel() != 10 * len(images) or not bool(torch.isfinite(points).all()):
        raise ValueError(
            f"a predictor of key points gives (B, 5, 2) fractions of the image, for {len(images)} images it gave"
            f" {tuple(points.shape)}" + ("" if bool(torch.isfinite(points).all()) else " with numbers not finite")
        )
    return points.reshape(-1, 5, 2).to(images.device)


def use_keypoints(backbone: nn.Module, source: str | None, *, fit: Fit = "refuse") -> None:
    """Let a backbone with KP-RPE take its key points from `source`.

    Args:
        source: None or "template"; a .csv with lines image,x1,y1,...,x5,y5; a predictor in an .onnx or .pt2 file; or a
            detector: mtcnn, yunet:FILE.onnx, scrfd:FILE.onnx.
        fit: how pictures of another size are brought to the network's, which moves the points of a .csv.

    Raises:
        ValueError: if the backbone takes no key points, or for what detectors and files refuse.
        FileNotFoundError: if there is no such file.
    """
    if source is None:
        return
    own: Any = backbone
    if getattr(own, "keypoint_positions", None) is None:
        raise ValueError(
            f"keypoints_from={source} is for models with KP-RPE, {type(backbone).__name__} takes none: leave it out"
        )
    if source == TEMPLATE:
        own.use_keypoints(None)
        return
    suffix = Path(source).suffix.lower() if ":" not in source else ""
    if suffix in (".csv", *PREDICTORS) and not Path(source).is_file():
        raise FileNotFoundError(f"no file of key points {source}")
    if suffix == ".csv":
        own.use_keypoints(PictureKeypoints(source, image_size=tuple(own.image_size), fit=check_fit(fit)))
    elif suffix in PREDICTORS:
        predictor = OnnxPredictor(source) if suffix == ".onnx" else ProgramPredictor(source)
        own.use_keypoints(PredictedKeypoints(predictor))
    else:
        own.use_keypoints(DetectedKeypoints(source))


def setting_of(source: str | None) -> str:
    """Return what embeddings are keyed by: "" for the template, else the source and the hash of its file."""
    if source in (None, TEMPLATE):
        return ""
    assert source is not None
    file = Path(source.partition(":")[2] or source)  # of a detector, yunet:FILE.onnx, or the source itself
    return f"{source} {hash_file(file)}" if file.is_file() else source
