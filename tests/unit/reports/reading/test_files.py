"""An encoded image is told by how it begins."""

from transface.reports.reading.files import media_type, suffix_of


def test_pictures_are_told_by_their_first_bytes(make_face) -> None:
    assert (suffix_of(make_face(0)), media_type(make_face(0))) == (".jpg", "image/jpeg")
    assert (suffix_of(b"\x89PNG\r\n"), media_type(b"\x89PNG\r\n")) == (".png", "image/png")
