"""Draws made-up faces in batches: scenery, a person, what hides the face, light, camera.

The order is that of the painter: what is nearer comes later. Shapes: B faces, N pixels, S image side. Colours are RGB
in 0..1 until the last step. No random number is drawn here.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from transface.synthetic import features
from transface.synthetic.canvas import (
    ALIGNMENT_TEMPLATE,
    PORTRAIT_SIZE,
    PORTRAIT_TEMPLATE,
    Canvas,
    Placement,
    aligned_placement,
    cover,
    enlarge,
    landmarks_on_screen,
    loose_placement,
    pixel_canvas,
    project,
    window,
)
from transface.synthetic.features import Palette, colour_of
from transface.synthetic.occlusion import paint_occasions
from transface.synthetic.people import NUISANCE_COLUMNS, TRAIT_COLUMNS, Columns

BANK_SIZE = 512
CHUNK = 16  # faces drawn together: their planes stay in the cache
SHARPEST_BLUR = 0.35  # pixels; below it a blur does nothing


class RenderedFaces(NamedTuple):
    """Images (B, 3, S, S), uint8, RGB, and their five landmarks (B, 5, 2) as (x, y) pixels."""

    images: Tensor
    landmarks: Tensor


def render_faces(identity: Tensor, nuisance: Tensor, *, image_size: int = 112, crop: str = "aligned") -> RenderedFaces:
    """Return the photographs of people `identity` (B, P) under `nuisance` (B, Q): the same input gives the same pixels.

    crop="aligned" brings the five landmarks to the alignment template of 112x112 (the crop's jitter aside);
    crop="loose" is a detector's box with the face rolled and off centre; crop="portrait" brings the landmarks to where
    CelebA has them, in a square of 218.

    Raises:
        ValueError: if the tables do not fit each other, or `crop` is another word, or the image size does not suit it.
    """
    if len(identity) != len(nuisance):
        raise ValueError(f"one row of nuisance per identity row was expected, got {len(identity)} and {len(nuisance)}")
    if crop not in {"aligned", "loose", "portrait"}:
        raise ValueError(f"crop must be 'aligned', 'loose' or 'portrait', got {crop!r}")
    size = {"aligned": 112, "portrait": PORTRAIT_SIZE}.get(crop, image_size)
    if image_size != size:
        raise ValueError(f"crop={crop!r} is {size} wide, got image_size={image_size}; use crop='loose' for other sizes")
    if image_size % 2 or not 32 <= image_size < BANK_SIZE:
        raise ValueError(f"image_size must be an even number in 32..{BANK_SIZE - 2}, got {image_size}")
    with one_thread():
        chunks = [
            render_chunk(Columns(who, TRAIT_COLUMNS), Columns(how, NUISANCE_COLUMNS), image_size, crop)
            for who, how in zip(identity.split(CHUNK), nuisance.split(CHUNK), strict=True)
        ]
    return RenderedFaces(torch.cat([c.images for c in chunks]), torch.cat([c.landmarks for c in chunks]))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread inside: its operators here are too small to share, and waiting for each other costs 20
    times more.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def render_chunk(traits: Columns, nuisance: Columns, image_size: int, crop: str) -> RenderedFaces:
    """Return a few faces, drawn together."""
    points = landmarks_on_screen(traits, nuisance)
    if crop == "loose":
        placement = loose_placement(nuisance, image_size)
    else:
        placement = aligned_placement(points, nuisance, ALIGNMENT_TEMPLATE if crop == "aligned" else PORTRAIT_TEMPLATE)
    canvas = pixel_canvas(placement, nuisance, image_size)
    coarse = pixel_canvas(placement, nuisance, image_size, step=2)
    paint_scenery(canvas, nuisance, image_size)
    head = paint_person(canvas, coarse, traits, nuisance, points=points, placement=placement)
    paint_occasions(canvas, traits, nuisance, head)
    (light,) = enlarge([light_field(coarse, nuisance)], image_size)
    images = photograph(develop(canvas.colours, light, nuisance), nuisance, image_size)
    return RenderedFaces(images, torch.view_as_real(placement.turn * points + placement.shift))


def paint_person(
    canvas: Canvas, coarse: Canvas, traits: Columns, nuisance: Columns, *, points: Tensor, placement: Placement
) -> Tensor:
    """Paint the person and return how much of each pixel (B, N) the head covers; soft parts are computed on the coarse
    canvas.
    """
    image_size = int(canvas.x.shape[1] ** 0.5)
    palette = features.palette_of(traits, nuisance)
    strands = features.strands_of(canvas, traits)
    features.paint_hair(canvas, traits, palette.hair, strands, features.cover_back_hair(canvas, traits, nuisance))
    below = canvas.rows(19, 1e9)
    features.paint_neck(below, traits, palette.skin)
    features.paint_cloth(below, traits, nuisance)
    paint = functools.partial(paint_windows, canvas, placement=placement, image_size=image_size)
    x, swing = traits["head_width"] + traits["ear_out"], 7 * nuisance["yaw"].sin()
    ears = torch.complex(torch.cat([-x - swing, x - swing], 1), traits["ear_height"].expand(-1, 2))
    paint(ears, (9, 19), lambda part: features.paint_ears(part, traits, nuisance, palette))
    depth = features.head_depth(canvas, traits, nuisance)
    head = cover(depth)
    blush, relief, beard = enlarge(
        [
            features.cover_blush(coarse, traits),
            features.cover_relief(coarse, traits),
            features.cover_beard(coarse, traits, nuisance),
        ],
        image_size,
    )
    canvas.paint(palette.skin, head)
    canvas.paint(palette.skin * features.ROSY, blush.mul_(head))
    canvas.paint(palette.shade, relief.add_(cover(3 - depth, 10.0), alpha=0.55).clamp_(max=1).mul_(head))
    paint_features(paint, traits, nuisance, palette, points=points)
    canvas.paint(palette.hair, beard.mul_(head))
    features.paint_hair(
        canvas, traits, palette.hair, strands, features.cover_front_hair(canvas, traits, nuisance, depth)
    )
    return head


def paint_windows(
    canvas: Canvas,
    centres: Tensor,
    half: tuple[float, float],
    painter: Callable[[Canvas], None],
    *,
    placement: Placement,
    image_size: int,
) -> None:
    """Let `painter` work on windows around the screen points (B, K), `half` a width and height to each side."""
    chosen = window(centres, placement, image_size, half)
    part = canvas.take(chosen)
    painter(part)
    canvas.put_back(part, chosen)


def paint_features(
    paint: Callable[..., None], traits: Columns, nuisance: Columns, palette: Palette, *, points: Tensor
) -> None:
    """Freckles, moles, scar, eyes, brows, nose and mouth, each in its own small window."""
    cheeks = project(torch.zeros_like(traits["scar_across"]), torch.full_like(traits["scar_across"], 4), nuisance)
    paint(cheeks, (36, 16), lambda part: features.paint_freckles(part, traits, palette))
    for mark in ("mole", "second_mole"):
        centre = project(traits[f"{mark}_across"], traits[f"{mark}_down"], nuisance)
        paint(centre, (5, 5), lambda part, mark=mark: features.paint_mole(part, traits, palette, mark))
    scar = project(traits["scar_across"], traits["scar_down"], nuisance)
    paint(scar, (12, 12), lambda part: features.paint_scar(part, traits, palette))

    def eyes_and_brows(part: Canvas) -> None:
        features.paint_eyes(part, traits, nuisance, palette)
        features.paint_brows(part, traits, nuisance, palette)

    paint(points[:, :2] - 5j, (16, 14), eyes_and_brows)
    middle = (points[:, 2:3] + points[:, :2].mean(1, keepdim=True)) / 2 + 2j
    paint(middle, (16, 24), lambda part: features.paint_nose(part, traits, nuisance, palette))
    mouth = points[:, 3:].mean(1, keepdim=True) + 1j
    paint(mouth, (22, 13), lambda part: features.paint_mouth(part, traits, nuisance, palette))


@functools.lru_cache(maxsize=4)
def noise_bank(smoothness: int) -> Tensor:
    """Return fixed noise (3, BANK_SIZE, BANK_SIZE), mean 0 and standard deviation 1; clouds of `smoothness` pixels
    where that is above 1.
    """
    generator = torch.Generator().manual_seed(20_231_006 + smoothness)
    noise = torch.randn(1, 3, BANK_SIZE, BANK_SIZE, generator=generator)
    if smoothness > 1:
        clouds = torch.zeros_like(noise)
        for octave in range(3):
            cells = BANK_SIZE * 2**octave // smoothness
            coarse = noise[..., :cells, octave * cells : (octave + 1) * cells]
            clouds += F.interpolate(coarse, size=(BANK_SIZE, BANK_SIZE), mode="bicubic") / 1.6**octave
        noise = clouds + 1.5 * clouds.mean(1, keepdim=True)  # mostly light and dark, some colour
    return ((noise - noise.mean()) / noise.std())[0].contiguous()


def cut_from_bank(bank: Tensor, across: Tensor, down: Tensor, image_size: int) -> Tensor:
    """Return squares (B, 3, S, S) cut out of a noise bank at (across, down), each (B, 1) in 0..1."""
    corners = (torch.cat([down, across], dim=1) * (BANK_SIZE - image_size)).long().tolist()
    return torch.stack([bank[:, top : top + image_size, left : left + image_size] for top, left in corners])


def paint_scenery(canvas: Canvas, nuisance: Columns, image_size: int) -> None:
    scenery = cut_from_bank(noise_bank(30), nuisance["scenery_across"], nuisance["scenery_down"], image_size).flatten(2)
    base = colour_of(nuisance["scenery_red"], nuisance["scenery_green"], nuisance["scenery_blue"])
    base = torch.lerp(base, base.mean(1, keepdim=True), 0.4)
    torch.addcmul(base, scenery, 0.25 * nuisance["scenery_contrast"][..., None], out=canvas.colours)


def light_field(canvas: Canvas, nuisance: Columns) -> Tensor:
    """Return the brightness (B, N): a sloping light, and a shadow with an edge across the face."""
    field = (canvas.x * (1 / 50)).clamp_(-1.2, 1.2).mul_(nuisance["light_across"]).add_(1)
    field.addcmul_((canvas.y * (1 / 60)).clamp_(-1.2, 1.2), nuisance["light_down"], value=-1)
    angle = nuisance["shadow_angle"]
    edge = (canvas.x * angle.cos()).addcmul_(canvas.y, angle.sin()).sub_(nuisance["shadow_edge"])
    return field.mul_(1 - cover(edge, 8.0).mul_(nuisance["shadow_depth"].clamp(0, 0.75))).clamp_(min=0.08)


def develop(colours: Tensor, light: Tensor, nuisance: Columns) -> Tensor:
    """Return the colours (B, 3, N) under `light` (B, N), 0..255: cast, saturation, exposure and contrast are one colour
    matrix.
    """
    cast = (1 + colour_of(nuisance["cast_red"], nuisance["cast_green"], nuisance["cast_blue"])) * (
        1 + nuisance["exposure"]
    )[..., None]
    vivid = ((1 + nuisance["saturation"]) * (1 - nuisance["grey_picture"]))[..., None]
    mix = (torch.eye(3) * vivid + (1 - vivid) / 3) * cast.transpose(1, 2)
    contrast = 255 * (1 + nuisance["contrast"])[..., None]
    return torch.baddbmm(0.45 * (255 - contrast), mix * contrast, colours.mul_(light[:, None]))


def blur_matrix(width: Tensor, image_size: int) -> Tensor:
    """Return (B, S, S): the weights of a Gaussian blur of `width` (B, 1) pixels, rows summing to 1."""
    steps = torch.arange(image_size)
    distance = (steps[:, None] - steps).square()
    exponent = distance / (2 * width.clamp(min=0.2).square())[..., None]
    weights = torch.where(
        exponent < 9, torch.exp(-exponent.clamp(max=9)), 0
    )  # cut, so that no denormal number slows the product
    return weights / weights.sum(2, keepdim=True)


def photograph(colours: Tensor, nuisance: Columns, image_size: int) -> Tensor:
    """Return the uint8 images (B, 3, S, S): blurred where the lens was out of focus, with the sensor's noise."""
    images = colours.unflatten(2, (image_size, image_size))
    across, down = nuisance["blur_across"], nuisance["blur_down"]
    soft = ((across > SHARPEST_BLUR) | (down > SHARPEST_BLUR))[:, 0].nonzero()[:, 0]
    if len(soft):
        sideways, upright = blur_matrix(across[soft], image_size).mT, blur_matrix(down[soft], image_size)
        blurred = torch.bmm(images.index_select(0, soft).flatten(1, 2), sideways).unflatten(1, (3, image_size))
        images.index_copy_(0, soft, upright[:, None] @ blurred)
    grain = cut_from_bank(noise_bank(1), nuisance["grain_across"], nuisance["grain_down"], image_size)
    images = images.addcmul_(grain, 255 * nuisance["noise"].abs()[..., None, None])
    return images.add_(0.5).clamp_(0, 255).to(torch.uint8)
