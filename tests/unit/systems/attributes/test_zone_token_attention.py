import pytest
import torch

from transface.systems.attributes.zone_token_attention import ZoneTokenAttention


def drawn(visibility: str = "causal") -> ZoneTokenAttention:
    torch.manual_seed(0)
    attention = ZoneTokenAttention(8, 4, heads=2, visibility=visibility).double()  # type: ignore[arg-type]
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return attention


def test_the_deepest_token_changes_no_shallower_one() -> None:
    attention, tokens = drawn(), torch.randn(3, 4, 8, dtype=torch.float64)
    changed = tokens.clone()
    changed[:, -1] += 5
    before, after = attention(tokens), attention(changed)
    assert torch.equal(before[:, :-1], after[:, :-1])
    assert not torch.equal(before[:, -1], after[:, -1])


def test_without_the_mask_it_does() -> None:
    attention, tokens = drawn("free"), torch.randn(3, 4, 8, dtype=torch.float64)
    changed = tokens.clone()
    changed[:, -1] += 5
    assert not torch.equal(attention(tokens)[:, 0], attention(changed)[:, 0])


def test_the_first_zones_alone_get_what_they_get_among_all() -> None:
    attention, tokens = drawn(), torch.randn(3, 4, 8, dtype=torch.float64)
    torch.testing.assert_close(attention(tokens[:, :2]), attention(tokens)[:, :2])


def test_it_equals_attention_written_out() -> None:
    attention, tokens = drawn(), torch.randn(1, 4, 8, dtype=torch.float64)
    embedded = attention.norm(tokens + attention.depth_embedding)[0]
    expected = tokens[0].clone()
    mapped = attention.qkv(embedded)
    for zone in range(4):
        answer = []
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            query, keys, values = (
                mapped[zone, :8][part],
                mapped[:, 8:16][: zone + 1, part],
                mapped[:, 16:][: zone + 1, part],
            )
            answer.append((keys @ query / 2.0).softmax(0) @ values)
        expected[zone] += attention.project(torch.cat(answer))
    torch.testing.assert_close(attention(tokens)[0], expected)


def test_it_starts_as_the_identity() -> None:
    tokens = torch.randn(2, 4, 8)
    assert torch.equal(ZoneTokenAttention(8, 4, heads=2)(tokens), tokens)


def test_other_words_and_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="'causal', 'free' or 'none'"):
        ZoneTokenAttention(8, 4, visibility="masked")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="multiple of zone_token_heads"):
        ZoneTokenAttention(8, 4, heads=3)
