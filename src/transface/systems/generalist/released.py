"""The released files of Faceptor and ours: which tensor is which, both ways.

Layout of a released file: {step, state_dict, optimizer}; keys as in docs/papers/faceptor.md.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transface.backbones.clip_vit import ClipViT
from transface.data.labels.attributes import CELEBA_NAMES
from transface.data.labels.points import CELEBAMASK_REGIONS, LAPA_REGIONS
from transface.data.sources.face_lists import SEVEN
from transface.systems.generalist.faceptor import Faceptor, Generalist, NaiveFaceptor
from transface.systems.generalist.tasks import DENSE_KINDS, Task

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


REGION_NAMES = {19: CELEBAMASK_REGIONS, 11: LAPA_REGIONS}
FACE_REGION = (0.115, 0.115, 0.885, 0.885)  # of the image that landmarks and parsing see, about what an aligned face is


def is_released(state: Mapping[str, Tensor]) -> bool:
    """Return whether a state dict is of a released Faceptor or Naive Faceptor."""
    return any(key.startswith(_VISUAL) for key in state) and any(
        key.startswith("module.heads_module.") for key in state
    )


def released_network(
    state: Mapping[str, Tensor], *, num_heads: int | None = None, decoder_heads: int | None = None
) -> Generalist:
    """Return the network of a released file, built from the shapes of its tensors and filled with them.

    Args:
        state: {step, state_dict, optimizer} or the state dict itself.
        num_heads: of the encoder; None: one for 64 of its width.
        decoder_heads: of the decoder; None: one for 32 of its width.

    Raises:
        ValueError: if it is none, or a tensor does not fit.
    """
    state = state.get("state_dict", state)  # type: ignore[assignment]
    if not is_released(state):
        raise ValueError(
            "this is no released Faceptor: expected keys below module.backbone_module and module.heads_module"
        )
    stem = state[_VISUAL + "conv1.weight"]
    width, patch = int(stem.shape[0]), int(stem.shape[2])
    side = round((len(state[_VISUAL + "positional_embedding"]) - 1) ** 0.5) * patch
    depth = 1 + max(int(key.split("resblocks.")[1].split(".")[0]) for key in state if ".resblocks." in key)
    naive = any(key.startswith(_HEADS) for key in state)
    more = sorted({int(key.split(".")[-2]) for key in state if ".new_input_proj." in key})
    read = (depth - 1, *(2 * one + 1 for one in more))
    layers = [3, 5, 7, 9, 11] if naive else sorted(read)
    encoder = ClipViT(
        image_size=side,
        position_size=side,
        patch_size=patch,
        width=width,
        depth=depth,
        num_heads=num_heads or max(width // 64, 1),
        output_width=int(state[_VISUAL + "proj"].shape[1]),
        layers=layers,
    )
    tasks = _released_tasks(state, side, naive=naive)
    network: Generalist
    if naive:
        network = NaiveFaceptor(encoder, tasks)
    else:
        wide = int(state[_DECODER + "input_proj.0.weight"].shape[0])
        ffn = state[_DECODER + "transformer_ffn_layers.0.linear1.weight"]
        count = 1 + max(int(key.split("ffn_layers.")[1].split(".")[0]) for key in state if "ffn_layers." in key)
        heads = decoder_heads or max(wide // 32, 1)
        network = Faceptor(
            encoder,
            tasks,
            width=wide,
            num_heads=heads,
            feedforward_width=int(ffn.shape[0]),
            num_layers=count,
            read_layers=read,
        )
    load_released(network, state)
    return network.eval()


def _released_tasks(state: Mapping[str, Tensor], side: int, *, naive: bool) -> list[Task]:
    """Return the rows of a released file: names as in it, sizes and pixels as published."""
    found: dict[str, int] = {}
    if naive:
        pattern = re.compile(re.escape(_HEADS) + r"\w+\.fcs\.(\w+)\.weight$")
        found = {match[1]: len(value) for key, value in state.items() if (match := pattern.match(key))}
        embedding = state.get(_HEADS + "recog.head.2.weight")
        for prefix, names in (("parsing", {19: "parsing_celebam"}), ("align", {68: "align_300w"})):
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
        embedding = state.get(_READERS + "feature_v2.head.2.weight")
    rows = [] if embedding is None else [Task("recog_ms1mv3", "identity", len(embedding), **_face_look(side))]
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
