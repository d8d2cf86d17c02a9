"""FER2013 as it is published, and with FER+'s votes: pixels in a list, read where they lie."""

import logging
import pickle
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from transface.data.labels.expressions import FER2013, FERPLUS
from transface.data.sources.face_labels import open_label_files
from transface.data.sources.fer2013 import LISTS, pixels_of
from transface.data.sources.labelled_set import LabelledSet
from transface.images.decoding import decode_image
from transface.synthetic.world.label_forms import USAGES, Faces, known_faces, write_fer2013, write_ferplus_votes
from transface.synthetic.world.photographs import EXPRESSIONS


@pytest.fixture(scope="module")
def faces() -> Faces:
    return known_faces(40, seed=3)


def row(emotion: object = 3, pixels: str | None = None, usage: str = "Training", *, count: int = 48 * 48) -> str:
    return f"{emotion},{' '.join(['7'] * count) if pixels is None else pixels},{usage}"


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("whole_folder", [True, False])
def test_both_published_lists_are_read_with_their_splits(
    tmp_path: Path, faces: Faces, name: str, whole_folder: bool
) -> None:
    write_fer2013(tmp_path, faces, name=name)
    found = open_label_files(tmp_path if whole_folder else tmp_path / name)
    labels = found.labels["expression"]
    said = [EXPRESSIONS[number] for number in faces.album.expressions.tolist()]
    assert [labels.names[number] for number in labels.take(range(40)).tolist()] == said
    assert labels.names == FER2013
    assert found.split.tolist() == faces.splits.tolist()
    assert not found.rejected
    opened = LabelledSet(tmp_path / name)
    assert {split: len(opened.rows(split)) for split in USAGES} == {split: len(faces.of(split)) for split in USAGES}


def test_an_image_is_what_its_numbers_say(tmp_path: Path, faces: Faces) -> None:
    write_fer2013(tmp_path, faces)
    lines = (tmp_path / "fer2013.csv").read_text().splitlines()
    opened = LabelledSet(tmp_path, image_size=48)
    images = pickle.loads(pickle.dumps(opened.images))  # as a worker has it
    for place in (0, 17, 39):
        expected = np.array(lines[place + 1].split(",")[1].split(), dtype=np.int64).reshape(48, 48)
        image = decode_image(images.encoded(place)).numpy()
        assert (image == expected).all()
    assert images.name(17).endswith("fer2013.csv: fer0000017.png")
    batch = opened.labelled("train").__getitems__([0, 1])
    assert batch.images.shape == (2, 3, 48, 48)


def test_numbers_are_read_as_python_reads_them() -> None:
    generator = np.random.default_rng(0)
    numbers = generator.integers(0, 256, 48 * 48)
    for gap in (" ", "  "):
        found = pixels_of(gap.join(map(str, numbers.tolist())).encode())
        assert isinstance(found, np.ndarray)
        assert (found.ravel() == numbers).all()
    assert (pixels_of(b" ".join([b"007"] * 48 * 48)) == 7).all()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (row(count=2303), "row 2: it has 2303 pixels, 48 x 48 = 2304 are expected"),
        (row(pixels=""), "row 2: it has 0 pixels"),
        (row(pixels=" ".join(["7"] * 2303 + ["256"])), "row 2: pixel 2303 is 256, 0 to 255 is expected"),
        (row(pixels=" ".join(["7"] * 2303 + ["1000"])), "row 2: pixel 2303 is 1000"),
        (row(pixels=" ".join(["7"] * 2303 + ["-1"])), "row 2: its pixels hold '-'"),
        (row(pixels=" ".join(["7.5"] * 2304)), "row 2: its pixels hold '.'"),
        (row(7), "row 2: its emotion is '7', 0 to 6 is expected"),
        (row("sad"), "row 2: its emotion is 'sad'"),
        (row(usage="Holdout"), "row 2: its usage is 'Holdout', Training, PublicTest or PrivateTest is expected"),
        (row(usage=""), "row 2: its usage is ''"),
        ("3,7 7 7", "row 2: it has 2 cells, 3 are expected"),
        (row(count=100_000), "row 2: it has"),
    ],
)
def test_a_row_that_cannot_be_used_is_counted_and_listed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: str, told: str
) -> None:
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", row(), line, row(0, usage="PrivateTest")]))
    with caplog.at_level(logging.WARNING):
        found = open_label_files(tmp_path)
    assert found.paths == ["fer0000000.png", "fer0000002.png"]
    (rejected,) = found.rejected
    assert rejected.startswith(told)
    assert "1 rows are left out" in caplog.text
    opened = LabelledSet(tmp_path, image_size=48)
    assert decode_image(opened.images.encoded(1)).eq(7).all()


def test_quotes_and_line_ends_of_windows_are_read(tmp_path: Path) -> None:
    pixels = " ".join(["9"] * 2304)
    text = f'\ufeff"emotion","pixels"\r\n4,"{pixels}"\r\n"5","{pixels[:-1]}8"\r\n\r\n'
    (tmp_path / "train.csv").write_bytes(text.encode())
    found = open_label_files(tmp_path / "train.csv")
    assert found.labels["expression"].take([0, 1]).tolist() == [4, 5]
    assert found.split.tolist() == ["", ""]
    opened = LabelledSet(tmp_path / "train.csv", image_size=48)
    assert decode_image(opened.images.encoded(1))[0, -1].tolist() == [9] * 47 + [8]


def test_a_list_without_usages_is_dealt_and_copies_stay_together(tmp_path: Path) -> None:
    lines = [row(k % 7, " ".join([str(k % 50)] * 2304), "")[:-1] for k in range(100)]
    (tmp_path / "train.csv").write_text("\n".join(["emotion,pixels", *lines]))
    opened = LabelledSet(tmp_path / "train.csv", image_size=48)
    assert set(opened.split.tolist()) == {"train", "val", "test"}
    assert (opened.split[:50] == opened.split[50:]).all()


def test_votes_beside_the_list_give_ferplus_by_its_majority(
    tmp_path: Path, faces: Faces, caplog: pytest.LogCaptureFixture
) -> None:
    write_ferplus_votes(write_fer2013(tmp_path, faces), faces)
    with caplog.at_level(logging.WARNING):
        own = open_label_files(tmp_path)
    assert own.labels["expression"].names == FER2013
    assert "kind=ferplus takes those of fer2013new.csv" in caplog.text
    for root in (tmp_path, tmp_path / "fer2013.csv"):
        found = open_label_files(root, "ferplus")
        kept = [place for place in range(40) if place % 10 != 9 and place % 15 != 14]
        assert found.paths == [f"fer{place:07d}.png" for place in kept]
        labels = found.labels["expression"]
        assert labels.names == FERPLUS
        assert [labels.names[number] for number in labels.take(range(len(kept))).tolist()] == [
            EXPRESSIONS[int(faces.album.expressions[place])] for place in kept
        ]
        assert found.split.tolist() == faces.splits[kept].tolist()
        assert len(found.unused) == 40 - len(kept)


def test_a_bad_row_moves_no_vote_to_another_image(tmp_path: Path, faces: Faces) -> None:
    write_ferplus_votes(write_fer2013(tmp_path, faces), faces)
    lines = (tmp_path / "fer2013.csv").read_text().splitlines()
    lines[3] = lines[3].replace(" ", "x", 1)
    (tmp_path / "fer2013.csv").write_text("\n".join(lines) + "\n")
    found = open_label_files(tmp_path, "ferplus")
    assert "fer0000002.png" not in found.paths
    labels, place = found.labels["expression"], found.paths.index("fer0000003.png")
    assert labels.names[int(labels.take([place])[0])] == EXPRESSIONS[int(faces.album.expressions[3])]


def test_votes_of_other_images_are_refused(tmp_path: Path, faces: Faces) -> None:
    write_fer2013(tmp_path, faces)
    with pytest.raises(FileNotFoundError, match=r"no fer2013new\.csv beside"):
        open_label_files(tmp_path, "ferplus")
    write_ferplus_votes(tmp_path, faces)
    lines = (tmp_path / "fer2013new.csv").read_text().splitlines()
    (tmp_path / "fer2013new.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(ValueError, match=r"has 39 rows, .* has 40"):
        open_label_files(tmp_path, "ferplus")
    (tmp_path / "fer2013new.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    with pytest.raises(ValueError, match=r"row 1 is of Training .* and of PrivateTest"):
        open_label_files(tmp_path, "ferplus")


def test_a_kind_that_is_not_there_and_a_file_that_changed_are_told(tmp_path: Path, faces: Faces) -> None:
    with pytest.raises(FileNotFoundError, match="no list of pixels"):
        open_label_files(tmp_path, "fer2013")
    write_fer2013(tmp_path, faces)
    opened = LabelledSet(tmp_path)
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n")
    with pytest.raises(ValueError, match="was the file changed"):
        opened.images.encoded(0)


@pytest.mark.slow
def test_the_whole_set_is_opened_in_seconds_and_little_memory(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    lines = [" ".join(map(str, generator.integers(0, 256, 2304).tolist())) for _ in range(100)]
    with (tmp_path / "fer2013.csv").open("w") as file:
        file.write("emotion,pixels,Usage\n")
        for place in range(35_887):
            usage = "Training" if place < 28_709 else "PublicTest" if place < 32_298 else "PrivateTest"
            file.write(f"{place % 7},{lines[place % 100]},{usage}\n")
    started = time.process_time()
    opened = LabelledSet(tmp_path, image_size=48)
    assert time.process_time() - started < 10
    assert len(opened.rows("train")) == 28_709
    tracemalloc.start()
    LabelledSet(tmp_path, image_size=48)
    assert tracemalloc.get_traced_memory()[1] < 500e6
    tracemalloc.stop()
