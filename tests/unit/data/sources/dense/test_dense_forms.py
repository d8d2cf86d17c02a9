"""Readers of points and regions, on made-up data in the form of each real set."""

from pathlib import Path

import numpy as np
import pytest
import torch

from transface.data.crops.canvases import Canvases, CropSource
from transface.data.crops.dense_set import split_off_val
from transface.data.crops.geometry import unwarp_points, warp_points
from transface.data.labels.points import (
    CELEBAMASK_REGIONS,
    LAPA_REGIONS,
    MIRRORED_POINTS,
    mirrored_points,
    mirrored_regions,
)
from transface.data.sources.dense.checks import taken as rows_of
from transface.data.sources.dense.opening import open_dense
from transface.synthetic.world.dense_forms import LAPA_OF, Shot, shots
from transface.synthetic.world.landmarks import in_order
from transface.synthetic.world.sets import DENSE, FORMS

NUM_POINTS = {"300w": 68, "wflw": 98, "wflw_lists": 98, "cofw": 29, "aflw": 19, "pts": 68}


@pytest.fixture(scope="module")
def taken() -> list[Shot]:
    return shots(10, image_size=64, seed=5)


@pytest.fixture(scope="module")
def world(taken: list[Shot], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("forms")
    for name in DENSE:
        FORMS[name](root / name, taken)
    return root


@pytest.mark.parametrize("name", sorted(NUM_POINTS))
def test_points_are_read_as_they_were_written(name: str, world: Path, taken: list[Shot]) -> None:
    found = open_dense(world / name)
    found = rows_of(found, np.flatnonzero(np.isin(found.splits, ("train", "val", "test"))))  # subsets show them again
    assert found.points is not None
    assert found.points.shape == (10, NUM_POINTS[name], 2)
    wanted = np.stack([in_order(shot.points, NUM_POINTS[name]) for shot in taken])
    order = np.argsort([int("".join(c for c in Path(path).stem if c.isdigit()) or 0) for path in found.paths])
    if name == "cofw":
        order = np.arange(10)
    assert np.abs(found.points[order] - wanted).max() < 1e-3
    assert set(found.splits.tolist()) >= {"train", "test"}
    low, high = found.points.min(1), found.points.max(1)
    assert (found.boxes[:, 1] < low[:, 0]).all()
    assert (found.boxes[:, 2] > high[:, 1]).all()


def test_images_of_matlab_cells_are_pictures_of_their_size(world: Path, taken: list[Shot]) -> None:
    source = CropSource("cofw", open_dense(world / "cofw"), "train")
    assert source.size(int(source.rows[0])) == (64, 64)
    assert source.read([0, 4], (32, 32)).shape == (2, 3, 32, 32)


def test_regions_of_celebamask_hq_are_those_that_were_painted(world: Path, taken: list[Shot]) -> None:
    found = open_dense(world / "celebamask_hq")
    assert found.mask is not None
    assert found.names == CELEBAMASK_REGIONS
    for place, shot in enumerate(taken):
        assert np.array_equal(found.mask(place), shot.regions)
    assert found.splits.tolist() == [shot.split for shot in taken]


def test_regions_of_lapa_are_its_eleven(world: Path, taken: list[Shot]) -> None:
    found = open_dense(world / "lapa")
    assert found.mask is not None
    place = found.paths.index("train/images/00000.jpg")
    names = np.array([LAPA_OF.get(name, "background") for name in CELEBAMASK_REGIONS])
    wanted = np.array([LAPA_REGIONS.index(name) for name in names])[taken[0].regions]
    assert np.array_equal(found.mask(place), wanted)
    assert found.warp == 0.8


def test_lfw_parts_are_background_skin_and_hair(world: Path, taken: list[Shot]) -> None:
    found = open_dense(world / "lfw_parts")
    assert found.mask is not None
    hair = taken[0].regions == CELEBAMASK_REGIONS.index("hair")
    assert np.array_equal(found.mask(0) == 2, hair)
    assert found.splits.tolist() == [shot.split for shot in taken]


@pytest.mark.parametrize("name", ["300w", "lapa", "celebamask_hq"])
def test_a_crop_shows_the_points_where_the_geometry_says(name: str, world: Path, taken: list[Shot]) -> None:
    found = open_dense(world / name)
    source = CropSource(name, found, "train")
    row = int(source.rows[0])
    matrix = source.matrix(row, 48)
    points = np.array([[20.0, 30.0], [40.0, 35.0]])
    warped = warp_points(points, matrix, (48, 48), found.warp)
    assert np.abs(unwarp_points(warped, matrix, (48, 48), found.warp) - points).max() < 1e-6


def test_canvases_hold_the_crop_in_their_middle_with_its_points(world: Path) -> None:
    found = open_dense(world / "300w")
    canvases = Canvases(found, side=32, room=1.5)
    batch = canvases.__getitems__([0, 1])
    assert batch.images.shape == (2, 3, 48, 48)
    assert batch.images.dtype == torch.uint8
    crop = CropSource("300w", found, "train").read([0], (32, 32))[0].float()
    assert (batch.images[0, :, 8:40, 8:40].float() - crop).abs().mean() < 1.0
    assert ((batch.labels.points > 0) & (batch.labels.points < 47)).float().mean() > 0.9
    assert batch.labels.scale.tolist() == [pytest.approx(0.8)] * len(batch.images)
    assert Canvases(open_dense(world / "aflw"), side=32).__getitems__([0]).labels.scale.tolist() == [1.0]


def test_faces_all_of_whose_points_are_seen_are_the_frontal_test_faces_of_aflw(world: Path) -> None:
    found = open_dense(world / "aflw")
    assert found.visible is not None
    test, frontal = found.rows("test"), found.rows("test_frontal")
    assert 0 < len(frontal) < len(test)
    wanted = [found.paths[row] for row in test.tolist() if found.visible[row].all()]
    assert [found.paths[row] for row in frontal.tolist()] == wanted


@pytest.mark.parametrize("name", ["aflw", "wflw_lists"])
def test_all_images_are_each_face_once_also_where_subsets_have_it_again(name: str, world: Path) -> None:
    found = open_dense(world / name)
    assert len(found.paths) > 10
    assert sorted(found.paths[row] for row in found.rows("all").tolist()) == sorted(set(found.paths))


def test_subsets_keep_their_names_where_a_val_is_split_off() -> None:
    splits = np.array([*["train"] * 10, "test_illumination"])
    assert split_off_val(splits, 0.2).tolist()[-1] == "test_illumination"
    assert split_off_val(np.array(["a", "train"]), 0.0).tolist() == ["a", "train"]


def test_a_set_without_val_gives_a_share_of_its_training_images() -> None:
    splits = np.array(["train"] * 20 + ["test"] * 5)
    found = split_off_val(splits, 0.1)
    assert sorted(set(found.tolist())) == ["test", "train", "val"]
    assert (found == "val").sum() == 2
    assert np.array_equal(found, split_off_val(splits, 0.1))


@pytest.mark.parametrize("count", sorted(MIRRORED_POINTS))
def test_mirroring_twice_changes_nothing(count: int) -> None:
    points = torch.rand(2, count, 2) * 50
    assert torch.allclose(mirrored_points(mirrored_points(points, 51), 51), points, atol=1e-5)


@pytest.mark.parametrize("count", [19, 29, 68, 98])
def test_a_mirror_keeps_a_symmetric_face(count: int, taken: list[Shot]) -> None:
    own = torch.from_numpy(in_order(taken[0].points, count))[None]
    mirrored = mirrored_points(own, 64)
    moved = mirrored + (own.mean(1, keepdim=True) - mirrored.mean(1, keepdim=True))
    spread = (own.amax(1) - own.amin(1)).max()
    # A turned head is not symmetric to the pixel; points that traded places wrongly are off by half a face.
    assert float((moved - own).norm(dim=-1).max() / spread) < 0.4


def test_left_and_right_regions_trade_places_and_lips_do_not() -> None:
    names = ("background", "l_eye", "r_eye", "l_lip", "u_lip")
    regions = torch.tensor([[[0, 1, 2, 3, 4]]], dtype=torch.uint8)
    assert mirrored_regions(regions, names)[0, 0].tolist() == [4, 3, 1, 2, 0]


def test_what_is_missing_or_torn_is_named(world: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder"):
        open_dense(tmp_path / "nothing")
    with pytest.raises(ValueError, match="holds no points or regions of a known form"):
        open_dense(tmp_path)
    with pytest.raises(ValueError, match="form must be one of"):
        open_dense(tmp_path, "ibug")  # type: ignore[arg-type]
    (tmp_path / "face_landmarks_300w_train.csv").write_text("head\na.jpg,1,2,3\n")
    with pytest.raises(ValueError, match=r"line 2 must hold image, scale"):
        open_dense(tmp_path)
    (tmp_path / "COFW_train_color.mat").write_bytes(b"MATLAB 5.0")
    with pytest.raises(ValueError, match=r"no MATLAB v7\.3 file"):
        open_dense(tmp_path, "cofw")
    bad = tmp_path / "pts"
    bad.mkdir()
    (bad / "a.jpg").write_bytes(b"")
    (bad / "a.pts").write_text("n_points: 3\n{\n1 2\n}\n")
    with pytest.raises(ValueError, match=r"is no \.pts file"):
        open_dense(bad)
    with pytest.raises(ValueError, match="has no images in its split 'blur'"):
        open_dense(world / "300w").rows("blur")
