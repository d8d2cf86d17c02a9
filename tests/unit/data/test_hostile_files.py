"""Mutated files of every format: each is read right or refused by a named error; no crash, hang, code run, or memory
beyond its size.

The cases run in a child process with a limit on its memory and an alarm for each; whatever kills it is a failure here.
"""

import json
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torchvision.io import encode_jpeg

import transface
from transface.data.benchmarks.pairs import read_pair_set, write_pair_set
from transface.data.recordio.reader import RecordReader
from transface.data.sources.identity_pack import IdentityPack
from transface.data.sources.image_files import open_list
from transface.data.sources.record_list import RecordList
from transface.packs.check import check_pack
from transface.synthetic.datasets import make_faces, write_identity_pack

NUM_CASES = 200
NUM_CASES_SLOW = 10_000
SECONDS_A_CASE = 20
MEMORY = 400 << 20  # beyond what the process has at the start; the files have some 40 kB
NO_LIMIT = 77  # exit code
REFUSALS = (
    ValueError,
    FileNotFoundError,
)  # RecordError, ImageError, MissingKeyError, UnsafePickleError are ValueErrors
EXTREMES = [0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x1FFFFFFF, 0xCED7230A, 0x3FFFFFFF]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_identity_pack(tmp_path_factory.mktemp("clean") / "pack", 3, images_per_identity=3)
    pack = IdentityPack(root)
    images = [pack.encoded(index) for index in range(8)]
    write_pair_set(root / "new.bin", images, [True, False, True, False])
    for protocol in (0, 2):
        content = (
            [np.frombuffer(image, dtype=np.uint8) for image in images[:4]] + images[4:],
            [True, np.bool_(False), 1, 0],
        )
        (root / f"protocol{protocol}.bin").write_bytes(pickle.dumps(content, protocol=protocol))
    (root / "train.lst").write_text("".join(f"{key}\t{key // 4}\tp/{key}.jpg\n" for key in range(1, 10)))
    (root / "p").mkdir()
    for key in range(1, 4):
        (root / "p" / f"{key}.jpg").write_bytes(images[key])
    (root / "list.csv").write_text("path,label\n" + "".join(f"p/{key}.jpg,{key}\n" for key in range(1, 4)))
    return root


def mutated(data: bytes, draw: np.random.Generator) -> bytes:
    """A few random wounds: bits, bytes, words of extreme value, cuts, copies, insertions, swaps."""
    changed = bytearray(data)
    for _ in range(int(draw.integers(1, 5))):
        size = len(changed)
        if size < 8:
            return bytes(changed) + draw.bytes(8)
        # Headers and lengths are small; half the wounds go near the beginning.
        at = int(draw.integers(0, size - 4)) if draw.random() < 0.5 else int(draw.integers(0, min(size - 4, 120)))
        kind = int(draw.integers(0, 8))
        if kind == 0:
            changed[at] ^= 1 << int(draw.integers(0, 8))
        elif kind == 1:
            changed[at] = int(draw.integers(0, 256))
        elif kind == 2:
            changed[at // 4 * 4 : at // 4 * 4 + 4] = struct.pack("<I", EXTREMES[int(draw.integers(0, len(EXTREMES)))])
        elif kind == 3:
            del changed[int(draw.integers(0, size)) :]
        elif kind == 4:
            length = int(draw.integers(1, 200))
            changed[at:at] = changed[at : at + length]
        elif kind == 5:
            changed[at:at] = draw.bytes(int(draw.integers(1, 20)))
        elif kind == 6:
            del changed[at : at + int(draw.integers(1, 50))]
        else:
            other = int(draw.integers(0, size - 4))
            changed[at : at + 4], changed[other : other + 4] = changed[other : other + 4], changed[at : at + 4]
    return bytes(changed)


def read_records(root: Path) -> None:
    reader = RecordReader(root / "train.rec")
    for key in reader:
        try:
            reader[key]
        except REFUSALS:
            continue


def read_whole(pack) -> None:
    for index in range(min(len(pack), 200)):
        try:
            pack.__getitems__([index])
        except REFUSALS:
            continue


TARGETS: list[tuple[str, list[Callable[[Path], object]]]] = [
    ("train.rec", [read_records, lambda root: read_whole(IdentityPack(root)), check_pack]),
    ("train.idx", [read_records, lambda root: read_whole(IdentityPack(root)), check_pack]),
    ("property", [lambda root: read_whole(IdentityPack(root)), check_pack]),
    ("train.lst", [lambda root: read_whole(RecordList(root / "train.rec"))]),
    ("list.csv", [lambda root: read_whole(open_list(root / "list.csv"))]),
    ("new.bin", [lambda root: read_pair_set(root / "new.bin")]),
    ("protocol0.bin", [lambda root: read_pair_set(root / "protocol0.bin")]),
    ("protocol2.bin", [lambda root: read_pair_set(root / "protocol2.bin")]),
]


def run_cases(clean: Path, work: Path, cases: range) -> None:
    """Each case wounds one file, sometimes with the index taken away, and reads what can be read."""
    originals = {path.name: path.read_bytes() for path in clean.iterdir() if path.is_file()}
    (work / "p").symlink_to(clean / "p")
    for case in cases:
        draw = np.random.default_rng([7, case])
        name, reads = TARGETS[int(draw.integers(0, len(TARGETS))) if case % 2 else 0]
        for other, data in originals.items():
            (work / other).write_bytes(mutated(data, draw) if other == name else data)
        if name == "train.rec" and draw.random() < 0.3:
            (work / "train.idx").unlink()
        for number, read in enumerate(reads):
            signal.alarm(SECONDS_A_CASE)
            try:
                words = refusal(read, work)
                assert words is None or 0 < len(words) < 2000, f"an error of {len(words)} letters"
            except BaseException:
                (work / "failure.txt").write_text(f"case {case}, {name}, reader {number}:\n{traceback.format_exc()}")
                raise
            finally:
                signal.alarm(0)


def refusal(read: Callable[[Path], object], root: Path) -> str | None:
    """The words with which a reader refuses what it finds, or None if it reads it."""
    try:
        read(root)
    except REFUSALS as error:
        return str(error)
    return None


def take_memory() -> None:
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:  # qemu-user takes the limit and forgets it
        sys.exit(NO_LIMIT)
    np.ones(2 * MEMORY, dtype=np.uint8)


def hang() -> None:
    signal.alarm(1)
    while True:
        pass


def do_in_child(work: str, arguments: list[str]) -> None:
    """What this file does when it is run as a program: one of its functions, with little memory beyond what the process
    has.
    """
    if work == "cases":
        check_pack(Path(arguments[0]))  # imports what is imported late, before memory gets short
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    if work == "cases":
        clean, room, start, stop = arguments
        run_cases(Path(clean), Path(room), range(int(start), int(stop)))
    else:
        {"take_memory": take_memory, "hang": hang, "nothing": lambda: None}[work]()


def in_child(work: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run this file as a program: a fork of the tests' process would inherit torch's threads as locks that nobody
    opens.
    """
    environment = os.environ | {"PYTHONPATH": str(Path(transface.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, work, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def check_cases(clean: Path, room: Path, cases: range) -> None:
    child = in_child("cases", clean, room, cases.start, cases.stop)
    failure = room / "failure.txt"
    why = (
        failure.read_text()
        if failure.is_file()
        else f"it ended by signal {-child.returncode}: a crash, or a hang if 14\n{child.stderr[-3000:]}"
    )
    assert child.returncode == 0, why


def test_mutated_files_are_read_or_refused(clean: Path, tmp_path: Path) -> None:
    check_cases(clean, tmp_path, range(NUM_CASES))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_mutated_files_are_read_or_refused(clean: Path, tmp_path: Path) -> None:
    for start in range(0, NUM_CASES_SLOW, 1000):
        folder = tmp_path / str(start)
        folder.mkdir()
        check_cases(clean, folder, range(start, start + 1000))


def test_the_limit_of_time_does_bite() -> None:
    """The two tests above could not fail otherwise."""
    assert in_child("hang").returncode == -signal.SIGALRM
    assert in_child("nothing").returncode == 0


def test_the_limit_of_memory_does_bite() -> None:
    too_much = in_child("take_memory")
    if too_much.returncode == NO_LIMIT:
        pytest.skip("this system keeps no limit of a process's memory")
    assert too_much.returncode == 1
    assert "MemoryError" in too_much.stderr


def test_a_wound_in_one_record_leaves_the_others_right(clean: Path, tmp_path: Path) -> None:
    reader = RecordReader(clean / "train.rec")
    offsets = [*reader.index.offsets.tolist(), (clean / "train.rec").stat().st_size]
    originals = [reader.raw_at(place) for place in range(len(reader))]
    data = (clean / "train.rec").read_bytes()
    (tmp_path / "train.idx").write_bytes((clean / "train.idx").read_bytes())
    draw = np.random.default_rng(1)
    for _ in range(300):
        place = int(draw.integers(0, 10))
        changed = bytearray(data)
        for at in draw.integers(offsets[place], offsets[place + 1], 3).tolist():
            changed[at] = int(draw.integers(0, 256))
        (tmp_path / "train.rec").write_bytes(changed)
        wounded = RecordReader(tmp_path / "train.rec")
        for other in range(len(wounded)):
            if other != place:
                assert wounded.raw_at(other) == originals[other]


def test_a_wounded_image_does_not_spoil_its_batch(clean: Path) -> None:
    from transface.images.decoding import decode_images

    images = [encode_jpeg(image.contiguous()).numpy().tobytes() for image in make_faces(4, 1).images]
    expected = decode_images(images)
    draw = np.random.default_rng(2)
    for _ in range(100):
        changed = [images[0], mutated(images[1], draw), *images[2:]]
        try:
            decoded = decode_images(changed, size=(112, 112))
        except ValueError as error:
            assert json.dumps(str(error)).startswith('"image 1 ')  # noqa: PT017
            continue
        for index in (0, 2, 3):
            assert (decoded[index] == expected[index]).all()


if __name__ == "__main__":
    do_in_child(sys.argv[1], sys.argv[2:])
