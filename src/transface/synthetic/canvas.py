"""Where things are on a made-up face: the head's pose, the crop's placement, and canvases that know both for each
pixel.

Shapes: B faces, N pixels of an image or of a part of it, S image side. Positions on the screen and in the image are
complex numbers.
"""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from transface.synthetic.people import Columns

# Left eye, right eye, nose, left mouth corner, right mouth corner of an aligned crop of 112x112.
ALIGNMENT_TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
# The same five points of CelebA's aligned photographs, 178 wide and 218 high, in a square of 218.
PORTRAIT_TEMPLATE = ((89.0, 111.0), (128.0, 111.0), (108.0, 135.0), (91.0, 152.0), (125.0, 152.0))
PORTRAIT_SIZE = 218
SPHERE_RADIUS = 58.0
NOSE_RELIEF = 10.0


class Placement(NamedTuple):
    """A similarity from face to image, as complex numbers (B, 1): image = turn * face + shift; `reach` bounds nearly
    all |turn|.
    """

    turn: Tensor
    shift: Tensor
    reach: float


class Canvas(NamedTuple):
    """Colours (B, 3, N) with the coordinates of their pixels: x, y on the screen, u, v on the head's surface, all (B,
    N).
    """

    colours: Tensor
    x: Tensor
    y: Tensor
    u: Tensor
    v: Tensor

    def paint(self, colour: Tensor, cover: Tensor) -> None:
        """Lay `colour` (B, 3, 1) or (3, 1) over the pixels as far as `cover` (B, N) in 0..1 says."""
        self.colours.lerp_(colour.expand(self.colours.shape[0], 3, 1), cover[:, None])

    def rows(self, below: float, above: float) -> "Canvas":
        """Return the part, sharing memory, of whole image rows that holds every pixel with below < y < above."""
        side = math.isqrt(self.y.shape[1])
        inside = ((self.y > below) & (self.y < above)).view(-1, side, side).any(2).any(0).nonzero()[:, 0]
        first, last = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
        return Canvas(*(plane[..., first * side : last * side] for plane in self))

    def take(self, chosen: Tensor) -> "Canvas":
        """Return a copy of the chosen faces or, for (B, n) pixel indices, of the chosen pixels."""
        if chosen.ndim == 1:
            return Canvas(*(plane.index_select(0, chosen) for plane in self))
        colours = self.colours.gather(2, chosen[:, None].expand(-1, 3, -1))
        return Canvas(colours, *(plane.gather(1, chosen) for plane in self[1:]))

    def put_back(self, part: "Canvas", chosen: Tensor) -> None:
        """Write back what `take` gave and a painter changed."""
        if chosen.ndim == 1:
            self.colours.index_copy_(0, chosen, part.colours)  # an assignment by index takes several times as long
        else:
            self.colours.scatter_(2, chosen[:, None].expand(-1, 3, -1), part.colours)


def cover(depth: Tensor, softness: float = 1.0) -> Tensor:
    """Return how much of a pixel lies inside a shape whose edge is `depth` pixels away (positive inside)."""
    return (depth * (1 / softness)).add_(0.5).clamp_(0, 1)


def ellipse(x: Tensor, y: Tensor, width: Tensor | float, height: Tensor | float) -> Tensor:
    """Return the rough depth in pixels of points inside an ellipse of the given half axes."""
    radius = (x / width).square_()
    radius.add_((y / height).square_()).sqrt_()
    narrow = torch.minimum(torch.as_tensor(width), torch.as_tensor(height))
    return radius.neg_().add_(1).mul_(narrow)


def project(u: Tensor, v: Tensor, nuisance: Columns, relief: float = 0.0) -> Tensor:
    """Return where head points (B, K), lifted `relief` off the sphere, appear on the screen, as complex (B, K)."""
    w = (SPHERE_RADIUS**2 - u.square() - v.square()).clamp(min=1).sqrt() + relief
    yaw, pitch = nuisance["yaw"], nuisance["pitch"]
    forward = w * yaw.cos() - u * yaw.sin()
    return torch.complex(u * yaw.cos() + w * yaw.sin(), v * pitch.cos() + forward * pitch.sin())


def landmarks_on_screen(traits: Columns, nuisance: Columns) -> Tensor:
    """Return eyes, nose tip and mouth corners, as complex (B, 5), on the screen before the crop is chosen."""
    eye, mouth = traits["eye_distance"], traits["mouth_width"]
    lift = traits["mouth_corners"] - 3.5 * nuisance["smile"]
    eyes = project(torch.cat([-eye, eye], 1), traits["eye_height"].expand(-1, 2), nuisance)
    nose = project(traits["nose_bend"], traits["nose_height"], nuisance, relief=NOSE_RELIEF)
    corners = project(torch.cat([-mouth, mouth], 1), (traits["mouth_height"] + lift).expand(-1, 2), nuisance)
    return torch.cat([eyes, nose, corners], dim=1)


def aligned_placement(
    points: Tensor, nuisance: Columns, template: tuple[tuple[float, float], ...] = ALIGNMENT_TEMPLATE
) -> Placement:
    """Return the similarity that brings the five points (B, 5) nearest to a template; then it strays by the jitter."""
    template_points = torch.view_as_complex(torch.tensor(template)).expand_as(points)
    here, there = points.mean(1, keepdim=True), template_points.mean(1, keepdim=True)
    spread = (points - here).abs().square().sum(1, keepdim=True)
    turn = ((points - here).conj() * (template_points - there)).sum(1, keepdim=True) / spread
    turn = turn * torch.polar(1 + nuisance["crop_scale"], nuisance["crop_turn"])
    stray = torch.complex(nuisance["crop_across"], nuisance["crop_down"])
    return Placement(turn, there - turn * here + stray, 1.22 if template is ALIGNMENT_TEMPLATE else 1.4)


def loose_placement(nuisance: Columns, image_size: int) -> Placement:
    """Return a rolled, shifted, scaled placement, as a face detector's box would leave it."""
    turn = torch.polar((1 + 3 * nuisance["crop_scale"]) * image_size / 160, nuisance["roll"])
    stray = torch.complex(nuisance["crop_across"], nuisance["crop_down"]) * image_size / 40
    return Placement(turn, stray + complex(image_size / 2, image_size / 2), 1.22 * image_size / 160)


def pixel_canvas(placement: Placement, nuisance: Columns, image_size: int, *, step: int = 1) -> Canvas:
    """Return a canvas, its colours not yet set, of the centres of all blocks of step x step pixels: their place on the
    screen and on the head.
    """
    along = torch.arange(image_size // step) * step + (step - 1) / 2
    inverse = 1 / placement.turn
    start = -placement.shift * inverse
    turned = inverse * along
    x = ((turned.real + start.real)[:, None, :] - turned.imag[:, :, None]).flatten(1)
    y = ((turned.imag + start.imag)[:, None, :] + turned.real[:, :, None]).flatten(1)
    yaw, pitch = nuisance["yaw"], nuisance["pitch"]
    depth = x.square().addcmul_(y, y).neg_().add_(SPHERE_RADIUS**2).clamp_(min=20).sqrt_()
    v = (y * pitch.cos()).addcmul_(depth, pitch.sin(), value=-1)
    forward = depth.mul_(pitch.cos()).addcmul_(y, pitch.sin())
    u = (x * yaw.cos()).addcmul_(forward, yaw.sin(), value=-1)
    hidden = forward.mul_(yaw.cos()).addcmul_(x, yaw.sin()) < 0
    # The back of the head continues the front outwards instead of folding over it.
    u = torch.where(hidden, 2 * SPHERE_RADIUS * u.sign() - u, u)
    return Canvas(torch.empty(len(x), 3, x.shape[1]), x, y, u, v)


@functools.lru_cache(maxsize=8)
def enlarging_matrix(image_size: int) -> Tensor:
    """Return (S, S / 2): the weights of linear interpolation to twice as many pixels."""
    return F.interpolate(torch.eye(image_size // 2)[None], size=image_size, mode="linear")[0].T.contiguous()


def enlarge(planes: list[Tensor], image_size: int) -> tuple[Tensor, ...]:
    """Return planes (B, (S / 2)^2) of a canvas of step 2 at full size (B, S^2), interpolated linearly."""
    small = torch.stack(planes, dim=1).unflatten(2, (image_size // 2, image_size // 2))
    matrix = enlarging_matrix(image_size)  # two products take about half the time of F.interpolate
    return (matrix @ small @ matrix.T).flatten(2).unbind(1)


def window(centre: Tensor, placement: Placement, image_size: int, half: tuple[float, float]) -> Tensor:
    """Return the pixel indices (B, K * n) of windows around screen points (B, K), moved inside the image."""
    where = placement.turn * centre + placement.shift
    width, height = (min(2 * math.ceil(side * placement.reach) + 1, image_size) for side in half)
    left = (where.real - width // 2).round().long().clamp(0, image_size - width)
    top = (where.imag - height // 2).round().long().clamp(0, image_size - height)
    inside = torch.arange(height)[:, None] * image_size + torch.arange(width)
    return ((top * image_size + left)[..., None] + inside.flatten()).flatten(1)
