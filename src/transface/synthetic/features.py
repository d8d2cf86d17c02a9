"""Paints a made-up person: hair, head, skin, eyes, brows, nose, mouth, beard, each with the traits and circumstances it
depends on.

Painters are given a `Canvas` and change its colours; those whose names begin with `cover_` return how much (B, N) is
covered. All lengths are pixels of the frontal mean face. Features lie at (u, v) on the head, so pose moves and
foreshortens them alike.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from transface.synthetic.canvas import NOSE_RELIEF, Canvas, cover, ellipse
from transface.synthetic.people import Columns

SKIN_TONES = torch.tensor(
    [(0.97, 0.85, 0.76), (0.90, 0.72, 0.58), (0.76, 0.55, 0.41), (0.55, 0.37, 0.26), (0.36, 0.24, 0.18)]
)
HAIR_TONES = torch.tensor([(0.07, 0.06, 0.06), (0.22, 0.14, 0.09), (0.42, 0.27, 0.14), (0.83, 0.68, 0.38)])
IRIS_TONES = torch.tensor(
    [(0.24, 0.13, 0.06), (0.45, 0.30, 0.10), (0.30, 0.45, 0.22), (0.35, 0.50, 0.62), (0.28, 0.45, 0.80)]
)
RED_HAIR, GREY_HAIR, RED_LIPS = torch.tensor([[0.60, 0.22, 0.08], [0.78, 0.78, 0.80], [0.75, 0.14, 0.20]])[..., None]
EYE_WHITE, TEETH, MOUTH_INSIDE, WHITE = torch.tensor(
    [[0.95, 0.94, 0.92], [0.93, 0.92, 0.88], [0.25, 0.07, 0.08], [1, 1, 1]]
)[..., None]
SHADE, ROSY, PALE_LIPS = torch.tensor([[0.66, 0.54, 0.50], [1.02, 0.74, 0.72], [0.88, 0.66, 0.64]])[..., None]


class Palette(NamedTuple):
    """A person's colours of the day, each (B, 3, 1)."""

    skin: Tensor
    shade: Tensor
    hair: Tensor
    iris: Tensor
    lips: Tensor


def colour_of(red: Tensor, green: Tensor, blue: Tensor) -> Tensor:
    """Return (B, 3, 1) of three (B, 1)."""
    return torch.stack([red, green, blue], dim=1)


def tone(scale: Tensor, position: Tensor) -> Tensor:
    """Return the colour (B, 3, 1) at `position` (B, 1) in 0..1 along a scale of tones (T, 3)."""
    place = position[:, 0].clamp(0, 1) * (len(scale) - 1)
    lower = place.floor().long().clamp(max=len(scale) - 2)
    return torch.lerp(scale[lower], scale[lower + 1], (place - lower)[:, None])[..., None]


def palette_of(traits: Columns, nuisance: Columns) -> Palette:
    """Return the colours of skin, hair, eyes and lips, before any light."""
    warmth = 0.04 * traits["skin_warmth"]
    skin = tone(SKIN_TONES, traits["skin_tone"]) + colour_of(warmth, -0.2 * warmth, -warmth)
    hair = tone(HAIR_TONES, traits["hair_light"] + nuisance["hair_fade"])
    hair = torch.lerp(hair, RED_HAIR, 0.7 * traits["hair_red"].clamp(min=0)[..., None])
    hair = torch.lerp(hair, GREY_HAIR, traits["hair_grey"].clamp(min=0)[..., None])
    iris = tone(IRIS_TONES, traits["iris_hue"]) * (0.75 + 0.6 * traits["iris_light"][..., None])
    red = (traits["lip_redness"] + nuisance["make_up"]).clamp(0, 1.3)[..., None]
    lips = torch.lerp(skin * PALE_LIPS, RED_LIPS, 0.75 * red) * (1 - 0.35 * traits["lip_darkness"][..., None])
    return Palette(skin=skin, shade=skin * SHADE, hair=hair, iris=iris, lips=lips)


def head_depth(canvas: Canvas, traits: Columns, nuisance: Columns) -> Tensor:
    """Return the depth (B, N) inside the head's outline; the jaw, being in front, swings with the yaw."""
    lower = (canvas.y / traits["chin"]).clamp_(0, 1.5)
    swing = nuisance["yaw"].sin()
    x = canvas.x.addcmul(lower, swing, value=-26)
    width = traits["head_width"] * (1 + 0.12 * swing.abs())
    x = x.div_((lower * lower).mul_(-width * traits["jaw_narrowing"]).add_(width)).square_()
    height = torch.where(canvas.y > 0, traits["chin"] + 22 * nuisance["pitch"], traits["head_top"])
    y = (canvas.y / height).square_()
    roundness = (x + y).sqrt_()
    squareness = x.square_().addcmul_(y, y).sqrt_().sqrt_()
    depth = torch.lerp(roundness, squareness, lower.clamp_(max=1).mul_(traits["jaw_squareness"]))
    return depth.neg_().add_(1).mul_(40)


def strands_of(canvas: Canvas, traits: Columns) -> Tensor:
    """Return how dark (B, N) the strands make the hair."""
    angle, frequency = traits["strand_direction"], traits["strand_frequency"]
    waves = torch.sin(0.09 * canvas.v).mul_(1.5)
    waves.addcmul_(canvas.u, frequency * angle.cos()).addcmul_(canvas.v, frequency * angle.sin())
    return waves.sin_().add_(1).mul_(traits["strand_contrast"])


def paint_hair(canvas: Canvas, traits: Columns, hair: Tensor, strands: Tensor, covered: Tensor) -> None:
    """Hair where it is `covered` (B, N), with darker `strands` (B, N)."""
    canvas.paint(hair * (1 + traits["strand_contrast"][..., None]), covered)
    canvas.paint(hair * 0.4, covered.mul_(strands))


def cover_back_hair(canvas: Canvas, traits: Columns, nuisance: Columns) -> Tensor:
    volume = traits["hair_volume"]
    crown = ellipse(
        canvas.x, canvas.y.clamp(max=0), traits["head_width"] + 1 + volume, traits["head_top"] + 0.6 * volume
    )
    length = traits["hair_length"] + nuisance["hair_growth"]
    return cover(torch.minimum(crown, length - canvas.y), 2.0)


def cover_front_hair(canvas: Canvas, traits: Columns, nuisance: Columns, depth: Tensor) -> Tensor:
    """Return the hair above the hairline; `depth` (B, N) is that inside the head's outline."""
    side = canvas.u * (1 / 40)
    square = side * side
    line = square.square().mul_(0.5).add_(square).mul_(traits["hairline_bow"]).addcmul_(side, traits["hairline_slant"])
    line.addcmul_(square.mul_(-16).clamp_(min=-20).exp_(), traits["widows_peak"])
    line.add_(traits["hairline"] + nuisance["hair_shift"]).sub_(canvas.v)
    return cover(torch.minimum(line, depth + 2), 2.0)


def paint_neck(canvas: Canvas, traits: Columns, skin: Tensor) -> None:
    sides = canvas.x.abs().neg_().add_(0.62 * traits["head_width"])
    canvas.paint(skin * 0.78, cover(torch.minimum(sides, canvas.y - 20)))


def paint_cloth(canvas: Canvas, traits: Columns, nuisance: Columns) -> None:
    cloth = colour_of(nuisance["cloth_red"], nuisance["cloth_green"], nuisance["cloth_blue"])
    canvas.paint(cloth, cover(canvas.y.addcmul(canvas.x, canvas.x, value=-0.004).sub_(traits["chin"] + 6)))


def paint_ears(canvas: Canvas, traits: Columns, nuisance: Columns, palette: Palette) -> None:
    x = (canvas.x + 7 * nuisance["yaw"].sin()).abs() - traits["head_width"] - traits["ear_out"] + 1
    y = canvas.y - traits["ear_height"] + 14 * nuisance["pitch"]
    size = traits["ear_size"]
    canvas.paint(palette.skin * 0.92, cover(ellipse(x, y, 0.55 * size, size)))
    canvas.paint(palette.shade, 0.7 * cover(ellipse(x, y, 0.27 * size, 0.6 * size), 2.0))


def cover_blush(canvas: Canvas, traits: Columns) -> Tensor:
    cheek = ellipse(canvas.u.abs() - 22, canvas.v - traits["cheek_height"], 12, 9)
    return cover(cheek, 10.0).mul_(0.55 * traits["blush"])


def cover_relief(canvas: Canvas, traits: Columns) -> Tensor:
    """Return the soft dark parts of the skin: cheekbones, smile folds, forehead lines, chin cleft, eye sockets."""
    u, v, aside = canvas.u, canvas.v, canvas.u.abs()
    under = ellipse(aside - 27, v - traits["cheek_height"] - 10, 11, 5)
    dark = cover(under, 7.0).mul_(0.5 * traits["cheekbones"].clamp(min=0))
    fold = (v - 36).square_().mul_(0.012).add_(aside).sub_(traits["mouth_width"] + traits["fold_spread"])
    stretch = cover(ellipse(aside - 20, v - 18, 22, 13), 5.0).mul_(0.75 * traits["smile_folds"].clamp(min=0))
    dark.addcmul_(cover(1.1 - fold.abs_(), 1.5), stretch)
    lines = cover(torch.sin(0.75 * v).sub_(0.6), 0.6).mul_(0.8 * traits["forehead_lines"].clamp(min=0))
    dark.addcmul_(lines, cover(ellipse(u, v + 37, 24, 8), 5.0))
    dark.add_(cover(ellipse(u, v - traits["chin"] + 6, 1.3, 5), 1.5).mul_(0.9 * traits["chin_cleft"].clamp(min=0)))
    socket = ellipse(aside - traits["eye_distance"], v - traits["eye_height"] + 2, traits["eye_width"] + 4, 8.0)
    return dark.add_(cover(socket, 7.0).mul_(0.5 * traits["socket_depth"])).clamp_(max=1)


def paint_freckles(canvas: Canvas, traits: Columns, palette: Palette) -> None:
    u, v, scale, shift = canvas.u, canvas.v, traits["freckle_scale"], traits["freckle_shift"]
    dots = (torch.sin(v).mul_(0.8).addcmul_(u, 1.7 * scale) + shift).sin_()
    dots.mul_((torch.sin(0.9 * u).addcmul_(v, 1.9 * scale) + 2 * shift).sin_())
    area = cover(ellipse(u, v - 4, 32, 12), 6.0).mul_(traits["freckles"].clamp(min=0))
    canvas.paint(palette.shade, cover(dots.sub_(0.55), 0.5).mul_(area))


def paint_mole(canvas: Canvas, traits: Columns, palette: Palette, which: str) -> None:
    size = traits[f"{which}_size"]
    distance = ((canvas.u - traits[f"{which}_across"]).square() + (canvas.v - traits[f"{which}_down"]).square()).sqrt()
    canvas.paint(palette.shade * 0.45, cover(size - distance) * (size > 0.4))


def paint_scar(canvas: Canvas, traits: Columns, palette: Palette) -> None:
    u, v, angle = canvas.u - traits["scar_across"], canvas.v - traits["scar_down"], traits["scar_angle"]
    along, beside = u * angle.cos() + v * angle.sin(), v * angle.cos() - u * angle.sin()
    canvas.paint(
        palette.skin * 1.25 + 0.1, traits["scar_strength"].clamp(min=0) * cover(ellipse(along, beside, 9, 1.1))
    )


def paint_eyes(canvas: Canvas, traits: Columns, nuisance: Columns, palette: Palette) -> None:
    """Both eyes: bags, white, iris, pupil, glint, lids; mirrored, but for the gaze."""
    u, v = canvas.u.abs() - traits["eye_distance"], canvas.v - traits["eye_height"]
    tilt, opening = traits["eye_tilt"], nuisance["eye_open"].clamp(0.06, 1.25)
    along = (u * (tilt.cos() / traits["eye_width"])).addcmul_(v, -tilt.sin() / traits["eye_width"])
    down = (v * tilt.cos()).addcmul_(u, tilt.sin())
    arch = along.square_().neg_().add_(1)
    top = down.addcmul(arch, traits["eye_upper"] * opening)
    bottom = (arch * (traits["eye_lower"] * opening.sqrt())).sub_(down)
    across = cover(arch, 0.3)
    bags = cover(1.2 - (bottom + 2.6).abs_(), 1.6).mul_(0.6 * traits["eye_bags"].clamp(min=0))
    canvas.paint(palette.shade, bags.mul_(across))
    inside = cover(torch.minimum(top, bottom))
    canvas.paint(EYE_WHITE, inside)
    u, v = u.addcmul(canvas.u.sign(), nuisance["gaze_across"], value=-1), v.sub_(nuisance["gaze_down"] - 0.6)
    radius = u.square().addcmul_(v, v).sqrt_()
    canvas.paint(palette.iris, cover(traits["iris_radius"] - radius).mul_(inside))
    canvas.paint(palette.iris * 0.15, cover(0.45 * traits["iris_radius"] - radius).mul_(inside))
    glint = (u - 1.3).square_().add_((v + 1.4).square_()).sqrt_()
    canvas.paint(WHITE, cover(0.9 - glint).mul_(inside))
    lid = 0.5 * traits["lid_thickness"] + 0.5 * nuisance["make_up"].clamp(min=0)
    canvas.paint(palette.hair * 0.5, cover(lid - top.abs()).mul_(0.9 * across))
    crease = cover(0.7 - (top + (1.4 + 2 * lid)).abs_(), 1.2).mul_(across)
    canvas.paint(palette.shade, crease.mul_(0.8 * traits["lid_crease"].clamp(min=0)))


def paint_brows(canvas: Canvas, traits: Columns, nuisance: Columns, palette: Palette) -> None:
    u = canvas.u.abs() - (traits["eye_distance"] + traits["brow_shift"])
    v = canvas.v - (traits["eye_height"] - traits["brow_gap"] - nuisance["brow_raise"] - 0.4 * traits["brow_bend"])
    along = u / traits["brow_length"]
    square = along * along
    down = v.addcmul_(u, traits["brow_angle"]).addcmul_(square, traits["brow_bend"], value=-1)
    thick = (1 - square).mul_(traits["brow_thickness"]).mul_(along.mul_(-0.35).add_(1.1).clamp_(min=0.3))
    canvas.paint(palette.hair * 0.62, cover(thick.sub_(down.abs_()), 1.3).mul_(traits["brow_strength"]))


def paint_nose(canvas: Canvas, traits: Columns, nuisance: Columns, palette: Palette) -> None:
    """The bridge by its shaded sides, then wings, bulb, nostrils and the groove to the lip; it stands out, so pose
    moves it more.
    """
    tip, top, width = traits["nose_height"], traits["eye_height"] - 2, traits["nose_width"]
    down = ((canvas.v - top) / (tip - top)).clamp_(0, 1.2)
    u = canvas.u.addcmul(down * down, nuisance["yaw"].tan().clamp(-0.8, 0.8), value=-NOSE_RELIEF)
    u.addcmul_(down, traits["nose_bend"], value=-1)
    v = canvas.v - (tip + NOSE_RELIEF * nuisance["pitch"].tan())
    half = torch.lerp(traits["nose_bridge"], width * 0.8, down.clamp_(max=1).square_())
    relief, aside = traits["nose_relief"], u.abs()
    length = cover(v + (tip - top), 5.0).mul_(cover(3 - v, 4.0)).mul_(relief)
    side = u * torch.where(nuisance["light_across"] > 0, 1.0, -1.0)
    shadow = cover(2.2 - (side + half).abs_(), 3.0).mul_(0.75).add_(cover(1.8 - (side - half).abs_(), 3.0), alpha=0.35)
    wing = ellipse(aside - width * 0.72, v - 1.5, width * 0.4, 3.4).abs_()
    shadow.mul_(length).add_(cover(1.0 - wing, 1.3).mul_(0.7).mul_(aside > 0.6 * width))
    groove = cover(0.9 - aside, 1.5).mul_(cover(v - 5, 2.0)).mul_(cover(traits["mouth_height"] - tip - 3 - v, 2.0))
    canvas.paint(palette.shade, shadow.addcmul_(groove, 0.5 * traits["philtrum"].clamp(min=0)).clamp_(max=0.9))
    bright = (palette.skin * 1.1 + 0.06).clamp(max=1)
    bulb, ridge = traits["nose_bulb"], cover(half.mul_(0.5).sub_(aside), 3.0).mul_(length).mul_(0.7)
    canvas.paint(bright, ridge.add_(cover(ellipse(u, v + 1.5, bulb, bulb * 0.9), 3.0), alpha=0.6).clamp_(max=0.8))
    nostrils = traits["nostrils"]
    hole = ellipse(aside - width * 0.42, v - 3.4, 1.2 + 1.2 * nostrils, 0.9 + nostrils)
    canvas.paint(palette.shade * 0.35, cover(hole).mul_(0.35 + 0.65 * nostrils))
    under = (v - 4.3).addcmul_(u * u, 0.16 / bulb).abs_()
    canvas.paint(palette.shade * 0.7, cover(0.6 - under, 1.2).mul_(cover(bulb - aside)).mul_(0.6))


def paint_mouth(canvas: Canvas, traits: Columns, nuisance: Columns, palette: Palette) -> None:
    """Lips around a line that bends with the smile; an opening with teeth parts them."""
    smile, opening = nuisance["smile"], 7 * nuisance["mouth_open"].clamp(0, 1)
    along = canvas.u / (traits["mouth_width"] * (1 + 0.12 * smile))
    square = along * along
    arch = 1 - square
    middle = (canvas.v - traits["mouth_height"]).addcmul_(square, 3.5 * smile - traits["mouth_corners"])
    gap_top = middle.addcmul(arch, 0.35 * opening)
    gap_bottom = (arch * (0.65 * opening)).sub_(middle)
    bow = along.abs().mul_(-6).add_(1).clamp_(min=0).mul_(-traits["lip_bow"]).add_(1).mul_(arch)
    upper, lower = gap_top.addcmul(bow, traits["upper_lip"]), gap_bottom.addcmul(arch, traits["lower_lip"])
    canvas.paint(palette.lips, cover(torch.minimum(upper, lower)))
    shine = ellipse(along.mul_(12), middle - (0.65 * opening + 0.45 * traits["lower_lip"]), 5, 1.2)
    canvas.paint(palette.lips * 1.2 + 0.08, cover(shine, 2.0).mul_(0.6))
    inside = cover(torch.minimum(gap_top, gap_bottom)).mul_(opening > 0.4)
    canvas.paint(MOUTH_INSIDE, inside)
    canvas.paint(TEETH, cover(0.4 * opening + 0.8 - gap_top).mul_(inside))
    canvas.paint(palette.lips * 0.4, cover(0.75 - gap_top.abs_()).mul_(0.85).mul_(cover(arch, 0.15)))


def cover_beard(canvas: Canvas, traits: Columns, nuisance: Columns) -> Tensor:
    """Return the beard, which leaves the mouth free, and the moustache; the circumstances trim them but grow none."""
    u, v, width = canvas.u, canvas.v, traits["mouth_width"]
    beard, tache = (
        (traits[name] + nuisance["shave"]).clamp(0, 1) * (traits[name] > 0) for name in ("beard", "moustache")
    )
    edge = v.addcmul(u, u, value=0.012).sub_(traits["beard_line"] + 10)
    free = 1 - cover(ellipse(u, v - traits["mouth_height"], width + 3, 8.0), 4.0)
    covered = cover(edge, 5.0).mul_(free).mul_(0.9 * beard)
    middle = traits["mouth_height"] - traits["upper_lip"] - 3
    lip = v.addcmul(u, u, value=-0.012).sub_(middle)
    return torch.maximum(covered, cover(ellipse(u, lip, width * 0.95, 3.0), 2.0).mul_(0.95 * tache))
