"""kill -9 of a run of each system at any moment, several times, then resume=true: weights and moments end bit for bit
where those of the whole run end.
"""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.contracts.test_generalist import SMALL as GENERALIST
from tests.contracts.warm_commands import start
from tests.smoke.test_attributes import SETTINGS as ATTRIBUTES
from tests.smoke.test_occlusion import SMALL as OCCLUSION

from transface.synthetic.datasets import write_pair_sets
from transface.synthetic.labelled_sets import write_age_folder, write_attribute_folder
from transface.synthetic.world.sets import WorldSettings, write_world

KILLS = 5
STEPS = {"attributes": 40, "occlusion": 40, "generalist": 24}
WORDS = {
    "attributes": [*ATTRIBUTES, "name=killed", "trainer.max_epochs=-1"],
    "occlusion": ["-m", *OCCLUSION, "stage=classic", "trainer.max_epochs=-1"],
    "generalist": [*GENERALIST, "name=killed", "trainer.max_epochs=-1"],
}
COMMON = ["checkpoint.every_n_steps=2", "validation.every_n_epochs=null", "logger=csv"]
ONE_THREAD: dict[str, Any] = {"environment": {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}}


def begun(system: str, room: Path, *words: str) -> Any:
    argv = ["train", *WORDS[system], *COMMON, f"trainer.max_steps={STEPS[system]}", *words]
    return start(argv, room, room / "said.txt", **ONE_THREAD)


def finish(process: Any, said: Path) -> None:
    process.join(600)
    assert process.exitcode == 0, said.read_text()[-3000:]


def write_data(system: str, room: Path) -> None:
    if system == "attributes":
        write_attribute_folder(room / "faces", num_identities=10, images_per_identity=4, seed=1)
    elif system == "occlusion":
        write_age_folder(room / "faces", num_identities=40, images_per_identity=2)
        write_pair_sets(room / "pairs", 20, num_identities=4)
    else:
        write_world(
            room / "world",
            WorldSettings(num_identities=4, images_per_identity=3, num_pairs=20, num_images=20, image_size=64),
        )


def latest_step(run: Path) -> int:
    folders = (run / "checkpoints").glob("step-*")
    return max((int(path.name[5:]) for path in folders if path.name[5:].isdigit()), default=-1)


def final_content(run: Path, steps: int) -> dict[str, torch.Tensor]:
    folder = (run / "checkpoints" / "last").resolve()
    assert folder.name == f"step-{steps:09d}"
    content = torch.load(folder / "trainer.ckpt", weights_only=True)
    found = {name: value for name, value in content["state_dict"].items() if isinstance(value, torch.Tensor)}
    for index, moments in content["optimizer_states"][0]["state"].items():
        found |= {f"{index} {name}": value for name, value in moments.items() if isinstance(value, torch.Tensor)}
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("system", list(WORDS))
def test_runs_killed_at_random_end_bit_for_bit_where_the_whole_one_ends(system: str, tmp_path: Path) -> None:
    write_data(system, tmp_path)
    run = tmp_path / "runs" / ("small/seed=0,stage=classic" if system == "occlusion" else "killed")
    if system == "occlusion":  # what the stage takes from earlier ones
        earlier = start(
            ["train", "-m", *OCCLUSION, "stage=teacher,occluded"], tmp_path, tmp_path / "t.txt", **ONE_THREAD
        )
        finish(earlier, tmp_path / "t.txt")
    finish(begun(system, tmp_path), tmp_path / "said.txt")
    run.rename(tmp_path / "whole")
    moments, kills = random.Random(system), 0
    for _ in range(KILLS):
        before = latest_step(run)
        process = begun(system, tmp_path, f"resume={'true' if before >= 0 else 'false'}")
        early, deadline = moments.random() < 0.2, time.monotonic() + 240
        while not early and time.monotonic() < deadline and latest_step(run) == before and process.exitcode is None:
            time.sleep(0.01)
        time.sleep(moments.uniform(0.5, 3.0) if early else moments.uniform(0.0, 0.5))
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
    assert kills >= KILLS - 1, (tmp_path / "said.txt").read_text()[-3000:]
    finish(begun(system, tmp_path, "resume=auto"), tmp_path / "said.txt")
    whole, killed = (final_content(folder, STEPS[system]) for folder in (tmp_path / "whole", run))
    assert killed.keys() == whole.keys()
    assert [name for name, value in whole.items() if not torch.equal(killed[name], value)] == []
