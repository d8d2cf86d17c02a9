"""Ours beside the published design, taking turns in one process: python -m benchmarks.peers [ROW ...] [--rounds 9].

    python -m benchmarks.peers verification tar_at_far
    python -m benchmarks.peers verification --peer verification=CHECKOUT/eval/verification.py:evaluate

Each row of benchmarks/peers/rows.py does one thing twice: as this package does it, and by the published design, which
is written here from its description. `--peer ROW=FILE:FUNCTION` adds a third: a function of a checkout of yours, called
with the arguments that the row states. Reported is processor time, as other programs hardly lengthen it.
"""

import argparse
import importlib.util
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmarks.peers.rows import ROWS
from benchmarks.step import take_turns


def peer_function(place: str) -> Callable[..., Any]:
    """Return the function at FILE:FUNCTION; its folder can be imported from.

    Raises:
        ValueError: if there is no such file or function.
    """
    file, _, name = place.rpartition(":")
    path = Path(file)
    if not file or not path.is_file():
        raise ValueError(f"no file {file or place}: give FILE:FUNCTION, the file of a checkout and a function in it")
    spec = importlib.util.spec_from_file_location(f"peer_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    spec.loader.exec_module(module)
    if not callable(getattr(module, name, None)):
        raise ValueError(f"{path} has no function {name!r}")
    found: Callable[..., Any] = getattr(module, name)
    return found


def measure(name: str, *, rounds: int, peer: Callable[..., Any] | None = None) -> dict[str, float]:
    """Return the median processor seconds of a row: "ours", "published" and, where one is given, "peer"."""
    row = ROWS[name]
    arguments = row.make()
    ways = {"ours": row.ours, "published": row.published, **({"peer": peer} if peer else {})}
    actions = [lambda way=way: way(*arguments) for way in ways.values()]
    seconds = take_turns(actions, rounds, lambda: None)
    return {way: statistics.median(each.processor) for way, each in zip(ways, seconds, strict=True)}


def main(argv: list[str] | None = None) -> int:
    """Measure the rows and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=list(ROWS), help=", ".join(ROWS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peer", action="append", default=[], metavar="ROW=FILE:FUNCTION")
    given = parser.parse_args(argv)
    peers = dict(place.split("=", 1) for place in given.peer)
    unknown = [name for name in (*given.rows, *peers) if name not in ROWS]
    if unknown:
        parser.error(f"no row {', '.join(unknown)}: there are {', '.join(ROWS)}")
    torch.set_num_threads(1)
    print("| row | ours, ms | published design, ms | published / ours | a checkout, ms |\n|---|---:|---:|---:|---:|")
    for name in given.rows:
        found = measure(name, rounds=given.rounds, peer=peer_function(peers[name]) if name in peers else None)
        ours, published, peer = found["ours"], found["published"], found.get("peer")
        theirs = "" if peer is None else f"{1e3 * peer:.1f}"
        print(f"| {name} | {1e3 * ours:.1f} | {1e3 * published:.1f} | {published / ours:.2f} | {theirs} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
