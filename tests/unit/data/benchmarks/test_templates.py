"""The IJB text files are read as a line-by-line reader would, whatever their spacing, and what is wrong in them is
named.
"""

from pathlib import Path

import numpy as np
import pytest

from transface.data.benchmarks.templates import read_subject_list, read_template_pairs, read_template_set


def write_meta(root: Path, *, members: str, landmarks: str, pairs: str, name: str = "ijbc") -> Path:
    (root / "meta").mkdir(parents=True)
    (root / "meta" / f"{name}_face_tid_mid.txt").write_text(members)
    (root / "meta" / f"{name}_name_5pts_score.txt").write_text(landmarks)
    (root / "meta" / f"{name}_template_pair_label.txt").write_text(pairs)
    return root


def landmark_line(image: str, first: float) -> str:
    return " ".join([image, *(f"{first + i:.3f}" for i in range(10)), "0.9\n"])


def small_protocol(root: Path, **changes: str) -> Path:
    parts = {
        "members": "a.jpg 1 10\nb.jpg 1 10\nc.jpg 22 11\n",
        "landmarks": landmark_line("a.jpg", 0) + landmark_line("b.jpg", 20) + landmark_line("c.jpg", 40),
        "pairs": "1 22 0\n22 22 1\n",
    }
    return write_meta(root, **(parts | changes))


def test_a_protocol_is_read_whole(tmp_path: Path) -> None:
    protocol = read_template_set(small_protocol(tmp_path))
    assert protocol.images == ["a.jpg", "b.jpg", "c.jpg"]
    assert protocol.template_ids.tolist() == [1, 1, 22]
    assert protocol.media_ids.tolist() == [10, 10, 11]
    assert protocol.landmarks[1, 4].tolist() == [28, 29]
    assert protocol.detector_scores.tolist() == pytest.approx([0.9] * 3)
    assert protocol.pair_templates.tolist() == [[1, 22], [22, 22]]
    assert protocol.pair_is_same.tolist() == [False, True]
    with pytest.raises(FileNotFoundError, match="no image folder"):
        protocol.require_images()
    (tmp_path / "loose_crop").mkdir()
    for name in ("a.jpg", "c.jpg"):
        (tmp_path / "loose_crop" / name).touch()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 images are not in .* the first is b.jpg"):
        protocol.require_images()


def test_landmarks_in_another_order_are_matched_by_name(tmp_path: Path) -> None:
    lines = (
        landmark_line("c.jpg", 40) + landmark_line("x.jpg", 99) + landmark_line("a.jpg", 0) + landmark_line("b.jpg", 20)
    )
    protocol = read_template_set(small_protocol(tmp_path, landmarks=lines))
    assert protocol.landmarks[:, 0, 0].tolist() == [0, 20, 40]


def test_a_template_of_a_huge_number_takes_no_memory(tmp_path: Path) -> None:
    protocol = read_template_set(
        small_protocol(tmp_path, members=f"a.jpg 1 10\nb.jpg {1 << 60} {1 << 60}\nc.jpg 22 11\n")
    )
    assert protocol.template_ids.tolist() == [1, 1 << 60, 22]


@pytest.mark.parametrize(
    "style", ["plain", "tabs", "no last newline", "carriage returns", "double spaces", "blank lines"]
)
def test_pairs_are_read_in_any_spacing(tmp_path: Path, style: str) -> None:
    random = np.random.default_rng(0)
    ids = np.floor(10 ** (random.random((300, 2)) * 8)).astype(int)
    same = random.random(300) < 0.3
    text = "".join(f"{a} {b} {int(s)}\n" for (a, b), s in zip(ids, same, strict=True))
    if style == "no last newline":
        text = text[:-1]
    swap = {
        "tabs": (" ", "\t"),
        "carriage returns": ("\n", "\r\n"),
        "double spaces": (" ", "  "),
        "blank lines": ("\n", "\n\n"),
    }
    path = tmp_path / "pairs.txt"
    path.write_bytes(text.replace(*swap.get(style, ("\n", "\n"))).encode())
    pairs = read_template_pairs(path)
    np.testing.assert_array_equal(pairs.templates, ids)
    np.testing.assert_array_equal(pairs.is_same, same)
    assert pairs.templates.dtype == np.int32


@pytest.mark.parametrize(
    "line", ["1 2", "1 2 3", "1 2 1 4", "-1 2 1", "1 x 1", "1.5 2 1", "1_0 2 1", "1 2 11", "1,2,1", "é 2 1"]
)
def test_a_malformed_pair_is_named_by_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(f"1 2 1\n{line}\n3 4 0\n")
    with pytest.raises(ValueError, match="line 2: want 'template template label'"):
        read_template_pairs(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": "1 22 0\n1 23 1\n"}, r"1 pairs name a template without images, the first is line 2: \[1, 23\]"),
        ({"pairs": ""}, "is empty"),
        ({"members": ""}, "is empty"),
        ({"members": "a.jpg 1\n"}, "line 1: want 'image template media'"),
        ({"members": "a.jpg 1 x\n"}, "line 1: want 'image template media', got 'a.jpg 1 x'"),
        ({"members": "a.jpg 1 99999999999999999999\n"}, "out of range"),
        ({"members": "a.jpg -1 2\n"}, "must not be negative"),
        ({"members": "d.jpg 1 10\nc.jpg 22 11\n"}, "1 images have a template but no landmarks .* d.jpg"),
        ({"landmarks": "a.jpg 1 2 3\n"}, "line 1: want 'image, five x y"),
        (
            {"landmarks": landmark_line("a.jpg", 0).replace("0.9", "nine")},
            "line 1: want 'image, five x y, detector score', got .* nine'",
        ),
        ({"landmarks": landmark_line("a.jpg", 0).replace("0.9", "nan")}, "NaN"),
    ],
)
def test_a_broken_protocol_is_refused(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_template_set(small_protocol(tmp_path, **changes))


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no ijbb_face_tid_mid.txt"):
        read_template_set(small_protocol(tmp_path), "ijbb")


def test_subjects_are_read_once_per_template(tmp_path: Path) -> None:
    path = tmp_path / "gallery.csv"
    path.write_text("TEMPLATE_ID,SUBJECT_ID,FILENAME\n5,1,a\n5,1,b\n6,2,c\n")
    subjects = read_subject_list(path)
    assert subjects.template_ids.tolist() == [5, 6]
    assert subjects.subject_ids.tolist() == [1, 2]
    path.write_text("TEMPLATE_ID,SUBJECT_ID\n5,1\n5,2\n")
    with pytest.raises(ValueError, match="line 3: template 5 has subjects 1 and 2"):
        read_subject_list(path)
    path.write_text("TEMPLATE_ID,SUBJECT_ID\n5,\n")
    with pytest.raises(ValueError, match="line 2: want"):
        read_subject_list(path)
    path.write_text("TEMPLATE_ID,SUBJECT_ID\n")
    with pytest.raises(ValueError, match="lists no templates"):
        read_subject_list(path)
    with pytest.raises(FileNotFoundError, match="1:N protocol needs it"):
        read_subject_list(tmp_path / "absent.csv")
