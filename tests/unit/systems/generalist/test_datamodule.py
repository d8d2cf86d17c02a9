"""The data of a generalist: rows and sets belong together, and what the data tells fills the rows."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transface.systems.generalist.datamodule import GeneralistData
from transface.systems.generalist.task_data import identity_data, labelled_data
from transface.systems.generalist.tasks import Task


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs by UTKFace's names, and two folders of people."""
    root = tmp_path_factory.mktemp("rooms")
    draw = np.random.default_rng(0)
    for folder in ("utk", "a/one", "a/two", "b/three"):
        (root / folder).mkdir(parents=True)
    for number in range(20):
        pixels = draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "utk" / f"{10 + number}_{number % 2}_0_2017{number:04d}.jpg.chip.jpg")
        place = ("a/one", "a/two", "b/three")[number % 3]
        Image.fromarray(pixels).save(root / place / f"{number}.jpg")
    return root


def test_rows_are_filled_with_what_the_data_tells_and_people_of_two_sets_stay_apart(rooms: Path) -> None:
    data = GeneralistData(
        {
            "first": {"kind": "identity", "num_outputs": 8, "batch_size": 2},
            "second": {"kind": "identity", "num_outputs": 8, "batch_size": 2},
            "gender": Task("gender", "expression", 2, 4),
            "age": {"kind": "age", "batch_size": 4},
        },
        {
            "first": partial(identity_data, rooms / "a"),
            "second": partial(identity_data, rooms / "b"),
            "gender": partial(labelled_data, rooms / "utk", column="gender"),
            "age": partial(labelled_data, rooms / "utk", column="age"),
        },
        image_size=16,
        num_workers=0,
    )
    facts = data.facts()
    assert facts["num_identities"] == 3
    assert [(row["name"], row["num_outputs"]) for row in facts["tasks"]] == [
        ("first", 8),
        ("second", 8),
        ("gender", 2),
        ("age", 101),
    ]
    assert facts["tasks"][2]["names"] == ["male", "female"]
    assert set(data.datasets["second"].dataset.source.labels.tolist()) == {2}
    assert data.datasets["second"].dataset.source.__getitems__([0]).labels.tolist() == [2]


def maker(rooms: Path, column: str) -> partial:
    return partial(labelled_data, rooms / "utk", column=column)


def test_a_row_without_data_and_data_without_a_row_are_refused(rooms: Path) -> None:
    with pytest.raises(ValueError, match=r"task 'age' has no data: give data\.sets\.age"):
        GeneralistData({"age": {"kind": "age"}}, {}, image_size=16)
    with pytest.raises(ValueError, match=r"data set 'age' has no task: give data\.tasks\.age"):
        GeneralistData(
            {"sex": {"kind": "age"}}, {"sex": maker(rooms, "age"), "age": maker(rooms, "age")}, image_size=16
        )


def test_labels_of_another_kind_or_number_are_refused(rooms: Path) -> None:
    with pytest.raises(ValueError, match="task 'age' is of kind age, and its data has labels of expression"):
        GeneralistData({"age": {"kind": "age"}}, {"age": maker(rooms, "gender")}, image_size=16)
    rows = {"gender": {"kind": "expression", "num_outputs": 7}}
    with pytest.raises(ValueError, match="has num_outputs=7, and its data has 2"):
        GeneralistData(rows, {"gender": maker(rooms, "gender")}, image_size=16)


def test_a_task_whose_data_lacks_its_labels_is_refused(rooms: Path) -> None:
    with pytest.raises(ValueError, match="the data has no expression: it has gender, age"):
        GeneralistData({"mood": {"kind": "expression"}}, {"mood": maker(rooms, "expression")}, image_size=16)


def test_words_of_the_outputs_choose_and_order_the_images(rooms: Path) -> None:
    own = labelled_data(rooms / "utk", column="gender", classes=["female", "male"], image_size=16)
    assert own.facts()["names"] == ["female", "male"]
    with pytest.raises(ValueError, match="has no class glad: it has male, female"):
        labelled_data(rooms / "utk", column="gender", classes=["glad", "male"], image_size=16)
