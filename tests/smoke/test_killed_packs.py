"""Pack verbs killed by SIGKILL at random moments and started again end with the bytes of a run that was never
stopped.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from transface.synthetic.datasets import write_identity_pack

VERBS = {
    "from-folder": ["from-folder", "{root}/folder", "{out}"],
    "to-folder": ["to-folder", "{root}/pack", "{out}"],
    "shuffle": ["shuffle", "{root}/pack", "{out}", "--seed", "3"],
}


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def start(words: list[str], root: Path, out: Path) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "transface",
        "pack",
        *(word.format(root=root, out=out) for word in words),
        "--threads",
        "2",
    ]
    path = str(Path(__file__).resolve().parents[2] / "src")
    return subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL, start_new_session=True
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of 40 people with 150 copies of an album, so that writing takes a while, and the same as a folder."""
    root = tmp_path_factory.mktemp("killed")
    write_identity_pack(root / "small", 40, images_per_identity=4)
    folder = root / "folder"
    assert start(["to-folder", "{root}/small", "{out}"], root, folder).wait() == 0
    for path in sorted(folder.rglob("*.jpg")):
        for copy in range(150):
            os.link(path, path.with_name(f"{path.stem}-{copy}.jpg"))
    assert start(["from-folder", "{root}/folder", "{out}"], root, root / "pack").wait() == 0
    return root


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_killed_verb_goes_on_to_the_same_bytes(verb: str, root: Path, tmp_path: Path) -> None:
    assert start(VERBS[verb], root, tmp_path / "whole").wait() == 0
    draw = random.Random(verb)
    kills = 0
    for _ in range(30):
        child = start(VERBS[verb], root, tmp_path / "out")
        partial = tmp_path / ("out.partial" if verb == "to-folder" else "out")
        while child.poll() is None and not partial.exists():
            time.sleep(0.01)
        time.sleep(draw.random() * 0.6)
        if child.poll() is not None:
            break
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        kills += 1
        looks_whole = (tmp_path / "out" / "train.rec").exists() or (verb == "to-folder" and (tmp_path / "out").exists())
        if looks_whole:
            break
    if not (tmp_path / "out" / "train.idx").exists() and not (verb == "to-folder" and (tmp_path / "out").exists()):
        assert start(VERBS[verb], root, tmp_path / "out").wait() == 0
    assert kills > 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
