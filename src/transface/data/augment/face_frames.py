"""The frame of a face: coordinates along and across the line of its eyes, in units of the distances between eyes and
mouth.

Shapes: B faces of H x W pixels, P points (5 or 68).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from transface.data.augment.occluders import eyes_and_mouth


class FaceFrame(NamedTuple):
    """Where every pixel lies in its face.

    Attributes:
        u: (B, H, W) along the eyes to the image's right, in eye distances from their middle.
        v: (B, H, W) down, in eye distances.
        eye_distance: (B, 1, 1) pixels between the eyes.
        mouth_drop: (B, 1, 1) from the middle of the eyes to that of the mouth, in eye distances.
        turn: (B, 1, 1) from -1 to 1: how far the face looks to the image's left or right.
    """

    u: Tensor
    v: Tensor
    eye_distance: Tensor
    mouth_drop: Tensor
    turn: Tensor


class FaceAxes(NamedTuple):
    """The frame itself: origin (B, 2), unit vectors along and down (B, 2), eye distance (B,), turn (B,), mouth drop
    (B,).
    """

    origin: Tensor
    along: Tensor
    down: Tensor
    eye_distance: Tensor
    turn: Tensor
    mouth_drop: Tensor


def face_axes(points: Tensor, known: Tensor) -> FaceAxes:
    """Return the axes of faces by their points (B, P, 2); of a face that `known` (B,) denies, some that are finite."""
    points = torch.where(known[:, None, None], points.float(), _stand_in(points))
    eyes, mouth = eyes_and_mouth(points)
    origin = eyes.mean(1)
    step = eyes[:, 1] - eyes[:, 0]
    distance = step.norm(dim=1)
    along = step / distance[:, None]
    down = torch.stack([-along[:, 1], along[:, 0]], 1)
    nose = points[:, 2] if points.shape[1] == 5 else points[:, 30]
    drop = ((mouth.mean(1) - origin) * down).sum(1)
    # Eyes close together for the height of the face mean that it is turned; a frontal face has about 1.05 to 1.15
    # between eyes and mouth.
    lean = ((nose - origin) * along).sum(1) / distance
    length = drop.clamp_min(1e-3)
    width = torch.maximum(distance, 0.75 * length)
    return FaceAxes(origin, along, down, width, (2.2 * lean).clamp(-1, 1), (length / width).clamp(0.6, 2.0))


def face_frame(points: Tensor, known: Tensor, size: tuple[int, int]) -> FaceFrame:
    """Return the frame of faces by their points (B, P, 2) over all pixels of images of `size` (height, width)."""
    axes = face_axes(points, known)
    rows = torch.arange(size[0], device=points.device, dtype=torch.float32)[None, :, None]
    columns = torch.arange(size[1], device=points.device, dtype=torch.float32)[None, None, :]
    scale = 1 / axes.eye_distance
    x, y = columns - axes.origin[:, 0, None, None], rows - axes.origin[:, 1, None, None]
    along, down = (axis * scale[:, None] for axis in (axes.along, axes.down))
    u = x * along[:, 0, None, None] + y * along[:, 1, None, None]
    v = x * down[:, 0, None, None] + y * down[:, 1, None, None]
    return FaceFrame(u, v, *(part[:, None, None] for part in (axes.eye_distance, axes.mouth_drop, axes.turn)))


def in_frame(points: Tensor, axes: FaceAxes) -> Tensor:
    """Return points (B, P, 2) of an image as (u, v) of the frame."""
    offset = (points.float() - axes.origin[:, None]) / axes.eye_distance[:, None, None]
    return torch.stack([(offset * axes.along[:, None]).sum(2), (offset * axes.down[:, None]).sum(2)], 2)


def _stand_in(points: Tensor) -> Tensor:
    """Return points (1, P, 2) of a face 40 pixels between the eyes: what unknown points are computed with, and not
    drawn.
    """
    five = points.new_tensor([[30, 40], [70, 40], [50, 60], [35, 84], [65, 84]], dtype=torch.float32)
    if points.shape[1] == 5:
        return five[None]
    place = torch.zeros(68, dtype=torch.int64, device=points.device)
    place[42:48], place[27:36], place[48], place[54] = 1, 2, 3, 4
    return five[place][None]
