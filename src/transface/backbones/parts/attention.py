"""Multi-head attention on one fused kernel, with an additive bias and, on request, its weights.

Shapes: B images, Q queries, K keys, H heads, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention; its parameters are named and laid out as those of torch.nn.MultiheadAttention.

    Raises:
        ValueError: if the heads do not divide the width.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        if num_heads < 1 or width % num_heads:
            raise ValueError(f"num_heads must divide the width, got {num_heads} heads for a width of {width}")
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None, *, blocks: Sequence[int] = ()
    ) -> Tensor:
        """Return (B, Q, D) for a query (B, Q, D), key and value (B, K, D).

        `bias` broadcasts to (B, H, Q, K) and is added to the scores before the softmax; -inf forbids a key. `blocks`
        are lengths of runs of queries, and of keys alike, each of which sees itself alone.
        """
        queries, keys, values = self._projected(query, key, value)
        if len(blocks) > 1:
            runs = zip(*(one.split(list(blocks), 2) for one in (queries, keys, values)), strict=True)
            mixed = torch.cat([F.scaled_dot_product_attention(q, k, v) for q, k, v in runs], 2)
        else:
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def weights(self, query: Tensor, key: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return the attention weights (B, H, Q, K) of the same call; they sum to 1 over the keys."""
        queries, keys, _ = self._projected(query, key, key)
        scores = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5
        return (scores if bias is None else scores + bias).softmax(-1)

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        weights = self.in_proj_weight.chunk(3)
        biases = self.in_proj_bias.chunk(3)
        inputs = (query, key, value)
        projected = [F.linear(one, weight, bias) for one, weight, bias in zip(inputs, weights, biases, strict=True)]
        return [one.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for one in projected]
