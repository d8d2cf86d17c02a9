"""A warning is given once a process, by its sentence; so is all that is said of a set each time it is opened."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from transface.data.benchmarks.pairs_txt import read_pairs_txt
from transface.data.labels.attributes import CELEBA_NAMES
from transface.data.sources.attributes.opening import open_attributes
from transface.data.sources.face_labels import open_label_files
from transface.data.sources.image_files import open_folder, open_list
from transface.told_once import is_first_search, warn_once

logger = logging.getLogger(__name__)


def test_a_sentence_is_told_once_and_another_count_is_another_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for count in (1, 1, 2, 1, 2):
        warn_once(logger, "%s: %d images", tmp_path, count)
    assert caplog.messages == [f"{tmp_path}: 1 images", f"{tmp_path}: 2 images"]
    assert {record.filename for record in caplog.records} == {Path(__file__).name}  # not that of the helper


def test_what_nobody_could_hear_is_told_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logging.disable(logging.WARNING)
    try:
        warn_once(logger, "%s is not whole", tmp_path)
    finally:
        logging.disable(logging.NOTSET)
    assert not caplog.messages
    warn_once(logger, "%s is not whole", tmp_path)
    assert caplog.messages == [f"{tmp_path} is not whole"]


def test_a_search_is_made_once_a_topic_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_first_search("images", "set")
    assert not is_first_search("images", tmp_path / "set")
    assert is_first_search("people", "set")


def write(root: Path, *images: str, **lists: str) -> None:
    """Write images, each of its name alone, and texts under the names of `lists`."""
    for name, text in [*((image, image) for image in images), *lists.items()]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def list_of_people(root: Path) -> None:
    write(root, "a.jpg", "b.jpg", "c.jpg", **{"list.csv": "path,label\na.jpg,0\nb.jpg,900\na.jpg,0\n"})
    open_list(root / "list.csv")


def folder_of_people(root: Path) -> None:
    write(root, "ann/1.jpg", "ann/2.gif", "bob/1.jpg", "loose.jpg")
    open_folder(root)


def photographs(root: Path) -> None:
    write(root, "adults/20_0_0_1.jpg", "children/5_1_0_2.jpg", "70_0_0_3.jpg")
    open_label_files(root)


def table(root: Path) -> None:
    rows = ["path,identity,split,Smiling,Young", "a.jpg,x,train,1,0", "b.jpg,x,test,-1,1", "a.jpg,x,train,1,0"]
    write(root, "a.jpg", "b.jpg", "c.jpg", **{"t.csv": "\n".join(rows)})
    open_attributes(root / "t.csv")


def celeba(root: Path) -> None:
    rows = ["9", " ".join(CELEBA_NAMES), *(f"{name}.jpg {' '.join(['1'] * 40)}" for name in "ab")]
    write(root, "images/a.jpg", "images/b.jpg", "images/c.jpg")
    write(root, **{"list_attr_celeba.txt": "\n".join(rows), "list_eval_partition.txt": "a.jpg 0\nb.jpg 2\n"})
    open_attributes(root, val_identity_share=0)


def pairs(root: Path) -> None:
    write(root, "ann/1.jpg", "ann/2.jpg", **{"pairs.txt": "ann 1 1\nann 1 2\nann 2 1\n"})
    read_pairs_txt(root / "pairs.txt", root)


@pytest.mark.parametrize(
    ("open_it", "num_sentences"),
    [(list_of_people, 3), (folder_of_people, 2), (photographs, 2), (table, 4), (celeba, 2), (pairs, 2)],
)
def test_a_set_that_is_opened_again_tells_nothing_again(
    open_it: Callable[[Path], Any], num_sentences: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        open_it(tmp_path)
    assert len(caplog.messages) == len(set(caplog.messages)) == num_sentences
