"""A released file is opened by its shapes alone, and answers as recorded."""

from pathlib import Path

import pytest
import torch
from tests.parity.faceptor_packs import Pack, assert_close

import transface
from transface.systems.generalist.faceptor import Faceptor
from transface.systems.generalist.released import released_network


@pytest.mark.parametrize("name", ["whole_stage1", "whole_stage2"])
@torch.no_grad()
def test_a_released_file_is_built_from_its_shapes(shared: Path, name: str) -> None:
    pack = Pack(shared, name)
    cfg = pack.cfg
    state = pack.state()
    if name == "whole_stage2":
        state = Pack(shared, "whole_stage1").state() | state
    model = released_network(state, num_heads=cfg["heads"], decoder_heads=cfg["decoder"]["nheads"])
    assert isinstance(model, Faceptor)
    assert model.memory.layers == ((11,) if name == "whole_stage1" else (11, 1, 3, 5, 7, 9))
    for task in cfg["task_order"]:
        recorded = f"out_eval/{task}/output"
        if recorded in pack.arrays and model.tasks.get(task) is not None:
            logits = model.task_logits(model.encode(pack[f"in/{task}/image"]), [task])[task]
            assert_close(logits, pack[recorded])


def test_transface_load_opens_one_and_names_all_its_answers(shared: Path, tmp_path: Path) -> None:
    pack = Pack(shared, "whole_stage1")
    torch.save({"step": 1, "state_dict": pack.state(), "optimizer": {}}, tmp_path / "faceptor.pth")
    model = transface.load(tmp_path / "faceptor.pth", num_heads=pack.cfg["heads"])
    assert "embedding" in model.outputs
    assert {name for name in pack.cfg["task_order"] if not name.startswith("recog")} < set(model.outputs)
    kinds = {output.kind for output in model.outputs.values()}
    assert kinds == {"embedding", "number", "several_of", "one_of", "regions", "points"}
