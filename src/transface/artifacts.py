"""Files written whole or not at all, hashed, cached, and stamped with the versions and the commit that made them.

One home for all of it: whatever leaves a file behind writes it through here. A stop, a full disk or a power cut leaves
the old file or the new one, never a part.
"""

import contextlib
import datetime
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import IO

# What shapes a number or a checkpoint, in the order it is told.
PACKAGES = (
    "transface",
    "torch",
    "torchvision",
    "timm",
    "lightning",
    "torchmetrics",
    "hydra-core",
    "omegaconf",
    "numpy",
    "scikit-learn",
)

LEFTOVER = re.compile(r"\..+\.[0-9a-f]{32}")
MANY = 1000  # files, each of whose own way to the disk would cost more than that of all


@contextlib.contextmanager
def writing_path(path: str | Path) -> Iterator[Path]:
    """Give a path beside `path` to write to, and move what lies there to `path` once the block ends; of one that fails
    nothing is left.

    The bytes reach the disk before the move, and the move before this returns. The folder is made if need be. Whoever
    may read the folder may read the file. For libraries that want a path; `writing_file` is for those that take an open
    file, `staging_path` for a file that is opened by its name before it takes its place.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes of several machines may write it at once; without its ending, so that nobody takes what a kill leaves
    # for a whole file.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield partial
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def holds_files(folder: Path) -> bool:
    """Return whether a path is a folder in which anything lies but what a kill or a power cut left of a file that
    `writing_path` was writing.
    """
    return folder.is_dir() and any(LEFTOVER.fullmatch(path.name) is None for path in folder.iterdir())


@contextlib.contextmanager
def staging_path(path: str | Path) -> Iterator[Path]:
    """Give a path of the same name in a folder beside `path` to write to, and to look at under that name; once the
    block ends, move what lies there to `path`. Of one that fails nothing is left.

    Files that were written beside it in that folder, and that it names, come to lie beside `path`: they need names of
    their own there. All are on the disk before the move.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        staged = Path(folder) / path.name
        yield staged
        files = sorted(Path(folder).iterdir())
        for file in files:
            sync(file)
        moved = []
        try:
            for file in files:
                if file != staged:
                    moved.append(file.replace(path.with_name(file.name)))
            sync(path.parent)
            staged.replace(path)
        except BaseException:
            for file in moved:
                file.unlink(missing_ok=True)
            raise
        sync(path.parent)


@contextlib.contextmanager
def writing_file(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a binary file that gets the name `path` once it is whole, as `writing_path` does."""
    with writing_path(path) as partial, partial.open("xb") as file:
        yield file


def write_whole(path: str | Path, content: str | bytes) -> Path:
    """Write a file in one move and return its path; text is written as UTF-8."""
    with writing_file(path) as file:
        file.write(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
    return Path(path)


def replace_folder(whole: Path, place: Path) -> None:
    """Give the folder `whole` the name `place`, once all in it is on the disk. An older folder there is removed after
    that; if the move fails, it is there again.
    """
    sync_tree(whole)
    old = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    replaces = place.exists()
    if replaces:
        place.rename(old)
    try:
        whole.rename(place)
    except BaseException:
        if replaces:
            old.rename(place)
        raise
    sync(place.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until what was written at `path`, a file or a folder's list of names, is on the disk, where the file system
    can say so.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if not path.is_dir():  # some network file systems cannot sync a folder
            raise error
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Wait until all files and folders below a folder are on the disk: one by one, or, of very many, all that this
    machine has to write at once.
    """
    paths = [folder, *folder.rglob("*")]
    if len(paths) > MANY and sys.platform == "linux":  # elsewhere `sync` does not wait
        os.sync()
        return
    for path in paths:
        if not path.is_symlink() and (path.is_file() or path.is_dir()):
            sync(path)


def hash_file(path: str | Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def package_versions() -> dict[str, str]:
    """Return the versions of the packages a result depends on; "not installed" where one is missing."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def platform_versions() -> dict[str, str]:
    """Return the versions of Python and of the operating system."""
    return {"python": platform.python_version(), "platform": platform.platform()}


def code_commit() -> str | None:
    """Return the commit of the checkout this package runs from, with a + if files were changed; None outside a
    checkout.
    """
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "-uno"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if dirty else "")


def utc_now() -> str:
    """Return the time now, UTC, ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def cache_folder() -> Path:
    """Return where such files are kept: $TRANSFACE_CACHE, or transface/ in the user's cache folder."""
    if named := os.environ.get("TRANSFACE_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "transface"


def kept_path(kind: str, files: Sequence[Path], *, ending: str) -> Path:
    """Return the name of what is kept of `files`: another one as soon as the place, size or time of any of them
    changes.
    """
    states = [(path.resolve(), path.stat()) for path in files]
    text = "\n".join(f"{path} {state.st_size} {state.st_mtime_ns}" for path, state in states)
    name = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return cache_folder() / kind / f"{files[0].stem}-{name}{ending}"
