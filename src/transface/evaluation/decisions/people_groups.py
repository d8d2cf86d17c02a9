"""The protocol `groups`: false match and non-match rates of groups of people, at one threshold and at their own.

Groups come from any column of a CSV. Chance alone makes the largest of some rates larger than the others: each measure
of the gap stands beside what groups drawn by lot would show. Shapes: M images, P pairs, G groups.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.protocol import check_settings
from transface.evaluation.recognition.all_pairs import list_pairs, one_picture_notes
from transface.evaluation.recognition.own_lists import Finding, labels_by_name, list_people, read_table
from transface.evaluation.recognition.template_pooling import PooledTemplates, score_pairs
from transface.evaluation.results import Measure, Result, ResultTable, hash_samples
from transface.images.detection import Policy
from transface.images.detectors.locating import Missing
from transface.images.fit import Fit, check_fit
from transface.images.sources import FaceSource
from transface.metrics.bootstrap import mean_interval
from transface.metrics.confidence import is_measured
from transface.metrics.error_discard import threshold_at_false_match_rate
from transface.metrics.group_gaps import fairness_discrepancy_rate, garbe, gini, max_over_geometric_mean, max_over_min

FEWEST_PEOPLE = 30  # of a group, below which it is not compared
FEWEST_FALSE_MATCHES = 30
COMMON, OWN, ACROSS = "At the common threshold", "At thresholds of their own", "Impostors of two groups"
GAPS = "Gaps between groups, beside what groups by lot show"


class ListedGroups(NamedTuple):
    """Images with their person (M,) and group (M,), of which there are `groups`."""

    names: list[str]
    people: NDArray[np.int64]
    group_of: NDArray[np.int64]
    groups: list[str]
    source: FaceSource


class Comparisons(NamedTuple):
    """Scored pairs: both people (P, 2), both groups (P, 2)."""

    scores: NDArray[np.float64]
    people: NDArray[np.int64]
    groups: NDArray[np.int64]

    @property
    def is_same(self) -> NDArray[np.bool_]:
        same: NDArray[np.bool_] = self.people[:, 0] == self.people[:, 1]
        return same

    @property
    def within(self) -> NDArray[np.bool_]:
        """Whether both sides are of one group."""
        one: NDArray[np.bool_] = self.groups[:, 0] == self.groups[:, 1]
        return one


class PeopleGroups:
    """Rates by group on a folder with one folder a person.

    Args:
        root: holds the people's folders.
        table: a CSV with a column `person` (a folder's name), or `image` (a path in `root`), and any others.
        by: the column that holds the groups.
        fmr: the false match rate at which thresholds are set: the common one on all impostors within groups.
        impostors: "within" groups, or "all": those of two groups count for the common threshold too.
        num_permutations: how often people are dealt to groups by lot, for the measures of gaps; 0: never.
        fit, detector, faces, missing, flip, max_impostors, num_bootstraps, seed: as of the protocol `folder`.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        table: str | Path,
        by: str,
        fmr: float = 1e-3,
        impostors: str = "within",
        num_permutations: int = 1000,
        fit: Fit = "refuse",
        detector: str | None = None,
        faces: Policy = "largest",
        missing: Missing = "refuse",
        flip: bool = True,
        max_impostors: int = 10_000_000,
        num_bootstraps: int = 1000,
        seed: int = 0,
    ) -> None:
        check_settings(fars=[fmr], num_bootstraps=num_bootstraps, max_impostors=max_impostors)
        if impostors not in ("within", "all"):
            raise ValueError(f"impostors must be within or all, got {impostors!r}")
        if num_permutations < 0:
            raise ValueError(f"num_permutations must be at least 0, got {num_permutations}")
        self.root, self.table, self.by, self.fmr, self.impostors = Path(root), Path(table), by, fmr, impostors
        self.fit, self.finding = check_fit(fit), Finding(detector, faces, missing)
        self.flip, self.max_impostors, self.num_permutations = flip, max_impostors, num_permutations
        self.num_bootstraps, self.seed = num_bootstraps, seed
        self.names = [f"{self.root.resolve().name} by {by}"]

    def prepare(self) -> None:
        """Read folder and table."""
        self._list()

    def _list(self) -> ListedGroups:
        names, people, source = list_people(self.root, name=self.names[0], fit=self.fit, finding=self.finding)
        named = groups_of(self.table, self.by, names, people.tolist())
        groups, group_of = np.unique(named, return_inverse=True)
        if len(groups) < 2:
            raise ValueError(
                f"{self.table}: the column {self.by} holds one group, {groups[0]}: at least two are needed"
            )
        return ListedGroups(
            names, np.unique(people, return_inverse=True)[1], group_of, [str(name) for name in groups], source
        )

    def evaluate(self, embedder: Embedder, *, detailed: bool = True) -> list[Result]:
        """Return one Result.

        Raises:
            FileNotFoundError: if folder or table is missing.
            ValueError: if an image is in no group, or there are no genuine or no impostor pairs to set a threshold on.
        """
        listed = self._list()
        unit = embedder.embed(listed.source).unit(flip=self.flip)
        pairs = list_pairs(listed.people, max_impostors=self.max_impostors, seed=self.seed)
        pooled = PooledTemplates(np.asarray(unit, np.float64), np.arange(len(unit)))
        scores = score_pairs(pooled, pairs.positions).astype(np.float64)
        compared = Comparisons(scores, listed.people[pairs.positions], listed.group_of[pairs.positions])
        impostors = self._impostors(compared)
        threshold = threshold_at_false_match_rate(impostors, self.fmr)
        # A threshold beyond all that was measured says nothing of how far errors may move with it.
        bootstraps = self.num_bootstraps if detailed and is_measured(self.fmr, len(impostors)) else 0
        common, own, across = (
            rates_table(compared, listed.groups, threshold, num_bootstraps=bootstraps, seed=self.seed),
            own_thresholds_table(compared, listed.groups, self.fmr),
            across_table(compared, listed.groups, threshold),
        )
        gaps = gap_measures(
            compared,
            listed.people,
            listed.group_of,
            threshold,
            num_permutations=self.num_permutations,
            seed=self.seed,
        )
        overall = [row for row in common.rows["all"] if row is not None]
        return [
            Result(
                "groups",
                self.names[0],
                "F1" if self.flip else "F0",
                (*overall[:2], *gaps, Measure("threshold_cosine", threshold, unit="", better=None)),
                counts={
                    "groups": len(listed.groups),
                    "subjects": int(listed.people.max()) + 1,
                    "images": len(listed.names),
                    "genuine": int(compared.is_same.sum()),
                    "impostor": int((~compared.is_same).sum()),
                },
                warnings=(
                    *one_picture_notes(scores, pairs, listed.names),
                    *warnings_of(listed, len(impostors), self.fmr),
                ),
                tables={COMMON: common, OWN: own, ACROSS: across, GAPS: gaps_table(gaps)},
                samples_hash=hash_samples(listed.people, listed.group_of, names=[listed.source.fingerprint()])
                if detailed
                else "",
            )
        ]

    def _impostors(self, compared: Comparisons) -> NDArray[np.float64]:
        """Return the scores that the common threshold is set on."""
        counted = ~compared.is_same & (compared.within if self.impostors == "within" else True)
        if not counted.any():
            raise ValueError("no group has two people: there are no impostor pairs within groups to set a threshold on")
        return compared.scores[counted]


def groups_of(table: Path, by: str, names: Sequence[str], people: Sequence[str]) -> list[str]:
    """Return the group of each image: by its path where the CSV has a column `image`, else by its person.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for missing columns, or images in no group.
    """
    found = read_table(table)
    key = "image" if "image" in found.columns else "person"
    if not {key, by} <= found.columns:
        raise ValueError(
            f"{table} must have the columns person (or image) and {by}, it has {', '.join(sorted(found.columns))}"
        )
    known = labels_by_name(table, key, by)
    wanted = names if key == "image" else people
    if missing := sorted({name for name in wanted if name not in known}):
        raise ValueError(f"{table} says no {by} of {missing[0]} ({len(missing)} such {key}s)")
    return [known[name] for name in wanted]


def rates_table(
    compared: Comparisons, groups: Sequence[str], threshold: float, *, num_bootstraps: int, seed: int
) -> ResultTable:
    """Return FMR and FNMR of each group at a threshold, with intervals over people, and the counts behind them.

    Where nothing went wrong in n comparisons, the upper end of the interval is 3 / n.
    """
    same, within = compared.is_same, compared.within
    rows: dict[str, list[Measure | None]] = {}
    for place, name in enumerate((*groups, "all")):
        inside = within & (compared.groups[:, 0] == place) if place < len(groups) else within
        genuine, impostor = np.flatnonzero(inside & same), np.flatnonzero(inside & ~same)
        missed, matched = compared.scores[genuine] < threshold, compared.scores[impostor] >= threshold
        settings = {"num_bootstraps": num_bootstraps, "seed": seed}
        rows[name] = [
            rate_measure("fmr", matched, compared.people[impostor, 0], **settings),
            rate_measure("fnmr", missed, compared.people[genuine, 0], **settings),
            Measure("false_matches", float(matched.sum()), unit="count", better=None),
            Measure("impostor_pairs", float(len(impostor)), unit="count", better=None),
            Measure("false_non_matches", float(missed.sum()), unit="count", better=None),
            Measure("genuine_pairs", float(len(genuine)), unit="count", better=None),
        ]
    return ResultTable(["fmr", "fnmr", "false_matches", "impostor_pairs", "false_non_matches", "genuine_pairs"], rows)


def rate_measure(
    name: str, wrong: NDArray[np.bool_], people: NDArray[np.int64], *, num_bootstraps: int, seed: int
) -> Measure | None:
    """Return a rate with its interval over people; None without comparisons."""
    if not len(wrong):
        return None
    if not wrong.any():
        return Measure(name, 0.0, 0.0, min(3 / len(wrong), 1.0), better="lower")
    found = mean_interval(
        wrong.astype(np.float64), subjects=people, num_bootstraps=num_bootstraps, seed=seed, rate=True
    )
    low, high = (None, None) if found is None else found
    return Measure(name, float(wrong.mean()), low, high, better="lower")


def own_thresholds_table(compared: Comparisons, groups: Sequence[str], fmr: float) -> ResultTable:
    """Return the threshold at which each group's own impostors have a false match rate, and the FNMR there."""
    same, within = compared.is_same, compared.within
    rows: dict[str, list[Measure | None]] = {}
    for place, name in enumerate(groups):
        inside = within & (compared.groups[:, 0] == place)
        impostor, genuine = compared.scores[inside & ~same], compared.scores[inside & same]
        if not len(impostor) or not len(genuine):
            rows[name] = [None, None]
            continue
        own = threshold_at_false_match_rate(impostor, fmr)
        few = len(impostor) * fmr < FEWEST_FALSE_MATCHES
        warning = f"fewer than {FEWEST_FALSE_MATCHES} false matches stand behind it" if few else ""
        rows[name] = [
            Measure("threshold_cosine", own, unit="", better=None, warning=warning),
            Measure("fnmr", float((genuine < own).mean()), better="lower"),
        ]
    return ResultTable(["threshold_cosine", "fnmr"], rows)


def across_table(compared: Comparisons, groups: Sequence[str], threshold: float) -> ResultTable:
    """Return the FMR of impostor pairs of each two groups at the common threshold; the diagonal is within a group."""
    impostor = ~compared.is_same
    scores, sides = compared.scores[impostor], np.sort(compared.groups[impostor], axis=1)
    cells = sides[:, 0] * len(groups) + sides[:, 1]
    size = len(groups) ** 2
    counts = np.bincount(cells, minlength=size)
    matched = np.bincount(cells[scores >= threshold], minlength=size)
    rows: dict[str, list[Measure | None]] = {}
    for first, name in enumerate(groups):
        rows[name] = []
        for second, other in enumerate(groups):
            cell = min(first, second) * len(groups) + max(first, second)
            rate = None if not counts[cell] else Measure(other, matched[cell] / counts[cell], better="lower")
            rows[name].append(rate)
    return ResultTable(list(groups), rows)


class GroupCounts(NamedTuple):
    """Of each person (C,): genuine pairs and how many were missed; of people's images their number; false matches as
    pairs of people (F, 2), and the share of all impostor pairs that was scored.
    """

    genuine: NDArray[np.float64]
    missed: NDArray[np.float64]
    images: NDArray[np.float64]
    false_matches: NDArray[np.int64]
    share: float


def gap_measures(
    compared: Comparisons,
    people: NDArray[np.int64],
    group_of: NDArray[np.int64],
    threshold: float,
    *,
    num_permutations: int,
    seed: int,
) -> list[Measure]:
    """Return measures of the gap between groups, each with what groups by lot show (mean, and where 95 % lie) and p.

    `people` (M,), from 0 on, and `group_of` (M,) are of all images, in a drawn pair or not. Groups are those of people:
    of images in several groups, that of the person's first image.
    """
    counts = counts_of(compared, np.bincount(people), threshold)
    num_groups = int(group_of.max()) + 1
    group_of_person = group_of[np.unique(people, return_index=True)[1]]
    observed = gaps(counts, group_of_person, num_groups)
    random = np.random.default_rng([seed, 0x6A])
    drawn = {name: [] for name in observed}  # type: dict[str, list[float]]
    for _ in range(num_permutations):
        for name, value in gaps(counts, random.permutation(group_of_person), num_groups).items():
            drawn[name].append(value)
    found = []
    for name, value in observed.items():
        if not np.isfinite(value):
            continue
        higher_is_worse = name != "fdr"
        found.append(Measure(name, value, unit="ratio", better="lower" if higher_is_worse else "higher"))
        by_lot = np.array([one for one in drawn[name] if np.isfinite(one)])
        if len(by_lot):
            low, high = np.quantile(by_lot, [0.025, 0.975])
            worse = (by_lot >= value - 1e-12) if higher_is_worse else (by_lot <= value + 1e-12)
            found.append(
                Measure(f"{name}/by_lot", float(by_lot.mean()), float(low), float(high), unit="ratio", better=None)
            )
            found.append(Measure(f"{name}/p", float((1 + worse.sum()) / (1 + len(by_lot))), unit="ratio", better=None))
    return found


def gaps_table(measures: Sequence[Measure]) -> ResultTable:
    """Return the measures of gaps, a row each: the value, that of groups by lot, and p."""
    columns = {"": "value", "/by_lot": "by_lot", "/p": "p"}
    of = {measure.name: measure for measure in measures}
    rows: dict[str, list[Measure | None]] = {
        name: [
            of[name + ending]._replace(name=column) if name + ending in of else None
            for ending, column in columns.items()
        ]
        for name in of
        if "/" not in name
    }
    return ResultTable(list(columns.values()), rows)


def counts_of(compared: Comparisons, num_images: NDArray[np.int64], threshold: float) -> GroupCounts:
    """Return the counts that any dealing of people to groups needs; `num_images` (C,) are each person's."""
    same = compared.is_same
    count = len(num_images)
    own = compared.people[same, 0]
    missed = compared.scores[same] < threshold
    genuine = np.bincount(own, minlength=count).astype(np.float64)
    images = num_images.astype(np.float64)
    total = (images.sum() ** 2 - (images**2).sum()) / 2
    impostor = compared.people[~same]
    return GroupCounts(
        genuine,
        np.bincount(own, missed.astype(np.float64), minlength=count).astype(np.float64),
        images,
        impostor[compared.scores[~same] >= threshold],
        len(impostor) / total,
    )


def gaps(counts: GroupCounts, group_of_person: NDArray[np.int64], num_groups: int) -> dict[str, float]:
    """Return the measures of the gap when people are in these groups."""
    genuine, missed, images, squares = (
        np.bincount(group_of_person, weights, minlength=num_groups)
        for weights in (counts.genuine, counts.missed, counts.images, counts.images**2)
    )
    sides = group_of_person[counts.false_matches]
    inside = sides[sides[:, 0] == sides[:, 1], 0] if len(sides) else np.zeros(0, np.int64)
    impostor = (images**2 - squares) / 2 * counts.share
    with np.errstate(divide="ignore", invalid="ignore"):
        fnmr, fmr = missed / genuine, np.bincount(inside, minlength=num_groups) / impostor
    told = np.isfinite(fnmr) & np.isfinite(fmr)
    if told.sum() < 2:
        return {}
    fnmr, fmr = fnmr[told], fmr[told]
    return {
        "fnmr_max_over_geometric_mean": max_over_geometric_mean(fnmr),
        "fmr_max_over_geometric_mean": max_over_geometric_mean(fmr),
        "fnmr_max_over_min": max_over_min(fnmr),
        "fmr_max_over_min": max_over_min(fmr),
        "fnmr_gini": gini(fnmr),
        "fmr_gini": gini(fmr),
        "fdr": fairness_discrepancy_rate(fmr, fnmr),
        "garbe": garbe(fmr, fnmr),
    }


def warnings_of(listed: ListedGroups, num_impostors: int, fmr: float) -> tuple[str, ...]:
    """Return why not to trust the figures, whose threshold was set on so many impostor pairs."""
    said = []
    people = [np.unique(listed.people[listed.group_of == place]).size for place in range(len(listed.groups))]
    few = [f"{name} ({count})" for name, count in zip(listed.groups, people, strict=True) if count < FEWEST_PEOPLE]
    if few:
        said.append(
            f"groups of fewer than {FEWEST_PEOPLE} people say little, they are not to be ranked: {', '.join(few)}"
        )
    behind = int(num_impostors * fmr + 1e-9)
    if behind < FEWEST_FALSE_MATCHES:
        said.append(f"only {behind} false matches stand behind the common threshold at FMR {fmr:g}")
    said.append("groups are the labels of the table, not truths about people; a gap that lot shows too is no gap seen")
    return tuple(said)
