"""Sampled rows against the definition: each row is a parameter of its own, stepped by torch's optimizer only when it is
sampled.
"""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from transface.training.optimization.optimizers import SGD, AdamW
from transface.training.optimization.sampled_rows import SampledRows

ROWS, COLUMNS, STEPS = 11, 3, 12


class RMSprop(SampledRows, torch.optim.RMSprop):
    pass


class NAdam(SampledRows, torch.optim.NAdam):
    pass


CASES: list[tuple[type[Optimizer], type[Optimizer], dict[str, Any]]] = [
    (AdamW, torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
    (AdamW, torch.optim.AdamW, {"lr": 0.01, "amsgrad": True, "foreach": True}),
    (SGD, torch.optim.SGD, {"lr": 0.1}),
    (SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05, "nesterov": True}),
    (SGD, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
    (RMSprop, torch.optim.RMSprop, {"lr": 0.01, "momentum": 0.5, "centered": True}),
    (NAdam, torch.optim.NAdam, {"lr": 0.01}),
]


def sampled_gradients(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    gradients = []
    for _ in range(STEPS):
        rows = torch.randperm(ROWS, generator=generator)[:4].sort().values
        values = torch.randn(4, COLUMNS, generator=generator, dtype=dtype)
        gradients.append(torch.sparse_coo_tensor(rows[None], values, (ROWS, COLUMNS), is_coalesced=True))
    return gradients


def take_steps(optimizer: Optimizer, parameter: nn.Parameter, gradients: list[Tensor]) -> None:
    for gradient in gradients:
        parameter.grad = gradient
        optimizer.step()


@pytest.mark.parametrize(("ours", "torchs", "settings"), CASES)
def test_each_row_moves_as_a_parameter_of_its_own(ours: Any, torchs: Any, settings: dict[str, Any]) -> None:
    start = torch.randn(ROWS, COLUMNS, dtype=torch.float64)
    alone = [nn.Parameter(row.clone()) for row in start]
    apart = [torchs([row], **settings) for row in alone]
    for gradient in sampled_gradients():
        for row, value in zip(gradient.indices()[0].tolist(), gradient.values(), strict=True):
            alone[row].grad = value.clone()
            apart[row].step()
    centers = nn.Parameter(start.clone())
    take_steps(ours([centers], **settings), centers, sampled_gradients())
    torch.testing.assert_close(centers.data, torch.stack([row.data for row in alone]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("ours", "torchs", "settings"), CASES)
def test_rows_left_out_keep_weights_and_moments_bit_for_bit(ours: Any, torchs: Any, settings: dict[str, Any]) -> None:
    centers = nn.Parameter(torch.randn(ROWS, COLUMNS))
    optimizer = ours([centers], **settings)
    gradients = sampled_gradients(torch.float32)
    take_steps(optimizer, centers, gradients[:6])
    before = {"weight": centers.detach().clone()} | copy.deepcopy(optimizer.state[centers])
    take_steps(optimizer, centers, gradients[6:7])
    moved = gradients[6].indices()[0]
    left_out = torch.ones(ROWS, dtype=torch.bool).index_fill(0, moved, False)
    for name, old in before.items():
        new = centers.data if name == "weight" else optimizer.state[centers][name]
        assert torch.equal(old[left_out], new[left_out]), name
        assert not torch.equal(old[moved], new[moved]), name


@pytest.mark.parametrize(("ours", "torchs", "settings"), CASES)
def test_the_state_goes_through_a_state_dict(ours: Any, torchs: Any, settings: dict[str, Any]) -> None:
    gradients = sampled_gradients(torch.float32)
    straight = nn.Parameter(torch.ones(ROWS, COLUMNS))
    take_steps(ours([straight], **settings), straight, gradients)
    centers = nn.Parameter(torch.ones(ROWS, COLUMNS))
    first = ours([centers], **settings)
    take_steps(first, centers, gradients[:5])
    second = ours([centers], **settings)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    take_steps(second, centers, gradients[5:])
    assert torch.equal(centers, straight)


@pytest.mark.parametrize(("ours", "torchs", "settings"), CASES)
def test_all_rows_sampled_is_the_plain_optimizer(ours: Any, torchs: Any, settings: dict[str, Any]) -> None:
    dense = [gradient.to_dense() for gradient in sampled_gradients()]
    expected, centers = (nn.Parameter(torch.ones(ROWS, COLUMNS, dtype=torch.float64)) for _ in range(2))
    plain = torchs([expected], **settings)
    for gradient in dense:
        expected.grad = gradient
        plain.step()
    optimizer = ours([centers], **settings)
    # Whole, then by rows, then whole again: the state follows.
    everything = torch.arange(ROWS)
    for index, gradient in enumerate(dense):
        rowwise = torch.sparse_coo_tensor(everything[None], gradient, gradient.shape, is_coalesced=True)
        centers.grad = rowwise if 4 <= index < 8 else gradient
        optimizer.step()
    torch.testing.assert_close(centers, expected, rtol=1e-12, atol=1e-14)


def test_dense_parameters_beside_step_as_ever_and_a_closure_is_called_first() -> None:
    dense, centers = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(ROWS, COLUMNS))
    optimizer = AdamW([{"params": [dense]}, {"params": [centers], "weight_decay": 0.0}], lr=0.1)

    def closure() -> float:
        dense.grad = torch.ones(3)
        centers.grad = sampled_gradients(torch.float32)[0]
        return 7.0

    assert optimizer.step(closure) == 7.0
    alone = nn.Parameter(torch.ones(3))
    alone.grad = torch.ones(3)
    torch.optim.AdamW([alone], lr=0.1).step()
    assert torch.equal(dense, alone)
    assert (centers != 1).any(dim=1).sum() == 4
    assert [group["params"] for group in optimizer.param_groups] == [[dense], [centers]]


def test_gradients_added_up_over_batches_move_their_union_once() -> None:
    first, second = sampled_gradients()[:2]
    centers, expected = (nn.Parameter(torch.ones(ROWS, COLUMNS, dtype=torch.float64)) for _ in range(2))
    take_steps(AdamW([centers], lr=0.1), centers, [first + second])
    union = torch.cat([first.indices()[0], second.indices()[0]]).unique()
    whole = (first + second).to_dense()
    gradient = torch.sparse_coo_tensor(union[None], whole[union], whole.shape, is_coalesced=True)
    take_steps(AdamW([expected], lr=0.1), expected, [gradient])
    assert torch.equal(centers, expected)
    assert (centers == 1).all(dim=1).sum() == ROWS - len(union)


@pytest.mark.parametrize("ours", [AdamW, SGD])
def test_a_step_that_samples_no_row_leaves_no_state(ours: Any) -> None:
    centers = nn.Parameter(torch.ones(ROWS, COLUMNS))
    optimizer = ours([centers], lr=0.1)
    nothing = torch.sparse_coo_tensor(
        torch.empty(1, 0, dtype=torch.int64), torch.empty(0, COLUMNS), (ROWS, COLUMNS), is_coalesced=True
    )
    take_steps(optimizer, centers, [nothing, *sampled_gradients(torch.float32)[:1]])
    assert ("moves" in optimizer.state[centers]) == (ours is SGD)


def test_an_optimizer_that_mixes_elements_is_refused() -> None:
    class Adafactor(SampledRows, torch.optim.Adafactor):
        pass

    centers = nn.Parameter(torch.ones(ROWS, COLUMNS))
    with pytest.raises(TypeError, match="Adafactor keeps row_var of shape"):
        take_steps(Adafactor([centers]), centers, sampled_gradients(torch.float32)[:1])


def test_a_sampled_step_does_not_leave_the_optimizer_without_its_parameters_when_it_fails() -> None:
    centers = nn.Parameter(torch.ones(ROWS, COLUMNS))
    optimizer = AdamW([centers], lr=0.1)
    optimizer.param_groups[0]["betas"] = None
    with pytest.raises(TypeError):
        take_steps(optimizer, centers, sampled_gradients(torch.float32)[:1])
    assert optimizer.param_groups[0]["params"] == [centers]
