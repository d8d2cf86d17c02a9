"""Re-makes the figures of docs/results/evidence.md from real photographs: `make evidence`, one command that goes on
where it stopped.

    python -m benchmarks.evidence.run --data ../shared/data/real --output runs/evidence --hours 4

Every run of runs.yaml is a `transface train` on one thread at the lowest priority. One that has its record is not run
again, one that was stopped goes on from its last checkpoint. When the hours are over the run at work is stopped (it
keeps its place), and the table and the page are made of what there is. So it is after CTRL-C and SIGTERM, which end the
command with 130 and 143; what has its record keeps it. A run that fails is told and ends no other; the exit code is 1.
"""

import argparse
import platform
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from benchmarks.evidence.children import Children
from benchmarks.evidence.data import prepare
from benchmarks.evidence.page import write_page
from benchmarks.evidence.records import Record, results_below, write_record

from transface.reports.reading.runs import read_mapping

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "docs" / "results"
PROGRAM = (sys.executable, "-m", "transface")


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
            then = " ".join(group.get("then", [])) if run in group.get("then_for", group["runs"]) else ""
            yield Planned(name, run, seed, tuple(filter(None, (train, then))), folder)


def filled(command: str, places: dict[str, str]) -> list[str]:
    """Return a command as words, its folders filled in."""
    for name, place in places.items():
        command = command.replace(f"{{{name}}}", place)
    return command.split()


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


def do_run(planned: Planned, places: dict[str, str], *, children: Children, deadline: float) -> Record | None:
    """Run what is planned and return its record, or None where the time was over or a signal came before it ended."""
    folder = Path(places["runs"]) / planned.folder
    before, fresh = children_seconds(), not folder.exists()
    for command in planned.commands:
        if not ended(folder) or command != planned.commands[0]:
            words = filled(command, {**places, "folder": str(folder)})
            log = Path(places["runs"]) / "logs" / f"{planned.group}.log"
            if not children.call(words[1:], log=log, seconds=left(deadline)):
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


def do_runs(missing: list[Planned], given: argparse.Namespace, *, children: Children, deadline: float) -> int:
    """Do one run after another until the time is over or a signal came, and write the record of each that ended; return
    how many failed.
    """
    num_failed = 0
    output = given.output.resolve()
    places = {"data": str(given.data.resolve()), "made": str(output / "data"), "runs": str(output / "runs")}
    for words in prepare(given.data, output / "data"):
        children.call(words[1:], log=output / "runs" / "logs" / "data.log", seconds=left(deadline))
    for number, one in enumerate(missing, start=1):
        if children.told or time.monotonic() >= deadline:
            break
        print(f"{number}/{len(missing)} {one.group}: {one.run}, seed {one.seed}", flush=True)
        try:
            record = do_run(one, places, children=children, deadline=deadline)
        except (RuntimeError, ValueError) as error:  # the others do not depend on it
            num_failed += 1
            print(f"failed, no record: {error}", flush=True)
            continue
        if record is not None:
            write_record(record, given.results / "evidence")
    return num_failed


def main(argv: list[str] | None = None) -> int:
    """Run what is missing, then write the table and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "real")
    parser.add_argument("--output", type=Path, default=Path("runs/evidence"), help="run folders and prepared data")
    parser.add_argument("--results", type=Path, default=RESULTS, help="records, table and page")
    parser.add_argument("--hours", type=float, default=24.0, help="of this call; the rest waits for the next")
    parser.add_argument("--only", nargs="*", default=None, help="groups; all by default")
    given = parser.parse_args(argv)
    children = Children(PROGRAM, python_path=ROOT / "src")
    children.heed()
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
    num_failed = 0
    try:
        if missing:
            num_failed = do_runs(missing, given, children=children, deadline=deadline)
    finally:
        print(write_page(groups, given.results))
    return children.exit_code or int(num_failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
