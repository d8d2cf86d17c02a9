"""The table of a chain: teacher on whole and on occluded faces, baseline, both distillations, combined, controls; over
seeds, with tests.

Shapes: n test images, S seeds.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from transface.evaluation.results import read_arrays
from transface.metrics.significance import compare_correct, compare_errors, holm
from transface.reports.occlusion.combined import combined_answers
from transface.reports.page.document import Cell, Document, Paragraph, Row, Section, Table
from transface.reports.reading.runs import results_of
from transface.reports.run_report import FORMATS, check_formats, write_report

STAGE = re.compile(r"seed=(\d+),stage=(\w+)")
WHOLE, HIDDEN = "whole", "occluded"


class Line(NamedTuple):
    """A row of the table: what it is, the run and the view its answers come from."""

    title: str
    stage: str
    view: str


LINES = (
    Line("teacher, whole faces", "teacher", WHOLE),
    Line("teacher, occluded faces", "teacher", HIDDEN),
    Line("occluded baseline", "occluded", HIDDEN),
    Line("baseline from scratch", "scratch", HIDDEN),
    Line("baseline, equal compute (control)", "longer", HIDDEN),
    Line("classic distillation", "classic", HIDDEN),
    Line("triplet distillation", "triplet", HIDDEN),
)
BASELINE, CONTROL = "occluded baseline", "baseline, equal compute (control)"


class Answers(NamedTuple):
    """Right answers (bool) or absolute errors (n,) of every seed, by row."""

    column: str
    kind: str
    rows: dict[str, dict[int, NDArray[Any]]]


def write_chain_report(
    folder: str | Path,
    *,
    build: Callable[[Any], Any],
    output: str | Path | None = None,
    formats: Sequence[str] = FORMATS,
) -> Path:
    """Combine the students of every seed, write the report of the chain below a folder, and return its path.

    Args:
        build: makes what the `_target_` of a run's config names: the protocol that the students are combined on.

    Raises:
        FileNotFoundError: no folder.
        ValueError: if no run seed=N,stage=NAME with results lies in it.
    """
    check_formats(formats)
    folder = Path(folder)
    runs = chain_runs(folder)
    answers = [chain_answers(runs, column, kind, build) for column, kind in columns_of(runs)]
    blocks: list[Any] = [table_of(one) for one in answers]
    blocks += [tests_of(one) for one in answers]
    share = shares_of(runs)
    sections = [Section("Results on the test images", tuple(blocks)), Section("What is hidden", (Paragraph(share),))]
    return write_report(
        Document(f"Occlusion: {folder.name}", share, tuple(sections)), output or folder / "report", formats=formats
    )


def chain_runs(folder: Path) -> dict[int, dict[str, Path]]:
    """Return the runs of a chain: by seed, by stage."""
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    found: dict[int, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        match = STAGE.fullmatch(path.name)
        if match and list(path.glob("results/*.json")):
            found.setdefault(int(match[1]), {})[match[2]] = path
    if not found:
        raise ValueError(
            f"{folder} holds no finished stage: expected folders seed=0,stage=teacher and so on, of transface train -m"
            " experiment=occlusion/..."
        )
    return found


def columns_of(runs: dict[int, dict[str, Path]]) -> list[tuple[str, str]]:
    """Return (name, "classes" or "values") of what the runs answer."""
    first = next(iter(next(iter(runs.values())).values()))
    return sorted({(result.mode, str(result.kind)) for result in results_of(first)})


def chain_answers(runs: dict[int, dict[str, Path]], column: str, kind: str, build: Callable[[Any], Any]) -> Answers:
    """Return the answers of every row and seed, students combined."""
    rows: dict[str, dict[int, NDArray[Any]]] = {}
    names = class_names(runs) if kind == "classes" else {}
    seeds = sorted(runs)
    for seed in seeds:
        own = runs[seed]
        for line in LINES:
            if line.stage in own and (found := stored_answers(own[line.stage], line.view, column)) is not None:
                rows.setdefault(line.title, {})[seed] = found
        pairs = {"combined": [own[stage] for stage in ("classic", "triplet") if stage in own]}
        other = runs[seeds[(seeds.index(seed) + 1) % len(seeds)]]
        control = "longer" if "longer" in own and "longer" in other else "occluded"
        pairs["two baselines (control)"] = (
            [one[control] for one in (own, other) if control in one] if len(seeds) > 1 else []
        )
        for title, pair in pairs.items():
            if len(pair) == 2:
                folder = pair[0].parent / "combined"
                fitted = combined_answers(
                    pair, protocol_of(pair[0], build), HIDDEN, column, names.get(column, ()), folder
                )
                for way, found in fitted.items():
                    rows.setdefault(f"{title}, {way}", {})[seed] = found
    return Answers(column, kind, rows)


def stored_answers(run: Path, view: str, column: str) -> NDArray[Any] | None:
    """Return the right answers or errors of a run's last validation, None where it measured none."""
    for result in results_of(run):
        if result.mode == column and result.name.endswith(f"_{view}"):
            arrays = read_arrays(result)
            return arrays.get("correct", arrays.get("error"))
    return None


def config_of_run(run: Path) -> dict[str, Any]:
    """Return the resolved config of a run."""
    content: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    return content


def protocol_of(run: Path, build: Callable[[Any], Any]) -> Callable[[str], Any]:
    """Return what makes the protocol of a run for another split."""
    settings = config_of_run(run)["protocol"]
    return lambda split: build({**settings, "split": split})


def class_names(runs: dict[int, dict[str, Path]]) -> dict[str, tuple[str, ...]]:
    """Return the names of the classes of each output."""
    first = next(iter(next(iter(runs.values())).values()))
    outputs = config_of_run(first)["system"]["network"]["network"]["outputs"]
    return {name: tuple(output.get("names", ())) for name, output in outputs.items()}


def table_of(answers: Answers) -> Table:
    """Return the table of one output: mean over seeds, the seeds' standard deviation, each seed."""
    classes = answers.kind == "classes"
    unit = "accuracy, %" if classes else "mean absolute error, years"
    factor = 100 if classes else 1
    best_of = {
        title: float(np.mean([own.mean() for own in seeds.values()]))
        for title, seeds in answers.rows.items()
        if "whole" not in title
    }
    best = (max if classes else min)(best_of.values())
    rows = []
    for title, seeds in answers.rows.items():
        means = [factor * float(own.mean()) for own in seeds.values()]
        spread = f"± {np.std(means, ddof=1):.2f}" if len(means) > 1 else ""
        cell = Cell(f"{np.mean(means):.2f}", spread, best=best_of.get(title) == best)
        rows.append(
            Row(
                title,
                (cell, Cell(", ".join(f"{mean:.2f}" for mean in means)), Cell(str(len(next(iter(seeds.values())))))),
            )
        )
    return Table(f"{answers.column}: {unit}", ("", "mean ± sd of seeds", "each seed", "images"), tuple(rows))


def tests_of(answers: Answers) -> Table:
    """Return the paired tests of every row against the baseline and the control of equal compute, seed by seed, Holm
    over all of them.
    """
    found: list[tuple[str, str, int, Any]] = []
    for against in (BASELINE, CONTROL):
        for title, seeds in answers.rows.items():
            if (
                against not in answers.rows
                or title == against
                or title.startswith("teacher")
                or (against == CONTROL and title == BASELINE)
            ):
                continue
            for seed, own in seeds.items():
                if seed in answers.rows[against] and len(own) == len(answers.rows[against][seed]):
                    compare = compare_correct if answers.kind == "classes" else compare_errors
                    found.append((title, against, seed, compare(answers.rows[against][seed], own)))
    adjusted: Any = holm([test.p_value for *_, test in found]) if found else []
    factor, digits = (100, 2) if answers.kind == "classes" else (1, 3)
    rows = tuple(
        Row(
            f"{title} - {against}, seed {seed}",
            (
                Cell(
                    f"{factor * test.difference:+.{digits}f}",
                    f"[{factor * test.low:+.{digits}f}, {factor * test.high:+.{digits}f}]",
                ),
                Cell(f"{test.only_first} / {test.only_second}" if answers.kind == "classes" else ""),
                Cell(f"{test.p_value:.4f}"),
                Cell(f"{p:.4f}"),
            ),
        )
        for (title, against, seed, test), p in zip(found, adjusted, strict=True)
    )
    what = "McNemar" if answers.kind == "classes" else "paired permutation of absolute errors"
    notes = (
        (
            "b / c: images that the first alone, and the second alone, gets right. Below 25 discordant images the test"
            " is exact."
        ),
    )
    return Table(f"{answers.column}: {what}", ("", "difference, 95 %", "b / c", "p", "p, Holm"), rows, notes)


def shares_of(runs: dict[int, dict[str, Path]]) -> str:
    """Return a sentence about what the runs hide."""
    first = next(iter(next(iter(runs.values())).values()))
    occluder = config_of_run(first).get("occluder") or {}
    kind = str(occluder.get("_target_", "nothing")).rsplit(".", 1)[-1]
    half = occluder.get("half", "")
    seeds = f"{len(runs)} seed{'s' if len(runs) > 1 else ''}"
    return f"Occluder: {kind} {half}".strip() + f"; {seeds}; each image is hidden alike in all rows."
