"""Which part of a made-up face each pixel shows, by the shapes that paint it, in CelebAMask-HQ's numbers.

Shapes: B faces, N pixels.
"""

import torch
from torch import Tensor

from transface.data.labels.points import CELEBAMASK_REGIONS
from transface.synthetic import features
from transface.synthetic.canvas import Canvas, cover, ellipse
from transface.synthetic.people import Columns

NUMBER = {name: number for number, name in enumerate(CELEBAMASK_REGIONS)}


def regions_of(canvas: Canvas, traits: Columns, nuisance: Columns) -> Tensor:
    """Return the regions (B, N) uint8 of a canvas; left and right are the person's, so that l_ lies at the right of the
    image.
    """
    found = torch.zeros(canvas.x.shape, dtype=torch.uint8)

    def paint(name: str, inside: Tensor) -> None:
        found[inside] = NUMBER[name]

    depth = features.head_depth(canvas, traits, nuisance)
    head = depth > 0
    paint("hair", features.cover_back_hair(canvas, traits, nuisance) > 0.5)
    neck = (canvas.x.abs() < 0.62 * traits["head_width"]) & (canvas.y > 20)
    paint("neck", neck)
    paint("cloth", canvas.y - 0.004 * canvas.x**2 > traits["chin"] + 6)
    for name, side in (("l_ear", 1.0), ("r_ear", -1.0)):
        paint(name, _ear(canvas, traits, nuisance, side))
    paint("skin", head)
    for name, side in (("l_", 1.0), ("r_", -1.0)):
        own = (canvas.u * side > 0) & head
        paint(f"{name}brow", _brow(canvas, traits, nuisance) & own)
        paint(f"{name}eye", _eye(canvas, traits, nuisance) & own)
    paint("nose", _nose(canvas, traits) & head)
    upper, mouth, lower = _mouth(canvas, traits, nuisance)
    paint("u_lip", upper & head)
    paint("l_lip", lower & head)
    paint("mouth", mouth & head)
    paint("hair", features.cover_front_hair(canvas, traits, nuisance, depth) > 0.5)
    paint("eye_g", _glasses(canvas, traits, nuisance))
    paint("hat", _hat(canvas, traits, nuisance))
    return found


def _ear(canvas: Canvas, traits: Columns, nuisance: Columns, side: float) -> Tensor:
    moved = canvas.x + 7 * nuisance["yaw"].sin()
    x = moved * side - traits["head_width"] - traits["ear_out"] + 1
    y = canvas.y - traits["ear_height"] + 14 * nuisance["pitch"]
    return ellipse(x, y, 0.55 * traits["ear_size"], traits["ear_size"]) > 0


def _brow(canvas: Canvas, traits: Columns, nuisance: Columns) -> Tensor:
    u = canvas.u.abs() - (traits["eye_distance"] + traits["brow_shift"])
    v = canvas.v - (traits["eye_height"] - traits["brow_gap"] - nuisance["brow_raise"] - 0.4 * traits["brow_bend"])
    along = u / traits["brow_length"]
    down = v + u * traits["brow_angle"] - along**2 * traits["brow_bend"]
    thick = (1 - along**2) * traits["brow_thickness"] * (1.1 - 0.35 * along).clamp_min(0.3)
    return thick + 0.5 > down.abs()


def _eye(canvas: Canvas, traits: Columns, nuisance: Columns) -> Tensor:
    u, v = canvas.u.abs() - traits["eye_distance"], canvas.v - traits["eye_height"]
    tilt, opening = traits["eye_tilt"], nuisance["eye_open"].clamp(0.06, 1.25)
    along = (u * tilt.cos() - v * tilt.sin()) / traits["eye_width"]
    down = v * tilt.cos() + u * tilt.sin()
    arch = 1 - along**2
    return (down + arch * traits["eye_upper"] * opening > 0) & (arch * traits["eye_lower"] * opening.sqrt() > down)


def _nose(canvas: Canvas, traits: Columns) -> Tensor:
    tip, top = traits["nose_height"], traits["eye_height"] - 2
    down = ((canvas.v - top) / (tip - top)).clamp(0, 1)
    half = torch.lerp(traits["nose_bridge"].expand_as(down), (traits["nose_width"] * 1.05).expand_as(down), down**2)
    return ((canvas.u - traits["nose_bend"] * down).abs() < half) & (canvas.v > top) & (canvas.v < tip + 5)


def _mouth(canvas: Canvas, traits: Columns, nuisance: Columns) -> tuple[Tensor, Tensor, Tensor]:
    """Return upper lip, inside of the mouth, lower lip."""
    smile, opening = nuisance["smile"], 7 * nuisance["mouth_open"].clamp(0, 1)
    along = canvas.u / (traits["mouth_width"] * (1 + 0.12 * smile))
    square = along**2
    arch = 1 - square
    middle = canvas.v - traits["mouth_height"] + square * (3.5 * smile - traits["mouth_corners"])
    top, bottom = middle + arch * 0.35 * opening, arch * 0.65 * opening - middle
    bow = (1 - traits["lip_bow"] * (1 - 6 * along.abs()).clamp_min(0)) * arch
    lips = (top + bow * traits["upper_lip"] > 0) & (bottom + arch * traits["lower_lip"] > 0)
    inside = (top > 0) & (bottom > 0) & (opening > 0.4) & lips
    return lips & (middle < 0) & ~inside, inside, lips & (middle >= 0) & ~inside


def _glasses(canvas: Canvas, traits: Columns, nuisance: Columns) -> Tensor:
    u, v = canvas.u.abs() - traits["eye_distance"], canvas.v - traits["eye_height"] - 1
    width, height = 11 + 4 * nuisance["frame_size"], 7 + 5 * nuisance["frame_shape"]
    round_rim = ellipse(u, v, width, height)
    rim = torch.lerp(round_rim, torch.minimum(width - u.abs(), height - v.abs()), nuisance["frame_shape"])
    worn = nuisance["glasses"] + nuisance["sunglasses"] > 0
    return (cover(rim + 1) > 0.5) & worn


def _hat(canvas: Canvas, traits: Columns, nuisance: Columns) -> Tensor:
    edge = 0.004 * canvas.u.square() - canvas.v - 31 - 12 * (1 - nuisance["hat_depth"])
    crown = ellipse(canvas.x, canvas.y.clamp(max=0), traits["head_width"] + 6, traits["head_top"] + 9)
    return (torch.minimum(edge, crown) > 0) & (nuisance["hat"] > 0)
