from typing import Any

import pytest
import torch
from torch import Tensor

from transface.systems.attributes.zone_interactions import KINDS, ZoneLayout, make_interaction

LAYOUT = ZoneLayout(width=8, num_zones=4, num_heads=2)


def zones_of(count: int, tokens: int = 6) -> list[Tensor]:
    return [torch.randn(2, tokens, 8, dtype=torch.float64) for _ in range(count)]


def built(kind: str, **settings: Any) -> Any:
    torch.manual_seed(1)
    interaction = make_interaction({"kind": kind, **settings}, LAYOUT).double()
    for parameter in interaction.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return interaction


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_gain_of_zero_changes_nothing(kind: str) -> None:
    interaction = built(kind)
    if interaction.gain is not None:
        torch.nn.init.zeros_(interaction.gain)
    zones = zones_of(3)
    assert torch.equal(interaction(zones), zones[-1])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])
def test_every_zone_so_far_has_a_say_and_no_later_one(kind: str) -> None:
    interaction = built(kind)
    zones = zones_of(4)
    before = [interaction(zones[: end + 1]) for end in range(1, 4)]
    changed = [*zones[:2], zones[2] + 1, zones[3]]
    after = [interaction(changed[: end + 1]) for end in range(1, 4)]
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[2], after[2])


@pytest.mark.parametrize("shared", [True, False])
def test_depth_attention_equals_a_naive_loop_over_positions(shared: bool) -> None:
    interaction = built("depth_attn", shared=shared, width_ratio=1.0)
    zones = zones_of(3)
    place, maps = 1, (0 if shared else 1)
    weight, bias = interaction.qkv[maps].weight, interaction.qkv[maps].bias
    expected = torch.zeros_like(zones[0])
    for image in range(2):
        for position in range(6):
            mapped = [(weight @ interaction.norm[maps](zone[image, position]) + bias).split(8) for zone in zones]
            answer = []
            for head in range(2):
                part = slice(4 * head, 4 * head + 4)
                query = mapped[-1][0][part]
                keys = [entry[1][part] + interaction.depth_embedding[depth, part] for depth, entry in enumerate(mapped)]
                shares = torch.stack([query @ key / 2.0 for key in keys]).softmax(0)
                answer.append(sum(share * entry[2][part] for share, entry in zip(shares, mapped, strict=True)))
            delta = interaction.project[maps](torch.cat(answer))
            expected[image, position] = zones[-1][image, position] + interaction.gain[place] * delta
    torch.testing.assert_close(interaction(zones), expected)


def test_depth_attention_does_not_care_where_a_patch_stands() -> None:
    interaction = built("depth_attn")
    zones, order = zones_of(3), torch.randperm(6)
    torch.testing.assert_close(interaction([zone[:, order] for zone in zones]), interaction(zones)[:, order])


def test_depth_attention_knows_the_zones_of_its_memory_apart() -> None:
    interaction = built("depth_attn")
    zones = zones_of(4)
    assert not torch.allclose(interaction(zones), interaction([zones[1], zones[0], *zones[2:]]))


@pytest.mark.parametrize("shared", [True, False])
def test_class_cross_equals_attention_written_out_and_leaves_patches_alone(shared: bool) -> None:
    interaction = built("cls_cross", shared=shared, heads=1, width_ratio=1.0)
    zones, maps = zones_of(3), (0 if shared else 1)
    query, key, value = (interaction.qkv[maps].weight.split(8)[n] for n in range(3))
    bias = interaction.qkv[maps].bias.split(8)
    norm = interaction.norm[maps]
    patches = [norm(zone[:, 1:]) for zone in zones[1:]]
    keys = torch.cat([p @ key.T + bias[1] + interaction.depth_embedding[n + 1] for n, p in enumerate(patches)], 1)
    values = torch.cat([p @ value.T + bias[2] for p in patches], 1)
    asked = norm(zones[-1][:, :1]) @ query.T + bias[0]
    answer = (asked @ keys.transpose(1, 2) / 8**0.5).softmax(-1) @ values
    result = interaction(zones)
    torch.testing.assert_close(
        result[:, :1], zones[-1][:, :1] + interaction.gain[1] * interaction.project[maps](answer)
    )
    assert torch.equal(result[:, 1:], zones[-1][:, 1:])


def test_concat_project_and_scalar_mix_are_their_formulas() -> None:
    zones = zones_of(3)
    concat = built("concat_proj")
    torch.testing.assert_close(concat(zones), zones[-1] + concat.gain[1] * concat.project[1](torch.cat(zones, -1)))
    mix = built("scalar_mix")
    expected = zones[-1] + mix.gain[1] * sum(mix.mix[1, depth] * zone for depth, zone in enumerate(zones))
    torch.testing.assert_close(mix(zones), expected)


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_parameter_gets_a_gradient_from_all_interactions_together(kind: str) -> None:
    interaction = built(kind)
    zones = zones_of(4)
    loss = sum(interaction(zones[: end + 1]).square().sum() for end in range(1, 4))
    assert isinstance(loss, Tensor)
    if kind == "none":
        assert not list(interaction.parameters())
        return
    loss.backward()
    assert all(parameter.grad is not None for parameter in interaction.parameters())


def test_parameters_of_shared_and_own_maps_are_counted_as_the_specification_says() -> None:
    layout = ZoneLayout(width=64, num_zones=4, num_heads=4)

    def matrices(shared: bool) -> int:
        made = make_interaction({"kind": "depth_attn", "shared": shared, "width_ratio": 1.0}, layout)
        return sum(p.numel() for name, p in made.named_parameters() if name.endswith("weight") and p.ndim == 2)

    assert matrices(True) == 4 * 64**2
    assert matrices(False) == 3 * 4 * 64**2


def test_one_zone_has_nobody_to_interact_with() -> None:
    alone = make_interaction({"kind": "depth_attn"}, ZoneLayout(8, 1, 2))
    assert not list(alone.parameters())


def test_other_kinds_and_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"interaction\.kind must be one of none, scalar_mix"):
        make_interaction({"kind": "dense"}, LAYOUT)
    with pytest.raises(ValueError, match="does not take these settings"):
        make_interaction({"kind": "scalar_mix", "heads": 2}, LAYOUT)
    with pytest.raises(ValueError, match="multiple of its 3 heads"):
        make_interaction({"kind": "depth_attn", "heads": 3}, LAYOUT)
