"""Files are written whole or not at all; kept files have one name a state of the files they were made of."""

import os
from pathlib import Path

import pytest

from transface import artifacts
from transface.artifacts import cache_folder, kept_path, replace_folder, staging_path, writing_file


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFACE_CACHE", str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.delenv("TRANSFACE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "b" / "transface"


def test_a_name_changes_with_place_size_and_time_of_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFACE_CACHE", str(tmp_path / "cache"))
    first, second = tmp_path / "train.rec", tmp_path / "train.idx"
    for path in (first, second):
        path.write_bytes(b"abcd")
        os.utime(path, ns=(1, 1))
    names = [kept_path("labels", [first, second], ending=".npy")]
    assert names[0].parent == tmp_path / "cache" / "labels"
    assert names[0].name.startswith("train-")
    assert kept_path("labels", [first, second], ending=".npy") == names[0]
    second.write_bytes(b"abcde")
    os.utime(second, ns=(1, 1))
    names.append(kept_path("labels", [first, second], ending=".npy"))
    os.utime(first, ns=(1, 2))
    names.append(kept_path("labels", [first, second], ending=".npy"))
    names.append(kept_path("labels", [first.rename(tmp_path / "other.rec"), second], ending=".npy"))
    assert len(set(names)) == 4


def test_what_cannot_be_written_whole_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with writing_file(tmp_path / "cache" / "a.npy") as file:
            file.write(b"half")
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        fail()
    assert not list((tmp_path / "cache").iterdir())


def test_a_kept_file_is_for_all_who_share_its_folder(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    with writing_file(tmp_path / "a.npy") as file:
        file.write(b"whole")
    assert (tmp_path / "a.npy").read_bytes() == b"whole"
    assert (tmp_path / "a.npy").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_that_cannot_be_replaced_is_there_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError("the disk is broken")
        return rename(path, target)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", fail)
        with pytest.raises(OSError, match="broken"):
            replace_folder(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old" / "file").read_text() == "old"
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old" / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_staged_file_is_opened_by_its_name_and_takes_its_place_with_what_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.onnx"
    with staging_path(path) as staged:
        assert staged.name == path.name
        assert staged.parent.parent == path.parent
        staged.write_text("model")
        staged.with_name("model.data").write_text("weights")
        assert not path.exists()
    assert {file.name: file.read_text() for file in path.parent.iterdir()} == {
        "model.onnx": "model",
        "model.data": "weights",
    }


@pytest.mark.parametrize("fails", ["block", "sync", "first move", "last move"])
def test_a_file_that_cannot_be_staged_leaves_the_older_one_alone(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("older")
    replace, moves = Path.replace, []

    def broken_move(file: Path, target: Path) -> Path:
        moves.append(target)
        if len(moves) == (1 if fails == "first move" else 2):
            raise OSError("the disk is broken")
        return replace(file, target)

    def broken(_: Path) -> None:
        raise OSError("the disk is broken")

    def stage() -> None:
        with staging_path(path) as staged:
            staged.write_text("model")
            staged.with_name("model.data").write_text("weights")
            if fails == "block":
                broken(staged)
            if fails == "sync":
                monkeypatch.setattr("transface.artifacts.sync", broken)
            if fails.endswith("move"):
                monkeypatch.setattr(Path, "replace", broken_move)

    with pytest.raises(OSError, match="broken"):
        stage()
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_text() == "older"


@pytest.mark.parametrize(("most", "ways"), [(1000, ["each"] * 4), (3, ["all"])])
def test_a_folder_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, ways: list[str]
) -> None:
    (tmp_path / "new" / "inside").mkdir(parents=True)
    for name in ("a", "inside/b"):
        (tmp_path / "new" / name).touch()
    done: list[str] = []
    monkeypatch.setattr(artifacts, "MANY", most)
    monkeypatch.setattr(artifacts.sys, "platform", "linux")
    monkeypatch.setattr(os, "sync", lambda: done.append("all"))
    monkeypatch.setattr(artifacts, "sync", lambda path: done.append("each") if path != tmp_path else None)
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert done == ways
    assert (tmp_path / "old" / "inside" / "b").is_file()
