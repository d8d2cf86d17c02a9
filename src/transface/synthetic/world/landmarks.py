"""The landmarks of made-up faces: iBUG's 68 points from the traits that paint them, and the other orders made of them.

Shapes: B faces, P points. Positions on the screen are complex numbers, as in canvas.py.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transface.synthetic.canvas import NOSE_RELIEF, Canvas, project
from transface.synthetic.features import head_depth
from transface.synthetic.people import Columns

JAW_REACH = (10.0, 110.0)  # pixels from the middle of the head between which its outline lies
JAW_STEPS = 20


def landmarks_68(traits: Columns, nuisance: Columns) -> Tensor:
    """Return iBUG's 68 points, complex (B, 68), on the screen."""
    parts = [
        jaw(traits, nuisance),
        _brow(traits, nuisance, -1.0),
        _brow(traits, nuisance, 1.0),
        _nose(traits, nuisance),
        _eye(traits, nuisance, -1.0),
        _eye(traits, nuisance, 1.0),
        _mouth(traits, nuisance),
    ]
    return torch.cat(parts, 1)


def jaw(traits: Columns, nuisance: Columns) -> Tensor:
    """Return 17 points of the head's outline, complex (B, 17), from the image's left ear over the chin to the right,
    found by bisection.
    """
    angle = torch.linspace(math.pi * 1.03, -math.pi * 0.03, 17)
    direction = torch.polar(torch.ones(17), angle)  # y runs down: the chin lies at pi / 2
    low = torch.full((len(traits.table), 17), JAW_REACH[0])
    high = torch.full_like(low, JAW_REACH[1])
    for _ in range(JAW_STEPS):
        middle = (low + high) / 2
        place = middle * direction
        x, y = place.real.contiguous(), place.imag.contiguous()
        inside = head_depth(Canvas(torch.empty(0), x, y, x, y), traits, nuisance) > 0
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return ((low + high) / 2) * direction


def _brow(traits: Columns, nuisance: Columns, side: float) -> Tensor:
    along = torch.tensor([1.0, 0.5, 0.0, -0.5, -1.0] if side < 0 else [-1.0, -0.5, 0.0, 0.5, 1.0])
    across = along * traits["brow_length"]
    top = traits["eye_height"] - traits["brow_gap"] - nuisance["brow_raise"] - 0.4 * traits["brow_bend"]
    v = top - across * traits["brow_angle"] + along**2 * traits["brow_bend"]
    u = side * (traits["eye_distance"] + traits["brow_shift"] + across)
    return project(u, v, nuisance)


def _nose(traits: Columns, nuisance: Columns) -> Tensor:
    down = torch.tensor([0.0, 1 / 3, 2 / 3, 1.0])
    top, tip = traits["eye_height"] - 2, traits["nose_height"]
    bridge = [
        project(d * traits["nose_bend"], top + d * (tip - top), nuisance, relief=float(NOSE_RELIEF * d**2))
        for d in down
    ]
    across = torch.tensor([-1.05, -0.5, 0.0, 0.5, 1.05]) * traits["nose_width"] + traits["nose_bend"]
    base = project(across, (tip + 4).expand_as(across), nuisance, relief=0.4 * NOSE_RELIEF)
    return torch.cat([*bridge, base], 1)


def _eye(traits: Columns, nuisance: Columns, side: float) -> Tensor:
    outer = [1.0, 0.35, -0.35, -1.0, -0.35, 0.35]  # from the outer corner over the upper lid, back below
    along = torch.tensor(outer if side < 0 else [-1.0, -0.35, 0.35, 1.0, 0.35, -0.35])
    lid = torch.tensor([0.0, -1.0, -1.0, 0.0, 1.0, 1.0])
    opening = nuisance["eye_open"].clamp(0.06, 1.25)
    arch = 1 - along**2
    height = torch.where(lid < 0, traits["eye_upper"] * opening, traits["eye_lower"] * opening.sqrt()) * arch * lid
    tilt, width = traits["eye_tilt"], traits["eye_width"]
    u = width * along * tilt.cos() + height * tilt.sin()
    v = -width * along * tilt.sin() + height * tilt.cos()
    return project(side * (traits["eye_distance"] + u), traits["eye_height"] + v, nuisance)


def _mouth(traits: Columns, nuisance: Columns) -> Tensor:
    smile, opening = nuisance["smile"], 7 * nuisance["mouth_open"].clamp(0, 1)
    outer = torch.tensor([-1.0, -0.66, -0.3, 0.0, 0.3, 0.66, 1.0, 0.66, 0.3, 0.0, -0.3, -0.66])
    inner = torch.tensor([-0.9, -0.4, 0.0, 0.4, 0.9, 0.4, 0.0, -0.4])
    along = torch.cat([outer, inner])
    square = along**2
    arch = 1 - square
    bow = (1 - traits["lip_bow"] * (1 - 6 * along.abs()).clamp_min(0)) * arch
    top, bottom = arch * 0.35 * opening, arch * 0.65 * opening
    upper, lower = -(top + bow * traits["upper_lip"]), bottom + arch * traits["lower_lip"]
    line = traits["mouth_height"] - square * (3.5 * smile - traits["mouth_corners"])
    shift = torch.cat([upper[:, :7], lower[:, 7:12], -top[:, 12:16], torch.zeros_like(top[:, :1]), bottom[:, 17:]], 1)
    return project(along * traits["mouth_width"] * (1 + 0.12 * smile), line + shift, nuisance)


def in_order(points: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return 68 points (P, 2) in another order: 5, 19 (AFLW), 29 (COFW), 68, 98 (WFLW) or 106 (LaPa) of them.

    Raises:
        ValueError: for another number.
    """
    orders = {5: _five, 19: _aflw, 29: _cofw, 68: np.asarray, 98: _wflw, 106: _lapa}
    if count not in orders:
        raise ValueError(f"made-up faces have {', '.join(map(str, orders))} points, not {count}")
    found: NDArray[np.float64] = orders[count](points)  # type: ignore[operator]
    return found


def _five(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([p[36:42].mean(0), p[42:48].mean(0), p[30], p[48], p[54]])


def _aflw(p: NDArray[np.float64]) -> NDArray[np.float64]:
    eyes = _five(p)[:2]
    picks = [p[17], p[19], p[21], p[22], p[24], p[26], p[36], eyes[0], p[39], p[42], eyes[1], p[45]]
    return np.stack([*picks, p[31], p[30], p[35], p[48], (p[62] + p[66]) / 2, p[54], p[8]])


def _cofw(p: NDArray[np.float64]) -> NDArray[np.float64]:
    eyes = _five(p)[:2]
    below = np.array([0.0, 1.5])
    lids = [(p[37] + p[38]) / 2, (p[40] + p[41]) / 2, (p[43] + p[44]) / 2, (p[46] + p[47]) / 2]
    brows = [p[17], p[26], p[21], p[22], p[19], p[19] + below, p[24], p[24] + below]
    lips = [p[51], p[62], p[66], p[57]]
    return np.stack(
        [*brows, p[36], p[45], p[39], p[42], *lids, *eyes, p[31], p[35], p[30], p[33], p[48], p[54], *lips, p[8]]
    )


def _wflw(p: NDArray[np.float64]) -> NDArray[np.float64]:
    below = np.array([0.0, 1.5])
    contour = _along(p[:17], 33)
    left, right = p[17:22], p[22:27]
    brows = [left, _along(left[::-1], 4) + below, right, _along(right[::-1], 4) + below]
    eyes = [_eight(p[36:42]), _eight(p[42:48])]
    return np.concatenate([contour, *brows, p[27:36], *eyes, p[48:68], _five(p)[:2]])


def _lapa(p: NDArray[np.float64]) -> NDArray[np.float64]:
    found = np.concatenate([_wflw(p), p[:8]])
    for place, own in zip((104, 105, 54, 84, 90), _five(p), strict=True):
        found[place] = own
    return found


def _eight(eye: NDArray[np.float64]) -> NDArray[np.float64]:
    upper, lower = _along(eye[:4], 5), _along(np.stack([eye[3], eye[4], eye[5], eye[0]]), 5)
    return np.concatenate([upper, lower[1:4]])


def _along(line: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return so many points evenly along a line of points, its ends kept."""
    steps = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    wanted = np.linspace(0, steps[-1], count)
    return np.stack([np.interp(wanted, steps, line[:, axis]) for axis in (0, 1)], -1)
