"""The report of an ablation: each variant's mean over seeds with its interval, and paired tests against the baseline.

Two tests, two questions. Over seeds (paired t): would other seeds say the same on these pairs? Over pairs of faces
(exact sign flips): would other pairs say the same of these very models?
"""

from collections.abc import Sequence
from pathlib import Path

from transface.metrics.significance import holm
from transface.reports.page.document import Cell, Document, Plot, Row, Section, Table, Warnings
from transface.reports.reading.measures import MeasureName
from transface.reports.reading.trials import Trial, read_trials
from transface.reports.run_report import FORMATS, check_formats, write_report
from transface.reports.sections.setting_curves import ablation_figure
from transface.reports.statistics.paired import p_text
from transface.reports.statistics.seeds import SeedComparison, compare_settings, default_metric
from transface.reports.statistics.settings import (
    Setting,
    difference_cell,
    estimate_cell,
    estimate_of,
    estimate_text,
    known_metrics,
    metric_of,
    metric_title,
    per_set_metrics,
    seeds_cell,
    shown_as_rate,
    trial_warnings,
)

PLAIN_WORDS = ("plain", "baseline", "arcface", "without")


def write_ablation_report(
    folder: str | Path,
    *,
    baseline: str | None = None,
    metric: str | None = None,
    output: str | Path | None = None,
    formats: Sequence[str] = FORMATS,
) -> Path:
    """Write <folder>/report/report.md, its PNG and report.html for the variants below a folder; return the path of the
    first written.

    Args:
        folder: its trials (run folders) lie below it, several seeds a variant. A variant is what was swept as `variant`
            or a config calls so, else the folder <folder>/<variant>/<seed>, else the settings that differ.
        baseline: the variant to compare with; None takes the plain one (by its name, or all its settings none), else
            the first.
        metric: as for a sweep.
        output: another folder to write to.
        formats: "html", "md" or both.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if there are fewer than two variants, none measured the metric, or there is no such baseline.
    """
    check_formats(formats)
    trials = read_trials(folder)
    document = ablation_document(trials, Path(folder), baseline=baseline, metric=metric)
    return write_report(document, output or Path(folder) / "report", formats=formats)


def ablation_document(
    trials: Sequence[Trial], folder: Path, *, baseline: str | None = None, metric: str | None = None
) -> Document:
    """Return the report of an ablation; errors as in `write_ablation_report`."""
    chosen = metric_of(trials, metric or default_metric(trials))
    variants = by_variant(trials, folder, chosen)
    if len(variants) < 2:
        raise ValueError(
            f"an ablation needs two variants or more, {folder} has {', '.join(v.name for v in variants)}: is it one"
            " sweep's folder?"
        )
    if all(variant.estimate is None for variant in variants):
        raise ValueError(f"none of the {len(trials)} trials measured {chosen!r}: {known_metrics(trials)}")
    plain = baseline_of(variants, baseline)
    variants = [plain, *(variant for variant in variants if variant is not plain)]
    warnings = trial_warnings(variants, chosen)
    if all(len(variant.trials) < 2 for variant in variants):
        warnings.append("One seed a variant: no interval over seeds, and the tests say nothing about other seeds.")
    figure = ablation_figure(variants, chosen)
    alt = f"{metric_title(chosen)} by variant: " + "; ".join(
        f"{v.name}: {estimate_text(v.estimate, chosen)}" for v in variants
    )
    sections = [
        *([Section("Beware", (Warnings(tuple(warnings)),))] if warnings else []),
        Section("Variants", (variants_table(variants, chosen), Plot(figure, "ablation", alt))),
    ]
    said = f"{len(trials)} trials of {len(variants)} variants; baseline: {plain.name}; metric: {metric_title(chosen)}"
    return Document(f"Ablation {folder.resolve().name}", said, tuple(sections))


def by_variant(trials: Sequence[Trial], folder: Path, metric: MeasureName) -> list[Setting]:
    """Return the trials grouped by variant, in order."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(variant_name(trial, folder), []).append(trial)
    return [Setting(name, dict(group[0].settings), group, estimate_of(group, metric)) for name, group in groups.items()]


def variant_name(trial: Trial, folder: Path) -> str:
    """Return the variant of a trial: its `variant` (swept, or in its config), else the folder between, else its
    settings.
    """
    stated = trial.settings.get("variant", trial.run.config.get("variant"))
    if isinstance(stated, str):
        return stated.rpartition("/")[2]
    inside = trial.run.folder.relative_to(folder).parts if trial.run.folder is not None else ()
    if len(inside) > 1 and "=" not in inside[0]:
        return inside[0]
    return trial.name


def baseline_of(variants: Sequence[Setting], name: str | None) -> Setting:
    """Return the variant to compare with; raises ValueError if there is none of that name."""
    if name is not None:
        found = [variant for variant in variants if variant.name == name]
        if not found:
            raise ValueError(
                f"no variant {name!r} for baseline=: there are {', '.join(variant.name for variant in variants)}"
            )
        return found[0]
    named = [v for v in variants if any(word in v.name.lower() for word in PLAIN_WORDS)]
    bare = [v for v in variants if v.values and all(value == "none" for value in v.values.values())]
    return next(iter([*named, *bare, *variants]))


def variants_table(variants: Sequence[Setting], metric: MeasureName) -> Table:
    """Return the table of variants, the first of which is the baseline."""
    plain, others = variants[0], variants[1:]
    compared = [compare_settings(variant.trials, plain.trials, metric) for variant in others]
    adjusted_seeds = adjusted([c.p_seeds if c else None for c in compared])
    adjusted_pairs = adjusted([c.p_pairs if c else None for c in compared])
    extra = per_set_metrics(variants, metric)
    columns = (
        "Variant",
        metric_title(metric),
        *map(metric_title, extra),
        "Seeds",
        "Minus baseline" + (", points" if shown_as_rate(metric) else ""),
        "p over seeds",
        "p over pairs",
    )
    rows = [Row(plain.name, (*value_cells(plain, metric, extra), Cell(), Cell(), Cell()), "baseline")]
    for variant, difference, p_seeds, p_pairs in zip(others, compared, adjusted_seeds, adjusted_pairs, strict=True):
        tests = (difference_cell(difference, metric), p_cell(p_seeds), p_cell(p_pairs))
        rows.append(Row(variant.name, (*value_cells(variant, metric, extra), *tests)))
    return Table(f"{metric_title(metric)} by variant", columns, tuple(rows), tuple(notes(variants, compared)))


def value_cells(variant: Setting, metric: MeasureName, extra: Sequence[MeasureName]) -> list[Cell]:
    """Return the cells of what a variant measured, and its number of seeds."""
    per_set = [estimate_cell(estimate_of(variant.trials, name), name) for name in extra]
    return [estimate_cell(variant.estimate, metric), *per_set, seeds_cell(variant)]


def p_cell(p_value: float | None) -> Cell:
    """Return the cell of a p value."""
    return Cell("" if p_value is None else p_text(p_value))


def adjusted(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p values adjusted for their number, None where there is none."""
    held = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(held) for p in p_values]


def notes(variants: Sequence[Setting], compared: Sequence[SeedComparison | None]) -> list[str]:
    """Return what the table's brackets and tests mean."""
    several = any(v.estimate is not None and v.estimate.num_seeds > 1 for v in variants)
    said = (
        ["In brackets: the 95 % interval over seeds (Student's t); +-: the standard deviation over seeds."]
        if several
        else []
    )
    if any(c is not None and c.p_seeds is not None for c in compared):
        said.append("p over seeds: paired t test on equal seeds; would other seeds say the same on these pairs?")
    if any(c is not None and c.p_pairs is not None for c in compared):
        said.append(
            "p over pairs: exact sign-flip test on the pairs of faces; would other pairs say the same of these models?"
        )
    return [*said, f"p values are adjusted for {len(compared)} comparisons (Holm)."] if len(compared) > 1 else said
