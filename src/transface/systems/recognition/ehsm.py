"""EHSM: each sample's loss is weighted by the entropy of its local tokens, hard samples (little information) more.

TransFace (ICCV 2023, arXiv 2308.10133). Equations, deviations, tests: docs/papers/transface.md. Shapes: B faces, N
tokens, D channels.
"""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

Entropy = Literal["gaussian", "std"]
Normalize = Literal["mean_one"]
VARIANCE_EPSILON = 1e-8
LARGEST_EXPONENT = 40.0


def token_entropy(tokens: Tensor, kind: Entropy = "gaussian") -> Tensor:
    """Return the entropy (B, N) of tokens (B, N, D), from the unbiased variance over their channels.

    "gaussian" is the upper bound 1/2 log(2 pi e variance), the variance taken as at least 1e-8, so that constant tokens
    have a finite entropy; "std" is the standard deviation itself, as in the released code. Constant tokens have
    gradient 0. Half precision is widened first.

    Raises:
        ValueError: for another kind, or tokens of fewer than two channels.
    """
    if kind not in get_args(Entropy):
        raise ValueError(f"entropy must be one of {', '.join(get_args(Entropy))}, got {kind!r}")
    if tokens.shape[-1] < 2:
        raise ValueError(f"tokens must be (B, N, D) with D of at least 2 channels, got {tuple(tokens.shape)}")
    tokens = tokens.float() if tokens.dtype in {torch.float16, torch.bfloat16} else tokens
    # Tensor.var takes four times as long on the CPU. Deviations sum to 0, so the variance has no gradient through the
    # mean.
    deviations = tokens - tokens.mean(dim=-1, keepdim=True).detach()
    variance = deviations.square().sum(dim=-1) / (tokens.shape[-1] - 1)
    if kind == "std":
        constant = variance == 0  # the root has no finite slope there; torch's std says 0
        return variance.masked_fill(constant, 1.0).sqrt().masked_fill(constant, 0.0)
    return 0.5 * (variance.clamp(min=VARIANCE_EPSILON).log() + math.log(2 * math.pi * math.e))


def hardness_weights(entropy: Tensor, gamma: float = 1.0) -> Tensor:
    """Return w = 1 + exp(-gamma mean_i H_i), (B,), of the entropies (B, N); the exponent is held at 40 so that w stays
    finite.

    Half precision is widened first.
    """
    entropy = entropy.float() if entropy.dtype in {torch.float16, torch.bfloat16} else entropy
    return 1 + (-gamma * entropy.mean(dim=-1)).clamp(max=LARGEST_EXPONENT).exp()


class EHSM(nn.Module):
    """Gives each sample its weight from its gated tokens; holds settings, no weights of its own.

    Args of the constructor:
        entropy: "gaussian" (paper): gradient attached, so that training raises the tokens' entropy. "std" (released):
            detached.
        gamma: how fast the weight falls with entropy, at least 0.
        normalize: "mean_one" divides by the mean of the local batch, so that the scale of the loss is that of no
            weighting.
    """

    def __init__(
        self, entropy: Entropy = "gaussian", gamma: float = 1.0, *, normalize: Normalize | None = None
    ) -> None:
        super().__init__()
        if entropy not in get_args(Entropy):
            raise ValueError(f"entropy must be one of {', '.join(get_args(Entropy))}, got {entropy!r}")
        if normalize is not None and normalize not in get_args(Normalize):
            raise ValueError(f"normalize must be none or one of {', '.join(get_args(Normalize))}, got {normalize!r}")
        if not 0 <= gamma < math.inf:
            raise ValueError(f"gamma must be finite and at least 0, got {gamma}")
        self.entropy: Entropy = entropy
        self.gamma = gamma
        self.normalize = normalize

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the weights (B,) of the samples with tokens (B, N, D)."""
        # Detached: the released code lets no gradient reach the entropy; see docs/papers/transface.md.
        source = tokens if self.entropy == "gaussian" else tokens.detach()
        weights = hardness_weights(token_entropy(source, self.entropy), self.gamma)
        return weights if self.normalize is None else weights / weights.mean()

    def extra_repr(self) -> str:
        """Return the settings, for print(module)."""
        return f"entropy={self.entropy!r}, gamma={self.gamma}, normalize={self.normalize!r}"
