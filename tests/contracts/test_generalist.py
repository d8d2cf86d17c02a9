"""The generalist through every verb, on a very small made-up world: trained, killed, resumed, on two processes,
measured, used, exported, taken to its second stage; and what it refuses.
"""

import fnmatch
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
import torch

import transface
from transface.__main__ import main
from transface.evaluation.results import read_results
from transface.synthetic.world.sets import WorldSettings, write_world

HERE = Path(__file__).parent
SMALL = (
    "experiment=faceptor/demo",
    "world=world",
    "embedding_size=8",
    "batch_size=4",
    "dense_batch_size=2",
    "dense_size=48",
    "image_size=56",
    "backbone.image_size=56",
    "backbone.position_size=56",
    "backbone.patch_size=8",
    "backbone.width=16",
    "backbone.depth=2",
    "backbone.num_heads=2",
    "backbone.output_width=8",
    "backbone.layers=[1]",
    "backbone.stem_channels=[4,8,8]",
    "network.width=8",
    "network.num_heads=2",
    "network.feedforward_width=16",
    "network.num_layers=1",
    "network.read_layers=[1]",
    "network.pixel_layers=[]",
    "data.steps_per_epoch=3",
    "trainer.max_epochs=2",
    "schedule=constant",
    "schedule.warmup_epochs=0",
    "validation.every_n_epochs=null",
    "logger=csv",
    "report=false",
    "checkpoint.every_n_steps=2",
    "trainer.log_every_n_steps=1",
)
# Their gradient is zero but for rounding: what follows takes a constant away.
NO_SIGNAL = ("layer_embedding", "position_mlp.2.bias", "identity.norm.bias", "identity.head.1.bias")
TASKS = ("identity", "attributes", "age", "expression", "landmarks", "parsing")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("room")
    settings = WorldSettings(num_identities=4, images_per_identity=3, num_pairs=20, num_images=20, image_size=64)
    write_world(root / "world", settings)
    for name in ("unlisted", "cut_points", "unmasked"):
        (root / name).mkdir()
        for part in (root / "world").iterdir():
            if part.is_dir():
                (root / name / part.name).symlink_to(part)
    spoilt(root / "unlisted" / "attributes", "list_eval_partition.txt", 3, "")
    (root / "unmasked" / "parsing").unlink()
    copytree(
        root / "world" / "parsing",
        root / "unmasked" / "parsing",
        ignore=lambda _, names: fnmatch.filter(names, "00003_*"),
    )
    spoilt(root / "cut_points" / "landmarks", "face_landmarks_300w_train.csv", 2, ",".join(["1.png", *["2"] * 49]))
    return root


def spoilt(folder: Path, name: str, place: int, line: str) -> None:
    """Make a linked folder one of its own in which a line of a file is another, or is not there."""
    whole = folder.resolve()
    folder.unlink()
    folder.mkdir()
    for path in whole.iterdir():
        if path.name != name:
            (folder / path.name).symlink_to(path)
    lines = (whole / name).read_text().splitlines()
    lines[place : place + 1] = [line] if line else []
    (folder / name).write_text("\n".join(lines) + "\n")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src"), "OMP_NUM_THREADS": "1"}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "transface", "train", *SMALL, *words]


@pytest.fixture
def call(room: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.chdir(room)
    return lambda verb, *words: main([verb, *(SMALL if verb == "train" else ()), *words])


@pytest.fixture(scope="module")
def trained(room: Path) -> Path:
    """A run of six steps by the command line."""
    done = subprocess.run(command("name=whole"), cwd=room, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return room / "runs" / "whole"


def weights(run: Path) -> dict[str, torch.Tensor]:
    content = torch.load(run / "checkpoints" / "last" / "trainer.ckpt", weights_only=True)
    return content["state_dict"]


def test_a_step_logs_the_loss_and_the_weight_of_every_task(trained: Path) -> None:
    head = (trained / "metrics.csv").read_text().splitlines()[0].split(",")
    for task in TASKS:
        assert f"train/loss/{task}" in head
        assert f"train/weight/{task}" in head


def test_a_killed_run_ends_where_the_whole_one_does(room: Path, trained: Path) -> None:
    process = subprocess.Popen(command("name=killed"), cwd=room, env=environment(), stdout=subprocess.DEVNULL)
    folder = room / "runs" / "killed" / "checkpoints"
    for _ in range(6000):
        if (folder / "step-000000004").exists() or process.poll() is not None:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = subprocess.run(
        command("name=killed", "resume=true"), cwd=room, env=environment(), capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    whole, resumed = weights(trained), weights(room / "runs" / "killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_processes_give_the_weights_of_one(room: Path) -> None:
    # Nothing random in the views, as each process draws its own; batch norms over the faces of both.
    calm = (
        "system.flip_probability=0",
        "system.dense.strength=0",
        "system.dense.flip_probability=0",
        "optimizer.lr=1e-4",
        "trainer.max_epochs=1",
        "trainer.accelerator=cpu",
    )
    one = subprocess.run(command("name=one", *calm), cwd=room, env=environment(), capture_output=True, text=True)
    assert one.returncode == 0, one.stderr
    words = ("name=two", *calm, "trainer.strategy=ddp", "devices=2", "trainer.sync_batchnorm=true")
    two = subprocess.run(command(*words), cwd=room, env=environment(), capture_output=True, text=True)
    assert two.returncode == 0, two.stderr
    first, second = weights(room / "runs" / "one"), weights(room / "runs" / "two")
    for name, value in first.items():
        if value.is_floating_point() and not name.endswith(NO_SIGNAL):
            # A sign of a gradient that is all but zero may differ: Adam's step of it is at most lr in each of 3 steps.
            assert float((value - second[name]).abs().max()) < 7e-4, name
            assert float((value - second[name]).abs().mean()) < 2e-5, name


def test_every_task_is_measured_by_its_own_protocol(room: Path, trained: Path, call: Callable[..., int]) -> None:
    words = {
        "pair_sets": ["protocol.files=[world/identity/easy.bin]"],
        "attributes": ["protocol.root=world/attributes"],
        "photographs": ["protocol.root=world/age", "protocol.column=age"],
        "points": ["protocol.root=world/landmarks"],
        "regions": ["protocol.root=world/parsing"],
    }
    for protocol, own in words.items():
        done = call("evaluate", f"checkpoint={trained}", f"protocol={protocol}", *own, f"output=results/{protocol}")
        assert done == 0
    kinds = {result.kind for result in read_results([room / "results"])}
    assert kinds == {"pairs", "classes", "values", "points", "regions"}


def test_protocols_that_fit_are_told_in_words_that_work(
    trained: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("evaluate", f"checkpoint={trained}") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "answers embedding, " in line
    told = line.partition(": give ")[2].split(" or ")
    assert len(told) == 6
    for number, words in enumerate(told):
        given = words.replace("[a.bin,b.bin]", "[world/identity/easy.bin]").split()
        assert call("evaluate", f"checkpoint={trained}", *given, f"output=told/{number}") == 0, words


def test_predict_gives_all_answers_with_points_in_the_picture_and_an_overlay(
    room: Path, trained: Path, call: Callable[..., int]
) -> None:
    photo = sorted((room / "world" / "landmarks" / "data" / "made_up").iterdir())[0]
    assert call("predict", str(photo), f"checkpoint={trained}", "output=answers.json", "overlay=overlay") == 0
    (entry,) = json.loads((room / "answers.json").read_text())
    outputs = entry["faces"][0]["outputs"]
    assert set(outputs) == {"embedding", "attributes", "age", "expression", "landmarks", "parsing"}
    assert len(outputs["landmarks"]) == 68
    assert all(-1 <= x <= 64 and -1 <= y <= 64 for x, y in outputs["landmarks"])
    assert (room / outputs["parsing"]).is_file()
    assert len(list((room / "overlay").glob("*.png"))) == 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_export_has_a_named_output_a_task_and_is_opened_again(
    room: Path, trained: Path, call: Callable[..., int]
) -> None:
    pytest.importorskip("onnxruntime")
    assert call("export", f"checkpoint={trained}", "output=whole.onnx", "overwrite=true") == 0
    photo = sorted((room / "world" / "age").iterdir())[0]
    mine, theirs = (transface.load(path).predict(str(photo), fit="letterbox") for path in (trained, "whole.onnx"))
    assert list(mine) == list(theirs)
    for name, value in mine.items():
        assert torch.allclose(value, theirs[name], atol=1e-3), name


def test_the_second_stage_trains_only_what_layer_attention_adds(
    room: Path, trained: Path, call: Callable[..., int]
) -> None:
    words = (
        "variant=faceptor/second_stage",
        f"stage_one={trained}",
        "backbone.layers=[0,1]",
        "network.read_layers=[1,0]",
        "trainer.max_steps=2",
        "name=second",
    )
    assert call("train", *words) == 0
    first, second = weights(trained), weights(room / "runs" / "second")
    changed = {name for name in first if name in second and not torch.equal(first[name], second[name])}
    frozen = {name for name in changed if name.startswith("network.")} - {"network.memory.layer_embedding"}
    assert {name for name in frozen if "running_" not in name and "num_batches" not in name} == set()
    assert torch.equal(first["network.memory.layer_embedding"][0], second["network.memory.layer_embedding"][0])
    assert "network.memory.projections.1.weight" in second


@pytest.mark.parametrize("task", [*TASKS, "age,gender"])
def test_a_task_alone_is_trained_by_the_experiment_of_all(task: str, call: Callable[..., int]) -> None:
    more = ["gender.root=world/age"] if "gender" in task else []
    assert call("train", f"task=[{task}]", *more, "trainer.max_steps=1", f"name=alone_{task.replace(',', '_')}") == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["task=[age,age]"], "task=[age,age]: age is there 2 times"),
        (["task=[age]", "age.root=null"], "task 'age' has no data: age.root is null"),
        (["task=[age]", "identity.root=x"], "no setting 'identity'"),
        (["task=[age]", "classifier=partial_fc"], "only tasks of identity have a classifier, and none of age is one"),
        (["balance.names={pose: 1}"], "balance.names has no key 'pose': +balance.names=... adds keys to it"),
        (["~data.sets.age"], "task 'age' has no data: give data.sets.age"),
        (["~data.tasks.age"], "data set 'age' has no task: give data.tasks.age"),
        (["network.read_layers=[1,7]"], "layers [7] are read but the encoder gives [1]"),
        (["system.trained=[query_embed]"], "no parameter's name holds 'query_embed'"),
        (["expression.root=world/age"], "expression"),
        (["landmarks.root=world/parsing"], "task 'landmarks' is of kind landmarks, and its data has labels of parsing"),
        (["+data.tasks.age.name=years"], "the row of task 'age' names itself 'years'"),
        (["+balance.names.pose=1.0"], "balance.names has pose"),
        (["network.pixel_layers=[5]"], "layers [5] are read but the encoder gives [1]"),
        (["world=unlisted"], "list_eval_partition.txt does not name 000004.jpg"),
        (["world=unmasked"], "no part of image 3 in unmasked/parsing/CelebAMask-HQ-mask-anno/0"),
        (["world=cut_points"], "line 3 must hold image, scale, two of the centre and 136 of points, got 50 values"),
    ],
)
def test_what_cannot_be_is_one_line_at_the_start(
    words: list[str], line: str, call: Callable[..., int], capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as raised:
        raise SystemExit(call("train", *words, "name=refused"))
    said = capsys.readouterr().err.strip().splitlines()
    assert raised.value.code == 2
    assert line in said[-1]
