"""Makes the Lightning trainer with our defaults: our samplers stay as they are, checkpoints are ours, compile is a switch."""

from typing import Any

import lightning
from lightning import Callback, LightningModule, Trainer


class CompileBackbone(Callback):
    """Compiles the backbone in place at the start of training; its parameter names stay as they are."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        backbone: Any = pl_module.backbone
        if backbone._compiled_call_impl is None:
            backbone.compile()


def make_trainer(*, callbacks: list[Callback] | None = None, compile: bool = False, **settings: Any) -> Trainer:
    """Return a lightning.Trainer.

    Args:
        callbacks: as Lightning takes them.
        compile: run the backbone through torch.compile.
        settings: keyword arguments of lightning.Trainer.
    """
    parts = [*(callbacks or []), *([CompileBackbone()] if compile else [])]
    if settings.get("gradient_clip_val") is not None:
        raise ValueError("trainer.gradient_clip_val would clip the class centres too: use system.clip_norm, which clips the backbone")
    return lightning.Trainer(callbacks=parts, use_distributed_sampler=False, enable_checkpointing=False, enable_model_summary=False, **settings)
