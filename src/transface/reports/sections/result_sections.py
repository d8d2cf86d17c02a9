"""The sections of a report that come from result files: warnings, tables, each set's curves and hardest pairs, what
made it all.
"""

import json
import shlex
from collections.abc import Mapping, Sequence

from transface.evaluation.results import Result
from transface.reports.page.document import Block, Listing, Paragraph, Plot, Section, Warnings
from transface.reports.reading.measures import find_measure, named, short_far, spoken_value, title_of
from transface.reports.reading.runs import Run, SetKey, is_baseline, named_results, set_keys
from transface.reports.recognition.curves import curve_figure, curves_of, det_figure, histogram_figure, roc_figure
from transface.reports.recognition.hard_pairs import ImageSource, galleries
from transface.reports.sections.paired_tables import paired_tables
from transface.reports.sections.result_tables import (
    counts_text,
    own_tables,
    set_tables,
    sets_tables,
    summary_table,
)


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


def set_sections(runs: Sequence[Run], *, images: Mapping[str, ImageSource] | None = None) -> list[Section]:
    """Return a section for each set: tables, paired comparison, curves, histograms, hardest pairs. `images`: by the
    set's name.
    """
    keys = set_keys(result for run in runs for result in run.results)
    figures = not in_one_table(runs)
    return [
        set_section(key, named_results(runs, key), images=(images or {}).get(key.name), figures=figures) for key in keys
    ]


def in_one_table(runs: Sequence[Run]) -> bool:
    """Return whether at most one run has results of a model: then one table holds the figures of all sets."""
    return sum(any(not is_baseline(result) for result in run.results) for run in runs) <= 1


def set_section(
    key: SetKey, results: Mapping[str, Result], *, images: ImageSource | None = None, figures: bool = True
) -> Section:
    """Return the section of one set; `figures=False` leaves out what the table over all sets says already."""
    stem = f"{key.protocol}_{file_word(key.name)}"
    blocks: list[Block] = []
    described = dict.fromkeys(counts_text(result) for result in results.values())
    blocks += [Paragraph(". ".join(text for text in described if text) + ".")] if any(described) else []
    blocks += set_tables(results, figures=figures)
    blocks += paired_tables({label: result for label, result in results.items() if not is_baseline(result)})
    blocks += own_tables(results)
    blocks += curve_plots(key.name, results, stem=stem)
    blocks += own_curves(results, stem=stem)
    for label, result in results.items():
        if not is_baseline(result):
            blocks += galleries(result, label=label, stem=f"{stem}_{file_word(label)}", images=images)
    return Section(f"{key.name} ({PROTOCOL_NAMES.get(key.protocol, key.protocol)})", tuple(blocks))


PROTOCOL_NAMES = {
    "attributes": "attributes",
    "pair_sets": "ten-fold verification",
    "ijbb": "IJB-B 1:1",
    "ijbc": "IJB-C 1:1",
    "ijbb_identification": "IJB-B 1:N",
    "ijbc_identification": "IJB-C 1:N",
    "tinyface": "identification",
    "rfw": "four groups",
    "folder": "folder of people",
    "pairs_csv": "pairs from a CSV",
    "groups": "groups of people",
    "error_discard": "error versus discard",
    "translation": "from one model to another",
}


def curve_plots(name: str, results: Mapping[str, Result], *, stem: str) -> list[Plot]:
    """Return the ROC, DET and histogram plots of one set's results, those there is data for."""
    plots = []
    curves = curves_of(results)
    if curves:
        counts = [result.counts for result in results.values()]
        impostors = max((c.get("impostor", 0) for c in counts), default=0)
        genuine = max((c.get("genuine", 0) for c in counts), default=0)
        band = ", band: 95 % interval" if any(curve.tar_low for curve in curves.values()) else ""
        said = spoken(results)
        roc = roc_figure(curves, num_impostors=impostors, title=f"{name}: ROC{band}")
        det = det_figure(curves, num_genuine=genuine, num_impostors=impostors, title=f"{name}: DET{band}")
        plots.append(Plot(roc, f"{stem}_roc", f"ROC curve of {name}: true accept rate over false accept rate. {said}"))
        plots.append(Plot(det, f"{stem}_det", f"DET curve of {name}: false reject rate over false accept rate. {said}"))
    histograms = {label: result.histogram for label, result in results.items() if result.histogram is not None}
    if histograms:
        thresholds = {
            label: m.value for label, r in results.items() if (m := find_measure(r, "threshold_cosine")) is not None
        }
        figure = histogram_figure(histograms, thresholds=thresholds, title=f"{name}: scores")
        plots.append(
            Plot(figure, f"{stem}_scores", f"Histograms of genuine and impostor scores of {name}. {spoken(results)}")
        )
    return plots


def own_curves(results: Mapping[str, Result], *, stem: str) -> list[Plot]:
    """Return a plot for each title of the results' own curves, a line a run."""
    titles = dict.fromkeys(title for result in results.values() for title in result.curves)
    plots = []
    for number, title in enumerate(titles):
        curves = {label: result.curves[title] for label, result in results.items() if title in result.curves}
        first = next(iter(curves.values()))
        what = f"{title}: {first.y_title} over {first.x_title}. {spoken(results)}"
        plots.append(Plot(curve_figure(curves, title=title), f"{stem}_curve{number}", what))
    return plots


def spoken(results: Mapping[str, Result]) -> str:
    """Return the headline of each result in words, for those who do not see the plot."""
    return "; ".join(f"{label}: {spoken_value(r.measures[0])}" for label, r in results.items() if r.measures)


def provenance_section(runs: Sequence[Run]) -> Section:
    """Return the section on what made the results: checkpoint, code, versions, config, of each run."""
    blocks: list[Block] = []
    for run in runs:
        blocks += [Paragraph(line) for line in provenance_lines(run)]
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
    """Return one line on the run's code and command, and one for each checkpoint its results are of."""
    command = run.environment.get("command")
    stated = {
        "command": shlex.join(map(str, command)) if isinstance(command, list) else command,
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
