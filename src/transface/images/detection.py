"""What a face detector is, what it gives, and which of the faces of a picture are taken.

Shapes: n faces of a picture. Coordinates are (x, y) in pixels of the upright picture, the centre of the first pixel
being (0, 0).
"""

import logging
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from transface.images.fit import resize

log = logging.getLogger(__name__)

Policy = Literal["largest", "central", "score", "all", "only"]
POLICIES: tuple[str, ...] = get_args(Policy)
MAX_SIDE = 1280
AMBIGUOUS = 0.5  # of the largest face's area
SMALL_PICTURE, ENLARGED = 32, 160


class Faces(NamedTuple):
    """The faces of one picture, the highest score first.

    Attributes:
        boxes: (n, 4) float32: x1, y1, x2, y2; they may leave the picture.
        points: (n, 5, 2) float32: left eye, right eye, nose, left and right mouth corner, as the viewer sees them.
        scores: (n,) float32.
        failed: why there is none although a policy has yet to choose: the detector could not look at the picture, or
            all are too small; else None.
    """

    boxes: NDArray[np.float32]
    points: NDArray[np.float32]
    scores: NDArray[np.float32]
    failed: str | None = None

    def __len__(self) -> int:  # the number of faces, not of fields
        return int(self.scores.shape[0])

    def take(self, places: Sequence[int]) -> "Faces":
        """Return the faces at `places`."""
        chosen = np.asarray(places, dtype=np.int64)
        return Faces(self.boxes[chosen], self.points[chosen], self.scores[chosen], self.failed)


def no_faces(failed: str | None = None) -> Faces:
    """Return what a picture without faces gives."""
    return Faces(np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32), np.zeros(0, np.float32), failed)


def sorted_faces(boxes: Any, points: Any, scores: Any) -> Faces:
    """Return n boxes, points and scores of any array-like as Faces, the highest score first; faces with numbers that
    are not finite go.
    """
    found = Faces(
        np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(points, np.float32).reshape(-1, 5, 2),
        np.asarray(scores, np.float32).reshape(-1),
    )
    finite = np.isfinite(found.boxes).all(-1) & np.isfinite(found.points).all((-2, -1)) & np.isfinite(found.scores)
    order = np.flatnonzero(finite)
    return found.take(order[np.argsort(-found.scores[order], kind="stable")].tolist())


class Detector(Protocol):
    """Finds faces. An object belongs to one thread at a time.

    Attributes:
        name: of the detector, with what else decides its result: it is written beside what it found.
    """

    name: str

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Faces]:
        """Return the faces of each picture (H, W, 3), RGB; pictures may have any sizes."""
        ...


def detect_faces(
    detector: Detector, images: Sequence[NDArray[np.uint8]], *, max_side: int = MAX_SIDE, min_eye_distance: float = 0.0
) -> list[Faces]:
    """Return the faces of each picture (H, W, 3), RGB uint8, in its own pixels.

    Large pictures are reduced first, pictures below 32 pixels enlarged; a detector that fails at a picture costs that
    picture alone.

    Args:
        max_side: pixels; the longer side of what the detector sees.
        min_eye_distance: pixels of the picture; faces with less between the eyes are left out.
    """
    scales = [_scale(image.shape[:2], max_side) for image in images]
    seen = [_scaled(image, scale) for image, scale in zip(images, scales, strict=True)]
    found = []
    for faces, image, small in zip(_detect_each(detector, seen), images, seen, strict=True):
        # Pixel i of the picture lies at (i + 1/2) * scale - 1/2 of what the detector saw. Sides are whole pixels, so
        # the two scales of a narrow picture differ.
        scale = np.array([small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]])
        boxes, points = (faces.boxes + 0.5) / np.tile(scale, 2) - 0.5, (faces.points + 0.5) / scale - 0.5
        own = Faces(boxes.astype(np.float32), points.astype(np.float32), faces.scores, faces.failed)
        found.append(_of_size(own, min_eye_distance))
    return found


def _of_size(faces: Faces, min_eye_distance: float) -> Faces:
    """Return the faces with so many pixels between the eyes; where all have fewer, `failed` says so."""
    eyes = np.linalg.norm(faces.points[:, 1] - faces.points[:, 0], axis=-1)
    kept = faces.take(np.flatnonzero(eyes >= min_eye_distance).tolist())
    if len(kept) or not len(faces):
        return kept
    what = "the face has" if len(faces) == 1 else f"the largest of {len(faces)} faces has"
    return no_faces(
        f"{what} {eyes.max():.1f} pixels between the eyes, fewer than min_eye_distance={min_eye_distance:g}"
    )


def _scale(size: tuple[int, ...], max_side: int) -> float:
    if max(size) > max_side:
        return max_side / max(size)
    return ENLARGED / max(size) if max(size) < SMALL_PICTURE else 1.0


def _scaled(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale == 1.0:
        return image
    sides = (max(round(image.shape[0] * scale), 1), max(round(image.shape[1] * scale), 1))
    small = resize(torch.from_numpy(image).permute(2, 0, 1), sides)
    return np.ascontiguousarray(small.permute(1, 2, 0).numpy())


def _detect_each(detector: Detector, images: Sequence[NDArray[np.uint8]]) -> list[Faces]:
    try:
        return detector.detect(images)
    except Exception as error:  # a library's: of any class
        if len(images) == 1:
            return [no_faces(f"detector failed: {(str(error) or type(error).__name__).splitlines()[0][:200]}")]
    return [faces for image in images for faces in _detect_each(detector, [image])]


def choose(faces: Faces, policy: Policy, *, picture: tuple[int, int]) -> list[int]:
    """Return which faces of a picture of (height, width) a policy takes.

    largest: by the area of the box. central: area less twice the squared distance of its centre from the picture's.
    score: the highest.
    all: every one. only: the one face of a picture with exactly one.

    Raises:
        ValueError: for an unknown policy.
    """
    if policy not in POLICIES:
        raise ValueError(f"faces must be one of {', '.join(POLICIES)}, got {policy!r}")
    if not len(faces) or (policy == "only" and len(faces) > 1):
        return []
    if policy == "all":
        return list(range(len(faces)))
    if policy in ("score", "only"):
        return [0]
    value = areas(faces)
    if policy == "central":
        centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
        middle = np.array([(picture[1] - 1) / 2, (picture[0] - 1) / 2])
        value = value - 2 * ((centres - middle) ** 2).sum(-1)
    return [int(np.argmax(value))]


def areas(faces: Faces) -> NDArray[np.float64]:
    """Return the areas (n,) of the boxes."""
    sides = np.maximum(faces.boxes[:, 2:] - faces.boxes[:, :2], 0).astype(np.float64)
    product: NDArray[np.float64] = sides.prod(-1)
    return product


def is_ambiguous(faces: Faces) -> bool:
    """Return whether the second largest face has more than half the area of the largest."""
    found = np.sort(areas(faces))[::-1]
    return len(found) > 1 and bool(found[1] > AMBIGUOUS * found[0])


def reason_for_none(faces: Faces, policy: Policy) -> str:
    """Return why a policy took no face of a picture."""
    if faces.failed is not None:
        return faces.failed
    return (
        f"{len(faces)} faces, and faces=only takes pictures of one"
        if policy == "only" and len(faces) > 1
        else "no face was found"
    )
