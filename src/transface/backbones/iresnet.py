"""IResNet 18 to 200, the convolutional backbones of ArcFace, named as in arcface_torch so that its weights fit as they
are.

ArcFace (CVPR 2019, arXiv 1801.07698), improved residual units (arXiv 2004.04989).
Shapes: B faces, E embedding size, C channels. Images are RGB, float, in [-1, 1].
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from transface.backbones.features import FACE_OUTPUTS, FaceFeatures, check_embedding_size, image_sides
from transface.backbones.parts.precision import in_precision_of
from transface.backbones.weights.finetuning import load_pretrained
from transface.backbones.weights.rebuild import rebuildable

WIDTHS = (64, 128, 256, 512)
Shortcut = Literal["convolution", "subsample"]


class ResidualUnit(nn.Module):
    """BatchNorm, 3x3, BatchNorm, PReLU, 3x3 with the stride, BatchNorm; plus the input, brought to the same shape."""

    def __init__(self, in_channels: int, channels: int, stride: int, *, shortcut: Shortcut = "convolution") -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module | None = None
        if in_channels != channels or (stride > 1 and shortcut == "convolution"):
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        elif stride > 1:
            self.downsample = nn.MaxPool2d(1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H / stride, W / stride) of x (B, in_channels, H, W)."""
        residual = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return residual + (x if self.downsample is None else self.downsample(x))


@rebuildable
class IResNet(nn.Module):
    """Four stages of residual units, each halving the image, then one linear layer over the whole map. It has no
    tokens.

    Args of the constructor:
        depths: units in each of the four stages.
        dropout: before the linear layer.
        first_shortcut: how the first unit of the first stage halves its input: "convolution" (arcface_torch) or
            "subsample" (AdaFace).
        gradient_checkpointing: recompute each stage in backward: less memory, one more forward.
        weights: a file to start from, ours or released.
    """

    outputs = FACE_OUTPUTS

    patch_size: int = 0  # no patches: DPAP and EHSM have nothing to work on
    grid_size: tuple[int, int] = (0, 0)

    def __init__(
        self,
        depths: Sequence[int],
        *,
        image_size: int | tuple[int, int] = 112,
        embedding_size: int = 512,
        dropout: float = 0.0,
        first_shortcut: Shortcut = "convolution",
        gradient_checkpointing: bool = False,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        if len(depths) != 4 or min(depths) < 1:
            raise ValueError(f"depths must be four positive numbers, got {tuple(depths)}")
        if first_shortcut not in {"convolution", "subsample"}:
            raise ValueError(f"first_shortcut must be 'convolution' or 'subsample', got {first_shortcut!r}")
        self.image_size = image_sides(image_size)
        self.embedding_size = check_embedding_size(embedding_size)
        self.depths = tuple(depths)
        self.gradient_checkpointing = gradient_checkpointing
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        self.layer1 = _stage(64, WIDTHS[0], depths[0], first_shortcut)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], depths[1])
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], depths[2])
        self.layer4 = _stage(WIDTHS[2], WIDTHS[3], depths[3])
        self.bn2 = nn.BatchNorm2d(WIDTHS[3])
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(WIDTHS[3] * -(-self.image_size[0] // 16) * -(-self.image_size[1] // 16), embedding_size)
        self.features = nn.BatchNorm1d(embedding_size)
        # The scale of the embedding is the margin's affair, so the last norm only shifts; it stays a parameter to fit
        # released weights.
        self.features.weight.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.1)
        if weights is not None:
            load_pretrained(self, weights)

    def forward(self, images: Tensor) -> FaceFeatures:
        """Return the FaceFeatures, embedding only, of images (B, 3, H, W)."""
        x = self.prelu(self.bn1(self.conv1(images)))
        recompute = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = checkpoint(stage, x, use_reentrant=False) if recompute else stage(x)
        x = self.dropout(self.bn2(x).flatten(1))
        with in_precision_of(self.fc.weight, x) as exact:
            return FaceFeatures(self.features(self.fc(exact)))

    def patch_importance(self, images: Tensor) -> None:
        """Return None: a convolutional backbone ranks no patches."""

    def layer_index(self, parameter_name: str) -> int:
        """Return the depth of a parameter: 0 for the first convolution, then one for each unit, then one for all after
        them.
        """
        words = parameter_name.split(".")
        if not words[0].startswith("layer"):
            return 0 if words[0] in {"conv1", "bn1", "prelu"} else sum(self.depths) + 1
        return 1 + sum(self.depths[: int(words[0].removeprefix("layer")) - 1]) + int(words[1])


def _stage(in_channels: int, channels: int, depth: int, shortcut: Shortcut = "convolution") -> nn.Sequential:
    first = ResidualUnit(in_channels, channels, 2, shortcut=shortcut)
    return nn.Sequential(first, *(ResidualUnit(channels, channels, 1) for _ in range(depth - 1)))


def iresnet18(**settings: Any) -> IResNet:
    """Return IResNet-18: 24,025,600 parameters."""
    return IResNet((2, 2, 2, 2), **settings)


def iresnet34(**settings: Any) -> IResNet:
    """Return IResNet-34: 34,139,328 parameters."""
    return IResNet((3, 4, 6, 3), **settings)


def iresnet50(**settings: Any) -> IResNet:
    """Return IResNet-50: 43,590,848 parameters."""
    return IResNet((3, 4, 14, 3), **settings)


def iresnet100(**settings: Any) -> IResNet:
    """Return IResNet-100: 65,156,160 parameters."""
    return IResNet((3, 13, 30, 3), **settings)


def iresnet200(**settings: Any) -> IResNet:
    """Return IResNet-200: 118,833,920 parameters."""
    return IResNet((6, 26, 60, 6), **settings)
