"""Paints what hides a made-up face: glasses, face masks, hats, scarves, bars.

Shapes: B faces, N pixels. A painter is given only the images that have its thing, and how much of each pixel the head
covers.
"""

import torch
from torch import Tensor

from transface.synthetic.canvas import Canvas, cover, ellipse
from transface.synthetic.features import WHITE, colour_of
from transface.synthetic.people import Columns


def paint_occasions(canvas: Canvas, traits: Columns, nuisance: Columns, head: Tensor) -> None:
    """Whatever hides a part of the face, drawn only on the images that have it; `head` (B, N) is the head's cover."""
    glasses = nuisance["glasses"] + nuisance["sunglasses"]
    for present, painter in (
        (glasses, paint_glasses),
        (nuisance["face_mask"], paint_face_mask),
        (nuisance["hat"], paint_hat),
        (nuisance["scarf"], paint_scarf),
        (nuisance["bar"], paint_bar),
    ):
        chosen = (present > 0)[:, 0].nonzero()[:, 0]
        if len(chosen):
            part = canvas.take(chosen)
            painter(part, traits.rows(chosen), nuisance.rows(chosen), head.index_select(0, chosen))
            canvas.put_back(part, chosen)


def thing_colour(nuisance: Columns) -> Tensor:
    return colour_of(nuisance["thing_red"], nuisance["thing_green"], nuisance["thing_blue"])


def paint_glasses(canvas: Canvas, traits: Columns, nuisance: Columns, _head: Tensor) -> None:
    u, v = canvas.u.abs() - traits["eye_distance"], canvas.v - traits["eye_height"] - 1
    width, height = 11 + 4 * nuisance["frame_size"], 7 + 5 * nuisance["frame_shape"]
    rim = ellipse(u, v, width, height)
    squarish = torch.minimum(width - u.abs(), height - v.abs())
    rim = torch.lerp(rim, squarish, nuisance["frame_shape"])
    frame = 0.4 * nuisance["frame_tone"][..., None] * (0.5 + thing_colour(nuisance))
    canvas.paint(WHITE * 0.05, cover(rim).mul_(0.93 * nuisance["sunglasses"]))
    canvas.paint(WHITE, cover(rim).mul_(0.12) * cover(3 - (u - v).abs_(), 3.0))
    bridge = torch.minimum(1.0 - (v + 1).abs_(), 1 - u - width)
    temple = torch.minimum(1.0 - (v + 2).abs_(), u - width + 1)
    ear = traits["head_width"] + traits["ear_out"] - canvas.x.abs()
    canvas.paint(frame, cover(torch.maximum(1.1 - rim.abs(), torch.maximum(bridge, torch.minimum(temple, ear)))))


def paint_face_mask(canvas: Canvas, _traits: Columns, nuisance: Columns, head: Tensor) -> None:
    edge = canvas.v - (2 + 14 * nuisance["mask_depth"]) - 0.006 * canvas.u.square()
    covered = cover(edge).mul_(head)
    canvas.paint(0.45 + 0.5 * thing_colour(nuisance), covered)
    canvas.paint(WHITE * 0, covered * torch.sin(0.7 * canvas.v).mul_(0.08).add_(0.08))


def paint_scarf(canvas: Canvas, traits: Columns, nuisance: Columns, _head: Tensor) -> None:
    edge = canvas.y - traits["chin"] + 4 + 20 * nuisance["scarf_depth"] - 0.004 * canvas.x.square()
    canvas.paint(thing_colour(nuisance), cover(edge))
    canvas.paint(WHITE * 0, cover(edge) * torch.sin(0.5 * canvas.y + 0.3 * canvas.x).mul_(0.2).add_(0.2))


def paint_hat(canvas: Canvas, traits: Columns, nuisance: Columns, _head: Tensor) -> None:
    edge = 0.004 * canvas.u.square() - canvas.v - 31 - 12 * (1 - nuisance["hat_depth"])
    crown = ellipse(canvas.x, canvas.y.clamp(max=0), traits["head_width"] + 6, traits["head_top"] + 9)
    covered = cover(torch.minimum(edge, crown))
    canvas.paint(thing_colour(nuisance), covered)
    canvas.paint(WHITE * 0, covered * torch.sin(0.9 * canvas.u).mul_(0.12).add_(0.12))


def paint_bar(canvas: Canvas, _traits: Columns, nuisance: Columns, _head: Tensor) -> None:
    x, y = canvas.x - 80 * (nuisance["bar_across"] - 0.5), canvas.y - 90 * (nuisance["bar_down"] - 0.5)
    angle = 3.14 * nuisance["bar_angle"]
    along, beside = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    inside = torch.minimum(
        10 + 30 * nuisance["bar_width"] - along.abs(), 4 + 10 * nuisance["bar_height"] - beside.abs()
    )
    canvas.paint(thing_colour(nuisance), cover(inside))
