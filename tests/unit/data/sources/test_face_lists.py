"""The lists that Faceptor was trained from, on made-up data in their forms."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from transface.data.labels.attributes import CELEBA_NAMES
from transface.data.sources.attributes.opening import open_attributes
from transface.data.sources.face_labels import open_label_files
from transface.data.sources.face_lists import SEVEN
from transface.synthetic.world.label_forms import Faces, known_faces
from transface.synthetic.world.photographs import EXPRESSIONS, attributes_of
from transface.synthetic.world.sets import FORMS


@pytest.fixture(scope="module")
def faces() -> Faces:
    return known_faces(30, seed=2)


@pytest.mark.parametrize("name", ["morph2", "utkface"])
def test_ages_are_read_in_true_years_with_their_splits(name: str, faces: Faces, tmp_path: Path) -> None:
    FORMS[name](tmp_path, faces)
    found = open_label_files(tmp_path)
    ages = found.labels["age"].take(range(len(found.paths)))
    order = [*faces.of("train", "val"), *faces.of("test")]
    assert ages.tolist() == faces.album.ages[order].astype(int).tolist()
    assert found.split.tolist() == ["train"] * len(faces.of("train", "val")) + ["test"] * len(faces.of("test"))


@pytest.mark.parametrize("name", ["affectnet", "rafdb", "ferplus"])
def test_expressions_are_read_in_one_order_of_seven(name: str, faces: Faces, tmp_path: Path) -> None:
    FORMS[name](tmp_path, faces)
    found = open_label_files(tmp_path)
    labels = found.labels["expression"]
    assert labels.names == SEVEN == EXPRESSIONS  # type: ignore[attr-defined]
    places = [int("".join(c for c in Path(path).stem if c.isdigit())) - (name == "rafdb") for path in found.paths]
    assert labels.take(range(len(places))).tolist() == faces.album.expressions[places].tolist()
    assert len(places) >= 28  # AffectNet's contempt is left out


def test_attributes_of_a_pickle_are_read_with_their_splits(faces: Faces, tmp_path: Path) -> None:
    FORMS["celeba"](tmp_path, faces)
    found = open_attributes(tmp_path)
    assert found.labels.names == CELEBA_NAMES
    assert np.array_equal(found.labels.values, (attributes_of(faces.album) + 1) // 2)
    assert [("train", "val", "test")[split] for split in found.splits] == faces.splits.tolist()


def test_a_pickle_that_names_code_is_refused_and_nothing_of_it_runs(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple:
            return print, ("harm",)

    (tmp_path / "label.pkl").write_bytes(pickle.dumps({"image_name": Harm()}))
    with pytest.raises(ValueError, match=r"it names builtins\.print"):
        open_attributes(tmp_path)


def test_a_torn_line_and_a_missing_image_are_named(faces: Faces, tmp_path: Path) -> None:
    FORMS["morph2"](tmp_path, faces)
    listed = tmp_path / "label" / "RANDOM_80_20" / "test.txt"
    listed.write_text("gone.jpg 31\n")
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg of the lists"):
        open_label_files(tmp_path)
    listed.write_text("gone.jpg old\n")
    with pytest.raises(ValueError, match="line 1 must be a path and a number"):
        open_label_files(tmp_path)
