"""What it costs to carry embeddings of an old model over to a new one: search and verification on people whom the map
has not seen, with paired intervals, and how many pictures the map needs.

Shapes: n pictures, d_a and d_b embedding sizes of the old and the new model.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.evaluation.protocol import check_settings
from transface.evaluation.results import Curve, Measure, Result, ResultTable, hash_samples
from transface.inference.folders.embeddings_file import NamedEmbeddings
from transface.inference.translation import Translation, fit_translation, unit_rows
from transface.metrics.bootstrap import mean_interval
from transface.metrics.error_discard import threshold_at_false_match_rate

FALSE_MATCH_RATES = (1e-3, 1e-4)
FEWEST_FALSE_MATCHES = 30
SMALLEST_FIT = 25  # pictures


class TooFewPeopleError(ValueError):
    """There are too few people to measure the cost on."""


class Sides(NamedTuple):
    """Two rows of unit vectors (n, d) that are compared: each probe with every gallery face but its own picture."""

    probes: NDArray[np.float64]
    gallery: NDArray[np.float64]


class Outcome(NamedTuple):
    """What each probe (n,) and each genuine pair (g,) came to: 1 where the right person was found first; 1 where a pair
    was not matched, for every false match rate.
    """

    found: NDArray[np.float64]
    missed: dict[float, NDArray[np.float64]]


def translation_cost(
    old: NamedEmbeddings,
    new: NamedEmbeddings,
    people: Mapping[str, str],
    *,
    kind: str = "auto",
    num_bootstraps: int = 1000,
    seed: int = 0,
) -> Result:
    """Return rank-1 and FNMR at FMR 1e-3 and 1e-4 of old with old, new with new, and old carried over with new, on one
    half of the people; the map is fitted on the other half. Thresholds are set anew for each, on its own impostors.

    Args:
        people: the person on each picture that both files name.

    Raises:
        ValueError: for files of one model, pictures of nobody, or fewer than four people with two pictures.
    """
    check_settings(fars=FALSE_MATCH_RATES, num_bootstraps=num_bootstraps)
    places = {str(name): place for place, name in enumerate(new.names)}
    rows = np.array([place for place, name in enumerate(old.names) if str(name) in places], np.int64)
    names = [str(old.names[row]) for row in rows]
    if missing := [name for name in names if name not in people]:
        raise ValueError(f"nothing says who is on {missing[0]} ({len(missing)} such pictures)")
    numbers = np.unique([people[name] for name in names], return_inverse=True)[1] if names else np.zeros(0, np.int64)
    if int((np.bincount(numbers) >= 2).sum()) < 4:
        raise TooFewPeopleError(
            "the cost is measured on people whom the map has not seen: at least four people with two pictures in both"
            f" files are needed, there are {int((np.bincount(numbers) >= 2).sum()) if len(numbers) else 0}"
        )
    a, b = old.take(rows), new.take(np.array([places[name] for name in names], np.int64))
    seen = seen_half(numbers, seed=seed)
    held = np.flatnonzero(~seen)
    own = numbers[held]
    rates = [rate for rate in FALSE_MATCH_RATES if int((own[:, None] != own).sum()) // 2 * rate >= 1]
    units = [unit_rows(file.vectors[held].astype(np.float64)) for file in (a, b)]

    def carried(map_: Translation) -> Outcome:
        return outcome(Sides(map_.apply(a.vectors[held]).astype(np.float64), units[1]), own, rates)

    fitted = fit_translation(
        a.take(np.flatnonzero(seen)), b.take(np.flatnonzero(seen)), kind=kind, people=numbers[seen], seed=seed
    )
    outcomes = {
        "old with old": outcome(Sides(units[0], units[0]), own, rates),
        "new with new": outcome(Sides(units[1], units[1]), own, rates),
        "old carried over with new": carried(fitted),
    }
    if units[0].shape == units[1].shape:
        outcomes["old with new, as they are"] = outcome(Sides(*units), own, rates)
    table = cost_table(outcomes, own, num_bootstraps=num_bootstraps, seed=seed)
    curve_x, curve_y = [], []
    for size in sizes_of_fit(int(seen.sum())):
        rows_used = pictures_of_some(seen, size, seed=seed)
        smaller = fit_translation(a.take(rows_used), b.take(rows_used), kind=kind, people=numbers[rows_used], seed=seed)
        curve_x.append(float(size))
        curve_y.append(float(carried(smaller).found.mean()))
    few = [rate for rate in rates if int((own[:, None] != own).sum()) // 2 * rate < FEWEST_FALSE_MATCHES]
    return Result(
        "translation",
        f"{old.about.get('source') or 'old'} to {new.about.get('source') or 'new'}",
        fitted.kind,
        headline(table),
        kind="search",
        counts={"images": len(held), "subjects": len(np.unique(own)), "fitted_images": int(seen.sum())},
        warnings=(
            "An embedding that can be carried over is not anonymous.",
            *(f"fewer than {FEWEST_FALSE_MATCHES} false matches stand behind FMR {rate:g}" for rate in few),
        ),
        tables={"What it costs": table},
        curves={
            "Pictures the map was fitted on": Curve(curve_x, curve_y, "pictures", "rank-1 of old carried over with new")
        },
        samples_hash=hash_samples(own, names=[names[row] for row in held]),
        arrays={"matrix": fitted.matrix},
    )


def seen_half(numbers: NDArray[np.int64], *, seed: int) -> NDArray[np.bool_]:
    """Return which pictures (n,) the map may see: those of half of the people, drawn; people with several pictures are
    dealt evenly.
    """
    counts = np.bincount(numbers)
    order = np.random.default_rng([seed, 0x7A]).permutation(len(counts))
    order = order[np.argsort(counts[order] < 2, kind="stable")]
    chosen = np.zeros(len(counts), bool)
    chosen[order[::2]] = True
    seen: NDArray[np.bool_] = chosen[numbers]
    return seen


def pictures_of_some(seen: NDArray[np.bool_], size: int, *, seed: int) -> NDArray[np.int64]:
    """Return `size` of the pictures that may be seen, drawn; each larger draw holds the smaller ones."""
    order = np.random.default_rng([seed, 0x7B]).permutation(np.flatnonzero(seen))
    drawn: NDArray[np.int64] = np.sort(order[:size])
    return drawn


def sizes_of_fit(count: int) -> list[int]:
    """Return numbers of pictures, each double the one before, up to all of them."""
    sizes = []
    while count >= SMALLEST_FIT:
        sizes.append(count)
        count //= 2
    return sizes[::-1]


def outcome(sides: Sides, people: NDArray[np.int64], rates: list[float]) -> Outcome:
    """Return what comparing two sides gives, a picture never being compared with itself."""
    cosines = sides.probes @ sides.gallery.T
    np.fill_diagonal(cosines, -np.inf)
    mated = np.bincount(people)[people] >= 2
    nearest = people[np.argmax(cosines, axis=1)]
    same = people[:, None] == people
    np.fill_diagonal(same, False)
    impostors = cosines[people[:, None] != people]
    missed = {
        rate: (cosines[same] < threshold_at_false_match_rate(impostors, rate)).astype(np.float64) for rate in rates
    }
    return Outcome((nearest == people)[mated].astype(np.float64), missed)


def cost_table(
    outcomes: Mapping[str, Outcome], people: NDArray[np.int64], *, num_bootstraps: int, seed: int
) -> ResultTable:
    """Return the table: a row a way of comparing with 95 % intervals over people, and the paired differences from new
    with new.
    """
    mated = people[np.bincount(people)[people] >= 2]
    same = people[:, None] == people
    np.fill_diagonal(same, False)
    of_pairs = people[np.nonzero(same)[0]]
    draws: dict[str, Any] = {"num_bootstraps": num_bootstraps, "seed": seed}
    reference = outcomes["new with new"]
    names = ["rank1", *(f"fnmr@fmr={rate:g}" for rate in reference.missed)]
    rows: dict[str, list[Measure | None]] = {}
    for title, found in outcomes.items():
        values = [found.found, *found.missed.values()]
        rows[title] = [
            interval_measure(name, value, mated if name == "rank1" else of_pairs, **draws)
            for name, value in zip(names, values, strict=True)
        ]
    for title, found in outcomes.items():
        if title == "new with new":
            continue
        differences = [found.found - reference.found]
        differences += [found.missed[rate] - reference.missed[rate] for rate in reference.missed]
        rows[f"{title}, less new with new"] = [
            interval_measure(name, value, mated if name == "rank1" else of_pairs, **draws)
            for name, value in zip(names, differences, strict=True)
        ]
    return ResultTable(names, rows)


def interval_measure(
    name: str, values: NDArray[np.float64], people: NDArray[np.int64], *, num_bootstraps: int, seed: int
) -> Measure:
    """Return the mean of values (m,) with its 95 % interval over people (m,)."""
    found = mean_interval(values, subjects=people, num_bootstraps=num_bootstraps, seed=seed, rate=True)
    low, high = (None, None) if found is None else found
    return Measure(name, float(values.mean()), low, high, better="higher" if name == "rank1" else "lower")


def headline(table: ResultTable) -> tuple[Measure, ...]:
    """Return the measures of the result: those of old carried over with new."""
    return tuple(measure for measure in table.rows["old carried over with new"] if measure is not None)
