"""The sections of a report on results of any kind: warnings, the table over all sets, what made the numbers."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from transface.evaluation.results import Result
from transface.reports.page.document import Block, Listing, Paragraph, Section, Warnings
from transface.reports.reading.measures import measure_names, named, short_far, title_of
from transface.reports.reading.runs import Run, SetKey, is_baseline, named_results, set_keys
from transface.reports.sections.own_curves import own_curves
from transface.reports.sections.paired_tables import paired_tables
from transface.reports.sections.result_tables import measures_table, own_tables, sets_tables, summary_table


def warning_section(runs: Sequence[Run]) -> list[Section]:
    """Return the section of warnings, each once, with all the results it is about: [] where there are none."""
    places: dict[str, dict[str, None]] = {}
    for run in runs:
        for result in run.results:
            # A result repeats its measures' warnings among its own: once is enough, where it is said of which measure.
            own = dict.fromkeys(f"{title_of(named(m))}: {m.warning}" for m in result.measures if m.warning)
            found = [*own, *(sentence for sentence in result.warnings if not any(sentence in said for said in own))]
            where = f"{run.label}, {result.name}" if len(runs) > 1 else result.name
            for sentence in found:
                places.setdefault(sentence, {})[where] = None
    if any(run.results for run in runs):
        for run in runs:
            if not run.results:
                places.setdefault("no results: it was not validated, and not evaluated since", {})[run.label] = None
    sentences = tuple(f"{'; '.join(where)}: {sentence}" for sentence, where in places.items())
    return [Section("Beware", (Warnings(sentences),))] if sentences else []


def table_section(runs: Sequence[Run]) -> list[Section]:
    """Return the section with the table over all sets: [] where there are no results."""
    keys = set_keys(result for run in runs for result in run.results)
    if not keys:
        return []
    if in_one_table(runs):
        tables = sets_tables({key: named_results(runs, key) for key in keys})
        return [Section("Results", tuple(tables))] if tables else []
    table = summary_table(runs, keys)
    return [Section("Results", (table,))] if table else []


def in_one_table(runs: Sequence[Run]) -> bool:
    """Return whether at most one run is of a model: then one table holds the figures of all sets, without naming it. A
    run without results is one too: the figures are not its own.
    """
    return sum(not run.results or any(not is_baseline(one) for one in run.results) for run in runs) <= 1


class SetResults(NamedTuple):
    """The results of one set, of one kind, by the label of their run.

    Attributes:
        key: of the set.
        results: by label.
        figures: whether a table of the plain measures is wanted: one over all sets may have them already.
        images: images by position for hardest pairs without thumbnails, or None.
        place: of the set among all of a report on one run, which gives its colour; None: colours tell runs apart.
    """

    key: SetKey
    results: Mapping[str, Result]
    figures: bool = True
    images: Any = None
    place: int | None = None

    @property
    def stem(self) -> str:
        """What begins the names of the set's picture files."""
        return f"{self.key.protocol}_{file_word(self.key.name)}"

    @property
    def models(self) -> dict[str, Result]:
        """The results that are of a model, not of a baseline."""
        return {label: result for label, result in self.results.items() if not is_baseline(result)}


def plain_blocks(found: SetResults) -> list[Block]:
    """Return what any kind of results has: measures, paired comparisons, its own tables and curves."""
    names = measure_names(found.results.values())
    table = measures_table(found.results, names, caption=f"{found.key.name}: figures")
    tables = [table] if found.figures and table.rows and names else []
    return [
        *tables,
        *paired_tables(found.models),
        *own_tables(found.results),
        *own_curves(found.results, stem=found.stem),
    ]


def provenance_section(runs: Sequence[Run]) -> Section:
    """Return the section on what made the results: checkpoint, code, versions, config, of each run."""
    blocks: list[Block] = []
    for run in runs:
        blocks += [Paragraph(line) for line in provenance_lines(run)]
        if command := run.environment.get(
            "command"
        ):  # as it stands, to be copied: a paragraph of Markdown eats backslashes
            told = shlex.join(map(str, command)) if isinstance(command, list) else str(command)
            blocks.append(Listing(f"{run.label}: command", told))
        config = run.config or next((r.provenance.config for r in run.results if r.provenance.config), {})
        versions = run.environment.get("versions") or next(
            (r.provenance.versions for r in run.results if r.provenance.versions), {}
        )
        blocks += (
            [Listing(f"{run.label}: versions", "\n".join(f"{k} {v}" for k, v in versions.items()))] if versions else []
        )
        blocks += (
            [Listing(f"{run.label}: resolved config", json.dumps(config, indent=1, default=str))] if config else []
        )
    return Section("What made these numbers", tuple(blocks))


def provenance_lines(run: Run) -> list[str]:
    """Return one line on the run's code, and one for each checkpoint its results are of."""
    stated = {
        "commit": run.environment.get("commit")
        or next((r.provenance.commit for r in run.results if r.provenance.commit), None),
        "platform": run.environment.get("platform"),
    }
    said = [f"{name} {value}" for name, value in stated.items() if value]
    lines = [f"{run.label}: " + ", ".join(said) + "."] if said else []
    measured: dict[str, dict[str, list[str]]] = {}  # by model, then by the run of a protocol
    for result in run.results:
        made = result.provenance
        if made.checkpoint and not is_baseline(result):
            hashed = f" (SHA-256 {made.checkpoint_hash[:12]})" if made.checkpoint_hash else ""
            model = f"checkpoint {made.checkpoint}{hashed} on {made.device or 'an unnamed device'}"
            own = measured.setdefault(model, {}).setdefault(f"{made.created} in {made.seconds:.1f} s", [])
            own.append(f"{result.name} {short_far(result.mode)}".strip())
    for model, runs in measured.items():
        told = "; ".join(f"{', '.join(sets)} {how.partition(' ')[2]}" for how, sets in runs.items())
        lines.append(f"{run.label}: {model}: {told}.")
    return lines


def file_word(text: str) -> str:
    """Return text as part of a file name."""
    return "".join(c if c.isalnum() or c in "-." else "-" for c in text)
