"""What a trial, or several seeds of one setting, measured: a value with its 95 % interval, and paired tests between
settings.

Over seeds the interval is Student's t; of a single trial it is its result's own (over pairs). A mean over sets treats
the sets as independent.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from transface.evaluation.results import Measure, Result
from transface.reports.reading.measures import find_measure, is_of
from transface.reports.reading.runs import Run, SetKey, is_baseline, of_one_setting
from transface.reports.reading.trials import Trial
from transface.reports.statistics.paired import Z95, decisions_of


class Estimate(NamedTuple):
    """A value as a fraction, the ends of its 95 % interval or None, its standard deviation over seeds or None, and how
    many seeds.
    """

    value: float
    low: float | None = None
    high: float | None = None
    std: float | None = None
    num_seeds: int = 1


class SeedComparison(NamedTuple):
    """How a setting differs from another over shared seeds.

    Attributes:
        difference: mean over the seeds of first minus second.
        low: lower end of its 95 % interval: paired t over the seeds; with one seed over pairs of faces, or None without
            decisions.
        high: upper end, or None.
        num_seeds: seeds both were run with.
        p_seeds: two-sided paired t test: would other seeds say the same? None with fewer than two.
        p_pairs: exact sign-flip test over pairs of faces: would other pairs say the same of these very models? None
            without decisions, or where the metric is no accuracy.
    """

    difference: float
    low: float | None
    high: float | None
    num_seeds: int
    p_seeds: float | None
    p_pairs: float | None


def default_metric(trials: Sequence[Trial]) -> str:
    """Return the metric to report when none is named: the mean headline measure where trials have results, else what
    they monitored.

    Raises:
        ValueError: if they have neither.
    """
    for trial in trials:
        headline = next((r.measures[0].name for r in trial.run.results if r.measures and not is_baseline(r)), None)
        if headline is not None:
            return headline
    for trial in trials:
        monitored = trial.run.config.get("monitor", "val/mean/accuracy")
        if monitored in trial.run.traces:
            return str(monitored)
    raise ValueError("no trial has results/*.json or a monitored metric in metrics.csv: nothing to report yet")


def measured(run: Run, metric: str) -> Estimate | None:
    """Return what a run measured: `measure` (the mean over its sets), `set/measure`, or the last value of a column of
    metrics.csv.
    """
    models = of_one_setting(run)
    name, slash, measure = metric.partition("/")
    of_set = [result for result in models if slash and result.name == name]
    found = [find_measure(r, measure) for r in of_set] or [
        m for r in models if (m := find_measure(r, metric)) is not None and is_of(metric, r, m)
    ]
    measures = [m for m in found if m is not None]
    if measures:
        return mean_over_sets(measures)
    if metric in run.traces:
        values = run.traces[metric].values
        finite = values[np.isfinite(values)]
        return Estimate(float(finite[-1])) if len(finite) else None
    return None


def mean_over_sets(measures: Sequence[Measure]) -> Estimate:
    """Return the mean of one measure over sets, with the interval that follows from theirs."""
    value = sum(m.value for m in measures) / len(measures)
    if len(measures) == 1:
        return Estimate(value, measures[0].low, measures[0].high)
    below = [m.value - m.low for m in measures if m.low is not None]
    above = [m.high - m.value for m in measures if m.high is not None]
    if len(below) < len(measures) or len(above) < len(measures):
        return Estimate(value)
    return Estimate(value, value - math.hypot(*below) / len(measures), value + math.hypot(*above) / len(measures))


def over_seeds(estimates: Sequence[Estimate], *, is_rate: bool) -> Estimate:
    """Return the mean over seeds with Student's 95 % interval (of a rate: within [0, 1]); a single one as it is.

    Raises:
        ValueError: if there are none.
    """
    if not estimates:
        raise ValueError("no estimate to average")
    if len(estimates) == 1:
        return estimates[0]
    values = np.array([estimate.value for estimate in estimates])
    mean, std = float(values.mean()), float(values.std(ddof=1))
    half = t_quantile(len(values) - 1) * std / math.sqrt(len(values))
    low, high = mean - half, mean + half
    return Estimate(mean, max(low, 0.0) if is_rate else low, min(high, 1.0) if is_rate else high, std, len(values))


def t_quantile(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t."""
    return float(stats.t.ppf(0.975, freedom))


def compare_settings(first: Sequence[Trial], second: Sequence[Trial], metric: str) -> SeedComparison | None:
    """Return how two settings differ on the seeds they share, or None where they share none that measured the
    metric.
    """
    shared = shared_seeds(first, second, metric)
    if not shared:
        return None
    differences = np.array([a - b for _, _, a, b in shared])
    mean = float(differences.mean())
    by_pair = pair_differences([(one, other) for one, other, _, _ in shared], metric)
    p_pairs = sign_flip_p(by_pair)
    if len(shared) < 2:
        if p_pairs is None:
            return SeedComparison(mean, None, None, 1, None, None)
        width = Z95 * error_over_pairs(by_pair)
        return SeedComparison(mean, mean - width, mean + width, 1, None, p_pairs)
    error = float(differences.std(ddof=1)) / math.sqrt(len(shared))
    half = t_quantile(len(shared) - 1) * error
    p_seeds = float(2 * stats.t.sf(abs(mean) / error, len(shared) - 1)) if error > 0 else (1.0 if mean == 0 else 0.0)
    return SeedComparison(mean, mean - half, mean + half, len(shared), p_seeds, p_pairs)


def shared_seeds(
    first: Sequence[Trial], second: Sequence[Trial], metric: str
) -> list[tuple[Trial, Trial, float, float]]:
    """Return the pairs of trials of equal seed that both measured the metric, with what they measured."""
    others = {trial.seed: trial for trial in second}
    found = []
    for trial in first:
        other = others.get(trial.seed)
        values = (measured(trial.run, metric), measured(other.run, metric) if other else None)
        if other is not None and values[0] is not None and values[1] is not None:
            found.append((trial, other, values[0].value, values[1].value))
    return found


def pair_differences(trials: Sequence[tuple[Trial, Trial]], metric: str = "accuracy") -> list[NDArray[np.int64]]:
    """Return, for each set and pair of faces, how many of the trials the first decided rightly less how many the second
    did.

    Only sets of which all trials hold decisions on the same pairs count, and only those the metric is the accuracy of.
    """
    name, _, measure = metric.rpartition("/")
    if measure != "accuracy" or name.startswith("val/"):
        return []
    sums: dict[SetKey, NDArray[np.int64]] = {}
    seen: dict[SetKey, int] = {}
    for first, second in trials:
        others = by_set(second.run)
        for key, result in by_set(first.run).items():
            own = find_measure(result, measure)
            if (name and key.name != name) or own is None or not is_of(metric, result, own):
                continue
            other = others.get(key)
            one, two = decisions_of(result), decisions_of(other) if other else None
            same = other is not None and result.samples_hash and result.samples_hash == other.samples_hash
            if same and one is not None and two is not None and one.shape == two.shape:
                difference = one.astype(np.int64) - two
                if key not in sums or sums[key].shape == difference.shape:
                    sums[key] = sums.get(key, 0) + difference
                    seen[key] = seen.get(key, 0) + 1
    return [sums[key] for key in sums if seen[key] == len(trials)]


def error_over_pairs(differences: Sequence[NDArray[np.int64]]) -> float:
    """Return the standard error of the mean over sets of the mean difference over each set's pairs."""
    return math.sqrt(sum(float(of_set.var()) / len(of_set) for of_set in differences)) / len(differences)


def by_set(run: Run) -> Mapping[SetKey, Result]:
    """Return the results of a run's model by set."""
    return {SetKey(result.protocol, result.name): result for result in of_one_setting(run)}


def sign_flip_p(sets: Sequence[NDArray[np.int64]]) -> float | None:
    """Return the two-sided p value of no difference in any set, exact over all flips of sign; McNemar's where none
    exceeds one.

    None for no pairs at all; 1 where none differs.
    """
    if not sets:
        return None
    differences = np.concatenate(sets)
    steps = np.abs(differences[differences != 0])
    observed = abs(int(differences.sum()))
    total = int(steps.sum())
    chance = np.zeros(2 * total + 1)
    chance[total] = 1.0
    for step in map(int, steps):
        moved = np.zeros_like(chance)
        moved[step:] += chance[: len(chance) - step]
        moved[: len(chance) - step] += chance[step:]
        chance = moved / 2
    sums = np.arange(-total, total + 1)
    return float(min(1.0, chance[np.abs(sums) >= observed].sum()))
