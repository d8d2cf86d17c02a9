"""What a resumed run's command says of the optimizer, against what its checkpoint kept: a rate given anew is the one that is trained with."""

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

COMPUTED = ("params", "initial_lr", "fused", "foreach", "capturable", "differentiable")  # how a step is computed, not what it is


def stated_settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return the settings of each parameter group of a new optimizer, before a schedule or a checkpoint changes them."""
    return [{name: value for name, value in group.items() if name not in COMPUTED} for group in optimizer.param_groups]


def apply_stated(optimizer: Optimizer, stated: Sequence[dict[str, Any]], *, schedulers: Sequence[Any] = ()) -> list[str]:
    """Set the groups of an optimizer that was read from a checkpoint to the settings stated now; return "lr 0.001 -> 0.0001" of those that differ.

    A scheduled rate is that of the schedule at its present step. Where nothing differs nothing is touched.
    """
    changes: dict[str, None] = {}
    scheduler = next((one for one in schedulers if isinstance(one, LambdaLR) and one.optimizer is optimizer), None)
    for index, (group, settings) in enumerate(zip(optimizer.param_groups, stated, strict=True)):
        for name, value in settings.items():
            kept = group.get("initial_lr", group["lr"]) if name == "lr" and scheduler is not None else group.get(name, value)
            if _same(kept, value):
                continue
            changes[f"{name} {kept} -> {value}"] = None
            group[name] = value
            if name == "lr" and scheduler is not None:
                group["initial_lr"] = scheduler.base_lrs[index] = value
                group["lr"] = value * scheduler.lr_lambdas[index](scheduler.last_epoch)
    return list(changes)


def _same(kept: Any, value: Any) -> bool:
    return list(kept) == list(value) if isinstance(kept, list | tuple) and isinstance(value, list | tuple) else bool(kept == value)
