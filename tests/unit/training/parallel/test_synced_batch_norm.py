"""On one process the synchronised batch norm is batch norm, on the CPU too; its weights keep their names. On ranks:
tests/distributed.
"""

import pytest
import torch
from torch import nn

from transface.training.parallel.synced_batch_norm import SyncedBatchNorm, SyncedBatchNorms


def converted(plain: nn.Module) -> nn.Module:
    return SyncedBatchNorms().apply(nn.Sequential(plain))[0]  # type: ignore[index]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize(("kind", "shape"), [(nn.BatchNorm1d, (6, 4)), (nn.BatchNorm2d, (3, 4, 2, 5))])
def test_it_is_batch_norm(
    kind: type[nn.Module], shape: tuple[int, ...], momentum: float | None, training: bool
) -> None:
    plain, twin = (kind(4, momentum=momentum, eps=2e-5).double() for _ in range(2))  # type: ignore[call-arg]
    synced = converted(twin)
    assert type(synced) is SyncedBatchNorm
    for module in (plain, synced):
        nn.init.uniform_(module.weight, generator=torch.Generator().manual_seed(1))  # type: ignore[arg-type]
        module.train(training)
    first, second = (
        torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        .mul(3)
        .add(7)
        .requires_grad_()
        for _ in range(2)
    )
    for _ in range(2):
        expected, found = plain(first), synced(second)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    weights = torch.rand_like(expected)
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    torch.testing.assert_close(second.grad, first.grad, rtol=1e-10, atol=1e-10)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(synced.state_dict()[name], value, rtol=1e-12, atol=1e-12)


def test_half_precision_is_added_up_in_float32() -> None:
    synced = converted(nn.BatchNorm1d(3, affine=False))
    faces = torch.randn(64, 3).mul(4).add(100).bfloat16()
    normal = synced(faces)
    assert normal.dtype == torch.bfloat16
    torch.testing.assert_close(normal, nn.BatchNorm1d(3, affine=False)(faces.float()).bfloat16())


def test_reverting_gives_the_old_kind_back() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm2d(3)))
    plugin = SyncedBatchNorms()
    assert [
        type(part) for part in plugin.apply(model).modules() if part.state_dict and not isinstance(part, nn.Sequential)
    ] == [SyncedBatchNorm] * 2
    plugin.revert(model)
    assert (type(model[0]), type(model[1][0])) == (nn.BatchNorm1d, nn.BatchNorm2d)
