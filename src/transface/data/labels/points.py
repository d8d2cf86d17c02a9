"""What is known about the points and regions of faces in their photographs: their order, and which trade places in a
mirror.

Shapes: n images, P points, R regions.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from transface.data.labels.sides import NO_OPPOSITE, mirrored_order

CELEBAMASK_REGIONS = tuple(
    """background neck skin cloth l_ear r_ear l_brow r_brow l_eye r_eye nose mouth l_lip u_lip hair eye_g hat ear_r
    neck_l""".split()  # noqa: SIM905
)
LAPA_REGIONS = tuple("background skin l_brow r_brow l_eye r_eye nose u_lip mouth l_lip hair".split())  # noqa: SIM905
LFW_PARTS_REGIONS = ("background", "skin", "hair")


def _chain(first: int, last: int) -> dict[int, int]:
    """Return the pairs of a line of points that a mirror turns round."""
    return {point: first + last - point for point in range(first, last + 1)}


def _pairs(*pairs: tuple[int, int]) -> dict[int, int]:
    return {one: other for pair in pairs for one, other in (pair, pair[::-1])}


def _order(count: int, swapped: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(swapped.get(point, point) for point in range(count))


# By number of points, the point of the unmirrored face that stands at each place of the mirrored one.
MIRRORED_POINTS: Mapping[int, tuple[int, ...]] = {
    5: (1, 0, 2, 4, 3),
    19: _order(19, _chain(0, 5) | _chain(6, 11) | _pairs((12, 14), (15, 17))),
    29: _order(
        29,
        _pairs((0, 1), (2, 3), (4, 6), (5, 7), (8, 9), (10, 11), (12, 14), (13, 15), (16, 17), (18, 19), (22, 23)),
    ),
    68: _order(
        68,
        _chain(0, 16)
        | _chain(17, 26)
        | _chain(31, 35)
        | _pairs((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46))
        | _chain(48, 54)
        | _chain(55, 59)
        | _chain(60, 64)
        | _chain(65, 67),
    ),
    98: _order(
        98,
        _chain(0, 32)
        | _pairs(*((33 + k, 46 - k) for k in range(5)), *((38 + k, 50 - k) for k in range(4)))
        | _chain(55, 59)
        | _pairs((60, 72), (61, 71), (62, 70), (63, 69), (64, 68), (65, 75), (66, 74), (67, 73))
        | _chain(76, 82)
        | _chain(83, 87)
        | _chain(88, 92)
        | _chain(93, 95)
        | _pairs((96, 97)),
    ),
}


class CanvasTargets(NamedTuple):
    """What a loss of a dense task is made of, in pixels of the canvas that a photograph was brought to.

    Attributes:
        points: (B, P, 2) x and y, or (B, 0, 2) where regions are known.
        regions: (B, C, C) uint8 numbers of regions, or (B, 0, 0) where points are known.
        warp: (B,) share of the sides that the tanh warp of the crop bends; 0: none.
        side: (B,) sides in pixels of the crop in the middle of the canvas.
        scale: (B,) of the face in its crop; 1 fills it with the box.
    """

    points: Any
    regions: Any
    warp: Any
    side: Any
    scale: Any


def mirrored_points(points: torch.Tensor, width: int) -> torch.Tensor:
    """Return the points (B, P, 2) of the mirrored image, `width` pixels wide: left and right trade places.

    Raises:
        ValueError: for a number of points whose order is not known.
    """
    order = MIRRORED_POINTS.get(points.shape[1])
    if order is None:
        raise ValueError(
            f"which of {points.shape[1]} points trade places in a mirror is not known: there are orders of"
            f" {', '.join(map(str, MIRRORED_POINTS))}; dense.flip_probability=0 mirrors nothing"
        )
    turned = points[:, list(order)]
    return torch.stack([width - 1 - turned[..., 0], turned[..., 1]], -1)


def mirrored_regions(regions: torch.Tensor, names: tuple[str, ...]) -> torch.Tensor:
    """Return region numbers (B, H, W) of the mirrored images: those of names with left and right trade places.

    Raises:
        ValueError: for a name of a side whose opposite is no region.
    """
    order = mirrored_order(names) or (0,)
    if NO_OPPOSITE in order:
        raise ValueError(
            f"region {names[order.index(NO_OPPOSITE)]!r} names a side and its opposite is no region: its images"
            " cannot be mirrored; dense.flip_probability=0 leaves all as they are"
        )
    return torch.tensor(order, device=regions.device)[regions.flip(-1).long()].to(regions.dtype)
