"""`pack clean` writes a copy without what is wrong, joins who is one, and lists what it did."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from transface.__main__ import main
from transface.packs.check import CheckReport, check_pack
from transface.packs.clean import clean_pack, joined, plan_cleaning
from transface.packs.operations import open_pack
from transface.packs.overlap import strangers


@pytest.fixture
def pack(tmp_path: Path, make_pack: Callable[..., Path], make_jpeg: Callable[..., bytes]) -> Path:
    """Four people: an equal image within one, an equal image across two, a broken one."""
    payloads = {1: make_jpeg(0), 5: make_jpeg(2), 7: b"no picture"}
    return make_pack(tmp_path / "pack", [0, 0, 1, 1, 2, 2, 3, 3, 3], payloads=payloads)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_cleaned_copy_is_clean_and_says_what_was_done(pack: Path, tmp_path: Path) -> None:
    assert main(["pack", "clean", str(pack), str(tmp_path / "out"), "--threads", "1"]) == 0
    cleaned = open_pack(tmp_path / "out")
    assert len(cleaned) == 5  # of nine: one equal within a person, two equal across people, one broken
    assert cleaned.labels.tolist() == [0, 1, 2, 3, 3]
    assert check_pack(tmp_path / "out", near_bits=0).is_clean
    listed = rows_of(tmp_path / "out" / "cleaned.csv")
    assert {(row["action"], row["key"]) for row in listed} == {("drop", key) for key in ("2", "3", "6", "8")}
    assert "equal images" in listed[0]["reason"]
    assert [row["name"] for row in rows_of(tmp_path / "out" / "identities.csv")] == ["0", "1", "2", "3"]


def test_people_are_joined_from_a_cosine_on_and_numbered_anew(pack: Path, tmp_path: Path) -> None:
    opened = open_pack(pack, on_bad_record="skip")
    report = check_pack(pack, keep_all=True, near_bits=0)
    likenesses = [(1, 3, 0.9), (2, 3, 0.7), (0, 2, 0.5)]
    cleaning = plan_cleaning(opened, report, merge_from=0.6, likenesses=likenesses)
    summary = clean_pack(opened, tmp_path / "out", cleaning)
    assert (summary.num_images, summary.num_identities) == (5, 2)
    joins = [row for row in rows_of(tmp_path / "out" / "cleaned.csv") if row["action"] == "join"]
    assert [(row["label"], row["new_label"]) for row in joins] == [("2", "1"), ("3", "1")]
    apart = plan_cleaning(opened, report, likenesses=likenesses)
    assert len(np.unique(apart.labels)) == 4


def test_people_of_a_test_set_strangers_and_small_people_go(pack: Path) -> None:
    opened = open_pack(pack, on_bad_record="skip")
    report = CheckReport(pack)
    report.add("overlap", "identity 3 looks like image 0", keys=(opened.key(6),), labels=(3,))
    cleaning = plan_cleaning(opened, report, strangers=[(0, "a stranger")], min_images=2)
    assert sorted(set(cleaning.labels.tolist())) == [1, 2]
    reasons = {action.key: action.reason for action in cleaning.actions}
    assert reasons[opened.key(0)] == "a stranger"
    assert "fewer than 2 images" in reasons[opened.key(1)]
    with pytest.raises(ValueError, match="nothing is left"):
        plan_cleaning(opened, report, min_images=9)


def test_near_duplicates_go_only_when_asked(pack: Path) -> None:
    opened, report = open_pack(pack, on_bad_record="skip"), CheckReport(pack)
    report.add("near_duplicate", "look the same", keys=(opened.key(2), opened.key(3)), labels=(1, 1))
    assert len(plan_cleaning(opened, report).kept) == len(opened)
    assert 3 not in plan_cleaning(opened, report, near_duplicates=True).kept


def test_joining_goes_through_chains() -> None:
    assert joined(6, [(4, 5), (1, 4), (0, 2)]).tolist() == [0, 1, 0, 3, 1, 1]


def test_strangers_are_those_least_like_the_others_of_their_person() -> None:
    vectors = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.2], [0.0, 1.0], [0.1, 1.0]]), dim=1
    )

    class Faces:
        def __getitems__(self, places: list[int]) -> object:
            return type("Batch", (), {"images": vectors[places]})()

    found = strangers(Faces(), lambda images: images, labels=np.array([0, 0, 0, 1, 1]), below=0.5)
    assert found[0][0] == 2
    assert all(place < 3 for place, _ in found)


def test_what_needs_a_model_says_so_and_nothing_is_overwritten(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", "clean", str(pack), str(tmp_path / "out"), "--merge", "0.6"]) == 2
    assert "--merge needs --checkpoint" in capsys.readouterr().err
    assert main(["pack", "clean", str(pack), str(pack)]) == 2
