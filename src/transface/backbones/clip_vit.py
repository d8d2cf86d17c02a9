"""The image tower of CLIP as an encoder: FaRL's weights load as they are, images of any size, the tokens of chosen
blocks.

FaRL (CVPR 2022, arXiv 2112.03109), Faceptor (ECCV 2024, arXiv 2403.09500) section 3.1. Deviations:
docs/papers/faceptor.md.
Shapes: B images, N patches, D token width, S side of the grid of patches.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from transface.backbones.features import EncodedImages, image_sides
from transface.backbones.parts.attention import MultiHeadAttention
from transface.backbones.weights.rebuild import rebuildable
from transface.backbones.weights.state_dicts import bare_weights, load_strictly, read_state_dict


def resize_positions(positions: Tensor, grid_size: tuple[int, int]) -> Tensor:
    """Return a table of positions (1 + S*S, D) resized to (1 + rows*columns, D); the first row, of the class token, is
    kept.

    Bicubic, half-pixel centres, no antialiasing: as the released models resize theirs.

    Raises:
        ValueError: if the table is not that of a class token and a square grid.
    """
    side = round((len(positions) - 1) ** 0.5)
    if side * side + 1 != len(positions):
        raise ValueError(f"positions must be of a class token and a square grid, got {len(positions)} rows")
    if grid_size == (side, side):
        return positions
    table = positions[1:].T.reshape(1, -1, side, side)
    resized = F.interpolate(table, grid_size, mode="bicubic", align_corners=False, antialias=False)
    return torch.cat([positions[:1], resized[0].flatten(1).T.to(positions.dtype)])


def convolutional_stem(channels: Sequence[int], width: int, patch_size: int) -> nn.Sequential:
    """Return convolutions of 3 x 3 with batch norms, each halving the sides, then one of 1 x 1: images (B, 3, H, W) ->
    (B, D, rows, columns).

    Raises:
        ValueError: if so many halvings do not make a patch.
    """
    if 2 ** len(channels) != patch_size:
        raise ValueError(
            f"a stem of {len(channels)} convolutions makes patches of {2 ** len(channels)} pixels, and patch_size is"
            f" {patch_size}"
        )
    layers: list[nn.Module] = []
    for before, after in pairwise((3, *channels)):
        layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(channels[-1], width, 1))


class QuickGELU(nn.Module):
    """The sigmoid form of GELU that CLIP was trained with."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * torch.sigmoid(1.702 * inputs)


class ClipBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, num_heads: int, drop_path: float) -> None:
        super().__init__()
        self.attn = MultiHeadAttention(width, num_heads)
        self.ln_1 = nn.LayerNorm(width)
        layers = [("c_fc", nn.Linear(width, 4 * width)), ("gelu", QuickGELU()), ("c_proj", nn.Linear(4 * width, width))]
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.ln_2 = nn.LayerNorm(width)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        normed = self.ln_1(tokens)
        tokens = tokens + self.drop_path(self.attn(normed, normed, normed))
        return tokens + self.drop_path(self.mlp(self.ln_2(tokens)))


class ClipTransformer(nn.Module):
    """The blocks, under the name they have in CLIP's files."""

    def __init__(self, width: int, depth: int, num_heads: int, drop_path: float) -> None:
        super().__init__()
        rates = [drop_path * block / max(depth - 1, 1) for block in range(depth)]
        self.resblocks = nn.ModuleList(ClipBlock(width, num_heads, rate) for rate in rates)


@rebuildable
class ClipViT(nn.Module):
    """CLIP's image tower up to its last block: EncodedImages without a final norm.

    `ln_post` and `proj` are part of the weights and of their number; no token depends on them.

    Args of the constructor:
        image_size: the size its own images have; a call takes images of any size that the patches divide.
        position_size: side in pixels of the square images the kept table of positions is made for; each call resizes it
            to its images.
        patch_size, width, depth, num_heads: of the transformer.
        output_width: columns of the unused projection.
        drop_path: stochastic depth of the last block; it grows linearly from 0 at the first.
        layers: blocks, counted from 0 (negative: from the last), whose tokens go into EncodedImages.layers; none: no
            layers.
        stem_channels: of a stem of convolutions, each of which halves the sides, instead of CLIP's one convolution of a
            patch (arXiv 2106.14881): it learns from few images. None: CLIP's.
        weights: a CLIP-style file to start from, such as FaRL's.

    Raises:
        FileNotFoundError: if there is no such file of weights.
        ValueError: for a layer it lacks, or sizes that do not fit.
    """

    def __init__(
        self,
        *,
        image_size: int | Sequence[int] = 112,
        position_size: int = 512,
        patch_size: int = 16,
        width: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        output_width: int = 512,
        drop_path: float = 0.2,
        layers: Sequence[int] = (-1,),
        stem_channels: Sequence[int] = (),
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.image_size = image_sides(image_size)
        self.patch_size = patch_size
        self.token_width = width
        self.layers = tuple(layer + depth if layer < 0 else layer for layer in layers)
        if any(not 0 <= layer < depth for layer in self.layers):
            raise ValueError(f"layers must be in 0..{depth - 1} (or negative, from the last), got {list(layers)}")
        self.grid_size = self.grid_of(*self.image_size)
        self.conv1 = (
            convolutional_stem(stem_channels, width, patch_size)
            if stem_channels
            else nn.Conv2d(3, width, patch_size, patch_size, bias=False)
        )
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(
            width**-0.5 * torch.randn((position_size // patch_size) ** 2 + 1, width)
        )
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = ClipTransformer(width, depth, num_heads, drop_path)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, output_width))
        _initialise(self.transformer, width, depth)
        if weights is not None:
            load_clip_tower(self, read_state_dict(weights))

    @property
    def num_prefix_tokens(self) -> int:
        """One: the class token."""
        return 1

    def grid_of(self, height: int, width: int) -> tuple[int, int]:
        """Return rows and columns of the patches of an image.

        Raises:
            ValueError: if patches do not fill it.
        """
        if height % self.patch_size or width % self.patch_size or min(height, width) < self.patch_size:
            raise ValueError(f"images must be multiples of the patch of {self.patch_size} pixels, got {height}x{width}")
        return height // self.patch_size, width // self.patch_size

    def forward(self, images: Tensor) -> EncodedImages:
        """Return the tokens of images (B, 3, H, W)."""
        grid = self.grid_of(*images.shape[2:])
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_embedding.expand(images.shape[0], 1, -1).to(patches.dtype), patches], 1)
        tokens = self.ln_pre(tokens + resize_positions(self.positional_embedding, grid))
        found: dict[int, Tensor] = {}
        for index, block in enumerate(self.transformer.resblocks):
            tokens = block(tokens)
            if index in self.layers:
                found[index] = tokens
        chosen = [found[layer] for layer in self.layers]
        return EncodedImages(
            tokens[:, 1:], tokens[:, :1], tuple(one[:, 1:] for one in chosen), tuple(one[:, :1] for one in chosen)
        )

    def layer_index(self, parameter_name: str) -> int:
        """Return the depth of a parameter for layer-wise learning rates: 0 below the blocks, then 1 a block, last what
        stands after them.
        """
        words = parameter_name.split(".")
        if words[0] == "transformer":
            return 1 + int(words[2])
        return len(self.transformer.resblocks) + 1 if words[0] in ("ln_post", "proj") else 0


def load_clip_tower(tower: ClipViT, state: Mapping[str, Tensor]) -> None:
    """Load the image tower of a CLIP-style file (FaRL's, OpenAI's): keys under "visual." or bare, whatever stands
    before them; positions are resized once.

    Raises:
        ValueError: if a tensor is missing, too many, or has another shape.
    """
    state = state.get("state_dict", state)  # type: ignore[assignment]
    visual = {key.split("visual.", 1)[1]: value for key, value in state.items() if "visual." in key}
    visual = visual or bare_weights(state).state
    if "positional_embedding" in visual:
        side = round((len(tower.positional_embedding) - 1) ** 0.5)
        visual["positional_embedding"] = resize_positions(visual["positional_embedding"].float(), (side, side))
    load_strictly(tower, visual, origin="weights of CLIP's image tower")


def _initialise(transformer: ClipTransformer, width: int, depth: int) -> None:
    """Draw the weights as CLIP draws them."""
    for block in transformer.resblocks:
        assert isinstance(block, ClipBlock)
        nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
        nn.init.normal_(block.attn.out_proj.weight, std=width**-0.5 * (2 * depth) ** -0.5)
        nn.init.normal_(block.mlp.get_parameter("c_fc.weight"), std=(2 * width) ** -0.5)
        nn.init.normal_(block.mlp.get_parameter("c_proj.weight"), std=width**-0.5 * (2 * depth) ** -0.5)
