"""Occlusion from made-up people to answers by name: stages in order and once, predicted, exported; masked pairs, drawn
and real ones.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torchvision.io import encode_jpeg

import transface
from transface.__main__ import main
from transface.evaluation.results import read_results
from transface.synthetic.datasets import write_image_folder, write_pair_sets
from transface.synthetic.labelled_sets import write_age_folder

SMALL = (
    "experiment=occlusion/utkface_chain_small",
    "chain=small",
    "backbone.name=test_resnet",
    "data.root=faces",
    "data.num_workers=0",
    "data.total_batch_size=12",
    "epochs={teacher: 1, occluded: 1, classic: 1, triplet: 1, longer: 1, scratch: 1}",
    "seed=0",
    "stage=teacher,occluded,classic,triplet",
    "~callbacks.progress",
    "report=false",
)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with made-up ages, two junk files among them, a pair set, and people with masks listed as in MFR2."""
    root = tmp_path_factory.mktemp("occlusion")
    write_age_folder(root / "faces", num_identities=40, images_per_identity=2)
    noise = torch.randint(0, 256, (3, 112, 112), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (root / "faces" / "holiday.jpg").write_bytes(encode_jpeg(noise).numpy().tobytes())
    (root / "faces" / "999_0_1_2017.jpg").write_bytes(encode_jpeg(noise).numpy().tobytes())
    write_pair_sets(root / "pairs", 20, num_identities=4)
    write_image_folder(root / "mfr2", 4, images_per_identity=3)
    people = sorted(path.name for path in (root / "mfr2").iterdir())
    same = [f"{name} 1 2\n{name} 1 3\n{name} 2 3" for name in people]
    other = [
        f"{one} {k} {two} {k}" for one, two in zip(people, people[1:] + people[:1], strict=True) for k in (1, 2, 3)
    ]
    (root / "mfr2" / "pairs.txt").write_text("\n".join([*same, *other]) + "\n")
    return root


@pytest.fixture
def call(room: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.chdir(room)
    return lambda *words: main(list(words))


@pytest.fixture(scope="module")
def chain(room: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(room)
        assert main(["train", "-m", *SMALL]) == 0
    return room / "runs" / "small"


def test_the_stages_are_trained_in_order_and_not_again(call: Callable[..., int], chain: Path) -> None:
    stages = [chain / f"seed=0,stage={name}" for name in ("teacher", "occluded", "classic", "triplet")]
    stamps = [(run / "checkpoints" / "last" / "trainer.ckpt").stat().st_mtime_ns for run in stages]
    assert stamps == sorted(stamps)
    assert call("train", "-m", *SMALL) == 0
    command = json.loads((stages[2] / "environment.json").read_text())["command"]
    assert command[-2:] == ["name=small/seed=0,stage=classic", "hydra.mode=RUN"]
    assert [(run / "checkpoints" / "last" / "trainer.ckpt").stat().st_mtime_ns for run in stages] == stamps
    students = [torch.load(run / "checkpoints" / "last" / "trainer.ckpt", weights_only=True) for run in stages[2:]]
    for content in students:
        assert not [name for name in content["state_dict"] if "teacher" in name], "a teacher is not saved with students"


def test_no_test_image_is_dropped_and_junk_names_are_counted(chain: Path) -> None:
    results = read_results([chain / "seed=0,stage=teacher" / "results"])
    assert {result.mode for result in results} == {"age", "gender"}
    counts = {result.counts["images"] for result in results}
    assert len(counts) == 1
    from transface.data.sources.face_labels import open_label_files

    files = open_label_files(chain.parents[1] / "faces")
    assert len(files.paths) == 80
    assert sorted(files.rejected) == [
        "999_0_1_2017.jpg: an age of 999",
        "holiday.jpg: no name of the form age_gender_race_date",
    ]


def test_predict_gives_age_with_its_interval_and_gender_by_name(
    call: Callable[..., int], chain: Path, room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = sorted((room / "faces").glob("*_4_*.jpg"))[0]
    run = f"{chain.relative_to(room)}/seed=0,stage=triplet"
    assert call("predict", str(photo), f"checkpoint='{run}'", "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)
    outputs = told["faces"][0]["outputs"]
    assert outputs["gender"]["label"] in ("male", "female")
    assert outputs["age"]["unit"] == "years"
    assert outputs["age"]["low"] <= outputs["age"]["value"] <= outputs["age"]["high"]
    assert call("predict", str(photo), f"checkpoint='{run}'") == 0
    said = capsys.readouterr().out
    assert "gender" in said
    assert "years" in said


def test_the_model_is_exported_with_a_card_that_names_its_answers(
    call: Callable[..., int], chain: Path, room: Path
) -> None:
    run = f"{chain.relative_to(room)}/seed=0,stage=classic"
    assert call("export", f"checkpoint='{run}'", "format=safetensors", "output=folder") == 0
    card = (room / "folder" / "README.md").read_text()
    for word in ("`age`", "years", "`gender`", "male, female", "## Limits", "## Recipe"):
        assert word in card
    assert set(transface.load(room / "folder").describe()) >= {"age", "gender"}


def test_masked_pairs_are_drawn_on_a_set_and_read_from_a_folder(call: Callable[..., int], room: Path) -> None:
    files = "protocol.files=[pairs/easy.bin,mfr2]"
    assert call("evaluate", "checkpoint=pixels", "protocol=masked_pairs", files, "output=masked") == 0
    results = {result.name: result for result in read_results([room / "masked"])}
    assert set(results) == {"easy", "easy_surgical_mask_one", "easy_surgical_mask_both", "mfr2"}
    assert results["mfr2"].counts["genuine"] == results["mfr2"].counts["impostor"] == 12
    assert results["easy"].measures[0].value != results["easy_surgical_mask_both"].measures[0].value


def test_images_of_the_training_are_not_measured_on(
    call: Callable[..., int], chain: Path, room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = f"checkpoint='{chain.relative_to(room)}/seed=0,stage=teacher'"
    words = ("protocol=photographs", "protocol.root=faces", "protocol.column=age", "protocol.num_bootstraps=10")
    assert call("evaluate", run, *words, "output=dealt") == 0
    assert call("evaluate", run, *words, "protocol.split_seed=1", "output=dealt_anew") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "were trained on" in line
    assert "give protocol.split_seed=0" in line
    assert not (room / "dealt_anew").exists()
    assert call("export", run, "format=safetensors", "output=dealt_export") == 0
    exported = ("checkpoint=dealt_export", *words, "protocol.split_seed=1")
    assert call("evaluate", *exported, "output=dealt_anew") == 2
    single = [word for word in SMALL if not word.startswith("stage=")]
    assert call("train", *single, "stage=teacher", "name=anew", "hydra.mode=RUN", "protocol.split_seed=1") == 2
    assert "this run's data.split_seed=0" in capsys.readouterr().err
    assert not (room / "runs" / "anew" / "config.yaml").exists()


def test_a_measure_that_is_never_taken_is_told_before_the_first_step(
    call: Callable[..., int], room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    single = [word for word in SMALL if not word.startswith("stage=")]
    words = ("train", *single, "stage=teacher", "name=of_age", "hydra.mode=RUN", "data.columns=[age]")
    told = "monitor=val/mean/accuracy is never measured: this run measures val/regression/mean/mae"
    assert call(*words, "monitor=val/mean/accuracy") == 2
    told_lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("transface: ")]
    assert len(told_lines) == 1
    assert told in told_lines[0]
    assert "give monitor= one of them" in told_lines[0]
    assert not (room / "runs" / "of_age" / "config.yaml").exists()
    assert call(*words, "name=by_itself") == 0  # nobody named it: it is the experiment's
    assert f"{told}, " in (said := capsys.readouterr().err)
    assert "or the last checkpoint is taken as the best" in said
    assert call(*words, "monitor=val/mean/mae") == 0
    assert (room / "runs" / "of_age" / "checkpoints" / "best").exists()
