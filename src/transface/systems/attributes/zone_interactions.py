"""What a zone is told of the zones before it: the five interactions of the multi-zone transformer.

MZTS (FG 2023) says that groups of blocks interact so that nothing useful is forgotten with depth; how is our choice,
see docs/papers/mzts.md. After zone g the tokens become Z_g + gain_g * delta_g(Z_0..Z_g), Z_0 the embedded patches; the
gain starts near 0, so that a pretrained transformer starts as it was.
Shapes: B images, T tokens (class tokens, registers, then patches), D token width, H heads, A width of the attention, G
zones.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GAIN_INIT = 1e-5
INIT_STD = 0.02


class ZoneLayout(NamedTuple):
    """What an interaction is built for.

    Attributes:
        width: D.
        num_zones: G; there are G - 1 places to interact.
        num_heads: heads of the transformer.
        num_class_tokens: rows of the tokens, from the first, that the heads read.
        num_prefix_tokens: rows before those of the patches: class tokens and registers.
    """

    width: int
    num_zones: int
    num_heads: int
    num_class_tokens: int = 1
    num_prefix_tokens: int = 1


class ZoneInteraction(nn.Module):
    """No interaction: the plain transformer. The others override `memory` and `delta`."""

    def __init__(self, layout: ZoneLayout, *, gain_init: float = GAIN_INIT) -> None:
        super().__init__()
        self.layout = layout
        self.gain = (
            nn.Parameter(torch.full((self.num_places, layout.width), float(gain_init))) if self.interacts else None
        )

    @property
    def interacts(self) -> bool:
        return type(self) is not ZoneInteraction

    @property
    def num_places(self) -> int:
        return self.layout.num_zones - 1

    def forward(self, zones: Sequence[Tensor]) -> Tensor:
        """Return the tokens (B, T, D) that the next zone is given, from [Z_0, ..., Z_g], each (B, T, D)."""
        memory: list[Any] = []
        for tokens in zones:
            given = self.enter(tokens, memory)
        return given

    def enter(self, tokens: Tensor, memory: list[Any]) -> Tensor:
        """Add the newest zone's tokens to the memory of the earlier ones, and return what the next zone is given; Z_0
        is returned as it is.
        """
        place = len(memory) - 1
        memory.append(self.remembered(tokens, len(memory)))
        if self.gain is None or place < 0:
            return tokens
        return torch.addcmul(tokens, self.gain[place].to(tokens.dtype), self.delta(tokens, memory, place))

    def remembered(self, tokens: Tensor, depth: int) -> Any:
        """Return what is kept of Z_depth for later zones."""
        return None

    def delta(self, tokens: Tensor, memory: list[Any], place: int) -> Tensor:
        """Return (B, T, D) what Z_g is changed by; `place` counts the interactions from 0, `memory` holds Z_0 to
        Z_g.
        """
        raise NotImplementedError


class ScalarMix(ZoneInteraction):
    """delta_g = sum_j a_gj Z_j, the a free numbers that start at 0."""

    def __init__(self, layout: ZoneLayout, *, gain_init: float = 1.0) -> None:
        # A gain near 0 on top of a mix of 0 would leave no gradient to either.
        super().__init__(layout, gain_init=gain_init)
        self.mix = nn.Parameter(torch.zeros(self.num_places, layout.num_zones))

    def remembered(self, tokens: Tensor, depth: int) -> Tensor:
        return tokens

    def delta(self, tokens: Tensor, memory: list[Any], place: int) -> Tensor:
        total = self.mix[place, 0] * memory[0]
        for depth in range(1, len(memory)):
            total = total + self.mix[place, depth] * memory[depth]
        return total


class ConcatProject(ZoneInteraction):
    """delta_g = W_g [Z_0 ... Z_g], all zones side by side in channels."""

    def __init__(self, layout: ZoneLayout, *, gain_init: float = GAIN_INIT) -> None:
        super().__init__(layout, gain_init=gain_init)
        self.project = nn.ModuleList(
            [nn.Linear((place + 2) * layout.width, layout.width) for place in range(self.num_places)]
        )
        initialise(self)

    def remembered(self, tokens: Tensor, depth: int) -> Tensor:
        return tokens

    def delta(self, tokens: Tensor, memory: list[Any], place: int) -> Tensor:
        return self.project[place](torch.cat(memory, -1))


class ZoneAttention(ZoneInteraction):
    """What the two interactions by attention share: one norm, one map to queries, keys and values, one map back.

    Args of the constructor:
        shared: one set of maps for all places, or one for each.
        heads: H; None takes the transformer's.
        width_ratio: A / D.

    Raises:
        ValueError: if the heads do not divide the width of the attention.
    """

    def __init__(
        self,
        layout: ZoneLayout,
        *,
        shared: bool = True,
        heads: int | None = None,
        width_ratio: float = 0.5,
        gain_init: float = GAIN_INIT,
    ) -> None:
        super().__init__(layout, gain_init=gain_init)
        self.shared = shared
        self.heads = layout.num_heads if heads is None else heads
        self.inner = round(layout.width * width_ratio)
        if self.heads < 1 or self.inner < 1 or self.inner % self.heads:
            raise ValueError(
                f"the interaction's width {self.inner} (width_ratio={width_ratio} of {layout.width}) must be a multiple"
                f" of its {self.heads} heads"
            )
        count = 1 if shared else self.num_places
        self.norm = nn.ModuleList([nn.LayerNorm(layout.width, eps=1e-6) for _ in range(count)])
        self.qkv = nn.ModuleList([nn.Linear(layout.width, 3 * self.inner) for _ in range(count)])
        self.project = nn.ModuleList([nn.Linear(self.inner, layout.width) for _ in range(count)])
        # Without it the zones of the memory could be exchanged for each other.
        self.depth_embedding = nn.Parameter(INIT_STD * torch.randn(layout.num_zones, self.inner))
        initialise(self)

    def rows(self, maps: int, rows: slice) -> tuple[Tensor, Tensor]:
        """Return weight and bias of some of the outputs of one map: queries first, then keys, then values, A of
        each.
        """
        linear: Any = self.qkv[maps]
        return linear.weight[rows], linear.bias[rows]

    def maps(self, place: int) -> int:
        return 0 if self.shared else place

    def split(self, x: Tensor) -> Tensor:
        """Return (B, T, A) as (B, T, H, A/H)."""
        return x.unflatten(-1, (self.heads, -1))


class DepthAttention(ZoneAttention):
    """Each token asks its own past: query from Z_g at its position, keys and values from Z_0..Z_g at the same position.

    With shared maps every zone is mapped once, to its query, its keys and its values in one product.
    """

    def remembered(self, tokens: Tensor, depth: int) -> Any:
        return self._mapped(tokens, 0, depth) if self.shared else tokens

    def _mapped(self, tokens: Tensor, maps: int, depth: int) -> tuple[Tensor, ...]:
        """Return query, key and value of Z_depth, each (B, T, H, A/H); nothing is asked from Z_0, which has no
        query.
        """
        weight, bias = self.rows(maps, slice(self.inner if depth == 0 else 0, None))
        parts = F.linear(self.norm[maps](tokens), weight, bias).split(self.inner, -1)
        return tuple(self.split(part) for part in parts)

    def delta(self, tokens: Tensor, memory: list[Any], place: int) -> Tensor:
        maps = self.maps(place)
        entries = memory if self.shared else [self._mapped(zone, maps, depth) for depth, zone in enumerate(memory)]
        query = entries[-1][0] * (self.inner // self.heads) ** -0.5
        embedding = self.split(self.depth_embedding)
        # At most G products of vectors a position: no matrix product, no attention kernel is worth its start here.
        scores = [(query * (entry[-2] + embedding[depth])).sum(-1) for depth, entry in enumerate(entries)]
        shares = torch.stack(scores, -1).softmax(-1)
        mixed = shares[..., :1] * entries[0][-1]
        for depth, entry in enumerate(entries[1:], start=1):
            mixed = torch.addcmul(mixed, shares[..., depth : depth + 1], entry[-1])
        return self.project[maps](mixed.flatten(-2))


class ClassCross(ZoneAttention):
    """The class token asks the patches of all zones so far; other tokens stay as they are."""

    def remembered(self, tokens: Tensor, depth: int) -> Any:
        if depth == 0:
            return None
        patches = tokens[:, self.layout.num_prefix_tokens :]
        return self._keys_and_values(patches, 0, depth) if self.shared else patches

    def _keys_and_values(self, patches: Tensor, maps: int, depth: int) -> tuple[Tensor, Tensor]:
        weight, bias = self.rows(maps, slice(self.inner, None))
        key, value = F.linear(self.norm[maps](patches), weight, bias).chunk(2, -1)
        return self.split(key + self.depth_embedding[depth]), self.split(value)

    def delta(self, tokens: Tensor, memory: list[Any], place: int) -> Tensor:
        maps, count = self.maps(place), self.layout.num_class_tokens
        entries = (
            memory[1:]
            if self.shared
            else [self._keys_and_values(zone, maps, 1 + n) for n, zone in enumerate(memory[1:])]
        )
        weight, bias = self.rows(maps, slice(0, self.inner))
        query = self.split(F.linear(self.norm[maps](tokens[:, :count]), weight, bias)).transpose(1, 2)
        key, value = (torch.cat(parts, 1).transpose(1, 2) for parts in zip(*entries, strict=True))
        answer = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(-2)
        return F.pad(self.project[maps](answer), (0, 0, 0, tokens.shape[1] - count))


KINDS: dict[str, type[ZoneInteraction]] = {
    "none": ZoneInteraction,
    "scalar_mix": ScalarMix,
    "concat_proj": ConcatProject,
    "cls_cross": ClassCross,
    "depth_attn": DepthAttention,
}


def make_interaction(settings: Mapping[str, Any], layout: ZoneLayout) -> ZoneInteraction:
    """Return the interaction that `{"kind": ..., further settings}` describes.

    Raises:
        ValueError: for another kind, or a setting that kind does not take.
    """
    further = dict(settings)
    kind = further.pop("kind", None)
    if kind not in KINDS:
        raise ValueError(f"interaction.kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if layout.num_zones == 1:
        return ZoneInteraction(layout)
    try:
        return KINDS[kind](layout, **further)
    except TypeError as error:
        raise ValueError(f"interaction {kind} does not take these settings: {error}") from None


def initialise(module: nn.Module) -> None:
    """Draw the weights of linear maps as vision transformers do; biases start at 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=INIT_STD)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
