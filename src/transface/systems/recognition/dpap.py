"""DPAP: the dominant patches of a face get their Fourier amplitude mixed with another face's.

TransFace (ICCV 2023, arXiv 2308.10133). Equations, deviations, tests: docs/papers/transface.md.
Shapes: B faces, M of them perturbed, N patches, K chosen patches, P patch side in pixels, C colours. Images are RGB,
float, in [-1, 1].
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from transface.backbones.features import Backbone
from transface.backbones.parts.evaluating import evaluating
from transface.backbones.parts.precision import multiplies_bfloat16
from transface.shapes import check_shape

ScoringPrecision = Literal["auto", "bf16"]


class Perturbation(NamedTuple):
    """Everything random about one perturbation: which images, with which reference cells, how strongly.

    Attributes:
        images: (M,) indices into the batch, ascending.
        reference_images: (M, K) indices into the batch, each another image than the one perturbed (the same if the
            batch is one image).
        reference_cells: (M, K) indices of grid cells, row by row.
        ratios: (M, K) lambda of each chosen patch, shared by its colours.
    """

    images: Tensor
    reference_images: Tensor
    reference_cells: Tensor
    ratios: Tensor


class PerturbedImages(NamedTuple):
    """Images (B, 3, H, W) after DPAP, what was drawn, and the chosen cells (M, K), the most dominant first."""

    images: Tensor
    perturbation: Perturbation
    chosen: Tensor


def dominant_patches(importance: Tensor, num_patches: int) -> Tensor:
    """Return the indices (B, K) of the most important of the (B, N) patches, the most important first, equals in
    reading order.

    Raises:
        ValueError: if num_patches is not in 1..N.

    Example:
        >>> dominant_patches(torch.tensor([[0.1, 0.7, 0.2]]), num_patches=2)
        tensor([[1, 2]])
    """
    _check_num_patches(num_patches, importance.shape[-1])
    return importance.argsort(dim=-1, descending=True, stable=True)[..., :num_patches]


def mix_amplitudes(source: Tensor, reference: Tensor, ratio: Tensor) -> Tensor:
    """Return Re F^-1(((1 - ratio) A(source) + ratio A(reference)) exp(i phase(source))) of patches (..., P, P).

    `ratio` broadcasts over the leading axes (those before P, P), or is (..., 1, 1) with as many axes as the patches.
    Pixels are
    intensities: 0 is black. A frequency whose amplitude is no more than rounding of the transform has phase 0.
    Differentiable; the result is not clipped. Half precision is widened for the transform; whole numbers give float32.
    """
    if source.dtype in {torch.float16, torch.bfloat16}:
        return mix_amplitudes(source.float(), reference.float(), torch.as_tensor(ratio).float()).to(source.dtype)
    if not source.is_floating_point():
        source, reference = source.float(), reference.float()
    ratio = torch.as_tensor(ratio, dtype=source.dtype, device=source.device)
    if not (ratio.ndim == source.ndim and ratio.shape[-2:] == (1, 1)):
        ratio = ratio[..., None, None]
    spectrum = torch.fft.rfft2(source)
    power, other_power = _power(spectrum), _power(torch.fft.rfft2(reference))
    precision = torch.finfo(power.dtype)
    # Of intensities no frequency is stronger than the constant one, so that one tells how large rounding is.
    silent = power <= power[..., :1, :1] * (8 * precision.eps) ** 2
    # The least number keeps the gradient of the root finite at zero.
    lift = ratio * (other_power / power.masked_fill(silent, 1.0)).clamp(min=precision.tiny).sqrt()
    # Scaling the spectrum by A' / A keeps its phase, without the round trip through an angle.
    scaled = spectrum * (lift + (1 - ratio))
    return torch.fft.irfft2(torch.where(silent, lift.to(scaled.dtype), scaled), s=source.shape[-2:])


def draw_perturbation(
    batch_size: int,
    num_cells: int,
    *,
    num_patches: int,
    probability: float,
    alpha: float,
    generator: torch.Generator | None = None,
) -> Perturbation:
    """Return what DPAP draws for a batch: each image with `probability`, its references uniformly, lambda from U(0,
    alpha).

    Draws on the generator's device; on the CPU (and without a generator) no device has to be waited for.
    """
    device = generator.device if generator is not None else torch.device("cpu")
    images = (torch.rand(batch_size, generator=generator, device=device) < probability).nonzero().flatten()
    shape = (len(images), num_patches)
    others = torch.randint(max(batch_size - 1, 1), shape, generator=generator, device=device)
    if batch_size > 1:
        others = others + (others >= images[:, None])
    cells = torch.randint(num_cells, shape, generator=generator, device=device)
    ratios = torch.rand(shape, generator=generator, device=device) * alpha
    return Perturbation(images, others, cells, ratios)


def apply_perturbation(
    images: Tensor,
    perturbation: Perturbation,
    chosen: Tensor,
    *,
    patch_size: int,
    grid_size: tuple[int, int],
    quantize: bool = False,
) -> Tensor:
    """Return a copy of images (B, 3, H, W) in which the chosen cells (M, K) hold mixed patches, clipped to [-1, 1].

    References are read from the batch as it came. Pixels are mixed as intensities in [0, 1], so that no brightness
    changes sign. `quantize` cuts mixed pixels down to whole grey levels of 0..255, as the released code does.
    """
    indices, others, cells, ratios = (part.to(images.device, non_blocking=True) for part in perturbation)
    result = images.clone()
    before, after = (_as_cells(x, patch_size, grid_size) for x in (images, result))
    own = indices[:, None].expand_as(chosen)
    source = _intensities(before[own, chosen // grid_size[1], chosen % grid_size[1]])
    reference = _intensities(before[others, cells // grid_size[1], cells % grid_size[1]])
    mixed = mix_amplitudes(source, reference, ratios[..., None]).clamp(0, 1)
    if quantize:
        mixed = (mixed * 255).floor() / 255
    after[own, chosen // grid_size[1], chosen % grid_size[1]] = (mixed * 2 - 1).to(images.dtype)
    return result


def score_patches(
    backbone: Backbone,
    images: Tensor,
    precision: ScoringPrecision | None = None,
    *,
    keypoints: Tensor | None = None,
) -> Tensor:
    """Return the importance (B, N) of the patches of images, without gradient, in eval mode, every train/eval flag put
    back after.

    The backbone runs in the precision of its surroundings, or as `precision` says (see DPAP); it is told the key points
    (B, 5, 2) of the faces where they are given.

    Raises:
        ValueError: if the backbone ranks no patches.
    """
    with torch.no_grad(), evaluating(backbone), _scoring_in(precision, images):
        told = {} if keypoints is None else {"keypoints": keypoints}
        importance = backbone.patch_importance(images, **told)
    if importance is None:
        raise ValueError(_no_gate(backbone))
    return importance


class DPAP(nn.Module):
    """Perturbs the dominant patches of some images of a batch; holds settings, no weights.

    Args of the constructor:
        num_patches: K, patches perturbed in an image.
        probability: p, the chance of an image to be perturbed. Only those images are scored.
        alpha: the largest lambda, in [0, 1].
        quantize: cut perturbed pixels down to whole grey levels, as the released code does.
        scoring_precision: "bf16" ranks the patches under bfloat16 autocast; patches of nearly equal importance may
            change places. "auto" does so in a float32 run where the hardware multiplies bfloat16, which halves the time
            of scoring (the released code scores under autocast too). None: the precision of the run.
    """

    def __init__(
        self,
        num_patches: int = 7,
        probability: float = 0.2,
        alpha: float = 1.0,
        *,
        quantize: bool = False,
        scoring_precision: ScoringPrecision | None = "auto",
    ) -> None:
        super().__init__()
        if scoring_precision is not None and scoring_precision not in get_args(ScoringPrecision):
            raise ValueError(
                f"scoring_precision must be none or one of {', '.join(get_args(ScoringPrecision))}, got"
                f" {scoring_precision!r}"
            )
        if num_patches < 1:
            raise ValueError(f"num_patches must be at least 1, got {num_patches}")
        for name, value in (("probability", probability), ("alpha", alpha)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {value}")
        self.num_patches = num_patches
        self.probability = probability
        self.alpha = alpha
        self.quantize = quantize
        self.scoring_precision: ScoringPrecision | None = scoring_precision

    def check_backbone(self, backbone: Backbone) -> None:
        """Raise ValueError if the backbone has no patches, ranks none, or has fewer than K."""
        rows, columns = backbone.grid_size
        if rows * columns == 0:
            raise ValueError(
                f"DPAP needs a backbone with patches; {type(backbone).__name__} has none: set perturbation to none"
            )
        if getattr(backbone, "gate", backbone) is None:
            raise ValueError(_no_gate(backbone))
        _check_num_patches(self.num_patches, rows * columns)

    def perturb(
        self,
        images: Tensor,
        backbone: Backbone,
        *,
        generator: torch.Generator | None = None,
        keypoints: Tensor | None = None,
    ) -> PerturbedImages:
        """Return the perturbed images together with what was drawn and chosen; `images` itself stays as it was.

        Raises:
            ValueError: if the images are no floats or of another shape than (B, 3, H, W), or the backbone ranks no
                patches or too few.
        """
        self.check_backbone(backbone)
        if not images.is_floating_point():
            raise ValueError(
                f"images must be floats in [-1, 1], got {images.dtype}: transface.images.pixels.normalise makes them"
            )
        batch_size = check_shape(images, f"B 3 {backbone.image_size[0]} {backbone.image_size[1]}", name="images")["B"]
        rows, columns = backbone.grid_size
        perturbation = draw_perturbation(
            batch_size,
            rows * columns,
            num_patches=self.num_patches,
            probability=self.probability,
            alpha=self.alpha,
            generator=generator,
        )
        if len(perturbation.images) == 0:
            return PerturbedImages(
                images, perturbation, torch.empty(0, self.num_patches, dtype=torch.int64, device=images.device)
            )
        places = perturbation.images.to(images.device, non_blocking=True)
        points = None if keypoints is None else keypoints[places]
        scores = score_patches(backbone, images[places], self.scoring_precision, keypoints=points)
        chosen = dominant_patches(scores, self.num_patches)
        changed = apply_perturbation(
            images,
            perturbation,
            chosen,
            patch_size=backbone.patch_size,
            grid_size=backbone.grid_size,
            quantize=self.quantize,
        )
        return PerturbedImages(changed, perturbation, chosen)

    def forward(
        self,
        images: Tensor,
        backbone: Backbone,
        *,
        generator: torch.Generator | None = None,
        keypoints: Tensor | None = None,
    ) -> Tensor:
        """Return images (B, 3, H, W) with the dominant patches of some of them perturbed."""
        return self.perturb(images, backbone, generator=generator, keypoints=keypoints).images

    def extra_repr(self) -> str:
        """Return the settings, for print(module)."""
        settings = (
            f"num_patches={self.num_patches}, probability={self.probability}, alpha={self.alpha},"
            f" quantize={self.quantize}"
        )
        return f"{settings}, scoring_precision={self.scoring_precision!r}"


def _as_cells(images: Tensor, patch_size: int, grid_size: tuple[int, int]) -> Tensor:
    """Return a view (B, rows, columns, C, P, P) of images; pixels beyond the grid are in no cell."""
    rows, columns = grid_size
    seen = images[:, :, : rows * patch_size, : columns * patch_size]
    return seen.unfold(2, patch_size, patch_size).unfold(3, patch_size, patch_size).permute(0, 2, 3, 1, 4, 5)


def _power(spectrum: Tensor) -> Tensor:
    # Twice as fast as the square of torch's complex abs.
    squares = torch.view_as_real(spectrum).square()
    return squares[..., 0] + squares[..., 1]


def _intensities(patches: Tensor) -> Tensor:
    return (patches.float() if patches.dtype in {torch.float16, torch.bfloat16} else patches).add(1).mul(0.5)


def _scoring_in(precision: ScoringPrecision | None, images: Tensor) -> AbstractContextManager[object]:
    kind = images.device.type
    gains = precision == "auto" and images.dtype == torch.float32 and multiplies_bfloat16(images.device)
    if gains and not torch.is_autocast_enabled(kind):
        precision = "bf16"
    return torch.autocast(kind, torch.bfloat16) if precision == "bf16" else nullcontext()


def _no_gate(backbone: Backbone) -> str:
    return (
        f"DPAP needs a backbone that ranks its patches; {type(backbone).__name__} has no gate: set perturbation to none"
        " or the gate to sigmoid"
    )


def _check_num_patches(num_patches: int, available: int) -> None:
    if not 1 <= num_patches <= available:
        raise ValueError(
            f"num_patches (K) must be between 1 and the number of patches of an image, {available}, got {num_patches}"
        )
