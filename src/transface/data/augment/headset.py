"""A VR headset drawn over a face by its points, without any picture of one: body, nose notch, straps, light, sensors,
shadow.

The rectangle at the eyes is Houshmand & Khan's (2020); shape ranges and light are ours (docs/papers/occlusion.md).
Shapes: B faces of H x W pixels.
"""

import torch
from torch import Tensor

from transface.data.augment.face_frames import FaceFrame, face_frame
from transface.data.augment.layers import Layer, between, inside, over, shadow
from transface.data.augment.occluders import Occluded, usable_points, with_fallback

BASES = ((30.0, 30.0, 32.0), (120.0, 122.0, 126.0), (222.0, 222.0, 220.0))  # matte black, grey, white


class Headset:
    """Hides the eyes behind a headset; faces without points get their upper half blacked out.

    Args:
        straps: draw the bands that run to the sides.
    """

    num_numbers = 12

    def __init__(self, *, straps: bool = True) -> None:
        self.straps = straps
        self.name = "headset" if straps else "headset_without_straps"

    def __call__(self, images: Tensor, numbers: Tensor, points: Tensor | None = None) -> Occluded:
        known = usable_points(images, points)
        if points is None:
            points = images.new_full((len(images), 5, 2), float("nan"), dtype=torch.float32)
        frame = face_frame(points.to(images.device), known, (images.shape[2], images.shape[3]))
        drawn, alpha = over(images, self._layers(frame, numbers.to(images.device).float()))
        return with_fallback(images, drawn, alpha, known, "upper")

    def _layers(self, frame: FaceFrame, numbers: Tensor) -> list[Layer]:
        n = numbers.unbind(1)
        u, v = _foreshortened(frame), frame.v - between(n[2], -0.1, 0.2)
        half_width, half_height = between(n[0], 1.05, 1.35), between(n[1], 0.5, 0.725)
        body = _rounded_box(u, v, half_width, half_height, corner=2 * half_height * between(n[3], 0.2, 0.35))
        notch = _notch(u, v, half_height, half_width=between(n[4], 0.18, 0.3), height=between(n[5], 0.15, 0.35))
        distance = torch.minimum(body, -notch) * frame.eye_distance
        base = _base_colour(n[6])
        light = (1.12 - 0.28 * (v + half_height) / (2 * half_height)).clamp(0.7, 1.2)
        streak = 0.28 * torch.exp(-((u * 0.6 + v + between(n[7], -0.3, 0.3)) / 0.09).square())
        colour = base * light[:, None] + 255 * streak[:, None] * between(n[8], 0.2, 1.0)[:, None]
        layers = [Layer(colour.new_zeros(()), shadow(distance, 0.16 * frame.eye_distance, 0.3) * (v > 0))]
        if self.straps:
            layers.append(self._strap(frame, u, half_width, numbers))
        layers.append(Layer(colour.clamp(0, 255), inside(distance)))
        layers.append(Layer(0.25 * base, self._sensors(frame, u, v, half_width, half_height, n[11]) * inside(distance)))
        return layers

    def _strap(self, frame: FaceFrame, u: Tensor, half_width: Tensor, numbers: Tensor) -> Layer:
        thickness, height = between(numbers[:, 9], 0.1, 0.175), between(numbers[:, 10], -0.1, 0.1)
        band = torch.minimum(thickness - (frame.v - height).abs(), u.abs() - half_width + 0.1)
        return Layer(0.6 * _base_colour(1 - numbers[:, 6]), inside(band * frame.eye_distance))

    @staticmethod
    def _sensors(
        frame: FaceFrame, u: Tensor, v: Tensor, half_width: Tensor, half_height: Tensor, number: Tensor
    ) -> Tensor:
        radius = between(number, 0.04, 0.09)
        nearest = torch.hypot(u.abs() - 0.72 * half_width, v.abs() - 0.55 * half_height)
        return inside((radius - nearest) * frame.eye_distance)


def _foreshortened(frame: FaceFrame) -> Tensor:
    """Return u stretched on the far half of a turned face, so that what is drawn there is narrower."""
    far = torch.sign(frame.u) == torch.sign(frame.turn)
    return torch.where(far, frame.u / (1 - 0.5 * frame.turn.square()).clamp_min(0.4), frame.u)


def _rounded_box(u: Tensor, v: Tensor, half_width: Tensor, half_height: Tensor, *, corner: Tensor) -> Tensor:
    """Return the signed distance to the edge of a box with round corners, positive inside."""
    over_u, over_v = u.abs() - half_width + corner, v.abs() - half_height + corner
    outside = torch.hypot(over_u.clamp_min(0), over_v.clamp_min(0))
    return corner - outside - torch.maximum(over_u, over_v).clamp_max(0)


def _notch(u: Tensor, v: Tensor, half_height: Tensor, *, half_width: Tensor, height: Tensor) -> Tensor:
    """Return the distance inside the triangle cut out for the nose: its base on the lower edge, its tip above it."""
    rise = (half_height - v) / height
    slope = torch.hypot(half_width, height)
    return (half_width * (1 - rise) - u.abs()) * height / slope


def _base_colour(number: Tensor) -> Tensor:
    """Return (B, 3, 1, 1) one of the base colours, a little lighter or darker."""
    bases = number.new_tensor(BASES)
    place = (number * len(BASES)).long().clamp(0, len(BASES) - 1)
    return (bases[place] * (0.9 + 0.2 * (number * len(BASES)).frac())[:, None])[:, :, None, None]
