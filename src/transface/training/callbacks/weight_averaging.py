"""An exponential moving average of the network's weights, evaluated and saved beside the trained ones."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from transface.training.module import TrainingModule


class WeightAverage(Callback):
    """Keeps average = decay * average + (1 - decay) * weights after each optimizer step; batch-norm statistics are
    copied.

    Validation and `transface evaluate` use the average; what is trained beside the network (class centres) has none.

    Args:
        decay: in (0, 1), e.g. 0.9999 for long runs.
    """

    def __init__(self, *, decay: float = 0.9999) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"callbacks.average.decay must be in (0, 1), got {decay}")
        self.decay = decay
        self._average: AveragedModel | None = None
        self._restored: dict[str, torch.Tensor] | None = None
        self._step = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        network = pl_module.network
        self._average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(self.decay), use_buffers=False)
        self._average.requires_grad_(False)
        if self._restored is not None:
            self._average.module.load_state_dict(self._restored)
            self._average.n_averaged.fill_(1)
            self._restored = None
        pl_module.use_average(self._average.module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert self._average is not None
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        assert isinstance(pl_module, TrainingModule)
        network = pl_module.network
        self._average.update_parameters(network)
        for own, trained in zip(self._average.module.buffers(), network.buffers(), strict=True):
            own.copy_(trained)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._average is not None:
            checkpoint["averaged"] = self._average.module.state_dict()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._restored = checkpoint.get("averaged")
