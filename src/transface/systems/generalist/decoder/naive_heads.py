"""The heads of Naive Faceptor: one standard body for each form of answer, instead of queries and decoders.

Faceptor (ECCV 2024) section 3.1; SwinFace (TCSVT 2023) for the attribute head, UPerNet (ECCV 2018) for the dense one.
Names of the parts are those of the released files. Shapes: B images, C channels, S side of the token grid, K outputs.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ATTRIBUTE_LAYERS = (5, 7, 9, 11)
DENSE_LAYERS = (3, 5, 7, 11)


class ChannelGate(nn.Module):
    """CBAM's channel attention: each channel is multiplied by what an MLP makes of its mean and maximum."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, maps: Tensor) -> Tensor:
        scores = self.mlp(maps.mean((2, 3))) + self.mlp(maps.amax((2, 3)))
        return maps * scores.sigmoid()[..., None, None]


class AttributeHead(nn.Module):
    """Four layers, a channel gate and an MLP shared by the data sets of one kind; each has its own last layer.

    Args of the constructor:
        token_width: C of the encoder.
        outputs: by data set, K.
        feature_width: of the features; a quarter comes from each layer.
    """

    def __init__(self, token_width: int, outputs: Mapping[str, int], feature_width: int = 512) -> None:
        super().__init__()
        share = feature_width // len(ATTRIBUTE_LAYERS)
        self.conv = nn.ModuleList(nn.Conv2d(token_width, share, 3, padding=1, bias=False) for _ in ATTRIBUTE_LAYERS)
        self.channel_attention = ChannelGate(feature_width)
        self.norm = nn.BatchNorm1d(feature_width, eps=2e-5)
        self.feature = nn.Sequential(
            nn.Linear(feature_width, feature_width),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(feature_width, feature_width),
            nn.ReLU(),
            nn.Dropout(0.5),
        )
        self.fcs = nn.ModuleDict({name: nn.Linear(feature_width, count) for name, count in outputs.items()})

    def convolved(self, maps: Mapping[int, Tensor]) -> Tensor:
        """Return the joined features (B, feature_width, S, S) of the layers' maps (B, C, S, S)."""
        return torch.cat([conv(maps[layer]) for conv, layer in zip(self.conv, ATTRIBUTE_LAYERS, strict=True)], 1)

    def forward(self, maps: Mapping[int, Tensor], name: str) -> Tensor:
        """Return logits (B, K) of one data set."""
        gated = self.channel_attention(self.convolved(maps)).relu()
        return self.fcs[name](self.feature(self.norm(gated.amax((2, 3)))))


class ConvBlock(nn.Module):
    """Convolution without bias, batch norm over all processes, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(maps)))


def resized_to(maps: Tensor, other: Tensor) -> Tensor:
    """Return maps with the height and width of others, bilinear, half-pixel centres."""
    return F.interpolate(maps, other.shape[2:], mode="bilinear", align_corners=False)


class UPerHead(nn.Module):
    """Pyramid pooling on the coarsest of four maps, a top-down path, all scales joined at the finest.

    Args of the constructor:
        inputs: channels of each map.
        channels: inside.
        num_outputs: K of all data sets together.
    """

    def __init__(self, inputs: int, channels: int, num_outputs: int, scales: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), ConvBlock(inputs, channels, 1)) for scale in scales
        )
        self.bottleneck = ConvBlock(inputs + len(scales) * channels, channels, 3)
        self.lateral_convs = nn.ModuleList(ConvBlock(inputs, channels, 1) for _ in range(3))
        self.fpn_convs = nn.ModuleList(ConvBlock(channels, channels, 3) for _ in range(3))
        self.fpn_bottleneck = ConvBlock(4 * channels, channels, 3)
        self.dropout = nn.Dropout2d(0.1)
        self.conv_seg = nn.Conv2d(channels, num_outputs, 1)

    def pooled(self, coarsest: Tensor) -> Tensor:
        """Return the coarsest map joined with what it is at four scales of pooling."""
        branches = [resized_to(branch(coarsest), coarsest) for branch in self.psp_modules]
        return self.bottleneck(torch.cat([coarsest, *branches], 1))

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Return logits (B, K, h, w) at the size of the finest of the maps, finest first."""
        laterals = [conv(maps) for conv, maps in zip(self.lateral_convs, pyramid[:3], strict=True)]
        laterals.append(self.pooled(pyramid[3]))
        for finer, coarser in reversed(list(pairwise(range(4)))):
            laterals[finer] = laterals[finer] + resized_to(laterals[coarser], laterals[finer])
        joined = [conv(maps) for conv, maps in zip(self.fpn_convs, laterals[:3], strict=True)] + laterals[3:]
        joined = [resized_to(maps, joined[0]) for maps in joined]
        return self.conv_seg(self.dropout(self.fpn_bottleneck(torch.cat(joined, 1))))


class DenseHead(nn.Module):
    """A pyramid of four layers and UPerHead, shared by the data sets of one kind; each reads its own slice of the
    channels.

    Args of the constructor:
        token_width: C of the encoder.
        outputs: by data set, K.
        channels: inside UPerHead.
    """

    def __init__(self, token_width: int, outputs: Mapping[str, int], channels: int = 512) -> None:
        super().__init__()
        four_times = nn.Sequential(
            nn.ConvTranspose2d(token_width, token_width, 2, 2),
            nn.BatchNorm2d(token_width),
            nn.GELU(),
            nn.ConvTranspose2d(token_width, token_width, 2, 2),
        )
        self.fpns = nn.ModuleList(
            [four_times, nn.ConvTranspose2d(token_width, token_width, 2, 2), nn.Identity(), nn.MaxPool2d(2)]
        )
        self.head = UPerHead(token_width, channels, sum(outputs.values()))
        self.outputs = dict(outputs)

    def pyramid(self, maps: Mapping[int, Tensor]) -> list[Tensor]:
        """Return maps (B, C, h, w) of 4, 2, 1 and 1/2 times the token grid."""
        return [scale(maps[layer]) for scale, layer in zip(self.fpns, DENSE_LAYERS, strict=True)]

    def forward(self, maps: Mapping[int, Tensor], name: str) -> Tensor:
        """Return logits (B, K, 4S, 4S) of one data set."""
        return self.of_dataset(self.head(self.pyramid(maps)), name)

    def of_dataset(self, logits: Tensor, name: str) -> Tensor:
        """Return the channels of one data set."""
        names = list(self.outputs)
        index = names.index(name)
        return logits.split(list(self.outputs.values()), 1)[index]
