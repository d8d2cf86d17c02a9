"""An image named again counts once and is told; one of which two things are said has no label, in every form."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transface.data.labels.attributes import CELEBA_NAMES
from transface.data.lists.repeated_names import first_of_each
from transface.data.sources.attributes.opening import open_attributes
from transface.data.sources.face_labels import open_label_files
from transface.data.sources.image_files import PathTable, open_list


def naive_repeats(names: list[str], said: list[Any]) -> tuple[list[int], set[str]]:
    """Return the places of first mention, and the names of which two things are said."""
    first: dict[str, int] = {}
    kept, two = [], set()
    for place, name in enumerate(names):
        if name not in first:
            first[name] = place
            kept.append(place)
        elif said[place] != said[first[name]]:
            two.add(name)
    return kept, two


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_labels", [1, 3])
def test_repeats_are_those_of_a_plain_loop(seed: int, num_labels: int) -> None:
    draw = np.random.default_rng(seed)
    names = [f"{number}.jpg" for number in draw.integers(0, 30, 60)]
    said = draw.integers(0, num_labels, 60)
    kept, two = naive_repeats(names, said.tolist())
    if two:
        with pytest.raises(ValueError, match=f"({'|'.join(two)}) twice, and says two things of it"):
            first_of_each(names, [said], where="list")
    else:
        assert first_of_each(PathTable(names), [said], where="list").tolist() == kept


def test_unknown_numbers_are_the_same_and_ways_to_write_a_path_are_one() -> None:
    ages = np.array([np.nan, np.nan, 3.0])
    assert first_of_each(["a", "./a", "b"], [ages], where="list").tolist() == [0, 2]
    with pytest.raises(ValueError, match="a twice, as 0 and as 2"):
        first_of_each(["a", "b", "c/../a"], [ages], where="list", words=str)
    assert first_of_each([], [np.zeros(0)], where="list").tolist() == []


def people(path: Path, rows: list[tuple[str, str]]) -> Any:
    path.write_text("path,label\n" + "".join(f"{name},{word}\n" for name, word in rows))
    found = open_list(path)
    return [found.paths[place] for place in range(len(found))]


def expressions(path: Path, rows: list[tuple[str, str]]) -> Any:
    path.write_text("path,remark,expression\n" + "".join(f"{n},{k},{word}\n" for k, (n, word) in enumerate(rows)))
    return open_label_files(path).paths


def attributes(path: Path, rows: list[tuple[str, str]]) -> Any:
    path.write_text("path,identity,Smiling\n" + "".join(f"{n},,{int(word == 'happy')}\n" for n, word in rows))
    return open_attributes(path, val_identity_share=0).paths


def owners(path: Path, rows: list[tuple[str, str]]) -> Any:
    path.write_text("path,identity,Smiling\n" + "".join(f"{n},{word},1\n" for n, word in rows))
    return open_attributes(path, val_identity_share=0).paths


def splits(path: Path, rows: list[tuple[str, str]]) -> Any:
    said = {"happy": "train", "sad": "test"}
    path.write_text("path,age,split\n" + "".join(f"{name},3,{said[word]}\n" for name, word in rows))
    return open_label_files(path).paths


@pytest.mark.parametrize("read", [people, expressions, attributes, owners, splits])
def test_every_list_counts_an_image_once_and_refuses_two_meanings(
    read: Callable[[Path, list[tuple[str, str]]], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for name in "abc":
        (tmp_path / f"{name}.jpg").touch()
    rows = [("a.jpg", "happy"), ("b.jpg", "sad"), ("a.jpg", "happy"), ("c.jpg", "sad"), ("./a.jpg", "happy")]
    for _ in range(2):
        assert read(tmp_path / "list.csv", rows) == ["a.jpg", "b.jpg", "c.jpg"]
    assert caplog.text.count("names 2 images again, such as a.jpg: each counts once") == 1
    with pytest.raises(ValueError, match=r"two\.csv names a\.jpg twice, .*keep one of the lines"):
        read(tmp_path / "two.csv", [*rows, ("a.jpg", "sad")])


def test_a_celeba_list_counts_an_image_once_among_the_others(tmp_path: Path) -> None:
    names = [f"{number:06d}.jpg" for number in (1, 2, 3)]
    (tmp_path / "images").mkdir()
    for name in names:
        (tmp_path / "images" / name).touch()
    rows = [f"{name} {' '.join(['1'] * 40)}" for name in [*names, names[0]]]
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(["4", " ".join(CELEBA_NAMES), *rows, ""]))
    (tmp_path / "list_eval_partition.txt").write_text("".join(f"{name} {k}\n" for k, name in enumerate(names)))
    found = open_attributes(tmp_path)
    assert found.paths == names
    assert found.splits.tolist() == [0, 1, 2]
