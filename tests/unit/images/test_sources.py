"""What is kept from image files belongs to these very files."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transface.images.sources import FaceFiles, hash_files


def save(path: Path, seed: int) -> Path:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize("ending", ["bmp", "png"])
def test_files_that_change_places_are_other_files(tmp_path: Path, ending: str) -> None:
    """All BMPs of one size have as many bytes: names and sizes alone would tell nothing (case F1)."""
    paths = [save(tmp_path / f"{name}.{ending}", seed) for seed, name in enumerate("ab")]
    stamp = (1_700_000_000_000_000_000,) * 2
    for path in paths:
        os.utime(path, ns=stamp)  # as if both were written at one time
    before = FaceFiles("made", paths).fingerprint()
    paths[0].rename(tmp_path / "c")
    paths[1].rename(paths[0])
    (tmp_path / "c").rename(paths[1])
    assert FaceFiles("made", paths).fingerprint() != before


def test_a_file_written_over_with_its_old_time_is_another(tmp_path: Path) -> None:
    path = save(tmp_path / "a.bmp", 0)
    state, before = path.stat(), hash_files([str(path)])
    save(path, 1)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert hash_files([str(path)]) != before


def test_the_fit_belongs_to_what_is_kept(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", 0)
    assert FaceFiles("made", [path]).fingerprint() != FaceFiles("made", [path], fit="letterbox").fingerprint()
    assert FaceFiles("made", [path]).fingerprint() == FaceFiles("other name", [path]).fingerprint()


def test_a_page_is_given_only_what_it_shows(tmp_path: Path) -> None:
    bmp = save(tmp_path / "a.bmp", 0)
    assert FaceFiles("made", [bmp]).thumbnail(0)[:4] == b"\x89PNG"
    png = save(tmp_path / "a.png", 0)
    assert FaceFiles("made", [png]).thumbnail(0) == png.read_bytes()
