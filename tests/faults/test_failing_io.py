"""A disk that fails at any moment: every output is the old one or the new one, the message is a line, a second run
succeeds.

A shim in C (failing_io.c) makes the n-th open for writing, write, fsync or rename below a folder fail in a process that
runs a verb, libraries included. A few n of some verbs by default; with the mark `slow` every n of all of them, or
TRANSFACE_FAULTS_PLACES of each, drawn by its name. TRANSFACE_FAULTS_ONE_CODE=1 tries one code at each n, in turn.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

import transface
from transface.backbones.face_vit import FaceViT
from transface.data.recordio.reader import RecordReader
from transface.evaluation.results import read_arrays, read_result
from transface.images.decoding import decode_image
from transface.inference.face_model import FaceModel
from transface.inference.folders.embeddings_file import NamedEmbeddings, read_embeddings, write_embeddings
from transface.inference.publishing import publish
from transface.inference.translation import fit_translation, write_translation
from transface.synthetic.datasets import write_identity_pack, write_pair_sets
from transface.training.checkpoints.reader import read_checkpoint

HERE = Path(__file__).parent
CODES = ("ENOSPC", "EIO", "EACCES")
NUM_FAST = 3
TINY = [
    "experiment=demo",
    "backbone.depth=1",
    "backbone.embed_dim=16",
    "backbone.num_heads=2",
    "embedding_size=16",
    "schedule.warmup_epochs=0",
    "data.total_batch_size=4",
    "data.num_workers=0",
    "data.root=pack",
    "protocol.files=[easy.bin]",
    "protocol.num_bootstraps=0",
    "trainer.max_epochs=1",
    "logger=csv",
    "paths.runs=out",
    "name=run",
]

VERBS: dict[str, list[str]] = {
    "train": ["train", *TINY, "report=false"],
    "train and report": ["train", *TINY],
    "pack": ["pack", "from-folder", "people", "out/pack"],
    "pack from a list": ["pack", "from-list", "people/list.csv", "out/pack"],
    "pack merge": ["pack", "merge", "pack", "pack2", "--output", "out/pack"],
    "pack shuffle": ["pack", "shuffle", "pack", "out/pack"],
    "pack split": ["pack", "split", "pack", "out/a", "out/b", "--shares", ".5", ".5"],
    "pack clean": ["pack", "clean", "pack", "out/pack"],
    "pack to shards": ["pack", "to-shards", "pack", "out/shards", "--images-per-shard", "4"],
    "pack to folder": ["pack", "to-folder", "pack", "out/folder"],
    "pack check": [
        "pack",
        "check",
        "pack",
        "--json",
        "out/c.json",
        "--sheet",
        "out/c.png",
        "--allow",
        "near_duplicate",
    ],
    "align": ["align", "faces", "output=out/aligned", "detector=whole"],
    "cluster": ["cluster", "old.npz", "output=out/people.csv"],
    "translate": ["translate", "old.npz", "new.npz", "output=out/map.npz", "results=out", "num_bootstraps=5"],
    "carry over": ["translate", "old.npz", "map=map.npz", "output=out/carried.npz"],
    "synthesize": ["synthesize", "root=out/made", "num_identities=2", "images_per_identity=2", "num_pairs=20"],
    "synthesize attributes": ["synthesize", "kind=attributes", "root=out/made", "num_identities=3"],
    "report": ["report", "old_run", "output=out/report"],
    "embed": ["embed", "checkpoint=model", "images=faces", "output=out/faces.npz"],
    "embed to parquet": ["embed", "checkpoint=model", "images=faces", "output=out/faces.parquet"],
    "search": ["search", "faces/0.png", "checkpoint=model", "gallery=faces", "index=out/i.npz", "output=out/s.html"],
    "predict": ["predict", "faces", "checkpoint=model", "output=out/answers.json"],
    "evaluate": [
        "evaluate",
        "checkpoint=model",
        "protocol.files=[easy.bin]",
        "protocol.num_bootstraps=10",
        "output=out",
    ],
    "evaluate with a cache": [
        "evaluate",
        "checkpoint=model",
        "protocol.files=[easy.bin]",
        "protocol.num_bootstraps=0",
        "output=out",
        "cache=out/cache",
    ],
    "sweep": ["train", "-m", *TINY, "report=false", "seed=1,2"],
    "search settings": [
        "train",
        "-m",
        *TINY,
        "report=false",
        "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=2",
        "seed=choice(1,2)",
    ],
    "export safetensors": ["export", "checkpoint=model", "format=safetensors", "output=out/exported"],
    "export onnx": ["export", "checkpoint=model", "format=onnx", "output=out/face.onnx"],
    "export int8": [
        "export",
        "checkpoint=model",
        "format=onnx",
        "precision=int8",
        "images=easy.bin",
        "min_cosine=0",
        "output=out/8.onnx",
    ],
    "export program": ["export", "checkpoint=model", "format=torch_export", "output=out/face.pt2"],
    "config": ["config", "experiment=demo", "output=out/experiment/own.yaml"],
}
# Run a second time, these replace what the first run wrote.
REPLACING = ["report", "embed", "predict", "evaluate", "translate", "cluster", "pack check", "export onnx", "train"]


class Faults:
    """The process that runs verbs with failing files."""

    def __init__(self, library: Path) -> None:
        self.library = library
        environment = os.environ | {
            "LD_PRELOAD": str(library),
            "FAILING_IO": str(library),
            "PYTHONPATH": str(Path(transface.__file__).parents[1]),
            "OMP_NUM_THREADS": "1",
        }
        environment.pop("TRANSFACE_TRACEBACK", None)
        command = [sys.executable, str(HERE / "driver.py")]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        assert json.loads(self._line())["ready"]

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def run(self, folder: Path, words: list[str], *, place: int = 0, code: str = "EIO", stays: bool = False) -> Any:
        assert self.process.stdin is not None
        job = {"folder": str(folder), "words": words, "place": place, "code": code, "stays": stays}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return json.loads(self._line())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faults]:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("failing files need Linux and a C compiler: 'apt-get install gcc' lets these tests run")
    library = tmp_path_factory.mktemp("shim") / "failing_io.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "failing_io.c"), "-ldl"]
    subprocess.run(command, check=True)
    found = Faults(library)
    yield found
    found.close()


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the verbs read: a model, a pack, pairs, people's folders, faces."""
    root = tmp_path_factory.mktemp("room")
    torch.manual_seed(0)
    backbone = FaceViT(embed_dim=16, depth=1, num_heads=2, embedding_size=8)
    with torch.no_grad():
        backbone(torch.rand(16, 3, 112, 112) * 2 - 1)
    publish(FaceModel(backbone), root / "model")
    write_identity_pack(root / "pack", 3, images_per_identity=2)
    write_identity_pack(root / "pack2", 2, images_per_identity=2, seed=1)
    write_pair_sets(root, 20, num_identities=4)
    shutil.copytree(HERE.parent / "old_files" / "run", root / "old_run")
    write_two_models(root)
    rng = np.random.default_rng(0)
    for number in range(4):
        picture = Image.fromarray(rng.integers(0, 255, (112, 112, 3), dtype=np.uint8))
        for path in (root / "faces" / f"{number}.png", root / "people" / f"p{number // 2}" / f"{number}.png"):
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    rows = [
        f"{path.parent.name}/{path.name},{path.parent.name[1:]}" for path in sorted((root / "people").rglob("*.png"))
    ]
    (root / "people" / "list.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    (root / "out").mkdir()
    return root


def write_two_models(root: Path) -> None:
    """Write embeddings of the same pictures by two models, and the map between them."""
    rng = np.random.default_rng(0)
    names = np.array([f"p{person}/{number}.png" for person in range(12) for number in range(4)])
    old = np.repeat(rng.normal(size=(12, 8)), 4, axis=0) + 0.1 * rng.normal(size=(48, 8))
    for name, rows in (("old", old), ("new", old @ rng.normal(size=(8, 8)))):
        unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        about = {"model": name, "key": name, "flip": "none"}
        write_embeddings(
            root / f"{name}.npz", NamedEmbeddings(names, unit, np.ones(48, np.float32), np.array([], np.str_), about)
        )
    fitted = fit_translation(read_embeddings(root / "old.npz"), read_embeddings(root / "new.npz"), kind="ridge")
    write_translation(root / "map.npz", fitted)


class Finding(NamedTuple):
    """What is wrong after a fault."""

    verb: str
    place: int
    code: str
    what: str


def broken_files(folder: Path) -> list[str]:
    """Return the outputs in a folder that are not whole; what is being written has a name of its own and is none."""
    found = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if path.is_symlink() or not path.is_file() or any(is_unfinished(part) for part in inside):
            continue
        try:
            check_whole(path)
        except Exception as error:
            found.append(f"{path.relative_to(folder)}: {type(error).__name__}: {str(error)[:200]}")
    return found


def is_unfinished(name: str) -> bool:
    return name.startswith(".") or name.endswith((".writing", ".parts", ".partial", ".log", ".journal"))


def check_whole(path: Path) -> None:
    """Raise where a file is not what its name says."""
    content = path.read_bytes()
    if path.suffix == ".json":
        told = json.loads(content)
        if isinstance(told, dict) and str(told.get("schema", "")).startswith("transface.result"):
            read_arrays(read_result(path))
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as stored:
            assert [stored[name] for name in stored.files]
    elif path.suffix == ".npy":
        assert np.load(path, mmap_mode="r").size
    elif path.suffix == ".ckpt":
        assert read_checkpoint(path)
    elif path.suffix == ".safetensors":
        assert load_file(path)
    elif path.suffix == ".onnx":
        assert transface.load(path).embedding_size
    elif path.suffix == ".rec":
        reader = RecordReader(path)
        assert [reader[key] for key in reader.keys()]  # noqa: SIM118 - a reader is no dict
    elif path.suffix == ".html":
        assert content.rstrip().endswith(b"</html>")
    elif path.suffix == ".parquet":
        import pyarrow.parquet

        assert pyarrow.parquet.read_table(path).num_rows
    elif path.suffix in (".jpg", ".png"):
        assert decode_image(content).numel()
    elif path.suffix == ".pt2":
        torch.export.load(path)
    elif path.suffix == ".yaml":
        assert yaml.safe_load(content)
    elif path.suffix == ".svg":
        assert content.rstrip().endswith(b"</svg>")
    elif path.suffix in (".csv", ".md"):
        assert content.endswith(b"\n")


def after_a_fault(
    faults: Faults,
    room: Path,
    verb: str,
    place: int,
    code: str,
    *,
    stays: bool = False,
    states: set[str] | None = None,
    over: Path | None = None,
) -> list[Finding]:
    """Run a verb whose operation `place` fails, then once more without a fault, and return what is wrong.

    The second run is left out where the fault left what is in `states`. `over` is a folder of what an earlier run has
    written.
    """
    words, out = [*VERBS[verb], *(["overwrite=true"] if over and verb.startswith("export") else [])], room / "out"
    empty_folder(out)
    if over:
        shutil.copytree(over, out, dirs_exist_ok=True)
    found: list[str] = []
    hurt = faults.run(room, words, place=place, code=code, stays=stays)
    lines = [line for line in hurt["said"].splitlines() if line.startswith("transface: ")]
    if hurt["code"] not in (0, 1, 2):
        found.append(f"exit code {hurt['code']}: {hurt['said'][-300:]}")
    if "Traceback" in hurt["said"] or (hurt["code"] in (1, 2) and len(lines) != 1):
        found.append(f"no single line of a message: {hurt['said'][-400:]}")
    found += [f"broken after the fault: {name}" for name in broken_files(out)]
    found += [f"lost by the fault: {name}" for name in lost_files(over, out)] if over else []
    state = f"{hurt['code']} {[(str(path), path.lstat().st_size) for path in sorted(out.rglob('*'))]}"
    if states is None or state not in states:
        again = faults.run(room, [*words, "resume=auto"] if words[0] == "train" else words)
        if again["code"] != 0 and "already" not in again["said"]:  # done, and not done once more
            found.append(f"the second run ends with {again['code']}: {again['said'][-300:]}")
        found += [f"broken after the second run: {name}" for name in broken_files(out)]
    if states is not None:
        states.add(state)
    return [Finding(verb, place, f"{code} {hurt['kind']}", what) for what in found]


def lost_files(before: Path, after: Path) -> list[str]:
    """Return the outputs of an earlier run that are gone: no file has their name, nor, moved aside, their content."""
    contents = {hashlib.sha256(path.read_bytes()).digest() for path in after.rglob("*") if path.is_file()}
    return [
        str(path.relative_to(before))
        for path in sorted(before.rglob("*"))
        if path.is_file()
        and not any(is_unfinished(part) for part in path.relative_to(before).parts)
        and not (after / path.relative_to(before)).is_file()
        and hashlib.sha256(path.read_bytes()).digest() not in contents
    ]


def empty_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def num_operations(faults: Faults, room: Path, verb: str) -> int:
    empty_folder(room / "out")
    counted = faults.run(room, VERBS[verb])
    assert counted["code"] == 0, counted["said"]
    assert broken_files(room / "out") == []
    return int(counted["count"])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("verb", ["evaluate", "embed", "pack"])
def test_a_few_faults_leave_whole_outputs(faults: Faults, room: Path, verb: str) -> None:
    total = num_operations(faults, room, verb)
    places = sorted({1 + (total - 1) * step // (NUM_FAST - 1) for step in range(NUM_FAST)})
    wrong = [
        finding
        for number, place in enumerate(places)
        for finding in after_a_fault(faults, room, verb, place, CODES[number % len(CODES)])
    ]
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("verb", list(VERBS))
def test_every_fault_leaves_whole_outputs(faults: Faults, room: Path, verb: str) -> None:
    assert_no_findings(faults, room, verb, num_operations(faults, room, verb))


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("verb", REPLACING)
def test_a_fault_while_old_outputs_are_replaced_loses_none(
    faults: Faults, room: Path, tmp_path: Path, verb: str
) -> None:
    total = num_operations(faults, room, verb)
    over = shutil.copytree(room / "out", tmp_path / "old")
    assert_no_findings(faults, room, verb, total, over=over)


def assert_no_findings(faults: Faults, room: Path, verb: str, total: int, *, over: Path | None = None) -> None:
    """Try the codes at every place of a verb of `total` operations, or at those that the environment asks for."""
    most = int(os.environ.get("TRANSFACE_FAULTS_PLACES", total))
    places = sorted(random.Random(verb).sample(range(1, total + 1), min(most, total)))
    wrong: list[Finding] = []
    tried = 0
    for place in places:
        states: set[str] = set()
        for code in (CODES[place % 3],) if os.environ.get("TRANSFACE_FAULTS_ONE_CODE") else CODES:
            found = after_a_fault(faults, room, verb, place, code, stays=code == "ENOSPC", states=states, over=over)
            for finding in found:
                print(finding, flush=True)  # a run of an hour may be stopped
            wrong += found
            tried += 1
    print(f"{verb}: {total} operations, {tried} faults, {len(wrong)} findings")
    assert not wrong, "\n".join(map(str, wrong))


def after_the_power_went(faults: Faults, room: Path, verb: str, place: int) -> list[Finding]:
    """Run a verb at whose operation `place` the power goes, then once more, and return what is wrong.

    A training is gone on with; all else is the same command.
    """
    words, out = VERBS[verb], room / "out"
    empty_folder(out)
    faults.run(room, words, place=place, code="POWER")
    # metrics.csv grows by a line a logged step, and is no checkpoint: its last lines may go.
    broken = [name for name in broken_files(out) if "/metrics.csv:" not in name]
    found = [f"broken after the power went: {name}" for name in broken]
    again = faults.run(room, [*words, "resume=auto"] if words[0] == "train" else words)
    if again["code"] != 0 and "already" not in again["said"]:
        found.append(f"the second run ends with {again['code']}: {again['said'][-300:]}")
    found += [f"broken after the second run: {name}" for name in broken_files(out)]
    return [Finding(verb, place, "POWER", what) for what in found]


# A training with its report, sweeps and made-up people take hours at every moment.
POWER_VERBS = [verb for verb in VERBS if verb not in ("train and report", "sweep", "search settings", "synthesize")]


def test_the_shim_cuts_off_what_was_not_synced(faults: Faults, tmp_path: Path) -> None:
    """The check of the check: of three files moved to their names, one was never synced, one in part."""
    program = f"""
import ctypes, os
shim = ctypes.CDLL(os.environ["FAILING_IO"])
shim.failing_io_arm({str(tmp_path).encode()!r}, ctypes.c_long(0), -1, 0)
for name, parts in (("whole", 2), ("half", 1), ("none", 0)):
    with open({str(tmp_path)!r} + "/" + name + ".new", "wb", buffering=0) as file:
        for part in range(2):
            file.write(b"123")
            if part < parts:
                os.fsync(file.fileno())
    os.rename({str(tmp_path)!r} + "/" + name + ".new", {str(tmp_path)!r} + "/" + name)
shim.failing_io_power_loss()
"""
    library = faults.library
    environment = os.environ | {"LD_PRELOAD": str(library), "FAILING_IO": str(library)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "whole": b"123123",
        "half": b"123",
        "none": b"",
    }


@pytest.mark.timeout(900)
def test_what_is_done_survives_a_power_cut(faults: Faults, room: Path) -> None:
    """Outputs of a run that has ended are on the disk, and not in its memory alone; the cut in the middle is slow."""
    total = num_operations(faults, room, "pack")
    for place in (total // 2, total + 1):
        assert not after_the_power_went(faults, room, "pack", place)


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("verb", POWER_VERBS)
def test_a_power_cut_at_any_moment_leaves_whole_outputs(faults: Faults, room: Path, verb: str) -> None:
    total = num_operations(faults, room, verb)
    wrong = [finding for place in range(1, total + 2) for finding in after_the_power_went(faults, room, verb, place)]
    print(f"{verb}: {total} operations, {total + 1} power cuts, {len(wrong)} findings")
    assert not wrong, "\n".join(map(str, wrong))
