"""Runs verbs with the n-th operation on files failing, each in a fork of one process that has imported everything.

Started with failing_io.so preloaded; reads jobs as JSON lines on stdin, answers a JSON line each.
"""

import contextlib
import ctypes
import errno
import importlib
import io
import json
import os
import pkgutil
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from omegaconf._utils import get_yaml_loader

import transface
from transface.__main__ import main
from transface.cli.config.folder import conf_folder
from transface.images.alignment import template_points
from transface.images.detection import sorted_faces
from transface.inference.folders import align_folder

for module in pkgutil.walk_packages(transface.__path__, "transface."):  # forks import nothing anew
    if not module.name.endswith("__main__"):
        with contextlib.suppress(Exception):  # packages that are not installed
            importlib.import_module(module.name)

torch.set_num_threads(1)
POWER = -1  # no error of an operation: the power goes
load_yaml = yaml.load
CONFIGS: dict[str, Any] = {}
for file in conf_folder().rglob("*.yaml"):  # a quarter of a verb's time is reading them
    with file.open() as stream:
        CONFIGS[str(file)] = load_yaml(stream, Loader=get_yaml_loader())


def load_read_config(stream: Any, Loader: Any) -> Any:
    """Answer for yaml.load with what was read from conf/ before the forks; OmegaConf copies what it is given."""
    name = str(getattr(stream, "name", ""))
    return CONFIGS[name] if name in CONFIGS else load_yaml(stream, Loader=Loader)


yaml.load = load_read_config


class WholePicture:
    """Finds one face in every picture: all of it."""

    name = "whole"

    def detect(self, images: Any) -> list[Any]:
        box = [[0, 0, 111, 111]]
        return [sorted_faces(box, template_points().numpy()[None], np.array([0.9])) for _ in images]


align_folder.open_detector = lambda *_, **__: WholePicture()  # type: ignore[assignment]
io_faults = ctypes.CDLL(os.environ["FAILING_IO"])
io_faults.failing_io_count.restype = ctypes.c_long


def run_forked(words: list[str], *, folder: Path, root: Path, place: int, code: int, stays: bool) -> dict[str, Any]:
    """Run a verb in a fork whose operation number `place` below `root` fails (0: none), and say what came of it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        os.chdir(folder)
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            io_faults.failing_io_arm(str(root).encode(), ctypes.c_long(place), code, int(stays))
            try:
                exit_code = main(words)
            except SystemExit as stop:
                exit_code = int(stop.code or 0)
            except BaseException:
                traceback.print_exc()
                exit_code = 99
            count = io_faults.failing_io_count()
            if code == POWER:
                io_faults.failing_io_power_loss()
            kind = chr(io_faults.failing_io_failed() or ord("-"))
            io_faults.failing_io_arm(b"", ctypes.c_long(0), 0, 0)
        answer = {"code": exit_code, "said": said.getvalue()[-3000:], "count": count, "kind": kind}
        os.write(write, json.dumps(answer).encode())
        os._exit(0)
    os.close(write)
    answer = b""
    while piece := os.read(read, 1 << 16):
        answer += piece
    os.close(read)
    os.waitpid(child, 0)
    return dict(json.loads(answer)) if answer else {"code": -1, "said": "the process died", "count": 0, "kind": "-"}


def handle(job: dict[str, Any]) -> dict[str, Any]:
    """Run one job: {"folder", "words", "place", "code", "stays"}."""
    folder = Path(job["folder"]).resolve()
    root = folder / job.get("root", "out")
    root.mkdir(exist_ok=True)
    named = job.get("code", "EIO")
    code = POWER if named == "POWER" else getattr(errno, named)
    return run_forked(
        job["words"], folder=folder, root=root, place=job["place"], code=code, stays=job.get("stays", False)
    )


def serve() -> None:
    """Answer jobs until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what verbs print is no answer
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(handle(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    serve()
