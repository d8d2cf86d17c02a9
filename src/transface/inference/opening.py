"""Opens any model file or folder as a FaceModel: our checkpoints and run folders, exported folders, ONNX files,
released weights.

Nothing in a file is ever executed: checkpoints are read as tensors and plain values only.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import nn

from transface.backbones.lora import has_lora, merge_lora
from transface.backbones.released import load_released
from transface.backbones.weights.files import network_weights
from transface.backbones.weights.hub import is_hub_name, local_path
from transface.backbones.weights.rebuild import build_backbone
from transface.backbones.weights.released_families import OWN_FAMILY, read_released
from transface.backbones.weights.state_dicts import bare_weights, load_strictly, read_state_dict
from transface.file_kinds import described_file
from transface.inference.face_model import CONFIG_FILE, WEIGHTS_FILE, FaceModel, usable_device
from transface.systems.generalist.released import is_released, released_network
from transface.training.checkpoints.reader import find_checkpoint, read_checkpoint

# What a recipe leaves out of a run's config: where and how it was computed, watched and kept, and its name.
NOT_RECIPE = frozenset(
    {
        "name",
        "resume",
        "paths",
        "logger",
        "callbacks",
        "checkpoint",
        "validation",
        "protocol",
        "monitor",
        "report",
        "trainer",
        "time_budget",
        "schedule_by",
        "plan",
        "plan_facts",
        "system",
        "hydra",
        "run",
        "variant_of",
    }
)


class Told(NamedTuple):
    """What a caller says of released weights, which no shape of theirs tells; None: as is usual."""

    num_heads: int | None = None
    decoder_heads: int | None = None
    channels: Literal["rgb", "bgr"] | None = None


def load(
    path: str | Path,
    *,
    device: str | None = None,
    averaged: bool = True,
    num_heads: int | None = None,
    decoder_heads: int | None = None,
    channels: Literal["rgb", "bgr"] | None = None,
    backbone: nn.Module | None = None,
    input_range: Sequence[float] | None = None,
) -> FaceModel:
    """Return the FaceModel in a file or folder, in eval mode.

    Args:
        path: a run folder, a checkpoint of it, a folder of `transface export format=safetensors`, an .onnx file,
            released weights (TransFace, arcface_torch, AdaFace, CVLface, Faceptor: recognised by their keys), or a
            model of the Hugging Face Hub, hf:org/name@REVISION.
        device: where to put it; by default the CPU.
        averaged: of our checkpoints: the averaged weights (EMA) where there are any.
        num_heads: of released vision transformers whose shapes do not tell it.
        decoder_heads: of a released Faceptor's decoder, where it is not as wide as the published one.
        channels: the order of colours released weights were trained with, where it is not that of their family; the
            model takes RGB always.
        backbone: the network to fill with the weights of a checkpoint or a file of weights in its own names, where its
            class is not one of this package.
        input_range: of .onnx files of elsewhere: the numbers they take for black and white, such as (-1, 1) or
            (0, 255). None: those that the file states, else a guess by how its graph begins, which is told.

    Raises:
        FileNotFoundError: if there is nothing at `path`.
        ValueError: if it is no model, holds code, or some weights do not fit (all are listed).
    """
    named, path = path, local_path(path)
    if device is not None:
        usable_device(device)
    told = Told(num_heads, decoder_heads, channels)
    model = _open(path, told, averaged=averaged, backbone=backbone, input_range=input_range)
    if is_hub_name(named):
        model.provenance["source"] = str(named)
    return model.to(device) if device is not None else model


def _open(
    path: Path,
    told: Told,
    *,
    averaged: bool,
    backbone: nn.Module | None,
    input_range: Sequence[float] | None,
) -> FaceModel:
    if not path.exists():
        raise FileNotFoundError(
            f"no model at {path}: expected a run folder, a checkpoint, an exported folder, an .onnx file or released"
            " weights"
        )
    if path.suffix == ".pt2":
        said = described_file(path)
        if said and "torch.export" not in said:
            raise ValueError(f"{path} is {said}")
        raise ValueError(f"{path} is a torch.export program: run it with torch.export.load(path).module()")
    if backbone is not None and (path.suffix == ".onnx" or (path / CONFIG_FILE).is_file()):
        raise ValueError(
            f"backbone= is for checkpoints and files of weights: {path} says itself which network it holds"
        )
    if path.suffix == ".onnx":
        _refuse_settings_of_released(path, told)
        from transface.export.onnx_backbone import OnnxBackbone
        from transface.export.onnx_network import OnnxNetwork, stated_outputs

        if stated_outputs(path) is None:
            return FaceModel(OnnxBackbone(path, input_range=input_range), provenance={"source": path.name})
        _refuse_input_range(path, input_range)
        return FaceModel(OnnxNetwork(path), provenance={"source": path.name})
    _refuse_input_range(path, input_range)
    if path.name == WEIGHTS_FILE and (path.parent / CONFIG_FILE).is_file():
        path = path.parent
    if path.is_dir() and (path / CONFIG_FILE).is_file():
        return _from_folder(path, told)
    file = find_checkpoint(path)
    content = _content_of_ours(file)
    if content is None and backbone is not None:
        _refuse_settings_of_released(file, told)
        load_strictly(backbone, bare_weights(file).state, origin=f"the weights in {file}")
        return FaceModel(backbone, provenance={"source": file.name})
    if content is None:
        return FaceModel(_released(file, told), provenance={"source": file.name})
    _refuse_settings_of_released(file, told)
    return _from_checkpoint(content, file, averaged=averaged, backbone=backbone)


def _refuse_input_range(path: Path, input_range: Sequence[float] | None) -> None:
    """Raise ValueError for a setting that would be passed over."""
    if input_range is not None:
        raise ValueError(f"input_range={list(input_range)} is for .onnx files of elsewhere: {path} takes [-1, 1]")


def _released(file: Path, told: Told) -> nn.Module:
    """Return the network of released weights: a generalist or a face backbone."""
    try:
        state = read_state_dict(file)
    except ValueError:
        state = {}  # the reader of released backbones says what is wrong with it
    if is_released(state):
        return released_network(state, **told._asdict())
    if told.decoder_heads is not None:
        raise ValueError(f"decoder_heads={told.decoder_heads} is for a released Faceptor: {file} is none")
    return load_released(file, num_heads=told.num_heads, channels=told.channels)


def _refuse_settings_of_released(path: Path, told: Told) -> None:
    """Raise ValueError for settings that would be passed over: what is not released weights knows its heads, and takes
    RGB.
    """
    given = [f"{name}={value}" for name, value in told._asdict().items() if value not in (None, "rgb")]
    if given:
        raise ValueError(f"{given[0]} is for released weights: {path} says itself how many heads it has, and takes RGB")


def _from_folder(folder: Path, told: Told) -> FaceModel:
    """Open what `transface export` or FaceModel.save_pretrained wrote, or released weights of a folder whose config is
    of another package.
    """
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG_FILE} is no JSON: {error}") from error
    if not (isinstance(config, Mapping) and isinstance(config.get("backbone"), Mapping)):
        file = folder / WEIGHTS_FILE
        if file.is_file() and (is_released(read_state_dict(file)) or read_released(file).family.name != OWN_FAMILY):
            return FaceModel(_released(file, told), provenance={"source": folder.name})
        raise ValueError(f"{folder / CONFIG_FILE} is not of a face model of transface: it names no backbone")
    _refuse_settings_of_released(folder, told)
    model = FaceModel.from_pretrained(folder, local_files_only=True)
    assert isinstance(model, FaceModel)
    return model


def _content_of_ours(file: Path) -> dict[str, Any] | None:
    """Return what our trainer saved, or None for a file of any other kind (which `load_released` reads, and refuses if
    it must).
    """
    if file.suffix == ".safetensors" or not zipfile.is_zipfile(file):
        return None
    content = read_checkpoint(file)
    return content if isinstance(content.get("transface"), Mapping) else None


def _from_checkpoint(content: dict[str, Any], file: Path, *, averaged: bool, backbone: nn.Module | None) -> FaceModel:
    ours = content["transface"]
    config = ours.get("config")
    recorded = ours.get("network") or (config.get("backbone") if isinstance(config, Mapping) else None)
    if backbone is None and not isinstance(recorded, Mapping):
        raise ValueError(
            f"{file} does not say which network it holds: build it and call transface.load(path, backbone=...)"
        )
    network = backbone if backbone is not None else build_backbone(recorded or {})
    load_strictly(network, network_weights(content, averaged=averaged), origin=f"the network's weights in {file}")
    network = merge_lora(network) if has_lora(network) else network
    set_thresholds: Any = getattr(network, "set_thresholds", None)
    if not averaged and "averaged" in content and set_thresholds is not None:
        set_thresholds(None)  # they were measured with the averaged weights
    return FaceModel(network, provenance=provenance_of(file, config or {}, ours.get("versions") or {}, content))


def provenance_of(
    file: Path, config: Mapping[str, Any], versions: Mapping[str, Any], content: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the model card says of a trained model: name of the run, recipe, steps, versions; no folder of the
    machine.
    """
    recipe = {
        str(key): without_folders(value) for key, value in config.items() if key not in NOT_RECIPE and value is not None
    }
    found: dict[str, Any] = {"source": config.get("name") or file.name, "recipe": recipe, "versions": dict(versions)}
    for key, name in (("global_step", "steps"), ("epoch", "epochs")):
        if isinstance(content.get(key), int):
            found[name] = content[key]
    return found


def without_folders(value: Any) -> Any:
    """Return plain values with each path cut down to its last part: a published model tells nothing of the machine it
    was made on.
    """
    if isinstance(value, Mapping):
        return {str(key): without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(inner) for inner in value]
    if isinstance(value, str) and "/" in value and "://" not in value:
        return Path(value).name
    return value
