"""A report file is there whole or not at all."""

from pathlib import Path

import pytest

from transface.reports.reading.files import media_type, suffix_of, write_whole


def test_a_file_is_written_into_a_folder_that_was_not_there(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "a" / "b.txt", b"x")
    assert path.read_bytes() == b"x"
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "b.txt", b"old")
    with pytest.raises(TypeError):
        write_whole(tmp_path / "b.txt", "text")  # type: ignore[arg-type]
    assert (tmp_path / "b.txt").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_pictures_are_told_by_their_first_bytes(make_face) -> None:
    assert (suffix_of(make_face(0)), media_type(make_face(0))) == (".jpg", "image/jpeg")
    assert (suffix_of(b"\x89PNG\r\n"), media_type(b"\x89PNG\r\n")) == (".png", "image/png")
