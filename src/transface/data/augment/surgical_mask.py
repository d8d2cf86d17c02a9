"""A surgical mask drawn over a face by its points, without any picture of one: cloth, pleats, light, ear loops, contact
shadow.

The outline is a smooth closed curve in the frame of the face, given by its radius at every angle about a point in front
of the mouth: a pixel is inside where it is nearer to that point than the curve. Ranges are ours
(docs/papers/occlusion.md).
Shapes: B faces of H x W pixels, V vertices, A angles.
"""

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from transface.data.augment.face_frames import FaceAxes, FaceFrame, face_axes, face_frame, in_frame
from transface.data.augment.layers import Layer, between, inside, over, shadow, soft_light
from transface.data.augment.occluders import Occluded, usable_points, with_fallback

Wear = Literal["full", "under_nose", "chin"]

# The outline from the bridge of the nose clockwise down the image's right side to the chin, in (eye distances,
# eye-to-mouth heights).
OUTLINE = ((0.0, 0.40), (0.72, 0.50), (0.95, 0.85), (0.80, 1.30), (0.40, 1.62), (0.0, 1.72))
COLOURS = (
    (232.0, 236.0, 238.0),
    (118.0, 170.0, 206.0),
    (126.0, 186.0, 170.0),
    (38.0, 38.0, 42.0),
    (196.0, 150.0, 160.0),
)
NUM_ANGLES = 96
STEPS_A_SIDE = 5  # points of the curve between two vertices
TOP_OF = {"full": 0.0, "under_nose": 0.36, "chin": 0.85}  # how far down the upper edge is worn, in eye-to-mouth heights


class SurgicalMask:
    """Hides nose, mouth and chin behind a mask; faces without points get their lower half blacked out.

    Args:
        wear: "full"; "under_nose" leaves the nose free, "chin" the mouth too.

    Raises:
        ValueError: for another way to wear it.
    """

    num_numbers = 14

    def __init__(self, *, wear: Wear = "full") -> None:
        if wear not in get_args(Wear):
            raise ValueError(f"wear must be one of {', '.join(get_args(Wear))}, got {wear!r}")
        self.wear: Wear = wear
        self.name = "surgical_mask" if wear == "full" else f"surgical_mask_{wear}"

    def __call__(self, images: Tensor, numbers: Tensor, points: Tensor | None = None) -> Occluded:
        known = usable_points(images, points)
        if points is None:
            points = images.new_full((len(images), 5, 2), float("nan"), dtype=torch.float32)
        points = points.to(images.device)
        numbers = numbers.to(images.device).float()
        axes = face_axes(points, known)
        frame = face_frame(points, known, (images.shape[2], images.shape[3]))
        vertices = self._vertices(axes, points, known, numbers)
        drawn, alpha = over(images, self._layers(images, frame, vertices, numbers))
        return with_fallback(images, drawn, alpha, known, "lower")

    def _vertices(self, axes: FaceAxes, points: Tensor, known: Tensor, numbers: Tensor) -> Tensor:
        """Return (B, V, 2) the corners of the outline in the frame, once around."""
        right = numbers.new_tensor(OUTLINE).expand(len(numbers), -1, -1).clone()
        shift = 2 * numbers[:, :6] - 1
        right[:, 0, 1] += 0.12 * shift[:, 0] + TOP_OF[self.wear]
        right[:, 1, 0] += 0.06 * shift[:, 1]
        right[:, 1, 1] += 0.10 * shift[:, 2] + TOP_OF[self.wear]
        right[:, 2, 1] += 0.6 * TOP_OF[self.wear]
        right[:, 5, 1] += 0.08 * shift[:, 3]
        right[..., 1] *= axes.mouth_drop[:, None]
        left = right[:, 1:5].flip(1) * right.new_tensor([-1.0, 1.0])
        outline = torch.cat([right, left], 1)
        narrower = 1 - 0.45 * axes.turn.square()
        far = torch.sign(outline[..., 0]) == torch.sign(axes.turn)[:, None]
        outline[..., 0] = torch.where(far, outline[..., 0] * narrower[:, None], outline[..., 0])
        outline[..., 0] += 0.12 * axes.turn[:, None]
        if points.shape[1] == 68:
            outline = self._with_jaw(outline, axes, points, known)
        return outline

    def _with_jaw(self, outline: Tensor, axes: FaceAxes, points: Tensor, known: Tensor) -> Tensor:
        """Return the outline whose sides and chin follow the jaw (points 2 to 14 of 68), 4 % outwards."""
        jaw = in_frame(torch.where(known[:, None, None], points.float(), torch.zeros_like(points).float()), axes)[
            :, 2:15
        ].flip(1)
        middle = outline[:, :1] * 0.5 + outline[:, 5:6] * 0.5
        jaw = middle + 1.04 * (jaw - middle)
        lowest_side = outline[:, 1:2, 1]
        jaw = torch.stack([jaw[..., 0], torch.maximum(jaw[..., 1], lowest_side + 0.02)], 2)
        return torch.cat([outline[:, :2], jaw, outline[:, 9:10]], 1)

    def _layers(self, images: Tensor, frame: FaceFrame, vertices: Tensor, numbers: Tensor) -> list[Layer]:
        centre = 0.5 * (vertices.amin(1) + vertices.amax(1))[:, :, None, None]
        u, v = frame.u - centre[:, 0], frame.v - centre[:, 1]
        radius = torch.hypot(u, v)
        edge = _radius_at(outline_radii(vertices, centre[:, :, 0, 0]), torch.atan2(v, u))
        distance = (edge - radius) * frame.eye_distance
        reach = 0.12 * frame.eye_distance
        loops = self._loops(frame, vertices)
        colour = self._cloth(images, frame, edge, v, numbers)
        nothing = colour.new_zeros(())
        rim = 0.75 * inside(distance) * inside(0.03 * frame.eye_distance - distance) * 0.35
        return [
            Layer(nothing, shadow(distance, reach, 0.35)),
            Layer(colour.new_tensor([228.0, 228.0, 226.0])[:, None, None], loops * 0.9),
            Layer(colour, inside(distance)),
            Layer(nothing, rim),
        ]

    @staticmethod
    def _loops(frame: FaceFrame, vertices: Tensor) -> Tensor:
        """Return the cover of two lines a side, from the upper and lower corner of the cloth to the ear."""
        thickness = (0.02 * frame.eye_distance).clamp_min(0.5)
        nearest = torch.full_like(frame.u, math.inf)
        ear_height = 0.28 * frame.mouth_drop[:, 0, 0]
        count = vertices.shape[1]
        for side, corners in ((1.0, (1, 3)), (-1.0, (count - 1, count - 3))):
            ear = torch.stack([torch.full_like(ear_height, side * 1.25), ear_height], 1)
            for corner in corners:
                nearest = torch.minimum(nearest, _to_segment(frame, vertices[:, corner], ear))
        return inside(thickness - nearest * frame.eye_distance)

    @staticmethod
    def _cloth(images: Tensor, frame: FaceFrame, edge: Tensor, v: Tensor, numbers: Tensor) -> Tensor:
        """Return (B, 3, H, W) the colour of the cloth: base, pleats, pattern, and the light that falls on the face."""
        table = numbers.new_tensor(COLOURS)
        place = (numbers[:, 6] * len(COLOURS)).long().clamp(0, len(COLOURS) - 1)
        base = (table[place] * (0.92 + 0.16 * numbers[:, 7:10]))[:, :, None, None]
        pleats = (2 + (numbers[:, 10] * 3).long().clamp(0, 2)).float()[:, None, None]
        phase = v / edge.clamp_min(0.2)
        folds = 1 + 0.08 * torch.sin(math.pi * pleats * (phase + between(numbers[:, 11], 0, 1)))
        folds = folds - 0.12 * frame.u.square().clamp(0, 1)
        patterned = (numbers[:, 12] > 0.85).float()[:, None, None]
        grid = torch.sin(9 * frame.u) * torch.sin(9 * frame.v) * between(numbers[:, 13], 0.1, 0.3)
        return (base * (folds * (1 + patterned * grid))[:, None] * soft_light(images)).clamp(0, 255)


def outline_radii(vertices: Tensor, centre: Tensor) -> Tensor:
    """Return (B, A) the distance of the outline from its centre at even angles from -pi on.

    Args:
        vertices: (B, V, 2) once around; a Catmull-Rom curve runs through them.
        centre: (B, 2) inside.
    """
    curve = smooth_outline(vertices) - centre[:, None]
    here, there = curve, curve.roll(-1, 1)
    angles = torch.arange(NUM_ANGLES, device=vertices.device) * (2 * math.pi / NUM_ANGLES) - math.pi
    x, y = angles.cos()[:, None], angles.sin()[:, None]
    # The ray t (x, y) meets the side from a to b where cross(ray, a) and cross(ray, b) differ in sign.
    a = x * here[:, None, :, 1] - y * here[:, None, :, 0]
    b = x * there[:, None, :, 1] - y * there[:, None, :, 0]
    share = a / torch.where((a - b).abs() < 1e-9, torch.full_like(a, 1e-9), a - b)
    reach = torch.lerp(
        x * here[:, None, :, 0] + y * here[:, None, :, 1], x * there[:, None, :, 0] + y * there[:, None, :, 1], share
    )
    meets = (a * b <= 0) & (share >= 0) & (share <= 1) & (reach > 0)
    return torch.where(meets, reach, torch.zeros_like(reach)).amax(2)


def smooth_outline(vertices: Tensor) -> Tensor:
    """Return (B, V * steps, 2) a closed Catmull-Rom curve through vertices (B, V, 2)."""
    before, here, there, beyond = vertices.roll(1, 1), vertices, vertices.roll(-1, 1), vertices.roll(-2, 1)
    t = (torch.arange(STEPS_A_SIDE, device=vertices.device) / STEPS_A_SIDE)[:, None]
    linear = (there - before)[:, :, None] * t
    square = (2 * before - 5 * here + 4 * there - beyond)[:, :, None] * t.square()
    cube = (3 * (here - there) + beyond - before)[:, :, None] * t.pow(3)
    return (here[:, :, None] + 0.5 * (linear + square + cube)).flatten(1, 2)


def _radius_at(radii: Tensor, angle: Tensor) -> Tensor:
    """Return radii (B, A) at angles (B, H, W) in radians, linear in between."""
    place = (angle + math.pi) * (NUM_ANGLES / (2 * math.pi))
    low = place.floor()
    share = place - low
    index = low.long().remainder(NUM_ANGLES).flatten(1)
    near, far = radii.gather(1, index), radii.roll(-1, 1).gather(1, index)
    return torch.lerp(near, far, share.flatten(1)).reshape(angle.shape)


def _to_segment(frame: FaceFrame, start: Tensor, end: Tensor) -> Tensor:
    """Return (B, H, W) the distance of each pixel from a segment (B, 2) to (B, 2), in eye distances."""
    step = (end - start)[:, :, None, None]
    x, y = frame.u - start[:, 0, None, None], frame.v - start[:, 1, None, None]
    share = ((x * step[:, 0] + y * step[:, 1]) / step.square().sum(1).clamp_min(1e-6)).clamp(0, 1)
    return torch.hypot(x - share * step[:, 0], y - share * step[:, 1])
