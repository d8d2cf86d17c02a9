"""transface.training.optimization.parameter_groups: who decays, who is frozen, who learns slower."""

import pytest
from torch import nn

from transface.training.optimization.parameter_groups import freeze, group_parameters


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(nn.Linear(4, 4).weight.detach()[None])
        self.stem = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)

    def layer_index(self, name: str) -> int:
        return 1 if name.startswith("norm") else 0


def sizes(groups: list) -> dict:
    return {group.get("weight_decay"): sum(p.numel() for p in group["params"]) for group in groups}


def test_only_matrices_decay() -> None:
    assert sizes(group_parameters(Small(), "matrices")) == {None: 16, 0.0: 16 + 4 + 8}


def test_the_released_rule_decays_everything() -> None:
    assert sizes(group_parameters(Small(), "released")) == {None: 16 + 16 + 4 + 8}


def test_a_frozen_part_has_no_gradient_and_no_group() -> None:
    network = Small()
    groups = group_parameters(network, frozen=("stem",))
    assert not network.stem.weight.requires_grad
    assert sum(p.numel() for g in groups for p in g["params"]) == 16 + 8


def test_a_frozen_word_that_names_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="names no parameter"):
        group_parameters(Small(), frozen=("stemm",))


def test_a_frozen_part_is_named_in_whole_words() -> None:
    network = nn.Sequential(*(nn.Linear(2, 2) for _ in range(12)))
    inside = freeze(network, ("1", "2.weight"))
    off = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert off == {"1.weight", "1.bias", "2.weight"}, "not 10 and 11"
    assert inside == (network[1],)


def test_layer_decay_slows_the_input_side() -> None:
    factors = sorted({g["lr_factor"] for g in group_parameters(Small(), layer_decay=0.5)})
    assert factors == [0.5, 1.0]


def test_layer_decay_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="layer_index"):
        group_parameters(nn.Linear(2, 2), layer_decay=0.5)
