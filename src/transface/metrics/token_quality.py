"""Quality of a face without training: how little its tokens move from block to block of a vision transformer.

ViTNT-FIQA (arXiv 2601.05741). Shapes: B faces, T blocks, N patch tokens, D token width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

SCALING = 8.0


def token_distances(tokens: Tensor, norm_weight: Tensor, norm_bias: Tensor, *, eps: float = 1e-5) -> Tensor:
    """Return how far each patch token moves between successive blocks, (B, T - 1, N).

    Args:
        tokens: (B, T, N, D) after each block, before any norm.
        norm_weight, norm_bias: (D,) of the final LayerNorm, which is applied to every block's tokens before they are
            made unit vectors.

    Raises:
        ValueError: for fewer than two blocks.
    """
    if tokens.ndim != 4 or tokens.shape[1] < 2:
        raise ValueError(f"tokens must be (B, T, N, D) of at least two blocks, got {tuple(tokens.shape)}")
    units = F.normalize(F.layer_norm(tokens, tokens.shape[-1:], norm_weight, norm_bias, eps), dim=-1)
    return (units[:, 1:] - units[:, :-1]).norm(dim=-1)


def patch_qualities(distances: Tensor, *, scaling: float = SCALING) -> Tensor:
    """Return the quality (B, N) of each patch, in (0, 1): 2 / (1 + exp(scaling x mean distance)) of its distances (B, T
    - 1, N).
    """
    return 2 * torch.sigmoid(-scaling * distances.mean(1))


def token_quality(distances: Tensor, *, attention: Tensor | None = None, scaling: float = SCALING) -> Tensor:
    """Return the quality (B,) of faces, in (0, 1): the mean over patches, or that weighted by the attention each patch
    receives.

    It ranks faces of one model; it is not calibrated, and scores of two models cannot be compared.

    Args:
        distances: (B, T - 1, N) of `token_distances`.
        attention: (B, N), 0 or more: what patches receive, averaged over heads and summed over queries.
    """
    qualities = patch_qualities(distances, scaling=scaling)
    if attention is None:
        return qualities.mean(-1)
    return (qualities * attention / attention.sum(-1, keepdim=True)).sum(-1)
