"""Published figures stand beside results of the same set only, as the specification quotes them."""

import pytest

from transface.reports.reading.published import read_published
from transface.reports.recognition.published import (
    known_set,
    not_comparable,
    published_figure,
    published_rows,
)

FARS = ("1e-06", "1e-05", "1e-04", "1e-03", "1e-02", "1e-01")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("lfw", "lfw"),
        ("LFW", "lfw"),
        ("cfp_fp", "cfp_fp"),
        ("CFP-FP", "cfp_fp"),
        ("agedb_30", "agedb_30"),
        ("AgeDB-30", "agedb_30"),
        ("lfw_view1_test", ""),
        ("calfw", ""),
        ("easy", ""),
    ],
)
def test_sets_are_known_by_their_usual_names(make_result, name: str, known: str) -> None:
    assert known_set(make_result(name)) == known


def test_the_row_of_transface_l_on_glint360k(make_result) -> None:
    (row,) = [row for row in read_published("recognition") if row.label == "TransFace-L, Glint360K"]
    ijbc = make_result("anything", protocol="ijbc", mode="N1D1F1")
    tar = [
        published_figure(row, ijbc, f"tar@far={far}/nearest")
        for far in ("1e-06", "1e-05", "1e-04", "1e-03", "1e-02", "1e-01")
    ]
    assert tar == pytest.approx([0.8971, 0.9629, 0.9761, 0.9826, 0.9864, 0.9919])
    assert published_figure(row, ijbc, "tar@far=1e-04/strict") is None
    sets = [published_figure(row, make_result(name), "accuracy") for name in ("lfw", "cfp_fp", "agedb_30")]
    assert sets == pytest.approx([0.9985, 0.9932, 0.9862])


def test_rows_without_a_figure_of_the_set_are_left_out(make_result) -> None:
    assert "TransFace-S, MS1MV2" not in [row.label for row in published_rows(make_result("lfw"))]
    assert len(published_rows(make_result("x", protocol="ijbc"))) == 9
    assert published_rows(make_result("easy")) == ()


def test_another_size_or_mode_is_said(make_result) -> None:
    assert "6,000 pairs" in not_comparable(make_result("lfw", pairs=600))
    assert not_comparable(make_result("lfw", pairs=6000)) == ""
    assert "N0D1F1" in not_comparable(make_result("a", protocol="ijbc", mode="N0D1F1", counts={}))
    assert not_comparable(make_result("easy")) == ""
