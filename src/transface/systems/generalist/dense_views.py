"""Views of photographs for landmarks and parsing: a random similarity, the tanh warp, and changes of light.

Faceptor's and FaRL's augmentation (released code, py-blueprint). Everything random is drawn apart from its use.
Shapes: B images, S side of a view, C side of a canvas, P points.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from transface.data.batches import FaceBatch
from transface.data.labels.label import targets_where
from transface.data.labels.points import CanvasTargets, mirrored_points, mirrored_regions
from transface.images.pixels import draw_mirrored, from_levels, mirror
from transface.systems.generalist.tasks import Task

LUMA = (0.299, 0.587, 0.114)
TANH_BOUND = 0.999  # beyond this argument the warp's inverse stops


class Movement(NamedTuple):
    """A similarity about the centre of the view, of each of B images: shift in sides, angle, scale."""

    shift: Tensor
    radians: Tensor
    scale: Tensor


class Light(NamedTuple):
    """Changes of light of each of B images.

    Attributes:
        hidden: (B, 4) left, top, right, bottom of a black rectangle, as shares of the sides.
        noise: (B,) share of uniform noise; 0: none.
        grey: (B,) bool.
        gamma: (B,) exponent of the brightness: 0.5, 1 or 2.
        blur: (B,) pixels of a box blur; 0 and 1: none.
    """

    hidden: Tensor
    noise: Tensor
    grey: Tensor
    gamma: Tensor
    blur: Tensor


class DenseView(NamedTuple):
    """Images (B, 3, S, S), float in [-1, 1], and targets: points (B, P, 2) in 0..1, or regions (B, S, S) uint8."""

    images: Tensor
    targets: Tensor


class DenseViews:
    """Makes views of canvases, as published for landmarks and for parsing.

    Args:
        strength: factor of all movements; 0 moves nothing.
        occlusion, noise: whether landmarks see black rectangles and noise.
        light: whether views change in light at all.
        flip_probability: share of the views that are mirrored, left and right of points and regions with them; as
            published none is.
        grey_probability, noise_probability: of these changes.

    Raises:
        ValueError: for a strength below 0, or a probability outside 0..1.
    """

    def __init__(
        self,
        *,
        strength: float = 1.0,
        occlusion: bool = True,
        noise: bool = True,
        light: bool = True,
        grey_probability: float = 0.1,
        noise_probability: float = 0.5,
        flip_probability: float = 0.0,
    ) -> None:
        probabilities = (grey_probability, noise_probability, flip_probability)
        if strength < 0 or not all(0 <= one <= 1 for one in probabilities):
            raise ValueError(
                "dense.strength must be at least 0 and probabilities in 0..1, got"
                f" {strength}, {', '.join(map(str, probabilities))}"
            )
        self.strength = strength
        self.occlusion, self.noise, self.light = occlusion, noise, light
        self.grey_probability, self.noise_probability = grey_probability, noise_probability
        self.flip_probability = flip_probability

    def check(self, task: Task) -> None:
        """Refuse a task whose views cannot be mirrored as asked.

        Raises:
            ValueError: for points whose order in a mirror is not known, or a region of a side without its opposite.
        """
        if self.flip_probability and task.kind == "landmarks":
            mirrored_points(torch.zeros(0, task.num_outputs, 2), 1)
        elif self.flip_probability:
            mirrored_regions(torch.zeros(0, 1, 1, dtype=torch.uint8), task.names)

    def __call__(
        self, batch: FaceBatch, task: Task, generator: torch.Generator, *, dtype: torch.dtype = torch.float32
    ) -> DenseView:
        """Return a view of every canvas of a batch with CanvasTargets; all draws come from the generator.

        Raises:
            ValueError: for a batch of other targets.
        """
        targets = batch.labels
        if not isinstance(targets, CanvasTargets):
            raise ValueError(f"task {task.name!r} needs canvases with CanvasTargets, got {type(targets).__name__}")
        landmarks = task.kind == "landmarks"
        images = batch.images
        if self.flip_probability:
            flipped = draw_mirrored(images, generator, probability=self.flip_probability)
            images = mirror(images, flipped)
            targets = targets_where(flipped, mirrored_canvases(targets, images.shape[-1], task.names), targets)
        movement = draw_movement(
            len(batch.images), generator, kind=task.kind, strength=self.strength, scale=targets.scale
        )
        view = apply_movement(images, targets, movement, dtype=dtype)
        if not self.light:
            return view
        light = draw_light(
            len(batch.images),
            generator,
            side=view.images.shape[-1],
            occlusion=landmarks and self.occlusion,
            noise_probability=self.noise_probability if landmarks and self.noise else 0.0,
            grey_probability=self.grey_probability,
        )
        return view._replace(images=apply_light(view.images, light, generator))


def mirrored_canvases(targets: CanvasTargets, width: int, names: tuple[str, ...]) -> CanvasTargets:
    """Return the targets of canvases turned left to right, `width` pixels wide: left and right trade places.

    Raises:
        ValueError: as mirrored_points and mirrored_regions say.
    """
    if targets.points.shape[1]:
        return targets._replace(points=mirrored_points(targets.points, width))
    return targets._replace(regions=mirrored_regions(targets.regions, names))


def draw_movement(
    count: int, generator: torch.Generator, *, kind: str, strength: float = 1.0, scale: Tensor | float = 0.8
) -> Movement:
    """Return the movements published for a kind of task: landmarks 5 %, 10 degrees, scale +-0.1 of the box; parsing
    1 %, 18 degrees and 0.1 of deviation.

    Args:
        scale: (B,) or one for all: of the face in the crop that is moved: 0.8 of 300W, COFW and WFLW, 1.0 of AFLW.
    """
    device = generator.device

    def even(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator, device=device) * 2 - 1

    if kind == "landmarks":
        # The crop has the face at its scale already: 0.8 +- 0.1 is a further factor of 1 +- 0.125.
        shift, radians = 0.05 * strength * even(2), 0.174 * strength * even()
        reach = 0.1 / torch.as_tensor(scale, dtype=torch.float32).to(device)
        return Movement(shift, radians, 1 + reach * strength * even())
    turned, scaled = torch.randn(2, count, generator=generator, device=device)
    return Movement(0.01 * strength * even(2), 0.314 * strength * turned, (1 + 0.1 * strength * scaled).clamp_min(0.5))


def apply_movement(
    canvases: Tensor, targets: CanvasTargets, movement: Movement, *, dtype: torch.dtype = torch.float32
) -> DenseView:
    """Return the views of canvases (B, 3, C, C) uint8 with their points or regions, bent where a warp is stated."""
    side = canvas_view_side(canvases, targets)
    device = canvases.device
    moved = Movement(*(part.to(device, dtype) for part in movement))
    warp = targets.warp.to(device, dtype)
    places = _sources(moved, warp, side=side, canvas=canvases.shape[-1], dtype=dtype)
    # The centre of pixel i of n lies at (2 i + 1) / n - 1 in grid_sample's coordinates.
    grid = (2 * places + 1) / canvases.shape[-1] - 1
    images = F.grid_sample(canvases.to(dtype), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    images = from_levels(images)
    if targets.points.shape[1]:
        points = _moved_points(targets.points.to(device, dtype), moved, warp, side=side, canvas=canvases.shape[-1])
        return DenseView(images, (points + 0.5) / side)
    regions = F.grid_sample(
        targets.regions[:, None].to(dtype), grid, mode="nearest", padding_mode="zeros", align_corners=False
    )
    return DenseView(images, regions[:, 0].round().to(torch.uint8))


def canvas_view_side(canvases: Tensor, targets: CanvasTargets) -> int:
    """Return the side of the views of canvases: that of all their crops.

    Raises:
        ValueError: if the crops of a batch have more than one side.
    """
    sides = targets.side
    first = int(sides[0])
    if bool((sides != first).any()) or first > canvases.shape[-1]:
        raise ValueError(f"all crops of a batch have one side, at most {canvases.shape[-1]}, got {sides.tolist()}")
    return first


def _linear(movement: Movement) -> Tensor:
    """Return the matrices (B, 2, 2) of turn and scale."""
    cosine, sine = movement.scale * movement.radians.cos(), movement.scale * movement.radians.sin()
    return torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)


def _moved_points(points: Tensor, movement: Movement, warp: Tensor, *, side: int, canvas: int) -> Tensor:
    """Return where points (B, P, 2) of canvases lie in their views, in pixels."""
    centre = (canvas - 1) / 2
    turned = (points - centre) @ _linear(movement).mT + movement.shift[:, None] * side + (side - 1) / 2
    return _bend(turned, warp, side)


def _sources(movement: Movement, warp: Tensor, *, side: int, canvas: int, dtype: torch.dtype) -> Tensor:
    """Return the place (B, S, S, 2) in the canvas that each pixel of a view shows."""
    line = torch.arange(side, device=warp.device, dtype=dtype)
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    places = torch.stack([columns, rows], -1).expand(len(warp), -1, -1, -1).flatten(1, 2)
    straight = _unbend(places, warp, side)
    inverse = torch.linalg.inv(_linear(movement))
    found = (straight - (side - 1) / 2 - movement.shift[:, None] * side) @ inverse.mT + (canvas - 1) / 2
    return found.unflatten(1, (side, side))


def _bend(points: Tensor, warp: Tensor, side: int) -> Tensor:
    """Return points (B, N, 2) of a view after the tanh warp of its outer share (B,)."""
    scaled = 2 * points / side - 1
    share = warp.clamp_min(1e-6)[:, None, None]
    start = 1 - share
    bent = scaled.sign() * (((scaled.abs() - start) / share).tanh() * share + start)
    outside = (scaled.abs() > start) & (warp > 0)[:, None, None]
    return (torch.where(outside, bent, scaled) + 1) / 2 * side


def _unbend(points: Tensor, warp: Tensor, side: int) -> Tensor:
    """Return where points (B, N, 2) of a warped view lie without the warp."""
    scaled = 2 * points / side - 1
    share = warp.clamp_min(1e-6)[:, None, None]
    start = 1 - share
    argument = ((scaled.abs() - start) / share).clamp(-TANH_BOUND, TANH_BOUND)
    straight = scaled.sign() * (argument.atanh() * share + start)
    outside = (scaled.abs() > start) & (warp > 0)[:, None, None]
    return (torch.where(outside, straight, scaled) + 1) / 2 * side


def draw_light(
    count: int,
    generator: torch.Generator,
    *,
    side: int,
    occlusion: bool = True,
    noise_probability: float = 0.5,
    grey_probability: float = 0.1,
) -> Light:
    """Return changes of light: a rectangle of a tenth to almost a half of each side, noise, grey, gamma, blur."""
    device = generator.device

    def draw(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator, device=device)

    height = 0.2 + 0.6 * draw()
    width = (height - 0.2 + 0.4 * draw()).clamp_min(0)
    half = torch.stack([width, height], -1) / 4 if occlusion else torch.zeros(count, 2, device=device)
    centre = draw(2)
    noise = 0.5 * draw() * (draw() < noise_probability)
    grey = draw() < grey_probability
    gamma = torch.tensor([0.5, 1.0, 2.0], device=device)[(3 * draw()).long().clamp_max(2)]
    blur = (side * 0.01 * draw()).long()
    return Light(torch.cat([centre - half, centre + half], -1), noise, grey, gamma, blur)


def apply_light(images: Tensor, light: Light, generator: torch.Generator) -> Tensor:
    """Return images (B, 3, S, S) in [-1, 1] under these changes, in the published order; the noise itself is drawn
    here.
    """
    light = Light(*(part.to(images.device) for part in light))
    side = images.shape[-1]
    line = (torch.arange(side, device=images.device, dtype=images.dtype) + 0.5) / side
    left, top, right, bottom = light.hidden.to(images.dtype).unbind(-1)
    across = (line >= left[:, None]) & (line < right[:, None])
    down = (line >= top[:, None]) & (line < bottom[:, None])
    bright = (images * 0.5 + 0.5).masked_fill((down[:, :, None] & across[:, None])[:, None], 0.0)
    share = light.noise.to(images.dtype)[:, None, None, None]
    drawn = torch.rand(images.shape, generator=generator, device=generator.device).to(images)
    bright = bright * (1 - share) + drawn * share
    luma = (bright * bright.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True).expand_as(bright)
    bright = torch.where(light.grey[:, None, None, None], luma, bright)
    bright = bright.clamp(0, 1).pow(light.gamma.to(images.dtype)[:, None, None, None])
    return _box_blur(bright, light.blur) * 2 - 1


def _box_blur(images: Tensor, widths: Tensor) -> Tensor:
    """Return images (B, 3, S, S), each averaged over a square of its width in pixels; 0 and 1 blur nothing."""
    largest = max(1, math.ceil(0.01 * images.shape[-1]))
    if largest < 2:
        return images
    places = torch.arange(largest, device=images.device)
    widths = widths.clamp(1, largest)
    first = (largest - widths) // 2
    kernel = ((places >= first[:, None]) & (places < (first + widths)[:, None])).to(images.dtype)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(images.shape[1], 0)
    flat = images.flatten(0, 1)[None]
    before, after = (largest - 1) // 2, largest // 2
    padded = F.pad(flat, (before, after, before, after), mode="replicate")
    rows = F.conv2d(padded, kernel[:, None, :, None], groups=len(kernel))
    return F.conv2d(rows, kernel[:, None, None, :], groups=len(kernel))[0].view_as(images)
