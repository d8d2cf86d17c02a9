"""The report of a sweep: the table and the curve of a metric over the swept values, the best setting, and what cannot
be told from it.
"""

from collections.abc import Sequence
from pathlib import Path

from transface.metrics.significance import holm
from transface.reports.ablation_report import write_ablation_report
from transface.reports.page.document import Block, Cell, Document, Paragraph, Plot, Row, Section, Table, Warnings
from transface.reports.reading.measures import MeasureName
from transface.reports.reading.trials import Trial, read_trials
from transface.reports.run_report import FORMATS, check_formats, write_report
from transface.reports.sections.setting_curves import sweep_figure
from transface.reports.statistics.paired import p_text
from transface.reports.statistics.seeds import SeedComparison, compare_settings, default_metric
from transface.reports.statistics.settings import (
    Setting,
    by_settings,
    difference_cell,
    estimate_cell,
    estimate_of,
    estimate_text,
    known_metrics,
    lower_is_better,
    metric_of,
    metric_title,
    per_set_metrics,
    seeds_cell,
    trial_warnings,
    value_name,
)

LEVEL = 0.05


def write_sweep_report(
    folder: str | Path, *, metric: str | None = None, output: str | Path | None = None, formats: Sequence[str] = FORMATS
) -> Path:
    """Write <folder>/report/report.md, its PNG and report.html for the trials below a folder; return the path of the
    first written.

    A sweep over `variant` alone is an ablation, and reported as one.

    Args:
        folder: its trials (run folders) lie below it.
        metric: a measure ("accuracy": the mean over sets), "set/measure", or a column of metrics.csv; None takes the
            headline measure.
        output: another folder to write to.
        formats: "html", "md" or both.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if no trial lies in it, none is finished, or none measured the metric.
    """
    check_formats(formats)
    trials = read_trials(folder)
    if all(set(trial.settings) == {"variant"} for trial in trials):
        return write_ablation_report(folder, metric=metric, output=output, formats=formats)
    document = sweep_document(trials, title=f"Sweep {Path(folder).resolve().name}", metric=metric)
    return write_report(document, output or Path(folder) / "report", formats=formats)


def sweep_document(trials: Sequence[Trial], *, title: str, metric: str | None = None) -> Document:
    """Return the report of a sweep; errors as in `write_sweep_report`."""
    chosen = metric_of(trials, metric or default_metric(trials))
    settings = by_settings(trials, chosen)
    done = [setting for setting in settings if setting.estimate is not None]
    if not done:
        raise ValueError(f"none of the {len(trials)} trials measured {chosen!r}: {known_metrics(trials)}")
    best = best_setting(done, chosen)
    keys = list(settings[0].values)
    warnings = trial_warnings(settings, chosen)
    sections = [
        *([Section("Beware", (Warnings(tuple(warnings)),))] if warnings else []),
        Section("Best setting", tuple(best_blocks(best, done, chosen))),
        Section("All settings", (settings_table(settings, keys, chosen, best),)),
    ]
    if keys:
        figure = sweep_figure(done, keys, chosen, best)
        alt = f"{metric_title(chosen)} over {', '.join(keys)}: " + "; ".join(
            f"{s.name}: {estimate_text(s.estimate, chosen)}" for s in done
        )
        sections.insert(-1, Section("Curve", (Plot(figure, "sweep", alt),)))
    swept = f"over {', '.join(keys)}" if keys else "of a single setting"
    return Document(
        title,
        f"{len(trials)} trials, {len(settings)} settings {swept}; metric: {metric_title(chosen)}",
        tuple(sections),
    )


def best_setting(done: Sequence[Setting], metric: MeasureName) -> Setting:
    """Return the setting of the best estimate; of equals the first."""
    sign = -1 if lower_is_better(metric) else 1
    return max(done, key=lambda setting: sign * setting.estimate.value if setting.estimate else float("-inf"))


def best_blocks(best: Setting, done: Sequence[Setting], metric: MeasureName) -> list[Block]:
    """Return what to say of the best setting: its value, which others cannot be told from it, and how far to trust
    it.
    """
    lines = [f"{best.name}: {estimate_text(best.estimate, metric)}."]
    others = [setting for setting in done if setting is not best]
    compared = [compare_settings(best.trials, other.trials, metric) for other in others]
    tested = [
        (value_name(other), p) for other, c in zip(others, compared, strict=True) if (p := deciding_p(c)) is not None
    ]
    adjusted = holm([p for _, p in tested])
    close = [name for (name, _), p in zip(tested, adjusted, strict=True) if p >= LEVEL]
    if tested:
        rest = f"not told apart from it: {'; '.join(close)}" if close else "all others are worse by more than chance"
        lines.append(
            f"Paired tests against the best (p adjusted for {len(tested)} comparisons, level {LEVEL}): {rest}."
        )
    if len(done) > 1:
        lines.append(
            "The best of several is picked on the pairs it is scored on, so its value is optimistic: "
            "confirm it with new seeds or on another set."
        )
    return [Paragraph(line) for line in lines]


def deciding_p(compared: SeedComparison | None) -> float | None:
    """Return the p value to judge by: over seeds where there are several, else over pairs."""
    if compared is None:
        return None
    return compared.p_pairs if compared.p_seeds is None else compared.p_seeds


def settings_table(settings: Sequence[Setting], keys: Sequence[str], metric: MeasureName, best: Setting) -> Table:
    """Return the table of all settings: the metric, each set's headline measure, the difference from the best."""
    extra = per_set_metrics(settings, metric)
    seeds = any(len(setting.trials) > 1 for setting in settings)
    columns = (
        ", ".join(keys) or "Setting",
        metric_title(metric),
        *map(metric_title, extra),
        *(["Seeds"] if seeds else []),
        "Best minus this",
        "p",
    )
    rows = []
    for setting in settings:
        compared = None if setting is best else compare_settings(best.trials, setting.trials, metric)
        p = deciding_p(compared)
        cells = [estimate_cell(setting.estimate, metric)]
        cells += [estimate_cell(estimate_of(setting.trials, name), name) for name in extra]
        cells += [seeds_cell(setting)] if seeds else []
        cells += [difference_cell(compared, metric), Cell("" if p is None else p_text(p))]
        label = ", ".join(str(value) for value in setting.values.values()) or setting.name
        rows.append(Row(label, tuple(cells), "best" if setting is best else "run"))
    return Table(f"{metric_title(metric)} of all settings", columns, tuple(rows), tuple(table_notes(settings, metric)))


def table_notes(settings: Sequence[Setting], metric: MeasureName) -> list[str]:
    """Return what the brackets and p values of a table of settings mean."""
    over = any(setting.estimate is not None and setting.estimate.num_seeds > 1 for setting in settings)
    notes = []
    if any(setting.estimate is not None and setting.estimate.low is not None for setting in settings):
        source = (
            "over seeds (Student's t); +-: the standard deviation over seeds"
            if over
            else "over pairs of faces, of the one trial"
        )
        notes.append(f"In brackets: the 95 % interval {source}.")
    test = "paired t test over seeds" if over else "exact test over pairs of faces (McNemar)"
    notes.append(f"p: {test}, not adjusted for the number of settings.")
    if "/" in metric and metric.startswith("val/"):
        notes.append(f"{metric}: the last value of metrics.csv.")
    return notes
