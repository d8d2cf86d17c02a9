"""Re-makes the figures of docs/results/evidence.md from real photographs: `make evidence`, one command that goes on
where it stopped.

    python -m benchmarks.evidence.run --data ../shared/data/real --output runs/evidence --hours 4

Every run of runs.yaml is a `transface train` on one thread at the lowest priority. One that has its record is not run
again, one that was stopped goes on from its last checkpoint. When the hours are over the run at work is stopped (it
keeps its place), and the table and the page are made of what there is.
"""

import argparse
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from benchmarks.evidence.data import prepare
from benchmarks.evidence.page import write_page
from benchmarks.evidence.records import Record, results_below, write_record

from transface.reports.reading.runs import read_mapping

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "docs" / "results"


class Planned(NamedTuple):
    """One run: its group, name and seed, its commands with folders as {data}, {made}, {folder}, and its folder."""

    group: str
    run: str
    seed: int
    commands: tuple[str, ...]
    folder: str


def read_groups(path: Path = HERE / "runs.yaml") -> dict[str, dict[str, Any]]:
    """Return the groups of runs.yaml by name, in order."""
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def planned_runs(name: str, group: dict[str, Any]) -> Iterator[Planned]:
    """Yield the runs of a group, all of one seed before the next: a comparison is whole as early as can be."""
    for seed in group["seeds"]:
        for run, words in group["runs"].items():
            folder = group.get("folder", "{group}/{run}-seed{seed}").format(group=name, run=run, seed=seed)
            where = "paths.runs={runs}" if "folder" in group else f"paths.runs={{runs}} name={folder} resume=auto"
            train = " ".join([*group["command"], words, f"seed={seed}", where])
            then = " ".join(group.get("then", []))
            yield Planned(name, run, seed, tuple(filter(None, (train, then))), folder)


def filled(command: str, places: dict[str, str]) -> list[str]:
    """Return a command as words, its folders filled in."""
    for name, place in places.items():
        command = command.replace(f"{{{name}}}", place)
    return command.split()


def call(words: list[str], *, log: Path, seconds: float) -> bool:
    """Run a command of transface on one thread at the lowest priority; return whether it ended in time, well.

    Raises:
        RuntimeError: if it failed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    with log.open("a", encoding="utf-8") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", "transface", *words[1:]],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=lambda: os.nice(19),
        )
        try:
            code = child.wait(seconds)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            child.send_signal(signal.SIGTERM)  # it saves at the end of its step
            child.wait()
            return False
    if code != 0:
        raise RuntimeError(f"{' '.join(words)} ended with {code}: see {log}")
    return True


def children_seconds() -> float:
    """Return the processor time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def do_run(planned: Planned, places: dict[str, str], *, deadline: float) -> Record | None:
    """Run what is planned and return its record, or None where the time was over before it ended."""
    folder = Path(places["runs"]) / planned.folder
    before, fresh = children_seconds(), not folder.exists()
    for command in planned.commands:
        if not ended(folder) or command != planned.commands[0]:
            words = filled(command, {**places, "folder": str(folder)})
            if not call(words, log=Path(places["runs"]) / "logs" / f"{planned.group}.log", seconds=left(deadline)):
                return None
    return record_of(planned, folder, cpu_seconds=round(children_seconds() - before, 1) if fresh else None)


def ended(folder: Path) -> bool:
    """Return whether training in a run folder ran to its end."""
    return (folder / "finished.json").is_file()


def record_of(planned: Planned, folder: Path, *, cpu_seconds: float | None) -> Record:
    """Return the record of a run that has ended.

    Raises:
        ValueError: if it left no results.
    """
    results = tuple(results_below(folder))
    if not results:
        raise ValueError(f"{folder} ended and has no results")
    made = results[0].provenance
    environment = read_mapping(folder / "environment.json")
    known = made.versions or {**environment.get("versions", {}), "python": environment.get("python", "")}
    versions = {name: str(known[name]) for name in ("python", "torch", "transface") if name in known}
    trained = read_mapping(folder / "trained.json")
    command = " && ".join(planned.commands)
    return Record(
        planned.group,
        planned.run,
        planned.seed,
        command,
        results,
        trained,
        cpu_seconds,
        processor(),
        versions,
        made.commit or str(environment.get("commit", "")),
        made.created,
    )


def left(deadline: float) -> float:
    """Return the seconds until then, at least one."""
    return max(1.0, deadline - time.monotonic())


def main(argv: list[str] | None = None) -> int:
    """Run what is missing, then write the table and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "real")
    parser.add_argument("--output", type=Path, default=Path("runs/evidence"), help="run folders and prepared data")
    parser.add_argument("--results", type=Path, default=RESULTS, help="records, table and page")
    parser.add_argument("--hours", type=float, default=24.0, help="of this call; the rest waits for the next")
    parser.add_argument("--only", nargs="*", default=None, help="groups; all by default")
    given = parser.parse_args(argv)
    groups = read_groups()
    unknown = set(given.only or []) - set(groups)
    if unknown:
        parser.error(f"no group {', '.join(sorted(unknown))}: there are {', '.join(groups)}")
    deadline = time.monotonic() + 3600 * given.hours
    chosen = {name: group for name, group in groups.items() if not given.only or name in given.only}
    runs = [one for name, group in chosen.items() for one in planned_runs(name, group)]
    plan = sorted(runs, key=lambda one: one.seed)  # every table has its first column before any has its second
    records = given.results / "evidence"
    missing = [one for one in plan if not (records / one.group / f"{one.run}-seed{one.seed}.json").is_file()]
    minutes = sum(groups[one.group]["minutes"] for one in missing)
    print(f"{len(plan) - len(missing)} of {len(plan)} runs have their record; the others take about {minutes} minutes")
    if missing:
        output = given.output.resolve()
        places = {"data": str(given.data.resolve()), "made": str(output / "data"), "runs": str(output / "runs")}
        for words in prepare(given.data, output / "data"):
            call(words, log=output / "runs" / "logs" / "data.log", seconds=left(deadline))
        for number, one in enumerate(missing, start=1):
            if time.monotonic() >= deadline:
                break
            print(f"{number}/{len(missing)} {one.group}: {one.run}, seed {one.seed}", flush=True)
            record = do_run(one, places, deadline=deadline)
            if record is not None:
                write_record(record, records)
    print(write_page(groups, given.results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
