"""Released models of partial_fc's three programs: every constructor's key names and shapes, as recorded, build a
backbone with as many parameters, and the wrappings of their files are seen through.

Tensors have shapes and no content, so that a model of a gigabyte costs nothing. The names are read from the pack.
"""

import json
from typing import Any

import pytest
import torch
from tests.conftest import shared_folder
from torch import Tensor

from transface.backbones.released import load_released
from transface.backbones.weights.released_families import read_released

PACK = shared_folder() / "parity" / "pfc_names" / "pfc_names.json"
MODELS: dict[str, Any] = json.loads(PACK.read_text(encoding="utf-8")) if PACK.is_file() else {}
PROGRAMS = {"arcface_torch": "rgb", "adaface": "bgr", "cvlface": "rgb"}
# What no backbone of ours holds: heads, units with squeeze and excitation, networks of a fourth program.
OTHERS = [
    name
    for name, model in MODELS.items()
    if name.split("/")[0] not in PROGRAMS
    or "parameters" not in model
    or any(".se_block." in key for key in model["state_dict"])
]
OPENED = [name for name in MODELS if name not in OTHERS]
pytestmark = pytest.mark.skipif(not MODELS, reason=f"no {PACK}")


def state_of(name: str) -> dict[str, Tensor]:
    recorded = MODELS[name]["state_dict"]
    return {
        key: torch.empty(shape, dtype=getattr(torch, kind), device="meta") for key, (shape, kind) in recorded.items()
    }


def opened(content: Any) -> torch.nn.Module:
    with torch.device("meta"):
        return load_released(content)


def test_the_pack_holds_models_that_open() -> None:
    assert OPENED


@pytest.mark.parametrize("name", OPENED)
def test_names_and_shapes_build_a_backbone_of_as_many_parameters(name: str) -> None:
    state = state_of(name)
    model = opened(state)
    theirs = read_released(state).state
    ours = dict(model.named_parameters())
    added = [key for key in ours if key not in theirs]
    assert added in ([], ["mask_token"])  # evaluation needs none
    if any(key.endswith("output_layer.3.weight") for key in state):
        added += ["features.weight", "features.bias"]  # a norm without weight and bias is one of ones and zeros
    own = sum(value.numel() for value in ours.values()) - sum(ours[key].numel() for key in added)
    assert own == MODELS[name]["parameters"]
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert {key: tuple(value.shape) for key, value in theirs.items()}.items() <= shapes.items()


@pytest.mark.parametrize("name", OPENED)
def test_the_order_of_colours_is_that_of_the_program(name: str) -> None:
    assert read_released(state_of(name)).family.channels == PROGRAMS[name.split("/")[0]]


def sizes_told(name: str) -> dict[tuple[int, int], list[int]]:
    """Return the shapes of the embeddings of two images that are recorded for a model, by height and width."""
    start = "output_shape_for_input_"
    found = {key.removeprefix(start): shape for key, shape in MODELS[name].items() if key.startswith(start)}
    sizes = {tuple(int(side) for side in size.split("x")): shape for size, shape in found.items()}
    return {(height, width): shape for (height, width), shape in sizes.items() if isinstance(shape, list)}


@pytest.mark.parametrize("name", [name for name in OPENED if sizes_told(name)])
def test_embeddings_have_the_recorded_size(name: str) -> None:
    model = load_released({key: torch.zeros_like(value, device="cpu") for key, value in state_of(name).items()})
    assert model.image_size in sizes_told(name)
    with torch.no_grad():
        found = model(torch.zeros(2, 3, *model.image_size))
    assert list(found.embedding.shape) == sizes_told(name)[model.image_size]


def first_of(start: str) -> str:
    found = [name for name in OPENED if name.startswith(start)]
    if not found:
        pytest.skip(f"the pack holds no {start}...")
    return found[0]


def test_the_backbone_of_a_whole_training_checkpoint_of_arcface_torch_is_found() -> None:
    name = first_of("arcface_torch/r")
    head = next((state_of(one) for one in OTHERS if one.startswith("arcface_torch/PartialFC")), None)
    content = {
        "epoch": 3,
        "global_step": 9,
        "state_dict_backbone": state_of(name),
        "state_dict_softmax_fc": head or {"weight": torch.empty(10, 512, device="meta")},
        "state_optimizer": {},
        "state_lr_scheduler": {},
    }
    assert sum(value.numel() for value in opened(content).parameters()) == MODELS[name]["parameters"]


def test_a_released_file_of_adaface_is_found_behind_its_prefix_beside_its_head() -> None:
    name = first_of("adaface/")
    head = next((state_of(one) for one in OTHERS if one.startswith("adaface/head")), {})
    wrapped = {f"model.{key}": value for key, value in state_of(name).items()}
    wrapped |= {f"head.{key}": value for key, value in head.items()}
    model = opened({"state_dict": wrapped, "epoch": 1})
    assert sum(value.numel() for value in model.parameters()) >= MODELS[name]["parameters"]
    assert type(model).__name__ == "IResNet"


@pytest.mark.parametrize("name", OTHERS)
def test_what_no_backbone_here_holds_is_refused_and_named(name: str) -> None:
    with pytest.raises(ValueError, match=r"no known family|squeeze and excitation"):
        opened(state_of(name))
