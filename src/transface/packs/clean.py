"""A cleaned copy of a pack: what a check found is taken out, people who are one are joined, and all of it is listed.

Shapes: n images of the pack, C people.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.artifacts import write_whole
from transface.data.sources.identity_pack import IdentityPack
from transface.packs.check import CheckReport, Finding
from transface.packs.writer import PackPlan, PackSummary, Progress, no_progress, write_pack

LIST = "cleaned.csv"
UNUSABLE = ("corrupt_record", "undecodable", "wrong_size", "blank", "label_out_of_range", "truncated")


class Action(NamedTuple):
    """One thing done: "drop" an image, or "join" the images of one person to another; why, in words."""

    action: str
    key: int
    label: int
    new_label: int
    reason: str


class Cleaning(NamedTuple):
    """What is done to a pack: which of its images stay (k,), the old label of each (k,) after joining, and the list."""

    kept: NDArray[np.int64]
    labels: NDArray[np.int64]
    actions: list[Action]


def plan_cleaning(
    pack: IdentityPack,
    report: CheckReport,
    *,
    near_duplicates: bool = False,
    merge_from: float | None = None,
    likenesses: Sequence[tuple[int, int, float]] = (),
    strangers: Iterable[tuple[int, str]] = (),
    min_images: int = 1,
) -> Cleaning:
    """Return what to do about the findings of a check that kept all of them.

    Images that cannot be used go. Of equal images of one person one stays; equal images of two people all go, for
    nothing says whose they are. People of a test set go with all their images. People who look alike stay apart unless
    `merge_from` is given: from that cosine on they become one, the lower label.

    Args:
        near_duplicates: treat images that look the same as equal ones.
        merge_from: a cosine, or None.
        likenesses: (label, label, cosine) of people.
        strangers: (place, reason) of images that do not look like their person; they go.
        min_images: people left with fewer go.

    Raises:
        ValueError: if nothing is left.
    """
    keys = {pack.key(place): place for place in range(len(pack))}
    labels = np.asarray(pack.labels, np.int64).copy()
    gone: dict[int, str] = {}

    def drop(places: Iterable[int], reason: str) -> None:
        for place in places:
            gone.setdefault(place, reason)

    for kind in UNUSABLE:
        for finding in report.findings.get(kind, []):
            drop(_places(finding, keys), finding.detail)
    drop(np.flatnonzero((labels < 0) | (labels >= pack.num_identities)).tolist(), "its label is of no person")
    for finding in report.findings.get("duplicate", []):
        _drop_equal([place for place in _places(finding, keys) if place not in gone], labels, drop, finding.detail)
    for finding in report.findings.get("near_duplicate", []) if near_duplicates else []:
        _drop_equal([place for place in _places(finding, keys) if place not in gone], labels, drop, finding.detail)
    for finding in report.findings.get("overlap", []):
        for label in finding.labels:
            drop(np.flatnonzero(labels == label).tolist(), finding.detail)
    for place, reason in strangers:
        drop([place], reason)
    actions = []
    home = joined(pack.num_identities, [(a, b) for a, b, cosine in likenesses if _counts(cosine, merge_from)])
    for label in np.flatnonzero(home != np.arange(len(home))).tolist():
        cosine = max(c for a, b, c in likenesses if label in (a, b) and _counts(c, merge_from))
        reason = f"looks like a person it is joined to (cosine {cosine:.3f})"
        actions.append(Action("join", -1, label, int(home[label]), reason))
    inside = (labels >= 0) & (labels < len(home))
    labels[inside] = home[labels[inside]]
    kept = np.array([place for place in range(len(pack)) if place not in gone], np.int64)
    counts = np.bincount(labels[kept], minlength=pack.num_identities) if len(kept) else np.zeros(0, np.int64)
    few = [place for place in kept.tolist() if counts[labels[place]] < min_images]
    drop(few, f"its person is left with fewer than {min_images} images")
    kept = kept[counts[labels[kept]] >= min_images] if len(kept) else kept
    if not len(kept):
        raise ValueError(f"nothing is left of {pack.root}: {next(iter(gone.values()), 'it holds no images')}")
    actions += [
        Action("drop", pack.key(place), int(pack.labels[place]), -1, reason) for place, reason in sorted(gone.items())
    ]
    return Cleaning(kept, labels[kept], actions)


def _counts(cosine: float, merge_from: float | None) -> bool:
    return merge_from is not None and cosine >= merge_from


def _places(finding: Finding, keys: Mapping[int, int]) -> list[int]:
    return [keys[key] for key in finding.keys if key in keys]


def _drop_equal(places: Sequence[int], labels: NDArray[np.int64], drop: object, reason: str) -> None:
    """Drop all but the first of equal images of one person, or all of several people's."""
    assert callable(drop)
    if len(places) > 1:
        one = len({int(labels[place]) for place in places}) == 1
        drop(sorted(places)[1:] if one else places, reason)


def joined(num_people: int, pairs: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """Return for each person (C,) the lowest label of those it is joined with, through any chain of pairs."""
    home = np.arange(num_people)
    for first, second in pairs:
        ends = sorted((int(home[first]), int(home[second])))
        home[home == ends[1]] = ends[0]
    return home


def clean_pack(
    pack: IdentityPack,
    output: str | Path,
    cleaning: Cleaning,
    *,
    num_threads: int = 2,
    on_progress: Progress = no_progress,
) -> PackSummary:
    """Write the cleaned copy, its people counted anew, and beside it the list of what was done (cleaned.csv) and who
    each label was (identities.csv).

    A stopped run resumes.

    Raises:
        FileExistsError: if there is a pack at `output` already.
    """
    old, labels = np.unique(cleaning.labels, return_inverse=True)
    order = np.argsort(labels, kind="stable")
    plan = PackPlan(pack, cleaning.kept[order], labels[order].astype(np.int64), len(old), True)
    summary = write_pack(
        output,
        plan,
        on_bad_image="keep",
        settings="clean",
        num_threads=num_threads,
        on_progress=on_progress,
    )
    new_of = {int(label): place for place, label in enumerate(old)}
    rows = [
        action._replace(new_label=new_of.get(action.new_label, -1)) if action.action == "join" else action
        for action in cleaning.actions
    ]
    write_whole(Path(output) / LIST, _csv(Action._fields, rows))
    names = names_of(Path(pack.root))
    write_whole(
        Path(output) / "identities.csv",
        _csv(("label", "name"), [(place, names.get(int(label), str(label))) for place, label in enumerate(old)]),
    )
    return summary


def names_of(root: Path) -> dict[int, str]:
    """Return who each label of a pack is, {} where nothing says so."""
    path = (root if root.is_dir() else root.parent) / "identities.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {int(row["label"]): row["name"] for row in csv.DictReader(file)}


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
