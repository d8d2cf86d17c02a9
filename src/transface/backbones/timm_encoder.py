"""Any timm model as an encoder: patch tokens, prefix tokens and the tokens of chosen layers, at any input size.

Shapes: B images, N patches, P prefix tokens, D token width. Images are RGB, float, in [-1, 1].
"""

import inspect
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn import functional as F

from transface.backbones.features import EncodedImages, check_registers, image_sides
from transface.backbones.parts.evaluating import evaluating
from transface.backbones.weights.finetuning import load_pretrained, parts_that_may_lack
from transface.backbones.weights.rebuild import rebuildable


class TokenGrid(NamedTuple):
    """The tokens a timm model makes: rows and columns of them, and their width."""

    rows: int
    columns: int
    width: int


@rebuildable
class TimmEncoder(nn.Module):
    """A timm model without its classifier: what it makes of every patch, of the whole (class token, registers), and in
    between.

    Tokens are those of a transformer, or the cells of the last map of any other model. The patch of a token is the part
    of the image in its
    cell: image side // grid side pixels. Images are normalised as the model was trained, and resized inside if it takes
    another size than the images have. Parameters no token depends on (a pooling head, say) are frozen.

    Args of the constructor:
        name: a timm model name; `timm.list_models()` has them all.
        pretrained: load timm's weights, from the machine's cache or from where timm keeps them.
        image_size: side of the images, or (height, width).
        input_size: side at which the model sees them, or (height, width); by default image_size, or the model's own if
            it does not take that.
        layers: the layers, counted from 0 (negative: from the last), whose tokens go into EncodedImages.layers, in this
            order: blocks of a transformer, stages of a convolutional model.
        num_registers: timm's register tokens, where the model takes any; None leaves the model's own number.
        gradient_checkpointing: recompute each block in backward: less memory, one more forward.
        model_settings: further arguments of timm.create_model, such as drop_path_rate.
        weights: a file to start from, ours or plain timm weights.
        registers_from: "weights" must hold the registers, or they start "fresh" where the weights have none.

    Raises:
        ValueError: if timm has no such model, its output has no grid, it has no such layer, or takes no registers.
    """

    factor: Tensor
    shift: Tensor
    model: Any  # whatever timm builds

    def __init__(
        self,
        name: str,
        *,
        pretrained: bool = False,
        image_size: int | Sequence[int] = 112,
        input_size: int | Sequence[int] | None = None,
        layers: Sequence[int] = (),
        num_registers: int | None = None,
        gradient_checkpointing: bool = False,
        model_settings: dict[str, Any] | None = None,
        weights: str | Path | None = None,
        registers_from: Literal["weights", "fresh"] = "weights",
    ) -> None:
        super().__init__()
        self.image_size = image_sides(image_size)
        check_registers(num_registers, registers_from)
        _require_known(name)
        settings = (model_settings or {}) | _register_settings(name, num_registers)
        grid = self._build(name, None if input_size is None else image_sides(input_size), pretrained, settings)
        config = resolve_model_data_config(self.model)
        mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        # From [-1, 1] straight to the model's own normalisation: one multiplication and one addition.
        self.register_buffer("factor", 0.5 / std, persistent=False)
        self.register_buffer("shift", (0.5 - mean) / std, persistent=False)
        self.grid_size = (grid.rows, grid.columns)
        self.token_width = grid.width
        self.patch_size = self._patch_side(grid)
        self.layers = self._layer_numbers(name, layers)
        if gradient_checkpointing:
            self.model.set_grad_checkpointing(True)
        if weights is not None:
            load_pretrained(self, weights, may_be_absent=parts_that_may_lack(registers_from))

    def _build(
        self, name: str, input_size: tuple[int, int] | None, pretrained: bool, settings: dict[str, Any]
    ) -> TokenGrid:
        """Make `model` and `input_size` and return the tokens it gives; windows and strides that do not fit the faces'
        size get its own.
        """
        own = tuple(timm.get_pretrained_cfg(name).input_size[1:])  # type: ignore[union-attr]
        sizes = list(dict.fromkeys([self.image_size, own])) if input_size is None else [input_size]
        for size in sizes:
            try:
                self.model, self.input_size = _create(name, size, pretrained, settings)
                return self._freeze_unused_and_measure()
            except (ArithmeticError, AssertionError, IndexError, RuntimeError, ValueError) as error:
                reason = error
        tried = " nor of ".join(f"{rows}x{columns}" for rows, columns in sizes)
        raise ValueError(
            f"timm's {name} makes no grid of tokens of images of {tried}: {str(reason).splitlines()[0]}"
        ) from reason

    @torch.enable_grad()
    def _freeze_unused_and_measure(self) -> TokenGrid:
        parameter = next(self.model.parameters())
        example = torch.zeros(1, 3, *self.input_size, device=parameter.device, dtype=parameter.dtype)
        with evaluating(self.model):
            features = self._features(example)
        if not isinstance(features, Tensor):
            raise ValueError(
                f"{type(self.model).__name__} gives a {type(features).__name__} of features, not one grid of tokens"
            )
        used = {id(parameter) for parameter in parameters_behind(features)}
        for parameter in self.model.parameters():
            if id(parameter) not in used:
                parameter.requires_grad_(False)
        if features.ndim == 4:
            rows, columns = features.shape[1:3] if self.channels_last else features.shape[2:4]
            return TokenGrid(rows, columns, self._as_tokens(features).shape[2])
        count = features.shape[1] - self.num_prefix_tokens
        rows, columns = getattr(getattr(self.model, "patch_embed", None), "grid_size", None) or (round(count**0.5),) * 2
        if features.ndim != 3 or rows * columns != count:
            raise ValueError(
                f"{type(self.model).__name__} gives {tuple(features.shape)} for one image, which is no grid of tokens"
            )
        return TokenGrid(rows, columns, features.shape[2])

    def _patch_side(self, grid: TokenGrid) -> int:
        """Return the side of a patch in pixels of the images: the stride of patches that are cut out of the image,
        which may leave a rim that no token sees, else the sides shared out among the tokens.
        """
        cut = getattr(getattr(self.model, "patch_embed", None), "proj", None)
        if isinstance(cut, nn.Conv2d) and cut.in_channels == 3 and self.input_size == self.image_size:
            stride = int(cut.stride[0])
            if cut.stride == (stride, stride) and (grid.rows, grid.columns) == tuple(
                side // stride for side in self.image_size
            ):
                return stride
        return min(self.image_size[0] // grid.rows, self.image_size[1] // grid.columns)

    def _layer_numbers(self, name: str, layers: Sequence[int]) -> tuple[int, ...]:
        """Return layers counted from 0.

        Raises:
            ValueError: for a layer the model lacks, one named twice, or a model that does not give any.
        """
        if not layers:
            return ()
        if not hasattr(self.model, "forward_intermediates"):
            raise ValueError(f"timm's {name} gives no tokens of its layers: leave layers out")
        parameter = next(self.model.parameters())
        example = torch.zeros(1, 3, *self.input_size, device=parameter.device, dtype=parameter.dtype)
        with torch.no_grad(), evaluating(self.model):
            count = len(self.model.forward_intermediates(example)[1])
        found = tuple(layer + count if isinstance(layer, int) and layer < 0 else layer for layer in layers)
        if len(set(found)) < len(found) or not all(isinstance(layer, int) and 0 <= layer < count for layer in found):
            raise ValueError(
                f"layers of timm's {name} are in 0..{count - 1} (or negative, from the last), each once, got"
                f" {list(layers)}"
            )
        return found

    @property
    def num_prefix_tokens(self) -> int:
        """How many tokens (class, registers) stand before those of the patches."""
        return int(getattr(self.model, "num_prefix_tokens", hasattr(self.model, "cls_token")))

    @property
    def channels_last(self) -> bool:
        """Whether the model's maps are (B, rows, columns, D)."""
        return getattr(self.model, "output_fmt", "NCHW") == "NHWC"

    @cached_property
    def _layer_of(self) -> dict[str, int]:
        matcher = getattr(self.model, "group_matcher", None)
        if matcher is None:
            raise ValueError(
                f"timm does not say what the layers of {type(self.model).__name__} are: use layer_decay=1.0"
            )
        return group_parameters(self.model, matcher(coarse=False), reverse=True)

    def _features(self, inputs: Tensor) -> Tensor:
        features = self.model.forward_features(inputs)
        norm = getattr(self.model, "fc_norm", None)
        return norm(features) if isinstance(norm, nn.Module) and features.ndim == 3 else features

    def _inputs(self, images: Tensor) -> Tensor:
        if self.input_size != tuple(images.shape[-2:]):
            images = F.interpolate(images, self.input_size, mode="bicubic", align_corners=False, antialias=True)
        return images * self.factor + self.shift

    def _as_tokens(self, features: Tensor) -> Tensor:
        if features.ndim == 3:
            return features[:, self.num_prefix_tokens :]
        return features.flatten(1, 2) if self.channels_last else features.flatten(2).transpose(1, 2)

    def _prefix_of(self, features: Tensor) -> Tensor:
        if features.ndim == 3:
            return features[:, : self.num_prefix_tokens]
        return features.new_zeros(features.shape[0], 0, self.token_width)

    def encode(self, images: Tensor) -> EncodedImages:
        """Return the tokens of images (B, 3, H, W)."""
        inputs = self._inputs(images)
        if not self.layers:
            features = self._features(inputs)
            return EncodedImages(self._as_tokens(features), self._prefix_of(features))
        features, found = self._features_with_layers(inputs)
        return EncodedImages(self._as_tokens(features), self._prefix_of(features), *found)

    def _features_with_layers(self, inputs: Tensor) -> tuple[Tensor, tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]:
        wanted = sorted(self.layers)  # timm gives them in the order of its blocks, however they are asked for
        takes = inspect.signature(self.model.forward_intermediates).parameters
        if self.num_prefix_tokens and "return_prefix_tokens" in takes:
            features, pairs = self.model.forward_intermediates(
                inputs, indices=wanted, norm=False, output_fmt="NLC", return_prefix_tokens=True
            )
            tokens, prefixes = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        else:
            features, maps = self.model.forward_intermediates(inputs, indices=wanted, norm=False, output_fmt="NCHW")
            tokens = [one.flatten(2).transpose(1, 2) for one in maps]
            prefixes = [one.new_zeros(one.shape[0], 0, one.shape[2]) for one in tokens]
        norm = getattr(self.model, "fc_norm", None)
        features = norm(features) if isinstance(norm, nn.Module) and features.ndim == 3 else features
        places = [wanted.index(layer) for layer in self.layers]
        return features, (tuple(tokens[place] for place in places), tuple(prefixes[place] for place in places))

    def forward(self, images: Tensor) -> Any:
        """Return the EncodedImages of images (B, 3, H, W), RGB float in [-1, 1]."""
        return self.encode(images)

    def layer_index(self, parameter_name: str) -> int:
        """Return the depth of a parameter as timm counts layers for layer-wise learning rates; what is not timm's is
        deepest.
        """
        last = max(self._layer_of.values()) + 1
        return (
            self._layer_of.get(parameter_name.removeprefix("model."), last)
            if parameter_name.startswith("model.")
            else last
        )


def _require_known(name: str) -> None:
    if not timm.is_model(name):
        similar = ", ".join(timm.list_models(f"*{name.split('.')[0].split('_')[0]}*")[:5])
        raise ValueError(
            f"timm {timm.__version__} has no model {name!r}" + (f"; it has {similar} and others" if similar else "")
        )


def _register_settings(name: str, num_registers: int | None) -> dict[str, int]:
    """Return the argument of timm's model that asks for registers, by the name its class has for it.

    Raises:
        ValueError: if its class has none and registers are wanted.
    """
    if num_registers is None:
        return {}
    kind: Any = _class_behind(name)
    takes = {} if kind is None else inspect.signature(kind.__init__).parameters
    word = next((word for word in ("reg_tokens", "num_reg_tokens") if word in takes), None)
    if word is None and num_registers:
        raise ValueError(
            f"timm's {name} takes no register tokens, got num_registers={num_registers}: leave it null, or take a model"
            " of timm's vision_transformer or eva"
        )
    return {} if word is None else {word: num_registers}


def _class_behind(name: str) -> type | None:
    """Return the class that timm builds for a name, found by building it without memory."""
    try:
        with torch.device("meta"):
            return type(timm.create_model(name, pretrained=False, num_classes=0))
    except (NotImplementedError, RuntimeError):
        return None


def _create(
    name: str, size: tuple[int, int], pretrained: bool, settings: dict[str, Any]
) -> tuple[Any, tuple[int, int]]:
    """Return the timm model and the size at which it sees images."""
    settings = {"pretrained": pretrained, "num_classes": 0} | settings
    try:
        model: Any = timm.create_model(name, img_size=size, **settings)
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        model = timm.create_model(name, **settings)
        if model.pretrained_cfg.get("fixed_input_size", False):
            size = tuple(model.pretrained_cfg["input_size"][1:])
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise FileNotFoundError(
            f"timm could not load its weights of {name} ({reason}); give a file by weights=, or set pretrained=false"
        ) from error
    if getattr(model, "attn_pool", None) is not None:
        model.reset_classifier(0, "")
    return model, size


def parameters_behind(output: Tensor) -> Iterator[Tensor]:
    """Yield the parameters a tensor was computed from, found by walking its graph."""
    waiting, seen = [output.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting.extend(parent for parent, _ in node.next_functions)
