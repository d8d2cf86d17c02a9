"""The transformer decoder: task queries become answers by reading the encoder's tokens and each other.

Faceptor (ECCV 2024) section 3.2; the order of Mask2Former: cross-attention, self-attention, feed-forward, each normed
after its sum.
Shapes: B images, Q queries, K memory tokens, D width, H heads.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transface.backbones.parts.attention import MultiHeadAttention
from transface.systems.generalist.decoder.layer_attention import Memory
from transface.systems.generalist.decoder.task_queries import Queries


class DecoderLayer(nn.Module):
    """One layer: queries read the memory, then each other, then themselves."""

    def __init__(self, width: int, num_heads: int, feedforward_width: int) -> None:
        super().__init__()
        self.cross_attention = MultiHeadAttention(width, num_heads)
        self.cross_norm = nn.LayerNorm(width)
        self.self_attention = MultiHeadAttention(width, num_heads)
        self.self_norm = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, feedforward_width)
        self.linear2 = nn.Linear(feedforward_width, width)
        self.feedforward_norm = nn.LayerNorm(width)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)

    def forward(
        self,
        tokens: Tensor,
        position: Tensor,
        memory: Tensor,
        *,
        keys: Tensor,
        memory_bias: Tensor | None = None,
        counts: Sequence[int] = (),
    ) -> Tensor:
        """Return the next tokens (B, Q, D); positions are added to queries and keys, never to values.

        Args:
            tokens, position: (B, Q, D), (Q, D).
            memory, keys: (B, K, D), without and with its positions.
            memory_bias: broadcasts to (B, H, Q, K).
            counts: queries of each task, whose queries see each other alone.
        """
        tokens = self.cross_norm(tokens + self.cross_attention(tokens + position, keys, memory, memory_bias))
        located = tokens + position
        tokens = self.self_norm(tokens + self.self_attention(located, located, tokens, blocks=counts))
        return self.feedforward_norm(tokens + self.linear2(F.relu_(self.linear1(tokens))))


class TokenDecoder(nn.Module):
    """Layers of DecoderLayer; several tasks pass at once, hidden from each other, with the result of one at a time."""

    def __init__(
        self, width: int = 256, num_heads: int = 8, feedforward_width: int = 2048, num_layers: int = 9
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(width, num_heads, feedforward_width) for _ in range(num_layers))

    def forward(self, queries: Queries, memory: Memory, memory_bias: Tensor | None = None) -> Tensor:
        """Return the tokens (B, Q, D) of the last layer; `memory_bias` broadcasts to (B, H, Q, K)."""
        *_, tokens = self._run(queries, memory, memory_bias)
        return tokens

    @torch.no_grad()
    def attention(self, queries: Queries, memory: Memory, memory_bias: Tensor | None = None) -> Sequence[Tensor]:
        """Return the cross-attention weights (B, H, Q, K) of every layer."""
        keys = memory.tokens + memory.positions
        attentions: list[Any] = [layer.get_submodule("cross_attention") for layer in self.layers]
        return [  # what leaves the last layer is not asked for, and not computed
            attention.weights(tokens + queries.position, keys, memory_bias)
            for attention, tokens in zip(attentions, self._run(queries, memory, memory_bias), strict=False)
        ]

    def _run(self, queries: Queries, memory: Memory, memory_bias: Tensor | None) -> Iterator[Tensor]:
        """Yield the tokens (B, Q, D) that enter each layer, and those that leave the last."""
        tokens = queries.content.expand(memory.tokens.shape[0], -1, -1)
        keys = memory.tokens + memory.positions
        counts = tuple(queries.counts.values())
        yield tokens
        for layer in self.layers:
            tokens = layer(tokens, queries.position, memory.tokens, keys=keys, memory_bias=memory_bias, counts=counts)
            yield tokens
