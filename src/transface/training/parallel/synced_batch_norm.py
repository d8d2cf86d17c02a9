"""Batch norm over the faces of all ranks on the CPU, where torch's own SyncBatchNorm does not run; on other devices
torch's own.

Shapes: B faces of this rank, C channels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from transface.distributed import sum_over_ranks


def check_batch_norms(module: nn.Module, images: int, *, devices: int, synced: bool) -> None:
    """Refuse to train a batch norm over vectors on one image: it has no variance.

    Args:
        images: of a device in one forward pass.
        devices: how many there are.
        synced: whether batch norms see the images of all devices.

    Raises:
        ValueError: naming the settings.
    """
    norms = [name for name, part in module.named_modules() if isinstance(part, nn.BatchNorm1d) and part.training]
    if norms and images == 1 and not (synced and devices > 1):
        raise ValueError(
            f"one image a device and step (data.total_batch_size over {devices} devices and gradient_accumulation):"
            f" batch norm ({norms[0]}) needs at least two. Take a larger data.total_batch_size, fewer devices or less"
            " gradient_accumulation, or trainer.sync_batchnorm=true with several devices"
        )


class SyncedBatchNorm(_BatchNorm):
    """Batch norm whose mean and variance are joined over ranks by two all-reduces with a gradient; statistics in
    float32 at least.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, C, ...) normalised: by the statistics of all ranks in training, by the running ones else."""
        if not self.training and self.running_mean is not None:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        others = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        values = x.float() if x.dtype in {torch.float16, torch.bfloat16} else x
        total = sum_over_ranks(torch.cat([values.sum(others), values.new_full((1,), x.numel() / x.shape[1])]))
        count = total[-1].detach()
        mean = total[:-1] / count
        centred = values - mean.reshape(shape)
        variance = sum_over_ranks(centred.square().sum(others)) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1).clamp_min(1))
        normal = centred * (variance + self.eps).rsqrt().reshape(shape)
        if self.weight is not None:
            normal = normal * self.weight.reshape(shape) + self.bias.reshape(shape)
        return normal.to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics by those of a batch."""
        if not self.training or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        weight = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), weight)
        self.running_var.lerp_(variance.to(self.running_var), weight)


class SyncedBatchNorms(TorchSyncBatchNorm):
    """Lightning's plugin for `sync_batchnorm`, which several devices apply to the model; on the CPU it takes
    SyncedBatchNorm.

    Attributes:
        on_cpu: where the model will run: it is applied before the model is moved.
    """

    on_cpu = True

    def apply(self, model: nn.Module) -> nn.Module:
        """Return the model with its batch norms synchronised; names, weights and statistics stay."""
        if not self.on_cpu:
            return super().apply(model)
        norms: list[Any] = [part for part in model.modules() if isinstance(part, _BatchNorm)]
        for part in norms:
            part.plain_class = type(part)
            part.__class__ = SyncedBatchNorm  # the same weights and statistics, another forward
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Return the model with its batch norms as they were."""
        if not self.on_cpu:
            return super().revert(model)
        norms: list[Any] = [part for part in model.modules() if isinstance(part, SyncedBatchNorm)]
        for part in norms:
            part.__class__ = part.plain_class
        return model
