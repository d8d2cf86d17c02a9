"""The released files of Faceptor and ours: which tensor is which, both ways.

Layout of a released file: {step, state_dict, optimizer}; keys as in docs/papers/faceptor.md.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from transface.systems.generalist.faceptor import Faceptor

_VISUAL = "module.backbone_module.visual."
_DECODER = "module.heads_module.decoder."
_READERS = "module.heads_module.interpreters."
_HEADS = "module.heads_module.heads."
KIND_OF_PREFIX: Mapping[str, str] = {
    "recog": "identity",
    "age": "age",
    "biattr": "attributes",
    "affect": "expression",
    "parsing": "parsing",
    "align": "landmarks",
}

# Released pattern -> ours; the first that matches counts.
_RENAMES: tuple[tuple[str, str], ...] = (
    (re.escape(_VISUAL), "encoder."),
    (re.escape(_DECODER) + r"query_feat\.(\w+)\.weight$", r"queries.content.\1"),
    (re.escape(_DECODER) + r"query_embed\.(\w+)\.weight$", r"queries.position.\1"),
    (re.escape(_DECODER) + r"input_proj\.0\.", "memory.projections.0."),
    (re.escape(_DECODER) + r"adapt_pos2d\.", "memory.position_mlp."),
    (
        re.escape(_DECODER) + r"transformer_cross_attention_layers\.(\d+)\.multihead_attn\.",
        r"decoder.layers.\1.cross_attention.",
    ),
    (re.escape(_DECODER) + r"transformer_cross_attention_layers\.(\d+)\.norm\.", r"decoder.layers.\1.cross_norm."),
    (
        re.escape(_DECODER) + r"transformer_self_attention_layers\.(\d+)\.self_attn\.",
        r"decoder.layers.\1.self_attention.",
    ),
    (re.escape(_DECODER) + r"transformer_self_attention_layers\.(\d+)\.norm\.", r"decoder.layers.\1.self_norm."),
    (re.escape(_DECODER) + r"transformer_ffn_layers\.(\d+)\.norm\.", r"decoder.layers.\1.feedforward_norm."),
    (re.escape(_DECODER) + r"transformer_ffn_layers\.(\d+)\.", r"decoder.layers.\1."),
    (re.escape(_READERS) + r"feature_v2\.", "identity."),
    (re.escape(_READERS) + r"value\.fc\.", "value.linear."),
    (re.escape(_READERS) + r"map_v2\.mask_map\.", "map.pixel_decoder."),
)


def our_key(released: str) -> str | None:
    """Return our name of a released tensor, or None for what we keep elsewhere (layer embeddings, duplicates, the
    margin classifier).

    Raises:
        ValueError: for a key of no released file.
    """
    if (
        ".mask_map.1.ln." in released
        or released.startswith("module.losses_module.")
        or released.endswith("level_embed.weight")
    ):
        return None
    layer = re.match(re.escape(_READERS) + r"map_v2\.mask_embed\.layers\.(\d+)\.(\w+)$", released)
    if layer:
        return f"map.token_mlp.{2 * int(layer[1])}.{layer[2]}"
    extra = re.match(re.escape(_DECODER) + r"new_input_proj\.(\d+)\.(\w+)$", released)
    if extra:
        return f"memory.projections.{1 + int(extra[1])}.{extra[2]}"
    head = re.match(re.escape(_HEADS) + r"(\w+?)\.(.+)$", released)
    if head and head[1] in KIND_OF_PREFIX:
        return f"heads.{KIND_OF_PREFIX[head[1]]}.{head[2]}"
    for pattern, ours in _RENAMES:
        if re.match(pattern, released):
            return re.sub("^" + pattern, ours, released)
    raise ValueError(f"no tensor of a released Faceptor is called {released!r}")


def converted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our state dict of a released one ({step, state_dict, optimizer} or the state dict itself); the margin
    classifier is left out.
    """
    state = state.get("state_dict", state)  # type: ignore[assignment]
    ours = {key: value for released, value in state.items() if (key := our_key(released)) is not None}
    for key, value in ours.items():
        if key.startswith("memory.projections.") and value.ndim == 4:
            ours[key] = value[:, :, 0, 0]
    rows = [
        state[_DECODER + name] for name in ("level_embed.weight", "new_level_embed.weight") if _DECODER + name in state
    ]
    if rows:
        ours["memory.layer_embedding"] = torch.cat(rows)
    return ours


def load_released(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a released file into a Faceptor or NaiveFaceptor with its tasks.

    Raises:
        ValueError: if tensors are missing, too many, or have other shapes.
    """
    ours = converted(state)
    own = model.state_dict()
    wrong = sorted(
        key
        for key in own.keys() | ours.keys()
        if getattr(own.get(key), "shape", None) != getattr(ours.get(key), "shape", None)
    )
    if wrong:
        raise ValueError(
            f"these are not the weights of this model: {len(wrong)} tensors differ in name or shape, first"
            f" {', '.join(wrong[:3])}"
        )
    model.load_state_dict(ours)


def add_layers(model: Faceptor, stage_one: Mapping[str, Tensor]) -> None:
    """Load our state dict of a one-layer Faceptor into one with more layers: the published second stage; what is new
    stays as drawn.

    Raises:
        ValueError: if anything but the new layers is missing.
    """
    stage_one = dict(stage_one)
    embedding = model.memory.layer_embedding.detach().clone()
    embedding[:1] = stage_one["memory.layer_embedding"]
    stage_one["memory.layer_embedding"] = embedding
    result = model.load_state_dict(stage_one, strict=False)
    missing = [key for key in result.missing_keys if not key.startswith(("memory.projections.", "layer_bias."))]
    if missing or result.unexpected_keys:
        raise ValueError(f"not a first stage of this model: {', '.join((missing + result.unexpected_keys)[:3])}")
