"""Attention in blocks."""

import torch

from transface.backbones.parts.attention import MultiHeadAttention


def test_blocks_see_themselves_alone() -> None:
    torch.manual_seed(0)
    attention = MultiHeadAttention(8, 2).double()
    tokens, keys = torch.randn(2, 3, 6, 8, dtype=torch.float64).unbind(0)
    found = attention(tokens, keys, tokens, blocks=(1, 3, 2))
    cut = [one.split([1, 3, 2], 1) for one in (tokens, keys, tokens)]
    runs = [attention(*run) for run in zip(*cut, strict=True)]
    torch.testing.assert_close(found, torch.cat(runs, 1))
    task = torch.tensor([0, 1, 1, 1, 2, 2])
    mask = torch.zeros(6, 6, dtype=torch.float64).masked_fill(task[:, None] != task, -torch.inf)
    torch.testing.assert_close(found, attention(tokens, keys, tokens, mask))
    assert not torch.allclose(found, attention(tokens, keys, tokens))
