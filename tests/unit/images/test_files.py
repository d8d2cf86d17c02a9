"""Pictures of a folder: those of kinds that are not read are counted, never passed over in silence."""

import logging
import re
from pathlib import Path

import pytest
import torch
from torchvision.io import encode_jpeg

from transface.data.sources.picture_list import open_pictures
from transface.images.decoding import ImageError, decode_images
from transface.images.files import list_images, require_images


def test_pictures_of_other_kinds_are_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.jpg", "sub/b.PNG", "c.gif", "sub/d.HEIC", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = list_images(tmp_path)
    assert (found.names, found.unread) == (["a.jpg", "sub/b.PNG"], ("c.gif", "sub/d.HEIC"))
    with caplog.at_level(logging.WARNING):
        open_pictures(tmp_path)
    (line,) = caplog.messages
    assert ": 2, c.gif the first" in line


def test_a_torn_jpeg_is_told_without_the_decoder_s_own_paths() -> None:
    noise = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torn = encode_jpeg(noise).numpy().tobytes()[:-900]
    with pytest.raises(ImageError) as told:
        decode_images([torn])
    assert "truncated" in str(told.value)
    assert ".cpp" not in str(told.value)


def test_missing_images_of_a_list_are_told_with_their_number_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    require_images(tmp_path, ["a.jpg"], source="x.csv")
    with pytest.raises(FileNotFoundError, match=rf"^b\.jpg of x\.csv is not in {re.escape(str(tmp_path))}: fetch it$"):
        require_images(tmp_path, ["a.jpg", "b.jpg"], source="x.csv", hint="fetch it")
    with pytest.raises(FileNotFoundError, match=r"^b\.jpg and 1 more of x\.csv are not in"):
        require_images(tmp_path, ["b.jpg", "c.jpg"], source="x.csv")
