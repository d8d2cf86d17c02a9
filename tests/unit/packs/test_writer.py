"""Packs are written whole or not at all, and a stopped run ends as an unstopped one."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import transface
from transface.data.sources.identity_pack import IdentityPack
from transface.data.sources.image_files import FileFaces, open_folder
from transface.packs.writer import PackPlan, plan_by_identity, write_pack

BAD = {"p1/2.jpg", "p3/0.jpg", "p3/1.jpg", "p3/2.jpg", "p4/11.jpg"}


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for a shared disk tells nothing here: a killed process loses only what it had not handed to the
    system.
    """
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, make_jpeg: Callable) -> Path:
    """Five people; some files are no images, all of p3's first ones among them."""
    root = tmp_path_factory.mktemp("people")
    for person, count in enumerate([40, 70, 3, 60, 12]):
        (root / f"p{person}").mkdir()
        for number in range(count):
            name = f"p{person}/{number}.jpg"
            (root / name).write_bytes(b"broken" if name in BAD else make_jpeg(number % 17))
    return root


def files(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(root.iterdir())}


@pytest.fixture(scope="module")
def expected(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("whole") / "pack"
    write_pack(root, plan_by_identity(open_folder(images)), on_bad_image="skip")
    return files(root)


def test_a_pack_holds_the_images_of_its_plan(images: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    assert sorted(expected) == ["property", "train.idx", "train.rec"]
    source = open_folder(images)
    summary = write_pack(tmp_path / "pack", plan_by_identity(source), on_bad_image="skip", num_threads=3)
    assert files(tmp_path / "pack") == expected
    assert (summary.num_images, summary.num_identities, summary.num_resumed) == (180, 5, 0)
    assert sorted(
        reason.split("cannot")[0].split("people")[1].split("/", 1)[1].strip() for reason in summary.skipped
    ) == sorted(BAD)
    pack = IdentityPack(tmp_path / "pack")
    good = [index for index in range(len(source)) if source.paths[index] not in BAD]
    assert pack.labels.tolist() == source.labels[good].tolist()
    assert [pack.encoded(i) for i in range(len(pack))] == [source.encoded(i) for i in good]
    ranges = [pack.reader[key].header.label for key in range(181, 186)]
    for label, (first, end) in enumerate(np.array(ranges, dtype=int).tolist()):
        assert set(pack.labels[first - 1 : end - 1]) == {label}
    assert pack.reader[0].header.label.tolist() == [181, 186]


KILLED_AFTER = (1, 60, 64, 100, 129, 184)
# In a process of its own: a fork of the tests' process would inherit torch's threads as locks that nobody opens.
WRITE_AND_DIE = """
import os, sys
from pathlib import Path
from transface.data.sources.image_files import open_folder
from transface.packs.writer import plan_by_identity, write_pack

images, room, *stops = sys.argv[1:]
os.fsync = lambda fd: None
plan, seen = plan_by_identity(open_folder(images)), 0
for stop_at in map(int, stops):
    child = os.fork()
    if child == 0:
        def die(count):
            global seen
            seen += count
            if seen >= stop_at:
                os._exit(9)  # as a kill: nothing is flushed, nothing cleaned up
        write_pack(Path(room) / str(stop_at), plan, on_bad_image="skip", on_progress=die)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
"""


@pytest.fixture(scope="module")
def killed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packs whose writing was killed after so many images."""
    room = tmp_path_factory.mktemp("killed")
    subprocess.run(
        [sys.executable, "-c", WRITE_AND_DIE, str(images), str(room), *map(str, KILLED_AFTER)],
        check=True,
        env=subprocess_environment(),
    )
    return room


def subprocess_environment() -> dict[str, str]:
    source = str(Path(transface.__file__).parents[1])
    return os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("stop_at", KILLED_AFTER)
def test_a_killed_run_goes_on_to_the_same_bytes(
    images: Path, expected: dict[str, bytes], killed: Path, stop_at: int
) -> None:
    root = killed / str(stop_at)
    assert not (root / "train.rec").exists()
    with pytest.raises(FileNotFoundError):
        IdentityPack(root)
    write_pack(root, plan_by_identity(open_folder(images)), on_bad_image="skip")
    assert files(root) == expected


def test_a_run_cut_at_any_byte_goes_on_to_the_same_bytes(
    images: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    """Records and index each reach the disk up to another place, the journal's last line is torn: the result is the
    same.
    """
    plan = plan_by_identity(open_folder(images))
    draw = np.random.default_rng(0)

    def interrupt(count: int) -> None:
        if count == 0:
            return
        raise KeyboardInterrupt

    for trial in range(10):
        root = tmp_path / str(trial)
        calls = iter([0] * int(draw.integers(0, 4)) + [1] * 9)
        with pytest.raises(KeyboardInterrupt):
            write_pack(root, plan, on_bad_image="skip", on_progress=lambda count, calls=calls: interrupt(next(calls)))
        for name in ("train.rec.partial", "train.idx.partial"):
            path = root / name
            if draw.random() < 0.7:
                os.truncate(path, int(draw.integers(0, path.stat().st_size + 1)))
        with (root / "pack.partial").open("a") as journal:
            journal.write('[170, "torn')
        summary = write_pack(root, plan, on_bad_image="skip")
        assert files(root) == expected
        assert len(summary.skipped) == len(BAD)


def test_a_run_stopped_after_the_last_image_goes_on(images: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    plan = plan_by_identity(open_folder(images))
    (tmp_path / "pack" / "property").mkdir(parents=True)
    with pytest.raises(OSError, match="property"):
        write_pack(tmp_path / "pack", plan, on_bad_image="skip")
    (tmp_path / "pack" / "property").rmdir()
    (tmp_path / "pack" / "property.partial").unlink(missing_ok=True)
    assert write_pack(tmp_path / "pack", plan, on_bad_image="skip").num_resumed == 185
    assert files(tmp_path / "pack") == expected


@pytest.mark.parametrize("stop_before", ["train.idx", "pack.partial"])
def test_a_run_stopped_between_its_last_renamings_is_finished(
    images: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_before: str
) -> None:
    plan = plan_by_identity(open_folder(images))
    replace, unlink = Path.replace, Path.unlink

    def stop(path: Path, target: object) -> None:
        if Path(str(target)).name == stop_before:
            raise KeyboardInterrupt
        replace(path, target)  # type: ignore[arg-type]

    def keep(path: Path, missing_ok: bool = False) -> None:
        if path.name == stop_before == "pack.partial":
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        if stop_before == "train.idx":
            patched.setattr(Path, "replace", stop)
        patched.setattr(Path, "unlink", keep)
        with pytest.raises(KeyboardInterrupt):
            write_pack(tmp_path / "pack", plan, on_bad_image="skip")
    assert (tmp_path / "pack" / "train.rec").exists()
    with pytest.raises(FileExistsError, match="holds a pack already"):
        write_pack(tmp_path / "pack", plan, on_bad_image="keep")  # another plan
    summary = write_pack(tmp_path / "pack", plan, on_bad_image="skip")
    assert files(tmp_path / "pack") == expected
    assert (summary.num_images, summary.num_resumed, len(summary.skipped)) == (180, 180, 5)


def test_a_resumed_run_does_not_read_what_is_written(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_by_identity(open_folder(images))

    def stop(count: int) -> None:
        if count:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pack(tmp_path / "pack", plan, on_bad_image="skip", on_progress=stop)
    read = []
    original = FileFaces.encoded
    monkeypatch.setattr(FileFaces, "encoded", lambda self, index: read.append(index) or original(self, index))
    summary = write_pack(tmp_path / "pack", plan, on_bad_image="skip")
    assert summary.num_resumed == 64
    assert sorted(read) == list(range(64, 185))


def test_partial_files_of_another_plan_are_not_gone_on_with(
    images: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    plan = plan_by_identity(open_folder(images))

    def stop(count: int) -> None:
        if count:
            raise KeyboardInterrupt

    other = plan._replace(indices=plan.indices[::-1].copy(), labels=plan.labels, grouped=False)
    with pytest.raises(KeyboardInterrupt):
        write_pack(tmp_path / "pack", other, on_bad_image="skip", on_progress=stop)
    assert write_pack(tmp_path / "pack", plan, on_bad_image="skip").num_resumed == 0
    assert files(tmp_path / "pack") == expected


def test_a_bad_image_is_named_and_nothing_looks_whole(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"p1/2\.jpg cannot be decoded.*--skip-bad"):
        write_pack(tmp_path / "pack", plan_by_identity(open_folder(images)))
    assert not {"train.rec", "train.idx", "property"} & {path.name for path in (tmp_path / "pack").iterdir()}


def test_a_finished_pack_is_not_written_over(images: Path, expected: dict[str, bytes], tmp_path: Path) -> None:
    plan = plan_by_identity(open_folder(images))
    write_pack(tmp_path / "pack", plan, on_bad_image="skip")
    with pytest.raises(FileExistsError, match="holds a pack already"):
        write_pack(tmp_path / "pack", plan, on_bad_image="skip")
    assert files(tmp_path / "pack") == expected
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="is a file"):
        write_pack(tmp_path / "file", plan)


def test_images_are_prepared_in_their_place(images: Path, tmp_path: Path, make_png: Callable) -> None:
    source = open_folder(images)
    plan = PackPlan(source, np.array([7, 3, 50]), np.array([1, 0, 1]), 2, False)
    write_pack(tmp_path / "pack", plan, prepare=lambda data, index: make_png(index))
    pack = IdentityPack(tmp_path / "pack")
    assert [pack.encoded(i) for i in range(3)] == [make_png(7), make_png(3), make_png(50)]
    assert pack.labels.tolist() == [1, 0, 1]
    assert pack.key(0) == 0


@pytest.mark.parametrize(
    ("indices", "labels", "complaint"),
    [([], [], "no images to write"), ([0], [2], "labels must be in 0..1, got 2..2"), ([0], [-1], "labels must")],
)
def test_impossible_plans_are_refused(
    images: Path, tmp_path: Path, indices: list[int], labels: list[int], complaint: str
) -> None:
    plan = PackPlan(open_folder(images), np.array(indices, dtype=np.int64), np.array(labels, dtype=np.int64), 2, True)
    with pytest.raises(ValueError, match=complaint):
        write_pack(tmp_path / "pack", plan)
    assert not (tmp_path / "pack").exists()


def test_a_set_without_one_usable_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in" / "p").mkdir(parents=True)
    (tmp_path / "in" / "p" / "a.jpg").write_bytes(b"x")
    with pytest.raises(ValueError, match="none of the 1 images can be used; the first: "):
        write_pack(tmp_path / "pack", plan_by_identity(open_folder(tmp_path / "in")), on_bad_image="skip")
