"""Commands of `transface` in processes of their own that import nothing: they are forked from one process that has
imported all, once, and has run nothing.
"""

import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = ["lightning", "matplotlib.figure", "timm", "toy_system", "transface.__main__", "transface.cli.train"]
PRELOADED += ["transface.inference.opening", "transface.reports.run_report", "transface.training.trainer"]


def run(argv: list[str], folder: str, output: str, own: dict[str, str]) -> None:
    """Run a command in a folder, its output in a file, and end with its exit code."""
    from transface.__main__ import main

    os.environ.update(own)
    os.chdir(folder)
    stream = Path(output).open("w", encoding="utf-8")  # noqa: SIM115 - it lives as long as the process
    for descriptor in (1, 2):
        os.dup2(stream.fileno(), descriptor)
    sys.argv = ["transface", *argv]
    sys.exit(main(argv))


def start(
    argv: list[str], folder: Path, output: Path, *, environment: dict[str, str], own: dict[str, str] | None = None
) -> Any:
    """Return the started process of a command; the environment is that of the first command for all of them, with what
    is each command's own.
    """
    CONTEXT.set_forkserver_preload(PRELOADED)
    kept = dict(os.environ)
    os.environ.update(environment)
    try:
        process = CONTEXT.Process(target=run, args=(argv, str(folder), str(output), own or {}))
        process.start()
    finally:
        os.environ.clear()
        os.environ.update(kept)
    return process
