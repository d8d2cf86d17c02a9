"""MobileFaceNet, a backbone of two million parameters, named as in arcface_torch so that its weights fit as they are.

MobileFaceNets (arXiv 1804.07573), at the double width of arcface_torch.
Shapes: B faces, E embedding size, C channels. Images are RGB, float, in [-1, 1].
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from transface.backbones.features import FACE_OUTPUTS, FaceFeatures, check_embedding_size, image_sides
from transface.backbones.parts.precision import in_precision_of
from transface.backbones.weights.finetuning import load_pretrained
from transface.backbones.weights.rebuild import rebuildable

LAST_CHANNELS = 512


class ConvolutionNorm(nn.Module):
    """Convolution without bias, BatchNorm and, unless it is linear, PReLU."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        convolution = nn.Conv2d(in_channels, channels, kernel, stride, padding, groups=groups, bias=False)
        self.layers = nn.Sequential(convolution, nn.BatchNorm2d(channels), *([] if linear else [nn.PReLU(channels)]))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H', W') of x (B, in_channels, H, W)."""
        return self.layers(x)


class Bottleneck(nn.Module):
    """1x1 to `hidden` channels, 3x3 on each channel apart, 1x1 without activation; plus the input if the stride is
    1.
    """

    def __init__(self, in_channels: int, channels: int, hidden: int, *, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1
        self.layers = nn.Sequential(
            ConvolutionNorm(in_channels, hidden, 1),
            ConvolutionNorm(hidden, hidden, 3, stride=stride, padding=1, groups=hidden),
            ConvolutionNorm(hidden, channels, 1, linear=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H / stride, W / stride) of x (B, in_channels, H, W)."""
        return x + self.layers(x) if self.residual else self.layers(x)


class BottleneckStack(nn.Module):
    """Several residual bottlenecks of one width."""

    def __init__(self, channels: int, depth: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Bottleneck(channels, channels, hidden, stride=1) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H, W)."""
        return self.layers(x)


class GlobalDepthwise(nn.Module):
    """One depthwise convolution over the whole map, flatten, linear, BatchNorm."""

    def __init__(self, map_size: tuple[int, int], embedding_size: int) -> None:
        super().__init__()
        whole = ConvolutionNorm(LAST_CHANNELS, LAST_CHANNELS, map_size, groups=LAST_CHANNELS, linear=True)
        linear = nn.Linear(LAST_CHANNELS, embedding_size, bias=False)
        self.layers = nn.Sequential(whole, nn.Flatten(), linear, nn.BatchNorm1d(embedding_size))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, E) of x (B, 512, H, W)."""
        return self.layers(x)


@rebuildable
class MobileFaceNet(nn.Module):
    """Stages of bottlenecks that halve the image four times, then a depthwise convolution over the whole map. It has no
    tokens.

    With the defaults, 2,059,520 parameters.

    Args of the constructor:
        depths: units in each of the four stages; (2, 8, 12, 4) with width 4 is the released large model.
        width: the multiple of the paper's channels.
        weights: a file to start from, ours or released.
    """

    outputs = FACE_OUTPUTS

    patch_size: int = 0  # no patches: DPAP and EHSM have nothing to work on
    grid_size: tuple[int, int] = (0, 0)

    def __init__(
        self,
        depths: Sequence[int] = (1, 4, 6, 2),
        *,
        width: int = 2,
        image_size: int | tuple[int, int] = 112,
        embedding_size: int = 512,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        if len(depths) != 4 or min(depths) < 1 or width < 1:
            raise ValueError(
                f"depths must be four positive numbers and width at least 1, got {tuple(depths)} and {width}"
            )
        self.image_size = image_sides(image_size)
        self.embedding_size = check_embedding_size(embedding_size)
        narrow, wide = 64 * width, 128 * width
        second: nn.Module = ConvolutionNorm(narrow, narrow, 3, padding=1, groups=64)
        if depths[0] > 1:
            second = BottleneckStack(narrow, depths[0], 128)
        self.layers = nn.ModuleList(
            [
                ConvolutionNorm(3, narrow, 3, stride=2, padding=1),
                second,
                Bottleneck(narrow, narrow, 128, stride=2),
                BottleneckStack(narrow, depths[1], 128),
                Bottleneck(narrow, wide, 256, stride=2),
                BottleneckStack(wide, depths[2], 256),
                Bottleneck(wide, wide, 512, stride=2),
                BottleneckStack(wide, depths[3], 256),
            ]
        )
        self.conv_sep = ConvolutionNorm(wide, LAST_CHANNELS, 1)
        self.features = GlobalDepthwise((-(-self.image_size[0] // 16), -(-self.image_size[1] // 16)), embedding_size)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if weights is not None:
            load_pretrained(self, weights)

    def forward(self, images: Tensor) -> FaceFeatures:
        """Return the FaceFeatures, embedding only, of images (B, 3, H, W)."""
        x = images
        for layer in self.layers:
            x = layer(x)
        with in_precision_of(next(self.conv_sep.parameters()), x) as exact:
            return FaceFeatures(self.features(self.conv_sep(exact)))

    def patch_importance(self, images: Tensor) -> None:
        """Return None: a convolutional backbone ranks no patches."""

    def layer_index(self, parameter_name: str) -> int:
        """Return the depth of a parameter: that of its stage, 0 to 7, or 8 for all after them."""
        words = parameter_name.split(".")
        return int(words[1]) if words[0] == "layers" else len(self.layers)
