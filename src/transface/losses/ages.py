"""Losses of ages: a distribution over years against a Gaussian around the age, and the error of its mean (DLDL-v2,
IJCAI 2018).

Shapes: B images, Y years, from 0 on.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def year_distribution(ages: Tensor, num_years: int = 101, sigma: float = 2.0) -> Tensor:
    """Return Gaussians (B, Y) around ages (B,), in years, summing to 1; far off the scale (14 years at sigma 2) nothing
    is left.

    Raises:
        ValueError: for a sigma that is not positive.
    """
    if not sigma > 0:
        raise ValueError(f"sigma of an age must be positive, got {sigma}")
    dtype = ages.dtype if ages.is_floating_point() else torch.float32
    years = torch.arange(num_years, dtype=dtype, device=ages.device)
    density = torch.exp(-0.5 * ((years - ages.to(dtype)[:, None]) / sigma) ** 2) / (sigma * (2 * torch.pi) ** 0.5)
    return F.normalize(density, p=1, dim=1, eps=1e-12)


def year_shares(logits: Tensor) -> Tensor:
    """Return the shares (B, Y) of years of logits (B, Y): sigmoids divided by their sum."""
    return F.normalize(logits.sigmoid(), p=1, dim=1)


def mean_year(shares: Tensor) -> Tensor:
    """Return the mean year (B,) of shares (B, Y)."""
    return shares @ torch.arange(shares.shape[1], dtype=shares.dtype, device=shares.device)


def distribution_divergence(logits: Tensor, ages: Tensor, sigma: float = 2.0) -> Tensor:
    """Return the Kullback-Leibler divergence of the shares of logits (B, Y) from the Gaussians of ages (B,), mean over
    images.
    """
    target = year_distribution(ages, logits.shape[1], sigma).to(logits.dtype)
    return F.kl_div(year_shares(logits).log(), target, reduction="batchmean")


def mean_year_error(logits: Tensor, ages: Tensor) -> Tensor:
    """Return the mean error in years of the mean year of logits (B, Y) for ages (B,)."""
    return (mean_year(year_shares(logits)) - ages.to(logits.dtype)).abs().mean()
