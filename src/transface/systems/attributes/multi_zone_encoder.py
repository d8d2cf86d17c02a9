"""The multi-zone transformer encoder: a timm transformer whose blocks stand in zones that tell each other what they
saw.

MZTS (FG 2023). Sources and choices: docs/papers/mzts.md.
Shapes: B images, T tokens, N patches, D token width, G zones. Images are RGB, float, in [-1, 1].
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from transface.backbones.features import image_sides
from transface.backbones.weights.finetuning import load_pretrained
from transface.backbones.weights.rebuild import rebuildable
from transface.systems.attributes.class_rows import class_attention, class_rows
from transface.systems.attributes.zone_interactions import ZoneLayout, make_interaction
from transface.systems.attributes.zone_token_attention import ZoneTokenAttention
from transface.systems.attributes.zones import zone_sizes

DEFAULT_INTERACTION = {"kind": "depth_attn"}


class ZoneFeatures(NamedTuple):
    """What the encoder makes of a batch.

    Attributes:
        tokens: (B, G, D) class token of each zone, after the attention among them; fewer zones where the forward pass
            ended early.
        attention: (B, G, N) where the class token of each zone looks in the zone's last block; None where not asked
            for.
    """

    tokens: Tensor
    attention: Tensor | None = None


@rebuildable
class MultiZoneEncoder(nn.Module):
    """A timm vision transformer with a class token, its blocks in zones.

    timm's module names stay under `model.`, so its weights load strictly. Images are normalised as the model was
    trained.

    Args of the constructor:
        name: of a timm VisionTransformer or Eva with a class token.
        zones: how many zones of one size, or the blocks of each.
        interaction: {"kind": "depth_attn" | "cls_cross" | "concat_proj" | "scalar_mix" | "none", further settings}.
        zone_tokens: attention among the zones' class tokens: "causal", "free", or "none".
        zone_token_heads: its heads; None takes the transformer's.
        num_class_tokens: class tokens; those beyond the model's own start as its copies with a little noise, and their
            mean is read.
        image_size: of the images, one side or (height, width).
        input_size: at which the transformer sees them, resized inside; None: image_size.
        pretrained: load timm's weights, from the machine's cache or from where timm keeps them.
        gradient_checkpointing: recompute each zone in the backward pass.
        model_settings: further arguments of timm.create_model, such as drop_path_rate.
        weights: a file of weights to start from: timm's, or of another run.

    Raises:
        ValueError: for a model without class token, or with a second, distilled one; zones that do not add up; sizes
            that do not fit.
    """

    factor: Tensor
    shift: Tensor

    @staticmethod
    def unread_settings(settings: Mapping[str, Any]) -> dict[str, str]:
        """Return the settings that are not read beside the others, by name, with the reason."""
        none = settings.get("zone_tokens") == "none"
        return {"zone_token_heads": "zone_tokens=none: there is no attention among zones"} if none else {}

    def __init__(
        self,
        name: str,
        *,
        zones: int | Sequence[int] = 4,
        interaction: Mapping[str, Any] = DEFAULT_INTERACTION,
        zone_tokens: Literal["causal", "free", "none"] = "causal",
        zone_token_heads: int | None = None,
        num_class_tokens: int = 1,
        image_size: int | Sequence[int] = 224,
        input_size: int | Sequence[int] | None = None,
        pretrained: bool = False,
        gradient_checkpointing: bool = False,
        model_settings: Mapping[str, Any] | None = None,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.image_size = image_sides(image_size)
        self.input_size = self.image_size if input_size is None else image_sides(input_size)
        self.model: Any = create_transformer(
            name, self.input_size, pretrained=pretrained, settings=model_settings or {}
        )
        self.gradient_checkpointing = gradient_checkpointing
        self.zone_sizes = zone_sizes(len(self.model.blocks), zones)
        self.width = int(self.model.embed_dim)
        if num_class_tokens < 1:
            raise ValueError(f"num_class_tokens must be at least 1, got {num_class_tokens}")
        self.num_class_tokens = num_class_tokens
        self.num_prefix_tokens = int(self.model.num_prefix_tokens) + num_class_tokens - 1
        self.num_heads = _heads(self.model)
        self.more_class_tokens = nn.Parameter(self._copies(num_class_tokens - 1)) if num_class_tokens > 1 else None
        layout = ZoneLayout(self.width, self.num_zones, self.num_heads, num_class_tokens, self.num_prefix_tokens)
        self.interaction = make_interaction(interaction, layout)
        # The last zone has the transformer's own final norm.
        self.zone_norms = nn.ModuleList([nn.LayerNorm(self.width, eps=1e-6) for _ in range(self.num_zones - 1)])
        self.zone_token_attention = None
        if zone_tokens != "none":
            heads = self.num_heads if zone_token_heads is None else zone_token_heads
            self.zone_token_attention = ZoneTokenAttention(
                self.width, self.num_zones, heads=heads, visibility=zone_tokens
            )
        config = resolve_model_data_config(self.model)
        mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        self.register_buffer("factor", 0.5 / std, persistent=False)
        self.register_buffer("shift", (0.5 - mean) / std, persistent=False)
        if weights is not None:
            load_pretrained(
                self,
                weights,
                may_be_absent=("interaction.", "zone_norms.", "zone_token_attention.", "more_class_tokens"),
            )

    def _copies(self, count: int) -> Tensor:
        own = self.model.cls_token.detach()
        return own.expand(-1, count, -1) + 0.02 * torch.randn(1, count, self.width)

    @property
    def num_zones(self) -> int:
        return len(self.zone_sizes)

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        rows, columns = self.model.patch_embed.grid_size
        return int(rows), int(columns)

    @property
    def zones(self) -> list[list[nn.Module]]:
        """The blocks of each zone."""
        ends = [sum(self.zone_sizes[: zone + 1]) for zone in range(self.num_zones)]
        return [list(self.model.blocks)[end - size : end] for size, end in zip(self.zone_sizes, ends, strict=True)]

    def forward(self, images: Tensor, *, until: int | None = None, attention: bool = False) -> ZoneFeatures:
        """Return the ZoneFeatures of images (B, 3, H, W), RGB float in [-1, 1].

        Args:
            until: the number, from 1, of the zone to end at; None is the last.
            attention: also return where the class tokens look.
        """
        last = self.num_zones if until is None else until
        if not 1 <= last <= self.num_zones:
            raise ValueError(f"the zone to end at must be in 1..{self.num_zones}, got {until}")
        tokens, arguments = self.embed(images)
        memory: list[Any] = []
        tokens = self.interaction.enter(tokens, memory)
        class_tokens, looks = [], []
        for zone, blocks in enumerate(self.zones[:last], start=1):
            start = sum(self.zone_sizes[: zone - 1])
            tokens = self._run(blocks[:-1], tokens, arguments[start:])
            if attention:
                looks.append(
                    class_attention(
                        blocks[-1], tokens, num_rows=self.num_class_tokens, num_prefix_tokens=self.num_prefix_tokens
                    )
                )
            final = arguments[start + len(blocks) - 1]
            if zone == last:  # of the rest of its tokens nobody would read anything
                class_tokens.append(
                    self._class_token(class_rows(blocks[-1], tokens, self.num_class_tokens, **final), zone)
                )
            else:
                tokens = self._run(blocks[-1:], tokens, [final])
                class_tokens.append(self._class_token(tokens[:, : self.num_class_tokens], zone))
                tokens = self.interaction.enter(tokens, memory)
        stacked = torch.stack(class_tokens, 1)
        if self.zone_token_attention is not None:
            stacked = self.zone_token_attention(stacked)
        return ZoneFeatures(stacked, torch.stack(looks, 1) if attention else None)

    def embed(self, images: Tensor) -> tuple[Tensor, list[dict[str, Any]]]:
        """Return the tokens (B, T, D) before the first block, and what each block is called with besides them."""
        model = self.model
        if self.input_size != tuple(images.shape[-2:]):
            images = F.interpolate(images, self.input_size, mode="bilinear", align_corners=False, antialias=True)
        tokens = model.patch_embed(images * self.factor + self.shift)
        arguments: list[dict[str, Any]] = [{} for _ in model.blocks]
        if isinstance(model, Eva):
            tokens, rope = model._pos_embed(tokens)
            each = rope if getattr(model, "rope_mixed", False) and rope is not None else [rope] * len(model.blocks)
            arguments = [{"rope": own} for own in each]
        else:
            tokens = model.patch_drop(model._pos_embed(tokens))
        tokens = model.norm_pre(tokens)
        if self.more_class_tokens is not None:
            tokens = torch.cat([self.more_class_tokens.expand(tokens.shape[0], -1, -1), tokens], 1)
        return tokens, arguments

    def _run(self, blocks: Sequence[nn.Module], tokens: Tensor, arguments: Sequence[dict[str, Any]]) -> Tensor:
        recompute = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
        for block, own in zip(blocks, arguments, strict=False):
            tokens = checkpoint(block, tokens, use_reentrant=False, **own) if recompute else block(tokens, **own)
        return tokens

    def _class_token(self, rows: Tensor, zone: int) -> Tensor:
        """Return (B, D) the normed class token of a zone, the mean of several, from their rows (B, K, D)."""
        norm = self.model.norm if zone == self.num_zones else self.zone_norms[zone - 1]
        return norm(rows).mean(1)

    def layer_index(self, parameter_name: str) -> int:
        """Return the depth of a parameter: 0 for the patch embedding, i + 1 for block i, one above the last block for
        all else.
        """
        words = parameter_name.split(".")
        if words[:2] == ["model", "blocks"]:
            return int(words[2]) + 1
        if words[0] == "more_class_tokens" or (words[0] == "model" and words[1] not in ("norm", "fc_norm")):
            return 0
        return len(self.model.blocks) + 1


def create_transformer(name: str, image_size: tuple[int, int], *, pretrained: bool, settings: Mapping[str, Any]) -> Any:
    """Return a timm transformer that has one class token and no head.

    Raises:
        ValueError: for a model timm does not have, one without class token, a distilled one, or a size that does not
            fit.
        FileNotFoundError: if timm's weights cannot be loaded.
    """
    if not timm.is_model(name):
        raise ValueError(f"timm {timm.__version__} has no model {name!r}: timm.list_models('*vit*') has those that fit")
    arguments: dict[str, Any] = {"num_classes": 0, "img_size": image_size, "global_pool": "token"} | dict(settings)
    try:
        model = timm.create_model(name, pretrained=pretrained, **arguments)
    except (TypeError, AssertionError, RuntimeError, OSError, ValueError) as error:
        reason = str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__
        if pretrained and isinstance(error, OSError | RuntimeError):
            raise FileNotFoundError(
                f"timm could not load its weights of {name} ({reason}); give a file by weights=, or set"
                " pretrained=false"
            ) from error
        raise ValueError(
            f"zones need a vision transformer with a class token; timm's {name} cannot be built as one: {reason}"
        ) from error
    if not isinstance(model, VisionTransformer | Eva):
        raise ValueError(
            f"zones are made of timm's VisionTransformer or Eva, {name} is a {type(model).__name__}: take one of these"
        )
    if model.cls_token is None:
        raise ValueError(f"zones need a vision transformer with a class token, {name} has none")
    if hasattr(model, "dist_token"):
        raise ValueError(f"{name} has a second, distilled class token: take the model of the same size without it")
    return model


def _heads(model: Any) -> int:
    return int(model.blocks[0].attn.num_heads)
