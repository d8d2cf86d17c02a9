"""Attention among the class tokens of the zones, in which a zone sees itself and the shallower ones only.

MZTS (FG 2023): "through attention". The mask is ours: a shallow token that may read the last zone's could copy what it
shall learn.
Shapes: B images, G zones, D token width.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transface.systems.attributes.zone_interactions import INIT_STD, initialise

Visibility = Literal["causal", "free"]


class ZoneTokenAttention(nn.Module):
    """One pre-norm attention over the zones' class tokens, added to them; its last map starts at 0, so that it starts
    as the identity.

    Args of the constructor:
        visibility: "causal": zone g sees zones 1..g; "free": all, an ablation.

    Raises:
        ValueError: for another word, or heads that do not divide the width.
    """

    def __init__(self, width: int, num_zones: int, *, heads: int = 6, visibility: Visibility = "causal") -> None:
        super().__init__()
        if visibility not in ("causal", "free"):
            raise ValueError(f"zone_tokens must be 'causal', 'free' or 'none', got {visibility!r}")
        if heads < 1 or width % heads:
            raise ValueError(f"the token width {width} must be a multiple of zone_token_heads, got {heads}")
        self.heads = heads
        self.causal = visibility == "causal"
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.depth_embedding = nn.Parameter(INIT_STD * torch.randn(num_zones, width))
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        initialise(self)
        nn.init.zeros_(self.project.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens (B, G, D) of zones 1..G, each with what it took from those it sees; fewer zones than G are
        the first ones.
        """
        embedded = self.norm(tokens + self.depth_embedding[: tokens.shape[1]])
        query, key, value = self.qkv(embedded).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        answer = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return tokens + self.project(answer.transpose(1, 2).flatten(-2))
