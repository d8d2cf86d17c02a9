"""A released file is opened by its shapes alone, and answers as recorded."""

from pathlib import Path

import pytest
import torch
from tests.parity.faceptor_packs import KIND_OF_PREFIX, Pack, assert_answers, read_layers
from torch import Tensor

import transface
from transface.systems.generalist.faceptor import OUTPUT_KINDS, Faceptor
from transface.systems.generalist.released import released_network

WHOLE = ["whole_stage1", "whole_stage2"]


def file_of(shared: Path, name: str) -> tuple[Pack, dict[str, Tensor]]:
    """Return a pack and the whole state dict; the second stage holds what it adds to the first alone."""
    pack = Pack(shared, name)
    return pack, pack.state() if name == WHOLE[0] else Pack(shared, WHOLE[0]).state() | pack.state()


@pytest.mark.parametrize("name", WHOLE)
@torch.no_grad()
def test_a_released_file_is_built_from_its_shapes(shared: Path, name: str) -> None:
    pack, state = file_of(shared, name)
    cfg = pack.cfg
    model = released_network(state, num_heads=cfg["heads"], decoder_heads=cfg["decoder"]["nheads"])
    assert isinstance(model, Faceptor)
    assert list(model.memory.layers) == read_layers(cfg["depth"], state)
    images = {task: pack[f"in/{task}/image"] for task in cfg["task_order"]}
    assert_answers(
        pack, model, {task: model.task_logits(model.encode(one), [task])[task] for task, one in images.items()}
    )


@pytest.mark.parametrize("name", WHOLE)
@torch.no_grad()
def test_transface_load_opens_one_and_names_all_its_answers(shared: Path, tmp_path: Path, name: str) -> None:
    pack, state = file_of(shared, name)
    torch.save({"step": 1, "state_dict": state, "optimizer": {}}, tmp_path / "faceptor.pth")
    heads = {"num_heads": pack.cfg["heads"], "decoder_heads": pack.cfg["decoder"]["nheads"]}
    model = transface.load(tmp_path / "faceptor.pth", **heads)
    kinds = {task: KIND_OF_PREFIX[task.split("_")[0]] for task in pack.cfg["task_names"]}
    wanted = {"embedding" if kind == "identity" else task: OUTPUT_KINDS[kind] for task, kind in kinds.items()}
    assert {output: one.kind for output, one in model.outputs.items()} == wanted
    network, order = model.backbone, pack.cfg["task_order"]
    assert_answers(pack, network, network.forward_batches({task: pack[f"in/{task}/image"] for task in order}))
