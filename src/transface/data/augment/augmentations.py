"""Changes of a training batch beyond mirroring and DPAP, on the device, each image drawn for itself; none is used
unless asked for.

Every class takes (images, generator) and returns images; its draws come from the generator alone, so a step can be
repeated. Classes draw, functions apply. Shapes: B faces; images are (B, 3, H, W), RGB, float, in [-1, 1].
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as v2f

from transface.images.pixels import from_levels, to_uint8

GREY = (0.299, 0.587, 0.114)
MAGNITUDES = 31  # of RandAugment


def uniform(count: int, low: float, high: float, *, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return (count,) numbers drawn evenly from low..high by the generator, on the device and with the dtype of
    `like`.
    """
    device = like.device if generator is None else generator.device
    return (low + (high - low) * torch.rand(count, generator=generator, device=device)).to(like, non_blocking=True)


def chosen(count: int, probability: float, *, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return (count, 1, 1, 1) bools, each true with the given probability."""
    return (uniform(count, 0, 1, like=like, generator=generator) < probability)[:, None, None, None]


def check_probability(probability: float) -> float:
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must be in 0..1, got {probability}")
    return probability


def _check_range(limits: Sequence[float], name: str, *, lowest: float = 0.0) -> tuple[float, float]:
    if len(limits) != 2 or not lowest <= limits[0] <= limits[1] < math.inf:
        raise ValueError(f"{name} must be (low, high) with {lowest:g} <= low <= high, both finite, got {tuple(limits)}")
    return float(limits[0]), float(limits[1])


class InTurn(nn.Module):
    """Several augmentations, one after the other; `named` ones come last, in the order given."""

    def __init__(self, steps: Sequence[nn.Module] = (), **named: nn.Module) -> None:
        super().__init__()
        self.steps = nn.ModuleList([*steps, *named.values()])

    def forward(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        for step in self.steps:
            images = step(images, generator)
        return images


def crop_and_resize(images: Tensor, boxes: Tensor) -> Tensor:
    """Return images (B, C, H, W) in which each box (B, 4), (left, top, width, height) in pixels, fills the whole;
    bilinear.
    """
    height, width = images.shape[-2:]
    size = images.new_tensor([width, height])
    corner, extent = boxes[:, :2].to(images), boxes[:, 2:].to(images)
    # grid_sample's coordinates run from -1 at the outer edge of the first pixel to 1 at that of the last.
    scale = extent / size
    shift = (2 * corner + extent) / size - 1
    rows = torch.stack([torch.diag_embed(scale)[:, 0], torch.diag_embed(scale)[:, 1]], 1)
    grid = F.affine_grid(torch.cat([rows, shift[:, :, None]], 2), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


class RandomResizedCrop(nn.Module):
    """Cuts a box out of each image and stretches it to the whole: area in `scale`, width to height in `ratio`, place at
    random.
    """

    moves = "the face"

    def __init__(
        self, *, scale: Sequence[float] = (0.7, 1.0), ratio: Sequence[float] = (0.85, 1.18), probability: float = 1.0
    ) -> None:
        super().__init__()
        self.scale, self.ratio = _check_range(scale, "scale"), _check_range(ratio, "ratio", lowest=1e-6)
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale must be shares of the image's area in 0..1, got {tuple(scale)}")
        self.probability = check_probability(probability)

    def draw(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return boxes (B, 4): left, top, width, height in pixels."""
        count, (height, width) = len(images), images.shape[-2:]
        area = uniform(count, *self.scale, like=images, generator=generator)
        ratio = uniform(
            count, *(float(torch.tensor(r).log()) for r in self.ratio), like=images, generator=generator
        ).exp()
        wide = ((area * ratio).sqrt()).clamp(max=1) * width
        high = ((area / ratio).sqrt()).clamp(max=1) * height
        left = uniform(count, 0, 1, like=images, generator=generator) * (width - wide)
        top = uniform(count, 0, 1, like=images, generator=generator) * (height - high)
        return torch.stack([left, top, wide, high], 1)

    def forward(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        use = chosen(len(images), self.probability, like=images, generator=generator)
        return torch.where(use, crop_and_resize(images, self.draw(images, generator)), images)


class LowResolution(nn.Module):
    """Shrinks each image to one of a few sizes and enlarges it again, as if the face had been far away.

    Args:
        sizes: heights in pixels, one drawn for each image; widths follow.
    """

    def __init__(self, *, sizes: Sequence[int] = (16, 24, 32, 48, 64), probability: float = 0.2) -> None:
        super().__init__()
        if not sizes or min(sizes) < 1:
            raise ValueError(f"sizes must be pixels, at least one, got {list(sizes)}")
        self.sizes = tuple(sizes)
        self.probability = check_probability(probability)

    def forward(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        height, width = images.shape[-2:]
        use = chosen(len(images), self.probability, like=images, generator=generator)[:, 0, 0, 0].cpu()
        place = (
            uniform(len(images), 0, len(self.sizes), like=images, generator=generator)
            .cpu()
            .long()
            .clamp(max=len(self.sizes) - 1)
        )
        result = images.clone()
        for number, size in enumerate(self.sizes):  # one call a size, not an image
            rows = (use & (place == number)).nonzero()[:, 0].to(images.device)
            if len(rows):
                small = v2f.resize(images[rows], [size, max(round(size * width / height), 1)], antialias=True)
                result[rows] = v2f.resize(small, [height, width], antialias=False).clamp(-1, 1)
        return result


def adjust_colours(images: Tensor, *, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Return images with three factors (B,) applied in this order; 1 changes nothing.

    Brightness multiplies; contrast moves away from the mean grey; saturation moves away from each pixel's grey.
    """
    weights = images.new_tensor(GREY)[:, None, None]
    shares = (images + 1) / 2
    shares = (shares * brightness[:, None, None, None]).clamp(0, 1)
    mean = (shares * weights).sum(1, keepdim=True).mean((-2, -1), keepdim=True)
    shares = (mean + contrast[:, None, None, None] * (shares - mean)).clamp(0, 1)
    grey = (shares * weights).sum(1, keepdim=True)
    shares = (grey + saturation[:, None, None, None] * (shares - grey)).clamp(0, 1)
    return shares * 2 - 1


class ColourJitter(nn.Module):
    """Changes brightness, contrast and saturation of each image by factors from 1 - amount to 1 + amount."""

    def __init__(
        self, *, brightness: float = 0.2, contrast: float = 0.2, saturation: float = 0.2, probability: float = 0.5
    ) -> None:
        super().__init__()
        self.amounts = (brightness, contrast, saturation)
        if not all(0 <= amount <= 1 for amount in self.amounts):
            raise ValueError(f"brightness, contrast and saturation must be in 0..1, got {self.amounts}")
        self.probability = check_probability(probability)

    def forward(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        use = chosen(len(images), self.probability, like=images, generator=generator)
        b, c, s = (
            uniform(len(images), 1 - amount, 1 + amount, like=images, generator=generator) for amount in self.amounts
        )
        return torch.where(use, adjust_colours(images, brightness=b, contrast=c, saturation=s), images)


def gaussian_blur(images: Tensor, sigma: Tensor, *, kernel_size: int) -> Tensor:
    """Return images (B, C, H, W), each blurred by its own sigma (B,) in pixels; edges are mirrored.

    Raises:
        ValueError: if the kernel reaches beyond the mirrored image.
    """
    count, channels = images.shape[:2]
    reach = kernel_size // 2
    if reach >= min(images.shape[-2:]):
        raise ValueError(
            f"kernel_size must be below twice the side of the images {tuple(images.shape[-2:])}, got {kernel_size}"
        )
    places = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-0.5 * (places / sigma[:, None]).square())
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None]
    flat = F.pad(images, [reach] * 4, mode="reflect").reshape(
        1, count * channels, *(side + 2 * reach for side in images.shape[-2:])
    )
    flat = F.conv2d(flat, weights[:, :, None], groups=count * channels)
    flat = F.conv2d(flat, weights[..., None], groups=count * channels)
    return flat.reshape(images.shape)


class GaussianBlur(nn.Module):
    """Blurs images, each by its own sigma."""

    def __init__(self, *, sigma: Sequence[float] = (0.1, 2.0), kernel_size: int = 9, probability: float = 0.2) -> None:
        super().__init__()
        self.sigma = _check_range(sigma, "sigma", lowest=1e-3)
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and at least 3, got {kernel_size}")
        self.kernel_size = kernel_size
        self.probability = check_probability(probability)

    def forward(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        use = chosen(len(images), self.probability, like=images, generator=generator)
        sigma = uniform(len(images), *self.sigma, like=images, generator=generator)
        return torch.where(use, gaussian_blur(images, sigma, kernel_size=self.kernel_size), images)


class RandomErasing(nn.Module):
    """Paints a box of each image: its area in `scale`, width to height in `ratio`, in one random colour or grey
    (`fill`).
    """

    def __init__(
        self,
        *,
        scale: Sequence[float] = (0.02, 0.2),
        ratio: Sequence[float] = (0.3, 3.3),
        fill: str = "grey",
        probability: float = 0.25,
    ) -> None:
        super().__init__()
        if fill not in ("grey", "colour"):
            raise ValueError(f"fill must be 'grey' or 'colour', got {fill!r}")
        self.box = RandomResizedCrop(scale=scale, ratio=ratio)
        self.fill = fill
        self.probability = check_probability(probability)

    def forward(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        count, (height, width) = len(images), images.shape[-2:]
        use = chosen(count, self.probability, like=images, generator=generator)
        left, top, wide, high = self.box.draw(images, generator)[:, :, None, None].unbind(1)
        x, y = torch.arange(width, device=images.device), torch.arange(height, device=images.device)[:, None]
        inside = ((x >= left) & (x < left + wide) & (y >= top) & (y < top + high))[:, None]
        paint = torch.zeros_like(images[:, :, :1, :1])
        if self.fill == "colour":
            paint = uniform(3 * count, -1, 1, like=images, generator=generator).reshape(count, 3, 1, 1)
        return torch.where(use & inside, paint, images)


class RandAugment(nn.Module):
    """RandAugment (Cubuk et al., 2020) as torchvision has it, drawn apart for each of `groups` parts of the batch.

    torchvision draws for a whole batch, and from the global generator: it is seeded from ours for the moment of the
    call.
    """

    moves = "the face"

    def __init__(self, *, num_ops: int = 2, magnitude: int = 9, groups: int = 8, probability: float = 0.5) -> None:
        super().__init__()
        if groups < 1 or num_ops < 1:
            raise ValueError(f"groups and num_ops must be at least 1, got {groups} and {num_ops}")
        if not 0 <= magnitude < MAGNITUDES:
            raise ValueError(f"magnitude must be in 0..{MAGNITUDES - 1}, got {magnitude}")
        self.change = v2.RandAugment(num_ops=num_ops, magnitude=magnitude, num_magnitude_bins=MAGNITUDES, fill=127)
        self.groups = groups
        self.probability = check_probability(probability)

    def forward(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        use = chosen(len(images), self.probability, like=images, generator=generator)
        device = "cpu" if generator is None else generator.device
        seed = int(torch.randint(2**31, (1,), generator=generator, device=device))
        levels = to_uint8(images)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            parts = [self.change(part) for part in levels.chunk(self.groups)]
        return torch.where(use, from_levels(torch.cat(parts).to(images)), images)
