"""Embedding gives what a plain loop gives, leaves the network and the random state as they were, and resumes from its
cache.
"""

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.io import encode_png

from transface.backbones.parts.evaluating import evaluating
from transface.evaluation.embedding.cache import EmbeddingCache
from transface.evaluation.embedding.embedder import Embedder
from transface.images.files import list_images
from transface.images.sources import EncodedImages, FaceFiles


def encoded(faces: Any, count: int = 23) -> list[bytes]:
    return [encode_png(image).numpy().tobytes() for image in faces(count, 1)[:, 0]]


def test_embeddings_are_those_of_a_plain_loop(backbone: Any, faces: Any) -> None:
    source = EncodedImages("made", encoded(faces))
    found = Embedder(backbone, batch_size=5, num_workers=3, progress=False).embed(source)
    with evaluating(backbone), torch.no_grad():
        pixels = faces(23, 1)[:, 0].float() / 127.5 - 1
        original, mirrored = backbone(pixels).embedding, backbone(pixels.flip(-1)).embedding
    np.testing.assert_allclose(found.original, original, atol=1e-4)
    np.testing.assert_allclose(found.mirrored, mirrored, atol=1e-4)
    expected = torch.nn.functional.normalize(original + mirrored)
    np.testing.assert_allclose(found.unit(), expected, atol=1e-5)
    np.testing.assert_allclose(found.unit(flip=False), torch.nn.functional.normalize(original), atol=1e-5)


def test_the_batch_size_changes_nothing(backbone: Any, faces: Any) -> None:
    source = EncodedImages("made", encoded(faces, 9))
    whole = Embedder(backbone, batch_size=64, progress=False).embed(source)
    for size in (1, 4, 9):
        np.testing.assert_allclose(
            Embedder(backbone, batch_size=size, progress=False).embed(source).unit(), whole.unit(), atol=1e-6
        )


def test_mode_of_every_part_and_random_state_are_left(backbone: Any, faces: Any) -> None:
    backbone.train()
    backbone.frozen.eval()
    state = torch.get_rng_state()
    Embedder(backbone, progress=True).embed(EncodedImages("made", encoded(faces, 4)))
    assert torch.equal(torch.get_rng_state(), state)
    assert backbone.training
    assert backbone.drop.training
    assert not backbone.frozen.training
    assert backbone.linear.weight.grad is None


def test_bfloat16_is_near(backbone: Any, faces: Any) -> None:
    source = EncodedImages("made", encoded(faces, 6))
    near = Embedder(backbone, precision="bf16", progress=False).embed(source)
    assert near.original.dtype == np.float32
    cosines = (near.unit() * Embedder(backbone, progress=False).embed(source).unit()).sum(1)
    assert cosines.min() > 0.999
    assert cosines.min() < 1 - 1e-9


class StopsAt(EncodedImages):
    """A source that fails at one image, as a run that is stopped does."""

    def __init__(self, name: str, images: list[bytes], fail_at: int) -> None:
        super().__init__(name, images)
        self.fail_at = fail_at

    def read(self, indices: Sequence[int], size: tuple[int, int]) -> Tensor:
        if self.fail_at in indices:
            raise KeyboardInterrupt
        return super().read(indices, size)


def test_a_stopped_embedding_goes_on_where_it_was(backbone: Any, faces: Any, tmp_path: Path) -> None:
    images = encoded(faces)
    embedder = Embedder(
        backbone, batch_size=4, num_workers=1, cache=tmp_path, checkpoint_hash="ab" * 32, progress=False
    )
    with pytest.raises(KeyboardInterrupt):
        embedder.embed(StopsAt("made", images, fail_at=13))
    done = backbone.num_images // 2
    assert 0 < done <= 12
    found = embedder.embed(EncodedImages("made", images))
    assert backbone.num_images // 2 == len(images)
    np.testing.assert_allclose(
        found.unit(), Embedder(backbone, progress=False).embed(EncodedImages("made", images)).unit(), atol=1e-6
    )
    before = backbone.num_images
    again = embedder.embed(EncodedImages("made", images))
    assert backbone.num_images == before
    np.testing.assert_array_equal(again.original, found.original)
    assert isinstance(again.original.base, np.memmap)


def test_a_cache_of_other_images_is_refused(backbone: Any, faces: Any, tmp_path: Path) -> None:
    images = encoded(faces, 4)
    settings = {"batch_size": 4, "cache": tmp_path, "progress": False}
    Embedder(backbone, checkpoint_hash="ab", **settings).embed(EncodedImages("made", images))
    with pytest.raises(ValueError, match="was made of another image list"):
        Embedder(backbone, checkpoint_hash="ab", **settings).embed(EncodedImages("made", images[::-1]))
    with pytest.raises(ValueError, match="was made of other settings"):
        Embedder(backbone, checkpoint_hash="ab", precision="bf16", **settings).embed(EncodedImages("made", images))
    with pytest.raises(ValueError, match=r"was made of other settings .*averaged"):
        Embedder(backbone, checkpoint_hash="ab", model_settings={"averaged": False}, **settings).embed(
            EncodedImages("made", images)
        )
    before = backbone.num_images
    Embedder(backbone, checkpoint_hash="cd", **settings).embed(EncodedImages("made", images[::-1]))
    assert backbone.num_images == before + 8, "another checkpoint's cache is another file"
    with pytest.raises(ValueError, match="needs the checkpoint's hash"):
        Embedder(backbone, **settings).embed(EncodedImages("made", images))


def test_a_cache_without_its_note_is_made_anew(tmp_path: Path) -> None:
    key: dict[str, Any] = {"checkpoint_hash": "ab", "image_hash": "x", "shape": (4, 2, 3), "settings": {}}
    cache = EmbeddingCache(tmp_path, "made", **key)
    cache.write(0, np.ones((4, 2, 3), np.float32))
    assert EmbeddingCache(tmp_path, "made", **key).num_done == 4
    cache.note_path.unlink()
    assert EmbeddingCache(tmp_path, "made", **key).num_done == 0
    for text in ("{", "[1]", "{}"):
        cache.note_path.write_text(text)
        with pytest.raises(ValueError, match="is not the note of a cache"):
            EmbeddingCache(tmp_path, "made", **key)
    for count in (5, -1):
        cache.note_path.write_text(json.dumps({**cache.key, "num_done": count}))
        with pytest.raises(ValueError, match=f"says that {count} of 4 rows are done: delete it"):
            EmbeddingCache(tmp_path, "made", **key)


def test_a_cache_notes_what_is_done_twice_a_minute(tmp_path: Path) -> None:
    key: dict[str, Any] = {"checkpoint_hash": "ab", "image_hash": "x", "shape": (9, 2, 3), "settings": {}}
    now = [0.0]
    cache = EmbeddingCache(tmp_path, "made", **key, clock=lambda: now[0])
    noted = []
    for start in range(8):
        now[0] += 11.0
        cache.write(start, np.ones((1, 2, 3), np.float32))
        noted.append(EmbeddingCache(tmp_path, "made", **key).num_done)  # what a run after a kill finds
    assert noted == [0, 0, 3, 3, 3, 6, 6, 6]


def test_a_cache_takes_its_room_before_anything_is_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        EmbeddingCache(tmp_path, "made", checkpoint_hash="ab", image_hash="x", shape=(9, 2, 3), settings={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [lambda old: old[:-4], lambda old: old + b"0", lambda _: b"", lambda _: b"no array at all, whatever it is"],
)
def test_a_broken_cache_is_refused_and_never_filled_up_with_zeros(tmp_path: Path, change: Any) -> None:
    key: dict[str, Any] = {"checkpoint_hash": "ab", "image_hash": "x", "shape": (4, 2, 3), "settings": {}}
    cache = EmbeddingCache(tmp_path, "made", **key)
    cache.write(0, np.ones((4, 2, 3), np.float32))
    broken = change(cache.path.read_bytes())
    cache.path.write_bytes(broken)
    with pytest.raises(ValueError, match="is broken: delete it"):
        EmbeddingCache(tmp_path, "made", **key)
    assert cache.path.read_bytes() == broken


def test_files_are_embedded_as_the_same_bytes(backbone: Any, faces: Any, tmp_path: Path) -> None:
    images = encoded(faces, 5)
    (tmp_path / "deep").mkdir()
    for number, image in enumerate(images):
        (tmp_path / "deep" / f"{number}.png").write_bytes(image)
    (tmp_path / "notes.txt").touch()
    paths = list_images(tmp_path).paths
    assert [path.name for path in paths] == [f"{i}.png" for i in range(5)]
    source = FaceFiles("made", paths)
    embedder = Embedder(backbone, progress=False)
    np.testing.assert_array_equal(embedder.embed(source).unit(), embedder.embed(EncodedImages("made", images)).unit())
    assert source.thumbnail(2) == images[2]
    old = source.fingerprint()
    paths[3].write_bytes(images[3] + b"\0")
    assert FaceFiles("made", paths).fingerprint() != old
    paths[3].unlink()
    with pytest.raises(FileNotFoundError, match=r"no image .*3\.png"):
        embedder.embed(source)
    with pytest.raises(FileNotFoundError, match="no folder"):
        list_images(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no images in .*empty"):
        list_images(tmp_path / "empty")


def test_bad_input_is_refused(backbone: Any, faces: Any) -> None:
    images = encoded(faces, 3)
    embedder = Embedder(backbone, progress=False)
    with pytest.raises(ValueError, match="image 1 of made cannot be decoded"):
        embedder.embed(EncodedImages("made", [images[0], b"nonsense", images[2]]))
    small = encode_png(torch.zeros(3, 96, 112, dtype=torch.uint8)).numpy().tobytes()
    with pytest.raises(ValueError, match="must be 112x112, got 96x112"):
        embedder.embed(EncodedImages("made", [images[0], small]))
    with pytest.raises(ValueError, match="holds no images"):
        embedder.embed(EncodedImages("made", []))
    with pytest.raises(ValueError, match="precision must be"):
        Embedder(backbone, precision="16")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        Embedder(backbone, batch_size=0)
    with torch.no_grad():
        backbone.linear.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="3 of 3 embeddings are NaN"):
        embedder.embed(EncodedImages("made", images)).unit()
