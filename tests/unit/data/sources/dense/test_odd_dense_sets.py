"""What real downloads of points and regions do to their readers: files of one set, changed in one place each."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image
from tests.unit.data.sources.changed_lists import change

from transface.data.crops.canvases import Canvases, CropSource
from transface.data.crops.landmark_sets import square_around
from transface.data.sources.dense.opening import open_dense
from transface.synthetic.world.dense_forms import Shot, shots
from transface.synthetic.world.sets import FORMS

TRAIN_300W = "face_landmarks_300w_train.csv"


@pytest.fixture(scope="module")
def taken() -> list[Shot]:
    return shots(10, image_size=48, seed=5)


@pytest.fixture
def write(taken: list[Shot], tmp_path: Path) -> Callable[[str], Path]:
    def written(name: str) -> Path:
        FORMS[name](tmp_path / name, taken)
        return tmp_path / name

    return written


TEXTS = {
    "300w": "face_landmarks_300w_*.csv",
    "wflw": "face_landmarks_wflw_*.csv",
    "wflw_lists": "WFLW_annotations/*/*.txt",
    "pts": "**/*.pts",
    "lapa": "*/landmarks/*.txt",
    "celebamask_hq": "*.txt",
    "lfw_parts": "parts_*.txt",
}


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
@pytest.mark.parametrize("name", sorted(TEXTS))
def test_marks_of_byte_order_and_line_ends_change_nothing(
    name: str, end: str, write: Callable[[str], Path], taken: list[Shot]
) -> None:
    root = write(name)
    before = open_dense(root)
    for path in root.glob(TEXTS[name]):
        change(path, list, end=end, mark=True)
    after = open_dense(root)
    assert after.paths == before.paths
    assert after.splits.tolist() == before.splits.tolist()
    for own, other in ((after.points, before.points), (after.anchors, before.anchors), (after.boxes, before.boxes)):
        assert (own is None) == (other is None)
        assert own is None or np.array_equal(own, other, equal_nan=True)


def test_a_list_of_another_encoding_is_told_by_name(write: Callable[[str], Path]) -> None:
    root = write("celebamask_hq")
    path = root / "list_eval_partition.txt"
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))
    with pytest.raises(ValueError, match=r"list_eval_partition\.txt is UTF-16"):
        open_dense(root)


def test_the_first_line_of_a_list_without_a_head_is_an_image(write: Callable[[str], Path]) -> None:
    root = write("300w")
    before = open_dense(root)
    change(root / TRAIN_300W, lambda lines: lines[1:])
    after = open_dense(root)
    assert after.paths == before.paths
    assert np.array_equal(after.points, before.points)


@pytest.mark.parametrize("disk", ["image_092 _01.jpg", "image_092_01.jpg"])
@pytest.mark.parametrize("listed", ["image_092 _01.jpg", "image_092_01.jpg"])
def test_the_photograph_with_a_space_in_its_name_is_found_under_either(
    disk: str, listed: str, write: Callable[[str], Path]
) -> None:
    root = write("300w")
    (root / "data" / "ibug").mkdir()
    shutil.copy(root / "data" / "made_up" / "00000.jpg", root / "data" / "ibug" / disk)
    path = root / TRAIN_300W
    change(path, lambda lines: [*lines, f"ibug/{listed}," + lines[1].split(",", 1)[1]])
    assert f"ibug/{disk}" in open_dense(root).paths


def set_number(name: str, root: Path, number: float) -> None:
    """Put a number in the place of a point of one image."""
    if name in ("300w", "wflw"):
        path = root / f"face_landmarks_{name}_train.csv"
        change(path, lambda lines: [*lines[:2], ",".join([*lines[2].split(",")[:-1], str(number)]), *lines[3:]])
    elif name == "pts":
        change(root / "train" / "00001.pts", lambda lines: [*lines[:5], f"{number} 3.0", *lines[6:]])
    elif name == "lapa":
        change(
            root / "train" / "landmarks" / "00001.txt", lambda lines: [*lines[:105], f"{number} {number}", *lines[106:]]
        )
    elif name == "cofw":
        with h5py.File(root / "COFW_train_color.mat", "r+") as file:
            file["phisTr"][3, 1] = number
    else:
        path = root / "AFLWinfo_release.mat"
        held = {key: value for key, value in scipy.io.loadmat(path).items() if not key.startswith("__")}
        held["data"][1, 3] = number
        scipy.io.savemat(path, held)


WFLW_TRAIN = Path("WFLW_annotations", "list_98pt_rect_attr_train_test", "list_98pt_rect_attr_train.txt")
WFLW_TEST = WFLW_TRAIN.with_name("list_98pt_rect_attr_test.txt")


def test_wflw_of_its_authors_has_subsets_of_its_flags_and_every_face_of_a_photograph(
    write: Callable[[str], Path],
) -> None:
    root = write("wflw_lists")
    whole = open_dense(root)
    cells = [line.split() for line in (root / WFLW_TEST).read_text().splitlines()]
    for place, subset in enumerate(("largepose", "expression", "illumination", "makeup", "occlusion", "blur")):
        wanted = [row[-1] for row in cells if row[200 + place] == "1"]
        found = np.flatnonzero(whole.splits == f"test_{subset}")
        assert [whole.paths[row] for row in found] == wanted
    assert (whole.splits == "test").sum() == len(cells)
    second = [str(float(value) + 1) for value in cells[0][:196]]
    box = [str(int(value) + 1) for value in cells[0][196:200]]
    change(root / WFLW_TEST, lambda lines: [*lines, " ".join([*second, *box, *cells[0][200:]])])
    assert (open_dense(root).splits == "test").sum() == len(cells) + 1


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (lambda row: row[1:], r"line 2 must hold 196 numbers of points, 4 of the box, 6 flags and an image"),
        (lambda row: ["x", *row[1:]], r"line 2 holds something that is no number"),
        (lambda row: [*row[:200], "2", *row[201:]], r"line 2: its six flags must be 0 or 1, got 2 "),
        (lambda row: [*row[:-1], "gone.jpg"], r"gone\.jpg of the lists in .* is not in"),
        (lambda row: ["nan", *row[1:]], "finite"),
        (lambda row: [*row[:198], *row[196:198], *row[200:]], "must have an area"),
    ],
)
def test_broken_lines_of_wflw_s_own_lists_are_told(
    cells: Callable[[list[str]], list[str]], message: str, write: Callable[[str], Path]
) -> None:
    root = write("wflw_lists")
    change(root / WFLW_TRAIN, lambda lines: [lines[0], " ".join(cells(lines[1].split())), *lines[2:]])
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        open_dense(root)


@pytest.mark.parametrize("name", ["300w", "wflw", "pts", "lapa", "cofw", "aflw"])
def test_points_that_are_no_numbers_are_told_by_their_image_at_the_door(
    name: str, write: Callable[[str], Path]
) -> None:
    root = write(name)
    set_number(name, root, float("nan"))
    with pytest.raises(ValueError, match="finite"):
        open_dense(root)


@pytest.mark.parametrize("number", [-40.0, 4000.0])
@pytest.mark.parametrize("name", ["300w", "pts", "cofw", "aflw"])
def test_points_outside_the_picture_are_taken_as_they_are(
    name: str, number: float, write: Callable[[str], Path]
) -> None:
    root = write(name)
    set_number(name, root, number)
    found = open_dense(root)
    assert np.isclose(np.abs(found.points), abs(number), atol=2.1).any()
    assert Canvases(found, side=24).__getitems__([0, 1]).images.shape == (2, 3, 36, 36)


def test_boxes_without_area_are_told_by_their_image_at_the_door(write: Callable[[str], Path]) -> None:
    root = write("aflw")
    path = root / "AFLWinfo_release.mat"
    held = {key: value for key, value in scipy.io.loadmat(path).items() if not key.startswith("__")}
    held["bbox"][4, 1] = held["bbox"][4, 0]
    scipy.io.savemat(path, held)
    with pytest.raises(ValueError, match=r"image00004\.jpg.* box .* area"):
        open_dense(root)
    root = write("pts")
    change(root / "train" / "00002.pts", lambda lines: [*lines[:3], *["5.0 5.0"] * 68, "}"])
    with pytest.raises(ValueError, match=r"00002\.jpg.* box .* area"):
        open_dense(root)


@pytest.mark.parametrize("name", ["300w", "aflw", "celebamask_hq", "lapa", "lfw_parts", "pts"])
def test_a_missing_photograph_is_told_at_the_door(name: str, write: Callable[[str], Path]) -> None:
    root = write(name)
    gone = next(path for path in sorted(root.rglob("*.jpg")) if path.stem[-4:] in ("0003", "3", "0001"))
    if name in ("celebamask_hq", "lapa"):  # nothing lists these: what lies there is the set
        gone.unlink()
        assert len(open_dense(root).paths) == 9
        return
    gone.unlink()
    with pytest.raises(FileNotFoundError, match=gone.stem):
        open_dense(root)


def test_lists_may_not_lead_out_of_their_folder(write: Callable[[str], Path]) -> None:
    root = write("300w")
    shutil.copy(root / "data" / "made_up" / "00000.jpg", root.parent / "outside.jpg")
    path = root / TRAIN_300W
    for name in ("../../outside.jpg", str(root.parent / "outside.jpg")):
        change(path, lambda lines, name=name: [*lines[:2], f"{name}," + lines[2].split(",", 1)[1], *lines[3:]])
        with pytest.raises(ValueError, match="lies outside"):
            open_dense(root)


def test_a_face_that_is_trained_on_and_measured_is_told(
    write: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    root = write("300w")
    open_dense(root)
    assert not caplog.text
    train = (root / TRAIN_300W).read_text().splitlines()
    change(root / "face_landmarks_300w_test.csv", lambda lines: [*lines, train[1]])
    change(root / TRAIN_300W, lambda lines: [*lines, lines[2]])
    found = open_dense(root)
    assert "1 faces are in train and in test too, made_up/00000.jpg the first" in caplog.text
    assert "made_up/00001.jpg" in caplog.text
    assert len(found.paths) == 11  # the line that comes again counts once


def test_photographs_of_300w_that_are_for_tests_are_not_trained_on(write: Callable[[str], Path]) -> None:
    root = write("pts")
    for folder in ("ibug", "300W/01_Indoor", "300W/02_Outdoor", "validation", "helen/trainset"):
        (root / folder).mkdir(parents=True)
        for end in (".jpg", ".pts"):
            shutil.copy(root / "train" / f"00000{end}", root / folder / f"a b{end}")
    found = open_dense(root)
    split = dict(zip(found.paths, found.splits.tolist(), strict=True))
    assert split["ibug/a b.jpg"] == split["300W/01_Indoor/a b.jpg"] == split["300W/02_Outdoor/a b.jpg"] == "test"
    assert split["validation/a b.jpg"] == "val"
    assert split["helen/trainset/a b.jpg"] == "train"


@pytest.mark.parametrize("odd", ["3", "-1", "x", ""])
def test_a_partition_of_celebamask_hq_is_0_1_or_2(odd: str, write: Callable[[str], Path]) -> None:
    root = write("celebamask_hq")
    change(root / "list_eval_partition.txt", lambda lines: [f"{lines[0].split()[0]} {odd}", *lines[1:]])
    with pytest.raises(ValueError, match=r"list_eval_partition\.txt"):
        open_dense(root)


def test_half_of_celebas_lists_is_told(write: Callable[[str], Path], caplog: pytest.LogCaptureFixture) -> None:
    root = write("celebamask_hq")
    (root / "list_eval_partition.txt").unlink()
    open_dense(root)
    assert "list_eval_partition.txt" in caplog.text


def repaint(path: Path, mode: str) -> None:
    """Write a mask of 0 and 255 in another mode, or at another size or value."""
    mask = Image.open(path).convert("L")
    if mode == "palette":
        own = Image.fromarray((np.asarray(mask) > 0).astype(np.uint8), "P")
        own.putpalette([0, 0, 0, 200, 30, 30] + [0] * 762)
    elif mode == "values of 1":
        own = Image.fromarray((np.asarray(mask) > 0).astype(np.uint8))
    elif mode == "I;16":
        own = Image.fromarray((np.asarray(mask) > 0).astype(np.uint16) * 65535)
    else:
        own = mask.convert(mode)
    own.save(path)


@pytest.mark.parametrize("mode", ["RGB", "1", "LA", "RGBA", "palette", "values of 1", "I;16"])
def test_masks_of_any_mode_say_the_same(mode: str, write: Callable[[str], Path], taken: list[Shot]) -> None:
    root = write("celebamask_hq")
    for path in root.rglob("*.png"):
        repaint(path, mode)
    found = open_dense(root)
    for place, shot in enumerate(taken):
        assert np.array_equal(found.mask(place), shot.regions)


@pytest.mark.parametrize("mode", ["palette", "same"])
def test_labels_of_lapa_may_be_of_a_palette(mode: str, write: Callable[[str], Path]) -> None:
    root = write("lapa")
    before = [open_dense(root).mask(place) for place in range(10)]
    for path in root.rglob("labels/*.png"):
        own = Image.fromarray(np.asarray(Image.open(path)), "P" if mode == "palette" else "L")
        if mode == "palette":
            own.putpalette([k * 7 % 256 for k in range(768)])
        own.save(path)
    found = open_dense(root)
    assert all(np.array_equal(found.mask(place), before[place]) for place in range(10))


@pytest.mark.parametrize(("name", "size"), [("celebamask_hq", (48, 24)), ("lapa", (24, 48))])
def test_a_mask_of_another_shape_than_its_photograph_is_refused(
    name: str, size: tuple[int, int], write: Callable[[str], Path]
) -> None:
    root = write(name)
    for path in root.rglob("*.png"):
        Image.open(path).resize(size, Image.Resampling.NEAREST).save(path)
    with pytest.raises(ValueError, match=r"mask .*of another shape than .*\.jpg"):
        Canvases(open_dense(root), side=24).__getitems__([0])


def test_a_mask_of_another_size_and_the_same_shape_is_brought_to_it(write: Callable[[str], Path]) -> None:
    root = write("lapa")
    before = Canvases(open_dense(root), side=24).__getitems__([0]).labels.regions
    for path in root.rglob("labels/*.png"):
        Image.open(path).resize((96, 96), Image.Resampling.NEAREST).save(path)
    after = Canvases(open_dense(root), side=24).__getitems__([0]).labels.regions
    assert (before == after).float().mean() > 0.99


def test_parts_of_lfw_in_png_and_out_of_their_lists(
    write: Callable[[str], Path], taken: list[Shot], caplog: pytest.LogCaptureFixture
) -> None:
    root = write("lfw_parts")
    masks = root / "parts_lfw_funneled_gt_images"
    before = open_dense(root).mask(0)
    path = sorted(masks.iterdir())[0]
    Image.open(path).save(path.with_suffix(".png"))
    path.unlink()
    after = open_dense(root)
    assert np.array_equal(after.mask(0), before)
    change(root / "parts_train.txt", lambda lines: lines[1:])
    assert len(open_dense(root).paths) == 9
    assert "Person_0000_0001" in caplog.text
    change(root / "parts_test.txt", lambda lines: [*lines, "Person_0000 2"])
    with pytest.raises(ValueError, match=r"Person_0000 2 .*parts_train\.txt and .*parts_test\.txt"):
        open_dense(root)


def test_what_else_lies_among_the_parts_of_lfw_is_named(write: Callable[[str], Path]) -> None:
    root = write("lfw_parts")
    shutil.copy(next((root / "parts_lfw_funneled_gt_images").iterdir()), root / "parts_lfw_funneled_gt_images/odd.ppm")
    with pytest.raises(ValueError, match=r"odd\.ppm"):
        open_dense(root)


@pytest.mark.parametrize("kind", ["float", "16 bit"])
def test_images_of_cofw_that_are_no_bytes_are_never_turned_dark(kind: str, write: Callable[[str], Path]) -> None:
    root = write("cofw")
    before = np.asarray(Canvases(open_dense(root), side=24).__getitems__([0]).images).mean()
    with h5py.File(root / "COFW_train_color.mat", "r+") as file:
        for name in list(file["#refs#"]):
            values = np.asarray(file["#refs#"][name])
            own = values / 255 if kind == "float" else values.astype(np.uint16) * 257
            reference = file["#refs#"][name].ref
            del reference
            del file["#refs#"][name]
            file["#refs#"].create_dataset(name, data=own)
        cells = np.array([file["#refs#"][name].ref for name in sorted(file["#refs#"])], dtype=h5py.ref_dtype)
        del file["IsTr"]
        file.create_dataset("IsTr", data=cells[None], dtype=h5py.ref_dtype)
    with pytest.raises(ValueError, match=r"image 0 of IsTr must be .*uint8"):
        Canvases(open_dense(root), side=24).__getitems__([0])
    assert before > 10


def test_empty_lists_are_told(write: Callable[[str], Path]) -> None:
    root = write("wflw")
    for path in root.glob("*.csv"):
        change(path, lambda lines: lines[:1])
    with pytest.raises(ValueError, match="no image"):
        open_dense(root)


def test_a_root_one_folder_too_high_names_the_one_meant(write: Callable[[str], Path]) -> None:
    for name in ("300w", "lapa", "celebamask_hq"):
        write(name)
    for name in ("300w", "lapa", "celebamask_hq"):
        root = write(name)
        above = root.parent / f"above_{name}"
        above.mkdir()
        root.rename(above / name)
        with pytest.raises(ValueError, match=f"{name} .*give that folder"):
            open_dense(above)
    with pytest.raises(ValueError, match="give the folder above"):
        open_dense(root.parent / "above_lapa" / "lapa" / "train")


def test_every_form_is_silent_about_a_whole_set(
    taken: list[Shot], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for name in ("300w", "wflw", "cofw", "aflw", "pts", "celebamask_hq", "lapa", "lfw_parts"):
        FORMS[name](tmp_path / name, taken)
        open_dense(tmp_path / name)
    assert not caplog.text


def test_boxes_of_points_files_are_those_of_the_lists_of_the_same_points(write: Callable[[str], Path]) -> None:
    """HRNet's lists of 300W have the numbers of the .pts files, and squares of whole pixels around them."""
    lists, files = open_dense(write("300w")), open_dense(write("pts"))
    order = [lists.paths.index(f"made_up/{Path(path).name}") for path in files.paths]
    assert np.abs(files.points - lists.points[order]).max() < 1e-3
    # Made-up lists are written moved by the 2 pixels that are taken off again, so whole pixels begin elsewhere.
    assert np.abs(files.boxes - lists.boxes[order]).max() <= 1
    sides, extents = files.boxes[:, 2] - files.boxes[:, 0], np.ptp(files.points, axis=1).max(1)
    assert ((sides >= extents) & (sides < extents + 2)).all()


def test_real_lists_of_300w_have_the_boxes_that_points_files_are_given(shared: Path) -> None:
    path = shared / "data" / "real" / "300w"
    if not path.is_dir():
        pytest.skip(f"no photographs at {path}")
    found = open_dense(path)
    for box, points in zip(found.boxes, found.points + 2, strict=True):
        assert np.abs(square_around(points.astype(np.float32)) - 2 - box).max() <= 1.001


@pytest.mark.parametrize("kept", [0, 20, 70, 0.7])
@pytest.mark.parametrize("name", ["celebamask_hq", "lapa", "lfw_parts"])
def test_a_broken_mask_is_told_by_its_name(name: str, kept: float, write: Callable[[str], Path]) -> None:
    root = write(name)
    endings = {"celebamask_hq": "*_hair.png", "lapa": "labels/*.png", "lfw_parts": "*.ppm"}
    for path in root.rglob(endings[name]):
        content = path.read_bytes()
        path.write_bytes(content[: int(kept * len(content) if kept == 0.7 else kept)])
    dense = open_dense(root)
    with pytest.raises(ValueError, match=r"\.(png|ppm)") as told:
        [dense.mask(place) for place in range(len(dense.paths))]
    assert "mask" in str(told.value)


def turn(path: Path, *, left: int) -> None:
    """Write a photograph with black to its right, or to its left, and an EXIF that turns it by a quarter."""
    with Image.open(path) as image:
        wide = Image.new("RGB", (2 * image.width, image.height))
        wide.paste(image, (left, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    wide.save(path, exif=exif)


@pytest.mark.parametrize("name", ["300w", "pts", "aflw"])
def test_points_of_photographs_that_their_exif_turns_are_told(
    name: str, write: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    root = write(name)
    for path in root.rglob("*.jpg"):
        turn(path, left=0)
    dense = open_dense(root)
    Canvases(dense, side=24).__getitems__([0, 1])
    CropSource(name, dense, "train").read([0, 1], (24, 24))
    assert caplog.text.count("is turned by its EXIF") == 1


def test_points_of_the_photograph_before_its_exif_turns_it_are_refused(write: Callable[[str], Path]) -> None:
    root = write("300w")
    for path in root.rglob("*.jpg"):
        turn(path, left=48)
    for path in root.glob("*.csv"):
        change(
            path,
            lambda lines: [
                lines[0],
                *(
                    ",".join(
                        f"{float(cell) + 48}" if place >= 2 and place % 2 == 0 else cell
                        for place, cell in enumerate(line.split(","))
                    )
                    for line in lines[1:]
                ),
            ],
        )
    dense = open_dense(root)
    for read in (
        lambda: Canvases(dense, side=24).__getitems__([0]),
        lambda: CropSource("300w", dense, "train").read([0], (24, 24)),
        lambda: CropSource("300w", dense, "train").size(0),
    ):
        with pytest.raises(ValueError, match=r"\.jpg: .* before its EXIF turns it"):
            read()


@pytest.mark.parametrize("name", ["300w", "wflw", "pts", "celebamask_hq", "lapa", "lfw_parts"])
def test_what_archives_of_other_systems_leave_behind_is_no_image(
    name: str, write: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    root = write(name)
    before = open_dense(root)
    for path in [path for path in root.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
        (path.parent / "Thumbs.db").write_bytes(b"")
    (root / "__MACOSX" / "train").mkdir(parents=True)
    (root / "__MACOSX" / "train" / "._00000.pts").write_bytes(b"\0\5\26\7")
    after = open_dense(root)
    assert after.paths == before.paths
    assert not caplog.text


@pytest.mark.parametrize("name", ["pts", "lfw_parts"])
def test_endings_in_capitals_are_endings(name: str, write: Callable[[str], Path]) -> None:
    root = write(name)
    before = open_dense(root)
    ending = ".pts" if name == "pts" else ".ppm"
    for path in sorted(root.rglob(f"*{ending}"))[::2]:
        path.rename(path.with_suffix(ending.upper()))
    after = open_dense(root)
    assert sorted(after.paths) == sorted(before.paths)
    if after.mask is not None and before.mask is not None:
        after.mask(0)
