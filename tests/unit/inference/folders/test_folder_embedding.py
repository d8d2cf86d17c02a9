"""A folder is embedded once; stopped anywhere it resumes and ends the same."""

from pathlib import Path

import numpy as np
import pytest

from transface.backbones.headed import HeadedNetwork
from transface.backbones.timm_encoder import TimmEncoder
from transface.images.files import ImageList, list_images
from transface.inference.face_model import FaceModel
from transface.inference.folders.embeddings_file import read_embeddings
from transface.inference.folders.folder_embedding import embed_folder


def test_images_are_listed_sorted_at_any_depth(folder: Path) -> None:
    found = list_images(folder)
    assert len(found.names) == 11
    assert found.names == sorted(found.names)
    assert found.names[0] == "person 0/0.png"


def test_a_list_file_names_the_images(folder: Path) -> None:
    (folder / "list.txt").write_text("person 1/1.png\n\nperson 0/0.png\n")
    assert list_images(folder / "list.txt") == ImageList(folder, ["person 1/1.png", "person 0/0.png"])


def test_nothing_to_embed_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no images in"):
        list_images(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder of images"):
        list_images(tmp_path / "absent")


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_the_file_holds_what_the_model_gives(small_model: FaceModel, folder: Path, tmp_path: Path, ending: str) -> None:
    images = list_images(folder)
    embed_folder(small_model, images, tmp_path / f"out{ending}", batch_size=2, part_size=4)
    found = read_embeddings(tmp_path / f"out{ending}")
    wanted = small_model.embed([folder / name for name in images.names], return_norms=True)
    assert found.names.tolist() == images.names
    np.testing.assert_allclose(found.vectors, wanted.vectors.numpy(), atol=1e-5)
    np.testing.assert_allclose(found.norms, wanted.norms.numpy(), rtol=1e-5)
    assert found.about["model"] == small_model.fingerprint()
    assert {path.name for path in tmp_path.iterdir()} == {"faces", f"out{ending}"}


class Stopping(FaceModel):
    """Stops after so many calls, as a killed run does; counts the images it saw."""

    calls_left = 10**9
    seen = 0

    def embed(self, images, **settings):
        if self.calls_left == 0:
            raise KeyboardInterrupt
        self.calls_left -= 1
        self.seen += len(images)
        return super().embed(images, **settings)


@pytest.mark.parametrize("calls", [0, 1, 2, 3])
def test_a_stopped_run_goes_on_with_what_is_missing(
    small_model: FaceModel, folder: Path, tmp_path: Path, calls: int
) -> None:
    images, out = list_images(folder), tmp_path / "out.npz"
    model = Stopping(small_model.backbone)
    model.calls_left = calls
    if calls < 3:
        with pytest.raises(KeyboardInterrupt):
            embed_folder(model, images, out, part_size=4)
        assert not out.exists()
    model.calls_left, model.seen = 10**9, 0
    told: list[int] = []
    found = embed_folder(model, images, out, part_size=4, progress=told.append)
    assert model.seen == 11 - 4 * min(calls, 2) if calls < 3 else 11
    assert sum(told) == 11
    whole = embed_folder(small_model, images, tmp_path / "whole.npz", part_size=4)
    assert np.array_equal(found.vectors, whole.vectors)


def test_a_finished_run_is_not_done_again(small_model: FaceModel, folder: Path, tmp_path: Path) -> None:
    model = Stopping(small_model.backbone)
    first = embed_folder(model, list_images(folder), tmp_path / "out.npz")
    model.calls_left = 0
    again = embed_folder(model, list_images(folder), tmp_path / "out.npz")
    assert np.array_equal(first.vectors, again.vectors)


@pytest.mark.parametrize("change", ["model", "images", "content", "flip"])
def test_embeddings_of_something_else_are_not_overwritten(
    small_model: FaceModel, folder: Path, tmp_path: Path, change: str
) -> None:
    out = tmp_path / "out.npz"
    first = embed_folder(small_model, list_images(folder), out)
    model, settings = small_model, {}
    if change == "model":
        config = small_model.config()["backbone"]
        model = FaceModel(config)
    if change == "images":
        (folder / "person 0" / "0.png").unlink()
    if change == "content":
        (folder / "person 0" / "0.png").write_bytes((folder / "person 0" / "3.png").read_bytes() + b"\0")
    if change == "flip":
        settings = {"flip": "sum"}
    with pytest.raises(FileExistsError, match="another model, other images or other settings"):
        embed_folder(model, list_images(folder), out, **settings)
    assert np.array_equal(read_embeddings(out).vectors, first.vectors)
    replaced = embed_folder(model, list_images(folder), out, stale="replace", **settings)
    assert not np.array_equal(replaced.vectors, first.vectors)


def test_parts_of_another_model_are_not_mixed_in(small_model: FaceModel, folder: Path, tmp_path: Path) -> None:
    other = Stopping(small_model.config()["backbone"])
    other.calls_left = 1
    with pytest.raises(KeyboardInterrupt):
        embed_folder(other, list_images(folder), tmp_path / "out.npz", part_size=4)
    found = embed_folder(small_model, list_images(folder), tmp_path / "out.npz", part_size=4)
    whole = embed_folder(small_model, list_images(folder), tmp_path / "whole.npz", part_size=4)
    assert np.array_equal(found.vectors, whole.vectors)


def test_one_bad_image_costs_itself_alone_when_skipped(small_model: FaceModel, folder: Path, tmp_path: Path) -> None:
    (folder / "person 1" / "4.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"4\.png"):
        embed_folder(small_model, list_images(folder), tmp_path / "out.npz")
    found = embed_folder(small_model, list_images(folder), tmp_path / "out.npz", unreadable="skip")
    assert found.skipped.tolist() == ["person 1/4.png"]
    assert len(found.names) == len(found.vectors) == 10
    assert read_embeddings(tmp_path / "out.npz").skipped.tolist() == ["person 1/4.png"]


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_broken_and_absent_files_are_refused(tmp_path: Path, ending: str) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        read_embeddings(tmp_path / f"absent{ending}")
    (tmp_path / f"broken{ending}").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no file of embeddings"):
        read_embeddings(tmp_path / f"broken{ending}")


def test_other_endings_are_refused(small_model: FaceModel, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.npz or \.parquet"):
        embed_folder(small_model, list_images(folder), tmp_path / "out.csv")


def test_linked_folders_are_looked_into_and_hidden_files_are_not(folder: Path, tmp_path: Path) -> None:
    before = list_images(folder).names
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.png").write_bytes((folder / before[0]).read_bytes())
    (folder / "linked").symlink_to(elsewhere)
    (folder / "._a.png").write_bytes(b"what macOS leaves beside a picture")
    assert list_images(folder).names == ["linked/a.png", *before]


@pytest.mark.parametrize(("setting", "value"), [("batch_size", 0), ("flip", "both"), ("fit", "crop")])
def test_senseless_settings_are_refused_before_anything_is_written(
    small_model: FaceModel, folder: Path, tmp_path: Path, setting: str, value: object
) -> None:
    with pytest.raises(ValueError, match=f"{setting} must be"):
        embed_folder(small_model, list_images(folder), tmp_path / "faces.npz", **{setting: value})
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]


class SlowModel(Stopping):
    """Takes five seconds an image, on a clock of its own."""

    now = 0.0

    def embed(self, images, **settings):
        self.now += 5.0 * len(images)
        return super().embed(images, **settings)


def test_a_slow_model_loses_no_more_than_half_a_minute(small_model: FaceModel, folder: Path, tmp_path: Path) -> None:
    images, out = list_images(folder), tmp_path / "out.npz"
    model = SlowModel(small_model.backbone)
    model.calls_left = 4
    with pytest.raises(KeyboardInterrupt):
        embed_folder(model, images, out, batch_size=2, clock=lambda: model.now)
    parts = sorted(path.name for path in (tmp_path / "out.npz.parts").glob("part-*"))
    assert parts == ["part-000000000-6.npz"]  # 30 seconds; the batch after them was not noted yet
    model.calls_left, model.seen = 10**9, 0
    found = embed_folder(model, images, out, batch_size=2, clock=lambda: model.now)
    assert model.seen == 11 - 6
    assert np.array_equal(found.vectors, embed_folder(small_model, images, tmp_path / "w.npz", batch_size=2).vectors)


def test_skipping_all_images_is_a_mistake(small_model: FaceModel, folder: Path, tmp_path: Path) -> None:
    for path in folder.rglob("*.png"):
        path.write_bytes(b"broken")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"none of .* images could be embedded"):
            embed_folder(small_model, list_images(folder), tmp_path / "f.npz", unreadable="skip")
        assert not list(tmp_path.glob("f.npz*"))


def test_a_mistake_in_the_settings_is_not_put_down_to_the_images(
    small_model: FaceModel, folder: Path, tmp_path: Path
) -> None:
    class Never:
        name = "never"

        def detect(self, images: object) -> list[object]:
            raise AssertionError

    for words in ({"points": {}}, {"faces": "all"}):
        with pytest.raises(ValueError, match="detector= finds the points itself"):
            embed_folder(
                small_model,
                list_images(folder),
                tmp_path / "f.npz",
                unreadable="skip",
                detector=Never(),  # type: ignore[arg-type]
                **words,  # type: ignore[arg-type]
            )


def test_a_file_that_is_no_archive_is_not_said_to_hold_a_pickle(tmp_path: Path) -> None:
    (tmp_path / "f.npz").write_text("junk")
    with pytest.raises(ValueError, match="a text that begins 'junk'"):
        read_embeddings(tmp_path / "f.npz")


def test_a_model_without_an_embedding_is_told_before_the_images(folder: Path, tmp_path: Path) -> None:
    network = HeadedNetwork(TimmEncoder("test_vit", image_size=48), {"age": {"kind": "number"}})
    with pytest.raises(ValueError, match=r"gives no embedding, it answers age: use predict$"):
        embed_folder(FaceModel(network), list_images(folder), tmp_path / "f.npz", unreadable="skip")
    assert not list(tmp_path.glob("f.npz*"))


def test_a_broken_part_is_made_again(small_model: FaceModel, folder: Path, tmp_path: Path) -> None:
    whole = embed_folder(small_model, list_images(folder), tmp_path / "f.npz")
    (tmp_path / "f.npz").unlink()
    parts = tmp_path / "f.npz.parts"
    parts.mkdir()
    (parts / "key").write_text(whole.about["key"])
    (parts / "part-000000000-3.npz").write_bytes(b"junk")
    again = embed_folder(small_model, list_images(folder), tmp_path / "f.npz")
    assert again.names.tolist() == whole.names.tolist()
    np.testing.assert_allclose(again.vectors, whole.vectors, atol=1e-6)
    assert not parts.exists()


def test_a_folder_is_no_file_to_write(small_model: FaceModel, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "f.npz").mkdir()
    with pytest.raises(ValueError, match=r"output must be a file, and .*f\.npz is a folder"):
        embed_folder(small_model, list_images(folder), tmp_path / "f.npz")
