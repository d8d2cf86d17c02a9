"""transface.training.optimization.optimizers: when AdamW is fused, that it makes no copy as large as the centres, and
what SGD refuses.
"""

import pytest
import torch
from torch import nn

from transface.training.optimization.optimizers import SGD, AdamW


def test_adamw_on_the_cpu_is_fused_unless_told_otherwise() -> None:
    parameter = nn.Parameter(torch.ones(3))
    assert AdamW([parameter]).param_groups[0]["fused"]
    assert not AdamW([parameter], fused=False).param_groups[0]["fused"]
    assert not AdamW([parameter], foreach=True).param_groups[0]["fused"]
    assert not AdamW([nn.Parameter(torch.ones(3, device="meta"))]).param_groups[0]["fused"]


@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1, "betas": (0.8, 0.99), "eps": 1e-6}])
def test_fused_or_not_the_steps_are_torch_s(settings) -> None:
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 12, dtype=torch.float64)) for _ in range(2))
    steps = (
        AdamW([ours], lr=0.1, **settings),
        torch.optim.AdamW([theirs], lr=0.1, fused=False, **{"weight_decay": 0.01} | settings),
    )
    for step in range(5):
        for parameter, optimizer in zip((ours, theirs), steps, strict=True):
            parameter.grad = torch.cos(parameter.detach() * step)
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_fused_sgd_is_refused() -> None:
    with pytest.raises(ValueError, match="fused SGD cannot step sampled rows"):
        SGD([nn.Parameter(torch.ones(1))], fused=True)
