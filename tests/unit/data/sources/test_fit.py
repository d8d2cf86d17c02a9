"""Sources of images of other sizes: refused by default, else brought to the network's size as `fit` says."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.io import encode_jpeg

from transface.data.labels.expressions import ClassLabels
from transface.data.recordio.reader import RecordHeader, RecordWriter
from transface.data.sources.identity_pack import IdentityPack
from transface.data.sources.image_files import ImageFiles, PathTable
from transface.data.sources.labelled import LabelledImages
from transface.data.sources.source import SourceMix, open_source, open_sources
from transface.images.decoding import ImageError, decode_image
from transface.images.fit import ImageSizeError, fit_image
from transface.systems.recognition.datamodule import RecognitionData

SIZE = (112, 96)  # of the network
TALL = (160, 128)  # other proportions
ALIKE = (224, 192)  # twice the network's


def jpegs(size: tuple[int, int], count: int = 4) -> list[bytes]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 7, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    return [encode_jpeg((255 * one).to(torch.uint8)).numpy().tobytes() for one in smooth]


def write_folder(root: Path, images: list[bytes]) -> Path:
    for number, image in enumerate(images):
        path = root / f"person{number // 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    return root


def write_list(root: Path, images: list[bytes]) -> Path:
    write_folder(root, images)
    lines = [f"person{number // 2}/{number}.jpg,{number // 2}" for number in range(len(images))]
    (root / "list.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    return root / "list.csv"


def write_records(root: Path, images: list[bytes]) -> Path:
    root.mkdir()
    with RecordWriter(root / "a.rec") as writer:
        for number, image in enumerate(images):
            writer.write(number, RecordHeader(0, float(number // 2), number), image)
    lines = [f"{number}\t{number // 2}\t{number}.jpg" for number in range(len(images))]
    (root / "a.lst").write_text("\n".join(lines) + "\n")
    return root / "a.rec"


def write_shards(root: Path, images: list[bytes]) -> Path:
    root.mkdir()
    with tarfile.open(root / "0.tar", "w") as tar:
        for number, image in enumerate(images):
            for name, content in ((f"{number}.jpg", image), (f"{number}.cls", str(number // 2).encode())):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return root


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(params=["pack", "folder", "list", "records", "shards"])
def write(request: pytest.FixtureRequest, make_pack: Callable) -> Callable[[Path, list[bytes]], Path]:
    """Writes four images of two people in one of the forms."""

    def write_pack(root: Path, images: list[bytes]) -> Path:
        return make_pack(root, [0, 0, 1, 1], payloads=dict(enumerate(images)))

    writers: dict[str, Callable[[Path, list[bytes]], Path]] = {
        "pack": write_pack,
        "folder": write_folder,
        "list": write_list,
        "records": write_records,
        "shards": write_shards,
    }
    return writers[request.param]


def opened(write: Callable, root: Path, size: tuple[int, int], fit: Any) -> Any:
    path = write(root, jpegs(size))
    if (path / "property").is_file():
        (path / "property").write_text(f"2,{size[0]},{size[1]}\n")
    return open_source(path, image_size=SIZE, fit=fit)


@pytest.mark.parametrize("fit", ["letterbox", "center_crop", "stretch"])
def test_images_of_another_shape_are_fitted_as_everywhere_else(fit: Any, write: Callable, tmp_path: Path) -> None:
    source = opened(write, tmp_path / "a", TALL, fit)
    batch = source.__getitems__([3, 0])
    assert batch.images.shape == (2, 3, *SIZE)
    assert batch.labels.tolist() == [1, 0]
    for row, number in enumerate((3, 0)):
        assert batch.images[row].equal(fit_image(decode_image(jpegs(TALL)[number]), SIZE, fit=fit))
    bars = (batch.images.amax((0, 1, 2)) == 0).sum()  # black columns: 160x128 at 112 high is 90 wide
    assert int(bars) == (6 if fit == "letterbox" else 0)


def test_resize_takes_images_of_the_same_proportions_alone(write: Callable, tmp_path: Path) -> None:
    batch = opened(write, tmp_path / "a", ALIKE, "resize").__getitems__([1, 2])
    assert batch.images[0].equal(fit_image(decode_image(jpegs(ALIKE)[1]), SIZE, fit="resize"))
    with pytest.raises((ImageError, ImageSizeError), match="would distort it: fit=letterbox keeps"):
        opened(write, tmp_path / "b", TALL, "resize").__getitems__([0])


def test_by_default_images_of_another_size_are_refused_with_what_to_do(write: Callable, tmp_path: Path) -> None:
    with pytest.raises((ImageError, ImageSizeError), match="must be 112x96, got 224x192; fit=resize takes"):
        opened(write, tmp_path / "a", ALIKE, "refuse").__getitems__([0])


def test_an_unknown_word_is_refused_when_the_data_is_opened(write: Callable, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fit must be one of refuse, resize, letterbox, center_crop, stretch"):
        opened(write, tmp_path / "a", TALL, "crop")


def test_sources_of_several_sizes_are_one_set(tmp_path: Path) -> None:
    paths = [write_folder(tmp_path / name, jpegs(size)) for name, size in (("a", TALL), ("b", ALIKE), ("c", SIZE))]
    faces = open_sources(paths, image_size=SIZE, fit="center_crop").faces
    batch = faces.__getitems__([0, 5, 11])
    expected = [jpegs(TALL)[0], jpegs(ALIKE)[1], jpegs(SIZE)[3]]
    for row, image in enumerate(expected):
        assert batch.images[row].equal(fit_image(decode_image(image), SIZE, fit="center_crop"))
    with pytest.raises(ValueError, match="one size and fit"):
        SourceMix([open_source(paths[0], image_size=SIZE, fit=fit) for fit in ("center_crop", "stretch")])


def test_the_device_decodes_what_workers_decode(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "a", jpegs(TALL))
    found = []
    for decode in ("workers", "device"):
        words: Any = {"decode": decode, "num_workers": 0}
        data = RecognitionData(path, image_size=SIZE, fit="letterbox", **words)
        batch = data.dataset.__getitems__([2, 1])
        found.append(data.dataset.decoded(batch, "cpu") if decode == "device" else batch)
    assert found[0].images.equal(found[1].images)
    assert found[0].images.shape == (2, 3, *SIZE)


def test_labelled_images_are_fitted_as_their_files_say(tmp_path: Path) -> None:
    write_folder(tmp_path, jpegs(TALL))
    images = ImageFiles(tmp_path, PathTable(["person0/0.jpg", "person1/2.jpg"]), image_size=SIZE, fit="stretch")
    batch = LabelledImages(images, ClassLabels([0, 1], ("a", "b"))).__getitems__([1])
    assert batch.images[0].equal(fit_image(decode_image(jpegs(TALL)[2]), SIZE, fit="stretch"))


def test_a_pack_says_its_size_when_it_is_opened(tmp_path: Path, make_pack: Callable) -> None:
    make_pack(tmp_path, [0, 1], payloads=dict(enumerate(jpegs(TALL, 2))))
    (tmp_path / "property").write_text("2,160,128\n")
    assert IdentityPack(tmp_path, image_size=TALL).__getitems__([1]).images.shape == (1, 3, *TALL)
    with pytest.raises(ImageSizeError, match="would distort it"):
        IdentityPack(tmp_path, image_size=SIZE, fit="resize")
