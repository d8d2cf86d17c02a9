"""VGG-f and VGG-face, the networks of the occlusion papers: convolutions, then two wide layers whose last is the
embedding.

VGG-f: CNN-F of Chatfield et al. (arXiv 1405.3531). VGG-face: VGG-16 of Parkhi et al. (BMVC 2015). Users' .mat and .t7
files fill them: backbones/weights/matlab_layers.py and torch7.py.
Shapes: B faces, E embedding size, C channels. Images are RGB, float, in [-1, 1].
"""

from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transface.backbones.features import FACE_OUTPUTS, FaceFeatures, check_embedding_size, image_sides
from transface.backbones.weights.finetuning import load_pretrained
from transface.backbones.weights.layer_lists import LayerList, fill_layers, read_layers
from transface.backbones.weights.rebuild import rebuildable
from transface.backbones.weights.released_families import Channels

WIDTH = 4096  # of fc6 and fc7
IMAGENET_MEAN = (123.68, 116.779, 103.939)  # RGB; a .mat file brings its own
FACE_MEAN = (129.1863, 104.7624, 93.5940)


class ConvolutionStep(NamedTuple):
    """A convolution with ReLU: its name, channels, kernel, stride, padding; then a local response norm or not, a max
    pool or not.
    """

    name: str
    channels: int
    kernel: int
    stride: int = 1
    padding: int = 1
    norm: bool = False
    pool: int = 0


VGG_F_STEPS = (
    ConvolutionStep("conv1", 64, 11, 4, 0, norm=True, pool=3),
    ConvolutionStep("conv2", 256, 5, 1, 2, norm=True, pool=3),
    ConvolutionStep("conv3", 256, 3),
    ConvolutionStep("conv4", 256, 3),
    ConvolutionStep("conv5", 256, 3, pool=3),
)
VGG_FACE_STEPS = tuple(
    ConvolutionStep(f"conv{block}_{place}", channels, 3, pool=2 if place == count else 0)
    for block, (count, channels) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), start=1)
    for place in range(1, count + 1)
)
KINDS = {"f": (VGG_F_STEPS, IMAGENET_MEAN), "face": (VGG_FACE_STEPS, FACE_MEAN)}


@rebuildable
class Vgg(nn.Module):
    """VGG-f (five convolutions) or VGG-face (thirteen), then fc6 and fc7.

    Args of the constructor:
        kind: "f" or "face".
        embedding_size: E; 4096 is fc7 itself, another size a linear layer after it.
        image_size: of the photographs, one side or (height, width).
        input_size: at which the network sees them; released weights are of 224.
        width_share: of all channels and of fc6 and fc7, for small networks; released weights are of 1.
        dropout: after fc6 and fc7, in training.
        weights: a file to start from: imagenet-vgg-f.mat or vgg-face.mat of MatConvNet, VGG_FACE.t7 of Torch7, ours.
        channels: "rgb" or "bgr" of a file that was trained otherwise than its kind usually is.

    Raises:
        FileNotFoundError, ValueError: as read_layers and load_pretrained; settings out of range.
    """

    outputs = FACE_OUTPUTS
    mean: Tensor
    patch_size: int = 0  # no patches: DPAP and EHSM have nothing to work on
    grid_size: tuple[int, int] = (0, 0)

    def __init__(
        self,
        kind: Literal["f", "face"],
        *,
        embedding_size: int = WIDTH,
        image_size: int | tuple[int, int] = 112,
        input_size: int | tuple[int, int] = 224,
        width_share: float = 1.0,
        dropout: float = 0.5,
        weights: str | Path | None = None,
        channels: Channels | None = None,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"kind must be 'f' or 'face', got {kind!r}")
        if not 0 < width_share <= 1 or not 0 <= dropout < 1:
            raise ValueError(f"width_share must be in (0, 1] and dropout in [0, 1), got {width_share} and {dropout}")
        self.kind = kind
        self.steps, mean = KINDS[kind]
        self.image_size, self.input_size = image_sides(image_size), image_sides(input_size)
        self.embedding_size = check_embedding_size(embedding_size)
        self.dropout = dropout
        self.convolutions = nn.ModuleDict()
        before = 3
        for step in self.steps:
            after = max(1, round(width_share * step.channels))
            self.convolutions[step.name] = nn.Conv2d(before, after, step.kernel, step.stride, step.padding)
            before = after
        wide = max(1, round(width_share * WIDTH))
        self.fc6 = nn.Linear(before * self._positions(), wide)
        self.fc7 = nn.Linear(wide, wide)
        self.neck = nn.Identity() if wide == embedding_size else nn.Linear(wide, embedding_size)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        if weights is None:
            if channels is not None:
                raise ValueError(f"channels={channels} says how weights were trained: give weights, or leave it out")
        elif Path(weights).suffix in (".mat", ".t7"):
            self.take_layers(read_layers(weights, channels=channels))
        else:
            load_pretrained(self, weights, channels=channels)

    def take_layers(self, found: LayerList) -> None:
        """Fill convolutions, fc6, fc7 and the mean from the layers of a file, in order; the classifier after them is
        left out.
        """
        parts = {**dict(self.convolutions.items()), "fc6": self.fc6, "fc7": self.fc7}
        fill_layers(parts, found, what=f"VGG-{self.kind}")
        if found.mean is not None:
            self.mean = found.mean.to(self.mean).view(1, 3, 1, 1)

    def _positions(self) -> int:
        """Return how many positions the last map has.

        Raises:
            ValueError: for an input too small to leave any.
        """
        sides = []
        for side in self.input_size:
            left = side
            for step in self.steps:
                left = (left + 2 * step.padding - step.kernel) // step.stride + 1
                if step.pool:
                    left = -(-(left - step.pool) // 2) + 1
            sides.append(left)
        if min(sides) < 1:
            raise ValueError(
                f"input_size {self.input_size} leaves nothing after the pools of VGG-{self.kind}: take a larger one"
            )
        return sides[0] * sides[1]

    def forward(self, images: Tensor) -> FaceFeatures:
        """Return the FaceFeatures, embedding only, of images (B, 3, H, W)."""
        x = images
        if tuple(x.shape[-2:]) != self.input_size:
            x = F.interpolate(x, self.input_size, mode="bilinear", align_corners=False, antialias=True)
        x = (x + 1) * 127.5 - self.mean
        for step in self.steps:
            x = F.relu(self.convolutions[step.name](x))
            if step.norm:
                x = F.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)
            if step.pool:
                x = F.max_pool2d(x, step.pool, 2, ceil_mode=True)
        x = F.dropout(F.relu(self.fc6(x.flatten(1))), self.dropout, self.training)
        return FaceFeatures(self.neck(F.dropout(F.relu(self.fc7(x)), self.dropout, self.training)))

    def patch_importance(self, images: Tensor) -> None:
        """Return None: a convolutional backbone ranks no patches."""

    def layer_index(self, parameter_name: str) -> int:
        """Return the depth of a parameter: that of its convolution, then fc6, fc7, and all after them."""
        words = parameter_name.split(".")
        if words[0] == "convolutions":
            return [step.name for step in self.steps].index(words[1])
        return len(self.steps) + {"fc6": 0, "fc7": 1}.get(words[0], 2)
