"""Makes measures of searches: rank-k and TPIR at FPIR, with intervals over people."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.evaluation.results import Measure
from transface.metrics.confidence import impostor_warning, is_measured, rate_interval, subject_standard_error
from transface.metrics.identification import Searches, open_set_scores, rank_hits, tpir_at_fpir
from transface.metrics.tar_bootstrap import tar_standard_errors


class SearchMeasures(NamedTuple):
    """The measures of some searches and what to warn of."""

    measures: tuple[Measure, ...]
    warnings: tuple[str, ...]


def measure_searches(
    searches: Searches,
    probe_subjects: NDArray[np.int64],
    *,
    ranks: Sequence[int],
    fpirs: Sequence[float] = (),
    num_bootstraps: int,
    seed: int,
) -> SearchMeasures:
    """Return rank-k for each of `ranks` and TPIR for each of `fpirs` (none: closed set), with intervals if
    num_bootstraps > 0.

    Raises:
        ValueError: if no probe has a mate, or, for the open set, all have.
    """
    people = probe_subjects[searches.is_mated]
    measures = [_rank_measure(searches, people, rank, num_bootstraps, seed) for rank in ranks]
    warnings = [impostor_warning(int((~searches.is_mated).sum()), fpir).replace("FAR", "FPIR") for fpir in fpirs]
    if fpirs:
        points = tpir_at_fpir(searches, fpirs)
        errors = _tpir_errors(searches, probe_subjects, fpirs, num_bootstraps, seed)
        for point, error, warning in zip(points, errors, warnings, strict=True):
            name = f"tpir@fpir={point.target:g}"
            known = num_bootstraps > 0 and is_measured(point.target, int((~searches.is_mated).sum()))
            interval = rate_interval(point.tar, error, num_trials=len(people)) if known else None
            measures.append(
                Measure(name, point.tar, interval and interval.low, interval and interval.high, warning=warning)
            )
    return SearchMeasures(tuple(measures), tuple(warning for warning in warnings if warning))


def _rank_measure(searches: Searches, people: NDArray[np.int64], rank: int, num_bootstraps: int, seed: int) -> Measure:
    hits = rank_hits(searches, rank)
    if not num_bootstraps:
        return Measure(f"rank-{rank}", float(hits.mean()))
    error = subject_standard_error(
        hits, np.stack([people, people], axis=1), np.random.default_rng(seed), num_bootstraps=num_bootstraps
    )
    interval = rate_interval(float(hits.mean()), error, num_trials=len(hits))
    return Measure(f"rank-{rank}", float(hits.mean()), interval.low, interval.high)


def _tpir_errors(
    searches: Searches, probe_subjects: NDArray[np.int64], fpirs: Sequence[float], num_bootstraps: int, seed: int
) -> list[float]:
    if not num_bootstraps:
        return [0.0] * len(fpirs)
    mated, others = open_set_scores(searches)
    is_mated = searches.is_mated
    errors = tar_standard_errors(
        mated,
        others,
        fpirs,
        genuine_subjects=probe_subjects[is_mated],
        impostor_subjects=probe_subjects[~is_mated],
        num_bootstraps=num_bootstraps,
        seed=seed,
    )
    return [float(error) for error in errors]
