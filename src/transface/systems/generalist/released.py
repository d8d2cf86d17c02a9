"""The released files of Faceptor and ours: which tensor is which, both ways.

Layout of a released file: {step, state_dict, optimizer}; keys as in docs/papers/faceptor.md.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from transface.backbones.clip_vit import ClipViT
from transface.backbones.weights.released_families import num_units
from transface.backbones.weights.state_dicts import load_strictly
from transface.data.labels.attributes import CELEBA_NAMES
from transface.data.labels.points import CELEBAMASK_REGIONS, LAPA_REGIONS
from transface.data.sources.face_lists import SEVEN
from transface.systems.generalist.faceptor import Faceptor, Generalist, NaiveFaceptor
from transface.systems.generalist.tasks import DENSE_KINDS, Task

log = logging.getLogger(__name__)
PUBLISHED_WIDTH, PUBLISHED_DECODER_WIDTH = 768, 256
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

# Released name and ours; * is the same word in both.
_RENAMES: tuple[tuple[str, str], ...] = (
    (_VISUAL, "encoder."),
    (_DECODER + "query_feat.*.weight", "queries.content.*"),
    (_DECODER + "query_embed.*.weight", "queries.position.*"),
    (_DECODER + "input_proj.0.", "memory.projections.0."),
    (_DECODER + "adapt_pos2d.", "memory.position_mlp."),
    (_DECODER + "transformer_cross_attention_layers.*.multihead_attn.", "decoder.layers.*.cross_attention."),
    (_DECODER + "transformer_cross_attention_layers.*.norm.", "decoder.layers.*.cross_norm."),
    (_DECODER + "transformer_self_attention_layers.*.self_attn.", "decoder.layers.*.self_attention."),
    (_DECODER + "transformer_self_attention_layers.*.norm.", "decoder.layers.*.self_norm."),
    (_DECODER + "transformer_ffn_layers.*.norm.", "decoder.layers.*.feedforward_norm."),
    (_DECODER + "transformer_ffn_layers.*.", "decoder.layers.*."),
    (_READERS + "feature_v2.", "identity."),
    (_READERS + "value.fc.", "value.linear."),
    (_READERS + "map_v2.mask_map.", "map.pixel_decoder."),
)
_TWICE = ".mask_map.1.ln."  # one norm is stored under two names
_PARTS = re.compile(r"^(?:\w+\.)*?(backbone_module|heads_module|losses_module)\.")


def _renamed(key: str, pairs: Iterable[tuple[str, str]]) -> str | None:
    """Return a key under its other name, by the first pair whose first name it begins with (or is, where the name does
    not end in a dot).
    """
    for given, wanted in pairs:
        pattern = "^" + re.escape(given).replace(r"\*", r"(\w+)") + ("" if given.endswith(".") else "$")
        if re.match(pattern, key):
            return re.sub(pattern, wanted.replace("*", r"\1"), key)
    return None


def our_key(released: str) -> str | None:
    """Return our name of a released tensor, or None for what we keep elsewhere (layer embeddings, duplicates, the
    margin classifier).

    Raises:
        ValueError: for a key of no released file.
    """
    if _TWICE in released or released.startswith("module.losses_module.") or released.endswith("level_embed.weight"):
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
    ours = _renamed(released, _RENAMES)
    if ours is None:
        raise ValueError(f"no tensor of a released Faceptor is called {released!r}")
    return ours


def released_key(ours: str) -> str:
    """Return the name of one of our tensors in released files."""
    if ours == "memory.layer_embedding":
        return _DECODER + "level_embed.weight"
    words = ours.split(".")
    if ours.startswith("map.token_mlp."):
        return f"{_READERS}map_v2.mask_embed.layers.{int(words[2]) // 2}.{words[3]}"
    if ours.startswith("memory.projections.") and words[2] != "0":
        return f"{_DECODER}new_input_proj.{int(words[2]) - 1}.{words[3]}"
    heads = [prefix for prefix, kind in KIND_OF_PREFIX.items() if words[:2] == ["heads", kind]]
    if heads:
        return ".".join([_HEADS + heads[0], *words[2:]])
    return _renamed(ours, ((second, first) for first, second in _RENAMES)) or ours


def _as_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict in {step, state_dict, optimizer}, or itself, with the published `module.` before its keys:
    what DDP, torch.compile or nobody has put there instead is taken off.
    """
    state = state.get("state_dict", state)  # type: ignore[assignment]
    return {_PARTS.sub(r"module.\1.", key): value for key, value in state.items()}


def converted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our state dict of a released one ({step, state_dict, optimizer} or the state dict itself); the margin
    classifier is left out.
    """
    state = _as_published(state)
    state = {key.replace(_TWICE, ".mask_map.1."): value for key, value in state.items() if _TWICE in key} | state
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
    load_strictly(model, converted(state), origin="released Faceptor weights", called=released_key)


DENSE_SETS: Mapping[str, Mapping[int, str]] = {  # told by their outputs, where a head is of one
    "parsing": {19: "parsing_celebam", 11: "parsing_lapa"},
    "align": {68: "align_300w", 29: "align_cofw", 98: "align_wflw", 19: "align_aflw"},
}
REGION_NAMES = {19: CELEBAMASK_REGIONS, 11: LAPA_REGIONS}
FACE_REGION = (0.115, 0.115, 0.885, 0.885)  # of the image that landmarks and parsing see, about what an aligned face is


def is_released(state: Mapping[str, Tensor]) -> bool:
    """Return whether a state dict is of a released Faceptor or Naive Faceptor."""
    keys = _as_published(state)
    return any(key.startswith(_VISUAL) for key in keys) and any(key.startswith("module.heads_module.") for key in keys)


def _shape(state: Mapping[str, Tensor], key: str, axes: int) -> list[int]:
    """Return the shape of a tensor from which sizes are read.

    Raises:
        ValueError: if there is none of so many axes.
    """
    shape = list(state[key].shape) if key in state else None
    if shape is None or len(shape) != axes:
        raise ValueError(
            f"a released Faceptor must hold {key} of {axes} dimensions, got {'none' if shape is None else shape}"
        )
    return shape


def released_network(
    state: Mapping[str, Tensor],
    *,
    num_heads: int | None = None,
    decoder_heads: int | None = None,
    channels: Literal["rgb", "bgr"] | None = None,
) -> Generalist:
    """Return the network of a released file, built from the shapes of its tensors and filled with them.

    Args:
        state: {step, state_dict, optimizer} or the state dict itself, with or without `module.` before its keys.
        num_heads: of the encoder; None: one for 64 of its width.
        decoder_heads: of the decoder; None: one for 32 of its width.
        channels: the order of colours it was trained on; None: rgb, as published.

    Raises:
        ValueError: if it is none, or a tensor does not fit.
    """
    if not is_released(state := _as_published(state)):
        raise ValueError("this is no released Faceptor: expected keys below backbone_module and heads_module")
    width, _, patch, _ = _shape(state, _VISUAL + "conv1.weight", 4)
    if channels == "bgr":
        state |= {_VISUAL + "conv1.weight": state[_VISUAL + "conv1.weight"].flip(1)}
    side = round((_shape(state, _VISUAL + "positional_embedding", 2)[0] - 1) ** 0.5) * patch
    depth = num_units(state, _VISUAL + "transformer.resblocks.")
    naive = any(key.startswith(_HEADS) for key in state)
    more = sorted({int(key.split(".")[-2]) for key in state if key.startswith(_DECODER + "new_input_proj.")})
    read = (depth - 1, *(2 * one + 1 for one in more))
    if num_heads is None:
        num_heads = _usual_heads("num_heads", width, PUBLISHED_WIDTH, of_each=64)
    encoder = ClipViT(
        image_size=side,
        position_size=side,
        patch_size=patch,
        width=width,
        depth=depth,
        num_heads=num_heads,
        output_width=_shape(state, _VISUAL + "proj", 2)[1],
        layers=[3, 5, 7, 9, 11] if naive else sorted(read),
    )
    tasks = _released_tasks(state, side, naive=naive)
    network: Generalist
    if naive:
        if decoder_heads is not None:
            raise ValueError(f"decoder_heads={decoder_heads} is for Faceptor: Naive Faceptor has no decoder")
        network = NaiveFaceptor(encoder, tasks, **_widths_of_heads(state))
    else:
        wide = _shape(state, _DECODER + "input_proj.0.weight", 4)[0]
        if decoder_heads is None:
            decoder_heads = _usual_heads("decoder_heads", wide, PUBLISHED_DECODER_WIDTH, of_each=32)
        network = Faceptor(
            encoder,
            tasks,
            width=wide,
            num_heads=decoder_heads,
            feedforward_width=_shape(state, _DECODER + "transformer_ffn_layers.0.linear1.weight", 2)[0],
            num_layers=num_units(state, _DECODER + "transformer_ffn_layers."),
            read_layers=read,
        )
    load_released(network, state)
    return network.eval()


def _usual_heads(setting: str, width: int, published: int, *, of_each: int) -> int:
    """Return the heads of a part of a published width; of another, those of the same width each, with a warning."""
    heads = max(width // of_each, 1)
    if width != published:
        log.warning(
            "the number of heads is in no shape: %d are taken for a width of %d (published is %d);"
            " transface.load(path, %s=...) says otherwise",
            heads,
            width,
            published,
            setting,
        )
    return heads


def _widths_of_heads(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the widths inside the heads of a Naive Faceptor, by the names of its constructor."""
    widths: dict[str, int] = {}
    for prefix in KIND_OF_PREFIX:
        for name, key in (("feature_width", "feature.0.weight"), ("dense_channels", "head.bottleneck.conv.weight")):
            if (found := state.get(f"{_HEADS}{prefix}.{key}")) is not None:
                widths.setdefault(name, len(found))
    return widths


def _released_tasks(state: Mapping[str, Tensor], side: int, *, naive: bool) -> list[Task]:
    """Return the rows of a released file: names as in it, sizes and pixels as published."""
    found: dict[str, int] = {}
    if naive:
        pattern = re.compile(re.escape(_HEADS) + r"\w+\.fcs\.(\w+)\.weight$")
        found = {match[1]: len(value) for key, value in state.items() if (match := pattern.match(key))}
        identity = _HEADS + "recog."
        for prefix, names in DENSE_SETS.items():
            last = state.get(f"{_HEADS}{prefix}.head.conv_seg.weight")
            if last is not None:
                count = len(last)
                if count not in names:
                    raise ValueError(
                        f"the {prefix} head has {count} outputs of several data sets, which its file does not tell"
                    )
                found[names[count]] = count
    else:
        pattern = re.compile(re.escape(_DECODER) + r"query_feat\.(\w+)\.weight$")
        found = {match[1]: len(value) for key, value in state.items() if (match := pattern.match(key))}
        identity = _READERS + "feature_v2."
    rows = []
    if any(key.startswith(identity) for key in state):
        embedding_size = _shape(state, identity + "head.2.weight", 2)[0]
        margins = re.compile(r"module\.losses_module\.losses\.(recog_\w+)\.")
        named = [match[1] for key in state if (match := margins.match(key))] + [*found]
        name = next((one for one in named if one.startswith("recog")), "recog_ms1mv3")
        rows.append(Task(name, "identity", embedding_size, **_face_look(side)))
    for name, count in found.items():
        if name.split("_")[0] not in KIND_OF_PREFIX:
            raise ValueError(f"the queries of {name!r} are of no known kind: {', '.join(KIND_OF_PREFIX)}")
        kind: Any = KIND_OF_PREFIX[name.split("_")[0]]
        if kind != "identity":
            dense = kind in DENSE_KINDS
            look: Any = {"image_size": side, "pixels": "clip"} if dense else _face_look(side)
            rows.append(Task(name, kind, count, names=_names(kind, count), **look))
    return rows


def _face_look(side: int) -> Any:
    return {"image_size": 112, "region": FACE_REGION} if side != 112 else {"image_size": 112}


def _names(kind: str, count: int) -> tuple[str, ...]:
    if kind == "attributes" and count == len(CELEBA_NAMES):
        return CELEBA_NAMES
    if kind == "expression" and count == len(SEVEN):
        return SEVEN
    return REGION_NAMES.get(count, ()) if kind == "parsing" else ()


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
