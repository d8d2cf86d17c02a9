"""Token drop: which tokens stay, and that each finds its old place."""

import torch

from transface.backbones.parts.token_drop import drop_tokens, restore_tokens


def test_kept_tokens_return_to_their_place_and_masks_fill_the_rest() -> None:
    tokens, mask = torch.randn(6, 10, 4), torch.full((1, 1, 4), 9.0)
    kept, positions = drop_tokens(tokens, 0.25)
    assert kept.shape == (6, 7, 4)
    restored = restore_tokens(kept, positions, mask)
    dropped = (restored == 9.0).all(-1)
    assert dropped.sum(1).tolist() == [3] * 6
    assert torch.equal(restored[~dropped], tokens[~dropped])


def test_every_position_is_dropped_equally_often() -> None:
    positions = drop_tokens(torch.zeros(5000, 8, 1), 0.5, generator=torch.Generator().manual_seed(0)).positions
    assert ((positions >= 4).float().mean(0) - 0.5).abs().max() < 0.03


def test_one_token_always_stays() -> None:
    assert drop_tokens(torch.zeros(2, 3, 1), 0.99).tokens.shape == (2, 1, 1)


def test_an_equal_generator_drops_the_same() -> None:
    one, two = (
        drop_tokens(torch.zeros(2, 30, 1), 0.5, generator=torch.Generator().manual_seed(4)).positions for _ in range(2)
    )
    assert torch.equal(one, two)
