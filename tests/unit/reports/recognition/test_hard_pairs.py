"""Hard pairs are shown with their own thumbnails, with images given, or with those of the pair set they are of."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from transface.data.benchmarks.pairs import write_pair_set
from transface.evaluation.results import Provenance, read_result, write_result
from transface.reports.page.contact_sheet import beside, contact_sheet
from transface.reports.recognition.hard_pairs import encoded, galleries


def test_thumbnails_come_back_from_disk(tmp_path: Path, make_result) -> None:
    result = read_result(write_result(make_result(), tmp_path))
    genuine, impostor = galleries(result, label="demo", stem="easy")
    assert genuine.stem == "easy_genuine"
    assert "same person" in genuine.caption
    assert "demo" in genuine.caption
    assert len(genuine.pairs) == len(impostor.pairs) == 6
    assert all(image.startswith(b"\xff\xd8") for pair in genuine.pairs for image in pair.images)
    assert genuine.pairs[0].caption == f"{result.hardest_genuine[0].score:.3f}, pair {result.hardest_genuine[0].pair}"


def test_images_given_by_the_caller_are_taken_by_position(make_result, make_face) -> None:
    result = make_result(thumbnails=False)
    genuine, _ = galleries(result, label="a", stem="s", images=lambda position: make_face(position), limit=2)
    pair = result.hardest_genuine[0].pair
    assert genuine.pairs[0].images == (make_face(2 * pair), make_face(2 * pair + 1))
    assert len(genuine.pairs) == 2


def test_the_pair_set_of_the_config_is_read_if_it_still_holds_the_same_pairs(
    tmp_path: Path, make_result, make_face
) -> None:
    config = {"protocol": {"files": [str(tmp_path / "easy.bin")]}}
    result = replace(make_result(thumbnails=False, pairs=60), provenance=Provenance(config=config))
    assert galleries(result, label="a", stem="s") == []
    images = [make_face(index) for index in range(120)]
    write_pair_set(tmp_path / "easy.bin", images, result.arrays["is_same"])
    genuine, _ = galleries(result, label="a", stem="s")
    assert bytes(genuine.pairs[0].images[0]) == images[2 * result.hardest_genuine[0].pair]
    write_pair_set(tmp_path / "easy.bin", images, ~result.arrays["is_same"])
    assert galleries(result, label="a", stem="s") == []


def test_a_pair_without_any_picture_is_no_gallery(make_result) -> None:
    assert galleries(make_result(thumbnails=False), label="a", stem="s") == []
    assert galleries(make_result(hardest_genuine=(), hardest_impostor=()), label="a", stem="s") == []


def test_a_contact_sheet_shows_every_pair(make_result) -> None:
    genuine, _ = galleries(make_result(), label="a", stem="s")
    figure = contact_sheet(genuine)
    assert sum(len(ax.get_images()) for ax in figure.axes) == 6


def test_arrays_are_encoded_and_a_missing_face_is_grey(make_face) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    assert encoded(pixels).startswith(b"\x89PNG")
    assert encoded(np.frombuffer(make_face(1), np.uint8)) == make_face(1)
    assert encoded(None) == b""
    sheet = beside((make_face(0), b""), size=10)
    assert sheet.shape == (10, 24, 3)
    assert (sheet[:, -10:] == 200).all()
