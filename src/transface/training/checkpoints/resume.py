"""What a resumed run holds its checkpoint against, and which optimizer settings it trains with from then on.

A learning rate or decay given anew on the command line is the one that is trained with; checkpoints of older versions
are renamed first.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from transface.training.checkpoints.reader import check_same_architecture, tensors_of

COMPUTED = (
    "params",
    "initial_lr",
    "fused",
    "foreach",
    "capturable",
    "differentiable",
)  # how a step is computed, not what it is
MORE_BATCHES = 2**40  # than any epoch has


def stated_settings(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return the settings of each parameter group of a new optimizer, before a schedule or a checkpoint changes
    them.
    """
    return [{name: value for name, value in group.items() if name not in COMPUTED} for group in optimizer.param_groups]


def apply_stated(
    optimizer: Optimizer, stated: Sequence[dict[str, Any]], *, schedulers: Sequence[Any] = ()
) -> list[str]:
    """Set the groups of an optimizer that was read from a checkpoint to the settings stated now; return "lr 0.001 ->
    0.0001" of those that differ.

    A scheduled rate is that of the schedule at its present step: that of a run made longer is not the one it ended
    with.
    """
    changes: dict[str, None] = {}
    scheduler = next((one for one in schedulers if isinstance(one, LambdaLR) and one.optimizer is optimizer), None)
    for index, (group, settings) in enumerate(zip(optimizer.param_groups, stated, strict=True)):
        for name, value in settings.items():
            kept = (
                group.get("initial_lr", group["lr"])
                if name == "lr" and scheduler is not None
                else group.get(name, value)
            )
            if _same(kept, value):
                continue
            changes[f"{name} {kept} -> {value}"] = None
            group[name] = value
            if name == "lr" and scheduler is not None:
                group["initial_lr"] = scheduler.base_lrs[index] = value
    if scheduler is not None:
        for group, base, factor in zip(optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True):
            group["lr"] = base * factor(scheduler.last_epoch)
    return list(changes)


def _same(kept: Any, value: Any) -> bool:
    return (
        list(kept) == list(value)
        if isinstance(kept, list | tuple) and isinstance(value, list | tuple)
        else bool(kept == value)
    )


class ResumedOptimizer:
    """Remembers what the command says of the optimizer, and applies it once after a checkpoint was loaded."""

    def __init__(self) -> None:
        self.resumed = False
        self._stated: list[dict[str, Any]] = []

    def state(self, optimizer: Optimizer) -> None:
        """Remember the settings of a new optimizer."""
        self._stated = stated_settings(optimizer)

    def apply(self, optimizer: Optimizer, *, schedulers: Sequence[Any] = ()) -> list[str]:
        """Return the changes made to an optimizer that was loaded from a checkpoint; none where nothing was resumed."""
        if not self.resumed:
            return []
        self.resumed = False
        return apply_stated(optimizer, self._stated, schedulers=schedulers)


def upgrade(checkpoint: dict[str, Any]) -> None:
    """Renew in place what older checkpoints say otherwise; current ones stay as they are.

    A run resumed from the end of an epoch did not count the epoch it was in (`count_begun_epoch`). `backbone.*` became
    `network.*`, `ema_backbone` became `averaged`, and the optimizer's class was told by its settings.
    """
    state = checkpoint.get("state_dict")
    if (
        isinstance(state, dict)
        and any(name.startswith("backbone.") for name in state)
        and not any(name.startswith("network.") for name in state)
    ):
        for name in [name for name in state if name.startswith("backbone.")]:
            state[f"network.{name.removeprefix('backbone.')}"] = state.pop(name)
    if "ema_backbone" in checkpoint:
        checkpoint["averaged"] = checkpoint.pop("ema_backbone")
    own = checkpoint.get("transface")
    states = checkpoint.get("optimizer_states")
    if isinstance(own, dict) and "optimizer" not in own and states:
        own["optimizer"] = "AdamW" if "betas" in states[0]["param_groups"][0] else "SGD"
    loops = checkpoint.get("loops")
    if isinstance(loops, dict) and "fit_loop" in loops:
        count_begun_epoch(loops["fit_loop"])
        count_whole_epoch(loops["fit_loop"])


def count_begun_epoch(fit_loop: dict[str, Any]) -> None:
    """Set in place how many epochs had begun, where Lightning's counts were saved at the end of a batch: one more than
    had ended. Current ones are so.
    """
    batches = fit_loop["epoch_loop.batch_progress"]["current"]
    if batches["completed"] < batches["processed"]:
        for counts in fit_loop["epoch_progress"].values():
            counts["ready"] = counts["started"] = counts["processed"] + 1


def count_whole_epoch(fit_loop: dict[str, Any]) -> None:
    """Set in place the batches of an epoch that was saved at its end to more than any epoch has.

    Lightning takes an epoch for whole that has as many batches as the run now has in one; where those are more than
    before (another batch size or accumulation), it would take the rest of them from the next epoch.
    """
    progress = fit_loop["epoch_loop.batch_progress"]
    counts = progress["current"]
    if progress.get("is_last_batch") and counts["completed"] < counts["processed"]:
        counts |= dict.fromkeys(("ready", "started", "processed"), MORE_BATCHES) | {"completed": MORE_BATCHES - 1}


def check_checkpoint(
    checkpoint: Mapping[str, Any],
    path: Path,
    *,
    state: Mapping[str, Any],
    sharded: Sequence[str],
    group_sizes: Sequence[int],
    optimizer_kind: str,
) -> None:
    """Raise where what a file holds is no state of a run with these parts.

    Args:
        checkpoint: what the file at `path` holds, upgraded.
        state: the state dict of the run's module.
        sharded: names of the parameters that lie in files of their own.
        group_sizes: how many parameters each group of the optimizer has.
        optimizer_kind: the name of the optimizer's class.

    Raises:
        ValueError: saying what differs and what to do.
    """
    if any(part not in checkpoint for part in ("state_dict", "optimizer_states", "loops")):
        raise ValueError(
            f"{path} is no checkpoint of a run of training, so none can be resumed from it: backbone.weights={path}"
            " starts with its weights"
        )
    hint = f"resume with the one it was trained with, or start anew with backbone.weights={path.parent}"
    own, stored = (
        {name for name in names if name.endswith("_extra_state")} for names in (state, checkpoint["state_dict"])
    )
    if own != stored:
        raise ValueError(f"{path} was trained with another classifier: {hint}")
    kind = (checkpoint.get("transface") or {}).get("optimizer", optimizer_kind)
    if kind != optimizer_kind:
        raise ValueError(
            f"{path} was trained with another optimizer: {hint} (it was {kind}, now it is {optimizer_kind})"
        )
    tensors = tensors_of(dict(state))
    check_same_architecture(
        tensors, tensors_of(checkpoint["state_dict"] | {name: tensors[name] for name in sharded}), where=str(path)
    )
    if any(
        [len(group["params"]) for group in found["param_groups"]] != list(group_sizes)
        for found in checkpoint["optimizer_states"]
    ):
        raise ValueError(
            f"{path} was trained with other groups of parameters: resume with its system.decay_rule, layer_decay and"
            " frozen"
        )
