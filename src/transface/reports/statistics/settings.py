"""The settings of a sweep, each with its seeds: what they measured on average, in words and in cells, and what to
beware of.
"""

from collections.abc import Sequence
from typing import NamedTuple

from transface.evaluation.results import Result
from transface.reports.page.document import Cell
from transface.reports.reading.measures import MeasureName, is_rate, named, number, title_of
from transface.reports.reading.runs import is_baseline, of_one_setting, set_keys
from transface.reports.reading.trials import Trial, Value
from transface.reports.statistics.seeds import Estimate, SeedComparison, measured, over_seeds


class Setting(NamedTuple):
    """One setting of a sweep: its name, its values by swept key, its trials (a seed each) and what they measured, None
    if nothing.
    """

    name: str
    values: dict[str, Value]
    trials: list[Trial]
    estimate: Estimate | None


def by_settings(trials: Sequence[Trial], metric: MeasureName) -> list[Setting]:
    """Return the trials grouped by their settings, in order; the seeds of one setting together."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(", ".join(f"{key}={value}" for key, value in trial.settings.items()) or "all", []).append(
            trial
        )
    return [Setting(name, dict(group[0].settings), group, estimate_of(group, metric)) for name, group in groups.items()]


def estimate_of(trials: Sequence[Trial], metric: MeasureName) -> Estimate | None:
    """Return what the seeds of one setting measured on average, or None if none did."""
    found = [estimate for trial in trials if (estimate := measured(trial.run, metric)) is not None]
    return over_seeds(found, is_rate=shown_as_rate(metric)) if found else None


def value_name(setting: Setting) -> str:
    """Return what tells a setting from its neighbours: its value where one key was swept, else its name."""
    return str(next(iter(setting.values.values()))) if len(setting.values) == 1 else setting.name


def per_set_metrics(settings: Sequence[Setting], metric: MeasureName) -> list[MeasureName]:
    """Return "set/measure" of every set behind a mean over sets, [] where the metric is of one set or the sets are
    one.
    """
    if "/" in metric:
        return []
    trials = [trial for setting in settings for trial in setting.trials]
    results: list[Result] = [r for t in trials for r in t.run.results if not is_baseline(r)]
    names = dict.fromkeys(key.name for key in set_keys(results))
    return [metric_of(trials, f"{name}/{metric}") for name in names] if len(names) > 1 else []


def trial_warnings(settings: Sequence[Setting], metric: MeasureName) -> list[str]:
    """Return what to beware of: measures of the metric's name that are not in it, trials that are not finished,
    settings with fewer seeds, values without an interval.
    """
    sentences = []
    if metric.home is not None:
        homes = _homes([trial for setting in settings for trial in setting.trials], metric)
        others = [f"{name}/{metric}" for home, names in homes.items() if home != metric.home for name in names]
        sentences.append(
            f"{metric_title(metric)} is that of {', '.join(homes[metric.home])} alone: no mean is taken over several"
            f" protocols, kinds or units; metric={others[0]} reports another"
            + (f" (or {', '.join(others[1:])})" if others[1:] else "")
        )
    for setting in settings:
        open_trials = [trial.run.label for trial in setting.trials if measured(trial.run, metric) is None]
        if open_trials:
            sentences.append(
                f"{setting.name}: {len(open_trials)} of {len(setting.trials)} trials measured no {metric}:"
                f" {', '.join(open_trials)}"
            )
    counts = {setting.estimate.num_seeds for setting in settings if setting.estimate is not None}
    if len(counts) > 1:
        sentences.append(f"Settings have {min(counts)} to {max(counts)} seeds: their intervals are not alike.")
    if any(setting.estimate is not None and setting.estimate.low is None for setting in settings):
        sentences.append(
            "Some values have no interval: evaluate the trials ('transface evaluate') or run several seeds to get one."
        )
    return sentences


def known_metrics(trials: Sequence[Trial]) -> str:
    """Return which metrics the trials have, for an error."""
    names = dict.fromkeys(m.name for t in trials for r in t.run.results for m in r.measures)
    columns = dict.fromkeys(name for t in trials for name in t.run.traces if name.startswith("val/"))
    known = [*names, *columns]
    return f"there are {', '.join(known)}" if known else "they have no results/*.json and no metrics.csv yet"


def metric_of(trials: Sequence[Trial], metric: str) -> MeasureName:
    """Return a metric's name with the unit and direction of the measure it stands for; of a loss the lower value is the
    better one.

    A metric is a measure's name, "set/measure", or a column of metrics.csv ("val/mean/accuracy", "train/loss").
    """
    if "loss" in metric or metric.startswith(("lr", "train/")):
        return MeasureName(metric, "", "lower")
    measures = [(r, m) for t in trials for r in t.run.results for m in r.measures]
    found = next((m for r, m in measures if metric in (m.name, f"{r.name}/{m.name}", f"val/{r.name}/{m.name}")), None)
    found = found or next((m for _, m in measures if metric.endswith(f"/{m.name}")), None)
    if found is not None:
        home = _home(trials, metric)
        unit, better = named(found).unit, named(found).better
        return MeasureName(metric, unit if home is None else home[2], better, home)
    return MeasureName(metric, "rate" if metric.endswith(("accuracy", "tar", "recall")) else "", "higher")


def _home(trials: Sequence[Trial], metric: str) -> tuple[str, str, str] | None:
    """Return which of several homes of a measure's name is meant: that of what the first trial monitored, else the
    first; None where there is one.
    """
    homes = _homes(trials, metric)
    monitored = str(trials[0].run.config.get("monitor", "")).removeprefix("val/").split("/")
    chosen = [home for home, names in homes.items() if monitored[0] in (home[0], *names) and monitored[-1] == metric]
    return next(iter([*chosen, *homes])) if len(homes) > 1 else None


def _homes(trials: Sequence[Trial], metric: str) -> dict[tuple[str, str, str], list[str]]:
    """Return the protocol, kind and unit of all measures of a name, each with the sets that have it."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for trial in trials:
        for result in of_one_setting(trial.run):
            for measure in result.measures:
                if measure.name == metric:
                    names = found.setdefault((result.protocol, result.kind, measure.unit), [])
                    names += [] if result.name in names else [result.name]
    return found


def lower_is_better(metric: MeasureName) -> bool:
    """Return whether the lower value of a metric is the better one."""
    return metric.better == "lower"


def metric_title(metric: MeasureName) -> str:
    """Return the title of a metric: "Accuracy %", "lfw: Accuracy %", "val/mean/accuracy %"."""
    if metric.startswith(("val/", "train/")):
        return f"{metric} %" if is_rate(metric) else str(metric)
    name, slash, measure = metric.partition("/")
    return f"{name}: {title_of(_with(measure, metric))}" if slash and "@" not in name else title_of(metric)


def _with(name: str, metric: MeasureName) -> MeasureName:
    return MeasureName(name, metric.unit, metric.better)


def shown_as_rate(metric: MeasureName) -> bool:
    """Return whether a metric is printed in per cent."""
    return is_rate(metric)


def metric_number(metric: MeasureName, value: float) -> str:
    """Return a value of a metric as text."""
    return f"{value:.4g}" if "loss" in metric else number(metric, value)


def estimate_text(estimate: Estimate | None, metric: MeasureName) -> str:
    """Return an estimate in words."""
    if estimate is None:
        return "nothing measured"
    unit = " %" if shown_as_rate(metric) else ""
    seeds = f" over {estimate.num_seeds} seeds" if estimate.num_seeds > 1 else ""
    interval = f" (95 % interval {interval_of(estimate, metric)})" if estimate.low is not None else ""
    return f"{metric_number(metric, estimate.value)}{unit}{interval}{seeds}"


def interval_of(estimate: Estimate, metric: MeasureName) -> str:
    """Return "[low, high]" of an estimate, or ""."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"[{metric_number(metric, estimate.low)}, {metric_number(metric, estimate.high)}]"


def estimate_cell(estimate: Estimate | None, metric: MeasureName) -> Cell:
    """Return the cell of an estimate."""
    if estimate is None:
        return Cell()
    spread = "" if estimate.std is None else f" +- {metric_number(metric, estimate.std)}"
    return Cell(metric_number(metric, estimate.value) + spread, interval_of(estimate, metric))


def difference_cell(compared: SeedComparison | None, metric: MeasureName) -> Cell:
    """Return the cell of a difference, in points, with its interval over seeds."""
    if compared is None:
        return Cell()
    scale = 100 if shown_as_rate(metric) else 1
    interval = (
        ""
        if compared.low is None or compared.high is None
        else f"[{scale * compared.low:+.2f}, {scale * compared.high:+.2f}]"
    )
    return Cell(f"{scale * compared.difference:+.2f}", interval)


def seeds_cell(setting: Setting) -> Cell:
    """Return the cell of how many seeds stand behind an estimate."""
    return Cell(str(setting.estimate.num_seeds if setting.estimate is not None else 0))
