"""The sets of made-up people: their files, that a seed repeats them, that held-out people are held out."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchvision.io import decode_jpeg

from transface.data.benchmarks.pairs import read_pair_set
from transface.data.recordio.reader import RecordReader
from transface.data.sources.identity_pack import IdentityPack
from transface.synthetic import datasets as synthetic
from transface.synthetic import photographs
from transface.synthetic.whole_folders import MANIFEST


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> synthetic.DemoData:
    root = tmp_path_factory.mktemp("made_up") / "demo"
    return synthetic.write_demo_data(root, num_identities=5, images_per_identity=3, num_pairs=40, num_ijbc_identities=3)


def test_the_pack_is_an_insightface_pack(demo: synthetic.DemoData) -> None:
    reader = RecordReader(demo.root / "train.rec")
    header = reader[0].header
    assert (header.flag, list(header.label)) == (2, [16, 21])
    assert [list(reader[16 + person].header.label) for person in range(5)] == [[1 + 3 * p, 4 + 3 * p] for p in range(5)]
    assert (demo.root / "property").read_text() == "5,112,112\n"
    pack = IdentityPack(demo.root)
    assert pack.num_identities == 5
    np.testing.assert_array_equal(pack.labels, np.repeat(np.arange(5), 3))


def test_pair_sets_are_ten_balanced_folds_genuine_first(demo: synthetic.DemoData) -> None:
    assert list(demo.pair_sets) == ["easy", "medium", "hard"]
    for path in demo.pair_sets.values():
        pairs = read_pair_set(path)
        assert len(pairs.images) == 80
        np.testing.assert_array_equal(pairs.is_same.reshape(10, 4), [[True, True, False, False]] * 10)


def test_the_ijbc_folder_has_the_columns_of_the_protocol(demo: synthetic.DemoData) -> None:
    points = np.loadtxt(demo.ijbc / "meta" / "ijbc_name_5pts_score.txt", dtype=str)
    tables = np.loadtxt(demo.ijbc / "meta" / "ijbc_face_tid_mid.txt", dtype=str)
    pairs = np.loadtxt(demo.ijbc / "meta" / "ijbc_template_pair_label.txt", dtype=int)
    assert points.shape[1] == 12
    assert (points[:, 0] == tables[:, 0]).all()
    assert sorted(path.name for path in (demo.ijbc / "loose_crop").iterdir()) == sorted(points[:, 0])
    assert set(tables[:, 1].astype(int)) == set(range(1, 13)) == set(pairs[:, :2].ravel())
    assert len(pairs) == 12 * 11 // 2
    assert pairs[:, 2].sum() == 3 * 6  # four templates a person
    media = tables[:, 1:].astype(int)
    assert len({medium for _, medium in media}) == len({tuple(row) for row in media}), "a medium in two templates"
    assert decode_jpeg(torch.from_numpy(np.fromfile(demo.ijbc / "loose_crop" / "1.jpg", np.uint8))).shape == (
        3,
        160,
        160,
    )


def test_the_same_settings_give_the_same_bytes(demo: synthetic.DemoData, tmp_path: Path) -> None:
    again = synthetic.write_demo_data(
        tmp_path / "demo", num_identities=5, images_per_identity=3, num_pairs=40, num_ijbc_identities=3
    )
    assert contents(again.root) == contents(demo.root)


def test_demo_data_is_written_once_and_renewed_for_other_settings(tmp_path: Path) -> None:
    settings = {"num_identities": 2, "images_per_identity": 2, "num_pairs": 20, "num_ijbc_identities": 1}
    data = synthetic.write_demo_data(tmp_path / "demo", **settings)
    first = {path: path.stat().st_mtime_ns for path in data.root.rglob("*")}
    synthetic.write_demo_data(tmp_path / "demo", **settings)
    assert {path: path.stat().st_mtime_ns for path in data.root.rglob("*")} == first
    before = contents(data.root)
    synthetic.write_demo_data(tmp_path / "demo", **settings, seed=1)
    assert contents(data.root)["train.rec"] != before["train.rec"]
    assert json.loads((data.root / "made_up.json").read_text())["seed"] == 1
    assert not (tmp_path / "demo.partial").exists()


def test_demo_data_never_replaces_what_it_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "photographs.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not made-up data"):
        synthetic.write_demo_data(tmp_path)
    assert contents(tmp_path) == {"photographs.txt": b"mine"}


def test_demo_data_goes_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    for seed in (0, 1):
        data = synthetic.write_demo_data(
            tmp_path / "data", num_identities=1, images_per_identity=1, num_pairs=20, num_ijbc_identities=1, seed=seed
        )
        assert json.loads((tmp_path / "disk" / MANIFEST).read_text())["seed"] == seed
    assert data.root.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "disk"]


@pytest.mark.parametrize("settings", [{"num_pairs": 30}, {"num_ijbc_identities": 0}, {"num_ijbc_identities": -1}])
def test_impossible_demo_data_is_refused_and_leaves_nothing(tmp_path: Path, settings: dict[str, int]) -> None:
    words = {"num_identities": 1, "images_per_identity": 1, "num_pairs": 20, "num_ijbc_identities": 1} | settings
    with pytest.raises(ValueError, match=f"got {next(iter(settings.values()))}"):
        synthetic.write_demo_data(tmp_path / "data", **words)
    assert not list(tmp_path.iterdir())


def test_an_image_folder_has_one_folder_a_person(tmp_path: Path) -> None:
    synthetic.write_image_folder(tmp_path, 2, images_per_identity=3)
    assert sorted(contents(tmp_path)) == [f"person_{p:04d}/{n:04d}.jpg" for p in range(2) for n in range(3)]


def test_impostors_are_others_and_likelier_among_more_strangers() -> None:
    people = synthetic.draw_identities(30, torch.Generator().manual_seed(0))
    is_same = torch.arange(400) % 2 == 0

    def distance(num_strangers: int) -> float:
        pairs = synthetic.draw_pairs(people, is_same, torch.Generator().manual_seed(1), num_strangers=num_strangers)
        assert torch.equal(pairs[:, 0] == pairs[:, 1], is_same)
        columns = [list(synthetic.TRAITS).index(name) for name in synthetic.COLOUR_TRAITS]
        spread = people[:, columns].std(0)
        return float(
            ((people[pairs[:, 0]] - people[pairs[:, 1]])[:, columns] / spread).square().sum(1)[~is_same].mean()
        )

    assert distance(8) < 0.7 * distance(1)


def test_pairs_that_make_no_ten_folds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiple of 20"):
        synthetic.write_pair_sets(tmp_path, 30)
    assert not list(tmp_path.iterdir())


def test_a_pack_of_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one person"):
        synthetic.write_identity_pack(tmp_path, 0, images_per_identity=3)


def test_faces_in_memory_are_those_of_the_pack(tmp_path: Path) -> None:
    synthetic.write_identity_pack(tmp_path, 3, images_per_identity=2, difficulty=0.0)
    read = IdentityPack(tmp_path).__getitems__(range(6))
    made = synthetic.make_faces(3, 2, difficulty=0.0)
    assert torch.equal(read.labels, made.labels)
    assert (read.images.float() - made.images.float()).abs().mean() < 4, "JPEG changes little"


def test_several_processes_draw_what_one_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "BATCH", 16)
    album = photographs.draw_album(9, 8, photographs.stream(0, 0), difficulty=0.5)
    drawn = []
    for cores in ({0}, {0, 1}):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cores=cores: cores, raising=False)
        loaders: list[int] = []
        monkeypatch.setattr(
            photographs,
            "DataLoader",
            lambda *a, seen=loaders, **words: seen.append(words["num_workers"]) or DataLoader(*a, **words),
        )
        drawn.append((photographs.encode_all(*album), photographs.render_all(*album)))
        assert loaders == ([] if cores == {0} else [2, 2])
    assert drawn[0][0] == drawn[1][0]
    assert torch.equal(drawn[0][1], drawn[1][1])
