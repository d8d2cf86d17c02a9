"""Tar shards: the pack's images, labels, order and position; foreign tars; remote ones; what is wrong is named."""

import io
import pickle
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from transface.data.sources.identity_pack import IdentityPack
from transface.data.sources.source import open_source, open_sources
from transface.data.sources.tar_shards import INDEX, TarShards, expand_braces, scan
from transface.packs.shards import write_shards
from transface.synthetic.datasets import write_identity_pack
from transface.training.datamodule import TrainingData


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> IdentityPack:
    root = tmp_path_factory.mktemp("pack")
    write_identity_pack(root, 5, images_per_identity=4)
    return IdentityPack(root)


@pytest.fixture
def shards(pack: IdentityPack, tmp_path: Path) -> Path:
    write_shards(pack, tmp_path / "shards", images_per_shard=7)
    return tmp_path / "shards"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def assert_same(pack: IdentityPack, faces: TarShards) -> None:
    assert (len(faces), faces.num_identities, faces.image_size) == (len(pack), pack.num_identities, pack.image_size)
    assert np.array_equal(faces.labels, pack.labels)
    indices = [13, 0, 6, 7, 19]
    assert faces.read_encoded(indices).payloads == pack.read_encoded(indices).payloads
    for one, two in zip(faces.__getitems__(indices), pack.__getitems__(indices), strict=True):
        assert one.equal(two)


def test_shards_of_a_pack_hold_its_images_unchanged_and_in_its_order(pack: IdentityPack, shards: Path) -> None:
    assert sorted(path.name for path in shards.iterdir()) == ["000000.tar", "000001.tar", "000002.tar", INDEX]
    assert_same(pack, open_source(shards))
    table = pq.read_table(shards / INDEX)
    assert table.column_names == ["shard", "offset", "size", "label", "sha256"]
    with tarfile.open(shards / "000001.tar") as tar:
        first = tar.getmembers()[:2]
        assert [member.name for member in first] == [f"1/000000007.{kind}" for kind in ("jpg", "cls")]
        assert tar.extractfile(first[1]).read() == b"1"


def test_shards_without_an_index_are_scanned_once_to_the_same(pack: IdentityPack, shards: Path) -> None:
    written = TarShards(shards).index
    (shards / INDEX).unlink()
    found = TarShards(shards)
    assert_same(pack, found)
    for one, two in zip(written[1:5], found.index[1:5], strict=True):
        assert np.array_equal(one, two)
    pattern = open_source(f"{shards}/{{000000..000002}}.tar")
    assert_same(pack, pattern)
    assert len(open_source(shards / "000002.tar")) == 20 - 14


def test_remote_shards_are_read_by_ranges(pack: IdentityPack, shards: Path) -> None:
    remote = fsspec.filesystem("memory")
    for path in shards.iterdir():
        remote.pipe_file(f"/faces/{path.name}", path.read_bytes())
    faces = open_source("memory://faces")
    assert_same(pack, faces)
    remote.rm_file(f"/faces/{INDEX}")
    assert_same(pack, open_source("memory://faces"))
    remote.rm("/faces", recursive=True)
    with pytest.raises(ValueError, match="cannot be read"):
        faces.encoded(0)


def test_a_worker_gets_a_copy_that_reads(pack: IdentityPack, shards: Path) -> None:
    faces = TarShards(shards)
    faces.encoded(0)
    assert_same(pack, pickle.loads(pickle.dumps(faces)))


def test_order_and_position_are_those_of_the_pack(pack: IdentityPack, shards: Path) -> None:
    def keys(source: object, position: dict[str, int] | None = None) -> list[list[int]]:
        data = TrainingData(source, total_batch_size=4, num_workers=0, seed=3)
        if position is not None:
            data.load_state_dict(position)
        found = []
        for number, batch in enumerate(data.loader_for(0, 1, 1, epoch=0)):
            data.count_batch()
            found.append(batch.keys.tolist())
            if number == 1:
                positions.append(data.state_dict())
        return found

    positions: list[dict[str, int]] = []
    of_pack, of_shards = keys(pack), keys(TarShards(shards))
    assert of_pack == of_shards
    assert positions[0] == positions[1]
    assert keys(TarShards(shards), positions[1]) == of_shards[2:]


def test_shards_join_other_sources(pack: IdentityPack, shards: Path) -> None:
    joined, _ = open_sources([shards, pack.root])
    assert (len(joined), joined.num_identities) == (40, 10)


def test_writing_goes_on_after_the_shards_that_are_whole(pack: IdentityPack, shards: Path) -> None:
    before = {path.name: path.read_bytes() for path in shards.iterdir()}
    (shards / INDEX).unlink()
    (shards / "000001.tar").unlink()
    summary = write_shards(pack, shards, images_per_shard=7)
    assert (summary.num_shards, summary.num_images, summary.num_resumed) == (3, 20, 2)
    assert {path.name: path.read_bytes() for path in shards.iterdir()} == before
    with pytest.raises(FileExistsError, match="whole shards already"):
        write_shards(pack, shards)
    (shards / INDEX).unlink()
    with pytest.raises(ValueError, match="images of another pack"):
        write_shards(pack, shards, images_per_shard=9)


def tar_of(path: Path, *files: tuple[str, bytes]) -> str:
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return str(path)


def test_what_is_wrong_with_a_foreign_tar_is_named_or_counted(
    pack: IdentityPack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = pack.encoded(0)
    good = (("x/1.jpg", image), ("x/1.cls", b"3\n"), ("x/1.json", b"{}"))
    wrong = {
        "no .cls label": (("x/2.jpg", image),),
        "no image": (("x/3.cls", b"1"),),
        "its key came before": (("y/0.cls", b"1"), ("y/0.jpg", image), *good),
        "label must be a whole number": (("x/4.jpg", image), ("x/4.cls", b"-1")),
    }
    for words, files in wrong.items():
        url = tar_of(tmp_path / "a.tar", *good, *files)
        with pytest.raises(ValueError, match=words):
            scan([url])
        caplog.clear()
        found = scan([url], skip=True)
        assert found.labels[0] == 3
        assert "1 samples or shards are left out" in caplog.text
    url = tar_of(tmp_path / "b.tar", *good, ("x/5.cls", b"0"), ("x/5.jpg", image))
    whole = Path(url).read_bytes()
    Path(url).write_bytes(whole[: len(whole) - 10240 - len(image) // 2 - 512])
    with pytest.raises(ValueError, match=r"b\.tar (is cut short|is no whole tar)"):
        scan([url])
    assert scan([url], skip=True).labels.tolist() == [3]


def test_shards_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no shard .*7\.tar"):
        open_source(f"{tmp_path}/{{7..8}}.tar")
    with pytest.raises(FileNotFoundError, match="no folder of shards memory://nowhere"):
        open_source("memory://nowhere")
    tar_of(tmp_path / "empty.tar", ("readme.txt", b"hello"))
    with pytest.raises(ValueError, match=r"no \.cls label"):
        open_source(tmp_path / "empty.tar")


def test_a_pattern_is_a_range_of_numbers_of_one_width() -> None:
    assert expand_braces("x-{008..010}.tar") == ["x-008.tar", "x-009.tar", "x-010.tar"]
    assert expand_braces("x.tar") == ["x.tar"]
