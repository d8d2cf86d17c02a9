"""The class token's row of a transformer block, without the rows nobody reads, and where that row looks.

The last block of a vision transformer makes N + 1 tokens, and a head reads one. Only keys and values need all tokens
there: the result is the same, and a twelve-block transformer saves a fourteenth of its products.
Shapes: B images, T tokens, K class tokens, N patches, D token width, H heads.
"""

from typing import Any, NamedTuple

import torch
from timm.layers.attention import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F


class ClassRows(NamedTuple):
    """Class tokens (B, K, D) after a block, and where they look in it (B, N): over heads and class tokens the mean,
    sums to one; or None.
    """

    tokens: Tensor
    attention: Tensor | None


def can_skip_rows(block: nn.Module) -> bool:
    """Return whether a block is timm's plain one, whose parts are known."""
    return type(block) is Block and type(block.attn) is Attention


def class_rows(block: Any, tokens: Tensor, num_rows: int, **arguments: Any) -> Tensor:
    """Return the first `num_rows` rows (B, K, D) of block(tokens), tokens (B, T, D); other rows are not made where that
    can be left out.
    """
    if not can_skip_rows(block):
        return block(tokens, **arguments)[:, :num_rows]
    attention = block.attn
    normed = block.norm1(tokens)
    first = normed[:, :num_rows]
    query, key, value = _query_key_value(attention, first, normed)
    dropout = attention.attn_drop.p if attention.training else 0.0
    answer = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout).transpose(1, 2).flatten(-2)
    answer = attention.norm(answer)
    if attention.gate is not None:
        answer = answer * attention.gate(first).sigmoid()
    answer = attention.proj_drop(attention.proj(answer))
    rows = tokens[:, :num_rows] + block.drop_path1(block.ls1(answer))
    return rows + block.drop_path2(block.ls2(block.mlp(block.norm2(rows))))


def class_attention(block: Any, tokens: Tensor, *, num_rows: int, num_prefix_tokens: int) -> Tensor:
    """Return where the class tokens look in a block: (B, N) over the patches, the mean over heads and class tokens,
    summing to one.

    Raises:
        ValueError: for a block whose attention is not timm's plain one.
    """
    if not can_skip_rows(block):
        raise ValueError(
            f"where class tokens look is known of timm's plain attention only, not of {type(block).__name__}"
        )
    normed = block.norm1(tokens)
    query, key, _ = _query_key_value(block.attn, normed[:, :num_rows], normed)
    shares = (query * block.attn.scale @ key.transpose(-2, -1)).softmax(-1)[..., num_prefix_tokens:].mean((1, 2))
    return shares / shares.sum(-1, keepdim=True).clamp_min(torch.finfo(shares.dtype).tiny)


def _query_key_value(attention: Any, first: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the query (B, H, K, D/H) of the first rows, keys and values (B, H, T, D/H) of all tokens."""
    weight, bias, inner = attention.qkv.weight, attention.qkv.bias, attention.attn_dim
    parts = ((first, slice(0, inner)), (tokens, slice(inner, 3 * inner)))
    query, rest = (F.linear(x, weight[rows], None if bias is None else bias[rows]) for x, rows in parts)
    query = query.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
    key, value = rest.unflatten(-1, (2, attention.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    return attention.q_norm(query), attention.k_norm(key), value
