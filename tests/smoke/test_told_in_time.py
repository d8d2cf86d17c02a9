"""What a training tells before its first step, and what it saves where an evaluation fails."""

import csv
import json
import shlex
from pathlib import Path

import pytest

from transface.__main__ import main
from transface.data.benchmarks.pairs import read_pair_set, write_pair_set
from transface.evaluation.recognition.pair_sets import PairSets
from transface.evaluation.results import Result
from transface.images.decoding import decode_image
from transface.synthetic.datasets import write_identity_pack, write_pair_sets
from transface.training.checkpoints.reader import complete_checkpoints

TINY = [
    "experiment=demo",
    "backbone.depth=1",
    "backbone.embed_dim=16",
    "backbone.num_heads=2",
    "embedding_size=16",
    "schedule.warmup_epochs=0",
    "data.total_batch_size=4",
    "data.num_workers=0",
    "protocol.files=[]",
    "report=false",
    "name=tiny",
]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of three people and sets of pairs, one of them of three pairs."""
    root = tmp_path_factory.mktemp("room")
    write_identity_pack(root / "pack", 3, images_per_identity=4)
    write_pair_sets(root, 20, num_identities=4)
    pairs = read_pair_set(root / "easy.bin")
    chosen = [*[i for i in range(20) if pairs.is_same[i]][:2], *[i for i in range(20) if not pairs.is_same[i]][:1]]
    images = [bytes(pairs.images[side]) for pair in chosen for side in (2 * pair, 2 * pair + 1)]
    write_pair_set(root / "three.bin", images, [True, True, False])
    wide = [encode_of_another_size(bytes(image)) for image in pairs.images]
    write_pair_set(root / "wide.bin", wide, list(map(bool, pairs.is_same)))
    return root


def encode_of_another_size(image: bytes) -> bytes:
    from torchvision.io import encode_png

    return encode_png(decode_image(image)[:, :, :96].contiguous()).numpy().tobytes()


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRANSFACE_TRACEBACK", raising=False)


def train(room: Path, *words: str) -> int:
    return main(["train", *TINY, f"data.root={room}/pack", *words])


@pytest.mark.parametrize(
    ("name", "words"), [("three", "three has 3 pairs for 10 folds"), ("wide", "must be 112x112, got 112x96")]
)
def test_a_validation_set_that_cannot_be_is_refused_before_the_first_step(
    room: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    assert train(room, "trainer.max_epochs=1", f"protocol.files=[{room}/{name}.bin]") == 2
    said = capsys.readouterr()
    assert words in said.err
    assert "step" not in said.out


def test_the_trained_weights_are_saved_first_where_an_evaluation_fails(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> list[Result]:
        raise RuntimeError("something nobody thought of")

    monkeypatch.setattr(PairSets, "evaluate", fail)
    with pytest.raises(RuntimeError, match="nobody thought of"):
        train(room, "trainer.max_epochs=2", f"protocol.files=[{room}/easy.bin]", "validation.every_n_epochs=1")
    (saved,) = complete_checkpoints(Path("runs/tiny/checkpoints"))
    assert saved.name == "step-000000003"
    monkeypatch.undo()


@pytest.mark.parametrize("words", [["data.total_batch_size=1"], ["gradient_accumulation=4"]])
def test_one_image_a_step_with_batch_norm_names_the_settings(
    room: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert train(room, "trainer.max_epochs=1", *words) == 2
    said = capsys.readouterr().err
    for setting in ("data.total_batch_size", "gradient_accumulation", "sync_batchnorm", "batch norm"):
        assert setting in said


def test_fewer_epochs_than_were_trained_train_nothing_and_say_so(
    room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(room, "trainer.max_epochs=3") == 0
    before = sorted(path.name for path in Path("runs/tiny/checkpoints").iterdir())
    for words in (["trainer.max_epochs=1"], ["trainer.max_epochs=2"], ["trainer.max_epochs=-1", "trainer.max_steps=4"]):
        capsys.readouterr()
        assert train(room, *words, "resume=true") == 0
        assert "nothing is trained: the checkpoint is of step 9" in capsys.readouterr().out
    assert sorted(path.name for path in Path("runs/tiny/checkpoints").iterdir()) == before


def test_every_setting_that_changed_since_the_checkpoint_is_told(
    room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(room, "trainer.max_epochs=1") == 0
    capsys.readouterr()
    changed = ["margin.margin=0.5", "weighting.gamma=2.0", "schedule.warmup_epochs=null", "schedule.warmup_steps=1"]
    assert train(room, "trainer.max_epochs=2", "resume=true", *changed) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("changed since")]
    for words in ("margin.margin 0.", "-> 0.5", "weighting.gamma 1.0 -> 2.0", "schedule.warmup_steps null -> 1"):
        assert words in line
    assert line.count("-> 0.5") == 1


def test_the_recorded_command_can_be_pasted_and_repeats_the_run(room: Path) -> None:
    words = ["trainer.max_epochs=1", "seed=7"]
    assert train(room, *words) == 0
    told = json.loads(Path("runs/tiny/environment.json").read_text())["command"]
    assert told == ["transface", "train", *TINY, f"data.root={room}/pack", *words]
    assert main(shlex.split(shlex.join(told))[1:]) == 0
    assert main(["train", "run=runs/tiny", "name=again"]) == 0
    again = json.loads(Path("runs/again/environment.json").read_text())["command"]
    assert again[:2] == ["transface", "train"]
    assert not [word for word in again if "hydra" in word]
    assert main([*again[1:], "name=third"]) == 0


def test_the_recorded_command_of_a_trial_is_that_of_its_own_run(room: Path) -> None:
    assert train(room, "-m", "seed=1,2", "trainer.max_epochs=1") == 0
    told = [json.loads(path.read_text())["command"] for path in sorted(Path("runs").rglob("environment.json"))]
    assert [[word for word in words if word.startswith("seed=")] for words in told] == [["seed=1"], ["seed=2"]]
    assert all(words[:2] == ["transface", "train"] and "-m" not in words for words in told)
    assert [words[-1] for words in told] == ["name=tiny/seed=1", "name=tiny/seed=2"]


def losses_of(run: Path) -> list[str]:
    with (run / "metrics.csv").open() as file:
        return [row["train/loss"] for row in csv.DictReader(file)]


@pytest.mark.slow
def test_the_recorded_command_of_a_trial_repeats_it_in_its_own_folder(room: Path) -> None:
    logged = ["logger=csv", "trainer.log_every_n_steps=1", "trainer.max_epochs=1"]
    assert train(room, "-m", "seed=1,2", *logged) == 0
    trials = [Path("runs/tiny/seed=1"), Path("runs/tiny/seed=2")]
    before = [losses_of(trial) for trial in trials]
    assert before[0] != before[1]
    for trial in trials:
        words = json.loads((trial / "environment.json").read_text())["command"]
        assert main(shlex.split(shlex.join(words))[1:]) == 0
        assert (trial / "previous" / "1" / "metrics.csv").is_file()
    assert [losses_of(trial) for trial in trials] == before
    assert sorted(path.name for path in Path("runs/tiny").iterdir()) == ["multirun.yaml", "seed=1", "seed=2"]


@pytest.mark.slow
def test_the_recorded_command_of_a_resumed_run_repeats_it_from_its_start(room: Path) -> None:
    logged = ["logger=csv", "trainer.log_every_n_steps=1"]
    assert train(room, *logged, "trainer.max_epochs=1") == 0
    assert train(room, *logged, "trainer.max_epochs=2", "resume=auto") == 0
    words = json.loads(Path("runs/tiny/environment.json").read_text())["command"]
    assert not [word for word in words if word.startswith("resume=")]
    before = losses_of(Path("runs/tiny"))
    assert main(words[1:]) == 0
    assert len(losses_of(Path("runs/tiny"))) == len(before)


@pytest.mark.slow
def test_the_recorded_command_names_the_folder_of_ones_own_configs(room: Path) -> None:
    own = Path("own/experiment")
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - /experiment/demo@_global_\ntrainer:\n  max_epochs: 1\n"
    )
    words = [word for word in TINY if not word.startswith("experiment=")]
    words += ["experiment=mine", f"data.root={room}/pack"]
    assert main(["train", "--config-dir", "own", *words]) == 0
    told = json.loads(Path("runs/tiny/environment.json").read_text())["command"]
    assert main(told[1:]) == 0


@pytest.mark.parametrize("logger", ["csv", "csv_tensorboard"])
def test_a_run_refused_before_its_first_step_leaves_no_run(
    room: Path, capsys: pytest.CaptureFixture[str], logger: str
) -> None:
    words = ("trainer.max_epochs=1", f"logger={logger}")
    assert train(room, *words, "schedule.warmup_epochs=9") == 2
    assert "warm-up of 27 steps must be in 0..2" in capsys.readouterr().err
    left = {path.name for path in Path("runs/tiny").iterdir()}
    assert left <= {".hydra", ".running", "train.log"}
    assert train(room, *words) == 0
    assert "held an earlier run" not in capsys.readouterr().out
    assert (Path("runs/tiny/tensorboard").exists()) == (logger == "csv_tensorboard")


def test_a_run_refused_before_its_first_step_leaves_the_earlier_run_as_it_was(
    room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(room, "trainer.max_epochs=1") == 0
    before = {path: path.read_bytes() for path in sorted(Path("runs/tiny").rglob("*")) if path.is_file()}
    for resume in ("false", "true"):
        assert train(room, "trainer.max_epochs=2", "schedule.warmup_epochs=9", f"resume={resume}") == 2
    assert not Path("runs/tiny/previous").exists()
    for path, content in before.items():
        if path.suffix != ".log" and ".hydra" not in path.parts:
            assert path.read_bytes() == content, path
    assert train(room, "trainer.max_epochs=2", "resume=true") == 0
    said = capsys.readouterr().out
    assert "resuming from" in said
    assert "what was measured of it at its earlier end moved from runs/tiny to runs/tiny/previous/1" in said
    assert train(room, "trainer.max_epochs=1") == 0
    assert "held an earlier run: moved to runs/tiny/previous/2" in capsys.readouterr().out
