"""Hostile files: every reader gives its value or one ValueError, in little time and memory, and nothing else.

A few dozen mutations a reader by default, TRANSFACE_FUZZ_SECONDS of them (60) with the mark `slow`. Files that once
broke a reader lie in corpus/<reader>/ and are read first.
"""

import os
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.fuzz.readers import Reader, all_readers

CORPUS = Path(__file__).parent / "corpus"
NUM_FAST = 25
FEWER = {"layers of MatConvNet": 3, "AFLW": 3}  # another process reads these first
SECONDS = 10.0  # of one input, on a busy machine
NAMES = [
    "record",
    "record scan",
    "index",
    "list",
    "pair set",
    "embeddings",
    "embeddings parquet",
    "weights",
    "safetensors",
    "checkpoint",
    "onnx",
    "list of images",
    "list of images parquet",
    "table",
    "points",
    "CelebA list",
    "IJB members",
    "IJB points",
    "IJB pairs",
    "IJB subjects",
    "image",
    "result",
    "layers of MatConvNet",
    "AFLW",
    "COFW",
    "points of iBUG",
    "tar shard",
    "index of shards",
    "scores",
]
EXPECTED = (ValueError, FileNotFoundError)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a file that was scanned stays with the test."""
    monkeypatch.setenv("TRANSFACE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    found = all_readers(tmp_path_factory.mktemp("whole"))
    assert list(found) == NAMES
    return found


def mutated(data: bytes, seed: int) -> bytes:
    """Return a file with some bytes changed, cut out, doubled, put in or cut off."""
    random = np.random.default_rng(seed)
    content = bytearray(data)
    for _ in range(int(random.integers(1, 5))):
        place, kind = int(random.integers(0, max(len(content), 1))), int(random.integers(0, 8))
        size = int(random.integers(1, 1 + min(64, max(len(content) // 4, 1))))
        if kind == 0 and content:
            content[place] = int(random.integers(0, 256))
        elif kind == 1:
            del content[place : place + size]
        elif kind == 2:
            content[place:place] = content[place : place + size]
        elif kind == 3:
            content[place:place] = random.bytes(size)
        elif kind == 4:
            del content[place:]
        elif kind == 5:
            word = [b"\xff" * 8, b"\x7f\xff\xff\xff", b"\0" * 8, b"-1", b"1e99", b"nan", b"99999999999999999999"]
            chosen = word[int(random.integers(len(word)))]
            content[place : place + len(chosen)] = chosen
        elif kind == 6 and content:
            content[place] ^= 1 << int(random.integers(0, 8))
        else:
            content[place:place] = [b"\r", b"\n", b",", b"\0", b"\xef\xbb\xbf", b'"'][int(random.integers(6))]
    return bytes(content)


def held(reader: Reader, content: bytes, folder: Path) -> str:
    """Read a file and return what is wrong with how that went, "" for nothing."""
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    try:
        reader.read(path)
    except EXPECTED:
        pass
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    if grown > 4 * len(content) + (200 << 20):
        return f"took {grown >> 20} MiB for {len(content)} bytes"
    taken = time.monotonic() - started
    return f"took {taken:.0f} s for {len(content)} bytes" if taken > SECONDS else ""


@pytest.mark.parametrize("name", NAMES)
def test_whole_files_are_read(readers: dict[str, Reader], name: str, tmp_path: Path) -> None:
    if name in ("embeddings", "record"):
        path = tmp_path / readers[name].file
        path.write_bytes(readers[name].samples[0])
        readers[name].read(path)
    for sample in readers[name].samples:
        assert held(readers[name], sample, tmp_path) == ""


@pytest.mark.parametrize("name", NAMES)
def test_files_that_once_broke_a_reader_are_refused(readers: dict[str, Reader], name: str, tmp_path: Path) -> None:
    for file in sorted((CORPUS / name.replace(" ", "_")).glob("*")):
        assert held(readers[name], file.read_bytes(), tmp_path) == "", file.name


@pytest.mark.parametrize("name", NAMES)
def test_mutated_files_give_a_value_or_one_error(readers: dict[str, Reader], name: str, tmp_path: Path) -> None:
    @settings(
        max_examples=FEWER.get(name, NUM_FAST),
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32), st.integers(0, 99))
    def look(seed: int, sample: int) -> None:
        reader = readers[name]
        content = mutated(reader.samples[sample % len(reader.samples)], seed)
        assert held(reader, content, tmp_path) == "", seed

    look()


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", NAMES)
def test_a_minute_of_mutated_files_finds_nothing(readers: dict[str, Reader], name: str, tmp_path: Path) -> None:
    reader, seconds = readers[name], float(os.environ.get("TRANSFACE_FUZZ_SECONDS", "60"))
    seed, wrong, started = int(os.environ.get("TRANSFACE_FUZZ_SEED", "0")) << 32, [], time.monotonic()
    count = 0
    while time.monotonic() - started < seconds:
        content = mutated(reader.samples[seed % len(reader.samples)], seed)
        if said := held(reader, content, tmp_path):
            wrong.append(f"seed {seed}: {said}")
            if folder := os.environ.get("TRANSFACE_FUZZ_KEEP"):
                kept = Path(folder) / name.replace(" ", "_") / f"{seed}"
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(content)
        seed, count = seed + 1, count + 1
    print(f"{name}: {count} files, {len(wrong)} findings")
    assert not wrong, "\n".join(wrong[:20])
