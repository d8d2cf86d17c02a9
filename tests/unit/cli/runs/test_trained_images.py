"""What was trained on is not measured on: splits dealt otherwise than in training are told, or refused."""

import logging
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from torchvision.io import encode_jpeg

from transface.cli.config.compose import instantiate
from transface.cli.config.errors import UserError
from transface.cli.runs.trained_images import refuse_trained, sets_of_training
from transface.data.labels.attributes import CELEBA_NAMES
from transface.synthetic.world.dense_forms import shots
from transface.synthetic.world.sets import FORMS

SHARES = [0.7, 0.1, 0.2]
Asked = Callable[..., dict[str, Any]]


def write(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8, generator=generator)
    path.write_bytes(encode_jpeg(image).numpy().tobytes())


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty ages by UTKFace's names, attributes in a table without val, points without val, expressions in splits."""
    root = tmp_path_factory.mktemp("room")
    for number in range(40):
        write(root / "faces" / f"{number + 10}_{number % 2}_0_{20170000000000000 + number}.jpg", number)
        write(root / "table" / f"{number}.jpg", number)
    rows = [f"{number}.jpg,{number % 2},{'test' if number > 29 else 'train'}" for number in range(40)]
    (root / "table" / "list.csv").write_text("\n".join([f"path,{CELEBA_NAMES[0]},split", *rows]) + "\n")
    for split in ("train", "val", "test"):
        for word in ("happy", "sad"):
            for number in range(4):
                write(root / "folders" / split / word / f"{number}.jpg", hash((split, word, number)) % 1000)
    FORMS["300w"](root / "300w", shots(20, image_size=64, seed=1, shares=(0.8, 0.0, 0.2)))
    return root


def occlusion(root: Path, **settings: Any) -> dict[str, Any]:
    """Return a training's config of `data` as conf/data/photographs.yaml makes it."""
    own = {"root": str(root), "shares": SHARES, "split_seed": 0, "fit": "refuse", "image_size": 16}
    return {"data": {"_target_": "transface.systems.occlusion.datamodule.OcclusionData", **own, **settings}}


def task(name: str, reader: str, root: Path, **settings: Any) -> dict[str, Any]:
    """Return a training's config of one task of a generalist."""
    node = {"_target_": f"transface.systems.generalist.task_data.{reader}", "_partial_": True, "root": str(root)}
    return {"data": {"sets": {name: {**node, **settings}}}}


def photographs(root: Path, **settings: Any) -> dict[str, Any]:
    node = {"_target_": "transface.evaluation.photographs.Photographs", "root": str(root), "column": "age"}
    return {**node, "split": "test", "shares": SHARES, "split_seed": 0, **settings}


def occluded(root: Path, **settings: Any) -> dict[str, Any]:
    node = {"_target_": "transface.evaluation.occluded_faces.OccludedFaces", "root": str(root)}
    return {**node, "occluders": {"whole": None}, "split": "test", "image_size": 16, **settings}


def attributes(root: Path, **settings: Any) -> dict[str, Any]:
    return {"_target_": "transface.evaluation.classes.attributes.Attributes", "root": str(root), **settings}


def points(root: Path, **settings: Any) -> dict[str, Any]:
    return {"_target_": "transface.evaluation.points.landmarks.Landmarks", "root": str(root), **settings}


def refused(asked: dict[str, Any], trained: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        refuse_trained(instantiate(asked), asked, trained)
    return str(caught.value)


@pytest.mark.parametrize("protocol", [photographs, occluded])
def test_another_seed_deals_training_images_to_the_test_and_is_refused(room: Path, protocol: Asked) -> None:
    said = refused(protocol(room / "faces", split_seed=1), occlusion(room / "faces"))
    assert "of the 8 images of test in" in said
    assert "were trained on, such as" in said
    assert "protocol.split_seed=1 deals others to it than the checkpoint's data.split_seed=0" in said
    assert "give protocol.split_seed=0, or protocol.split=train" in said
    (count,) = [int(word) for word in said.split()[:1]]
    from transface.data.sources.labelled_set import LabelledSet

    trained = set(LabelledSet(room / "faces").names("train"))
    assert count == len(trained & set(LabelledSet(room / "faces", split_seed=1).names("test"))) > 0


def test_other_shares_are_refused_by_both_settings(room: Path) -> None:
    said = refused(photographs(room / "faces", split_seed=2), occlusion(room / "faces", shares=[0.9, 0.05, 0.05]))
    assert "protocol.shares=[0.9,0.05,0.05] protocol.split_seed=0" in said


@pytest.mark.parametrize("protocol", [photographs, occluded])
def test_the_settings_of_the_training_are_measured_with(
    room: Path, protocol: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    asked = protocol(room / "faces", split_seed=3, shares=[0.5, 0.2, 0.3])
    refuse_trained(instantiate(asked), asked, occlusion(room / "faces", split_seed=3, shares=[0.5, 0.2, 0.3]))
    assert not caplog.records


def test_a_set_of_another_place_is_none_of_the_training(room: Path) -> None:
    asked = photographs(room / "faces", split_seed=1)
    refuse_trained(instantiate(asked), asked, occlusion(room / "folders"))


def test_a_set_that_was_moved_or_copied_is_known_by_its_name(room: Path, tmp_path: Path) -> None:
    asked = photographs(room / "faces", split_seed=1)
    for root in (Path("/no/longer/here/faces"), Path("faces")):
        assert "were trained on" in refused(asked, occlusion(root))
    copytree(room / "faces", tmp_path / "faces")
    assert "give protocol.split_seed=0" in refused(asked, occlusion(tmp_path / "faces"))
    for path in (tmp_path / "faces").iterdir():
        path.write_bytes(path.read_bytes() + b"other")
    refuse_trained(instantiate(asked), asked, occlusion(tmp_path / "faces"))


def test_a_list_inside_the_folder_that_was_trained_on_is_compared(room: Path) -> None:
    rows = [f"{path.name},{path.name.split('_')[0]}" for path in sorted((room / "faces").glob("*.jpg"))]
    (room / "faces" / "list.csv").write_text("\n".join(["path,age", *rows]) + "\n")
    said = refused(photographs(room / "faces" / "list.csv"), occlusion(room / "faces"))
    assert f"was trained on {room / 'faces'}, which has them too" in said


def test_training_images_may_be_measured_on_where_they_are_asked_for(
    room: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for split in ("train", "trainval"):
        asked = photographs(room / "faces", split=split)
        refuse_trained(instantiate(asked), asked, occlusion(room / "faces"))
    assert not caplog.records
    asked = photographs(room / "faces", split="train", split_seed=1)
    with caplog.at_level(logging.WARNING):
        refuse_trained(instantiate(asked), asked, occlusion(room / "faces"))
    (record,) = caplog.records
    assert "protocol.split_seed=1: the checkpoint was trained with data.split_seed=0" in record.getMessage()


def test_a_difference_that_no_test_image_suffers_by_is_told(room: Path, caplog: pytest.LogCaptureFixture) -> None:
    asked = photographs(room / "folders", column="expression", split_seed=1)
    with caplog.at_level(logging.WARNING):
        refuse_trained(instantiate(asked), asked, occlusion(room / "folders"))
    assert "none of the 8 images measured on were trained on" in caplog.text


def test_sets_of_each_task_are_compared_with_the_protocols_of_several(room: Path) -> None:
    trained = task("age", "labelled_data", room / "faces", column="age")
    own = photographs(room / "faces", split_seed=1)
    asked = {"_target_": "transface.evaluation.several.Several", "protocols": {"age": own}}
    said = refused(asked, trained)
    assert (
        "protocol.protocols.age.split_seed=1 deals others to it than the checkpoint's data.sets.age.split_seed=0"
        in said
    )
    fine = {**asked, "protocols": {"age": {**own, "split_seed": 0}}}
    refuse_trained(instantiate(fine), fine, trained)


def test_another_share_of_val_is_refused_on_val(room: Path) -> None:
    trained = task("attributes", "attribute_data", room / "table" / "list.csv", val_identity_share=0.1)
    said = refused(attributes(room / "table" / "list.csv", split="val", val_identity_share=0.3), trained)
    assert "protocol.val_identity_share=0.3 deals others to it" in said
    system = "transface.systems.attributes.datamodule.AttributesData"
    whole = {"data": {"_target_": system, "root": str(room / "table" / "list.csv"), "split": "trainval"}}
    assert "was trained on data.split=trainval" in refused(attributes(room / "table" / "list.csv", split="val"), whole)
    asked = attributes(room / "table" / "list.csv")
    refuse_trained(instantiate(asked), asked, whole)


def test_dense_sets_are_compared_too(room: Path) -> None:
    trained = task("landmarks", "dense_data", room / "300w", val_share=0.25)
    said = refused(points(room / "300w", split="val", val_share=0.25, split_seed=1), trained)
    assert "protocol.split_seed=1 deals others to it than the checkpoint's data.sets.landmarks.split_seed=0" in said
    asked = points(room / "300w", split="val", val_share=0.25)
    refuse_trained(instantiate(asked), asked, trained)


def test_a_training_that_cannot_be_opened_is_told(room: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained = {"data": {"_target_": "elsewhere.Data", "root": str(room / "faces"), "split_seed": 3}}
    asked = photographs(room / "faces")
    with caplog.at_level(logging.WARNING):
        refuse_trained(instantiate(asked), asked, trained)
    assert "it is not known whether images of" in caplog.text
    assert sets_of_training({"data": None}) == sets_of_training({}) == []
