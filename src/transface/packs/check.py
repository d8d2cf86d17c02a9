"""Looks through a whole pack for what is wrong with it: broken files and images, wrong labels, duplicates.

Nothing found here raises: a finding is a row of the report. Shapes: n images.
"""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transface.data.recordio.headers import unpack_record
from transface.data.recordio.index import IntArray
from transface.data.recordio.parts import RecordError
from transface.data.recordio.reader import RecordReader, scan_index
from transface.data.sources.identity_pack import PackProperty, find_rec, image_places, read_property
from transface.images.decoding import ImageError, decode_images
from transface.packs.image_digests import (
    MOST_BITS,
    Digests,
    content_digests,
    equal_groups,
    grey_spread,
    near_pairs,
    perceptual_digests,
)
from transface.packs.writer import Progress, no_progress

CHUNK = 64
KEPT_FINDINGS = 1000  # of one kind, in the report; all are counted

KINDS = {
    "file": "a file of the pack is missing or is not what it should be",
    "truncated": "the record file ends before its index does",
    "corrupt_record": "no whole record stands where the index says",
    "unindexed_record": "a record of the file is not in the index",
    "key_gap": "keys of images are missing",
    "undecodable": "an image cannot be decoded",
    "wrong_size": "an image has another size",
    "blank": "an image is of one grey all over",
    "label_out_of_range": "a label is no whole number of an identity",
    "identity_range": "the record of an identity does not match the labels of its images",
    "empty_identity": "an identity has no image",
    "duplicate": "images are equal byte for byte",
    "near_duplicate": "images look the same",
    "overlap": "an identity looks like a person of a test set",
    "look_alike": "two identities look like one person",
}


class Finding(NamedTuple):
    """One thing that is wrong.

    Attributes:
        kind: a key of KINDS.
        detail: what exactly, in words.
        keys: the record keys it is about.
        labels: the labels of these records, -1 where unknown.
        test_image: of an overlap: the file of the pair set and the place of the image in it.
    """

    kind: str
    detail: str
    keys: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()
    test_image: tuple[str, int] | None = None


class CheckReport:
    """What a check found: findings by kind, the histogram of classes, what was looked at, and (label, label, cosine) of
    people who look alike.
    """

    def __init__(self, root: Path, *, keep_all: bool = False) -> None:
        self.root = root
        self.keep_all = keep_all
        self.likenesses: list[tuple[int, int, float]] = []
        self.findings: dict[str, list[Finding]] = {}
        self.counts: Counter[str] = Counter()
        self.num_records = 0
        self.num_images = 0
        self.num_identities = 0
        self.images_per_identity: dict[str, float] = {}
        self.histogram: dict[str, int] = {}
        self.seconds = 0.0

    def add(
        self,
        kind: str,
        detail: str,
        *,
        keys: tuple[int, ...] = (),
        labels: tuple[int, ...] = (),
        test_image: tuple[str, int] | None = None,
    ) -> None:
        """Count a finding, and keep it unless there are very many of its kind."""
        assert kind in KINDS, kind
        self.counts[kind] += 1
        kept = self.findings.setdefault(kind, [])
        if self.keep_all or len(kept) < KEPT_FINDINGS:
            kept.append(Finding(kind, detail, keys, labels, test_image))

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.counts

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values for a JSON file."""
        return {
            "root": str(self.root),
            "clean": self.is_clean,
            "num_records": self.num_records,
            "num_images": self.num_images,
            "num_identities": self.num_identities,
            "images_per_identity": self.images_per_identity,
            "histogram": self.histogram,
            "counts": dict(self.counts),
            "findings": {kind: [finding._asdict() for finding in found] for kind, found in self.findings.items()},
            "seconds": round(self.seconds, 2),
            "images_per_second": round(self.num_images / self.seconds, 1) if self.seconds else None,
        }


class _Opened(NamedTuple):
    reader: RecordReader
    places: IntArray  # of images, in the index
    stated: PackProperty | None


class _Looked(NamedTuple):
    """What was learnt of a run of images; rows of unusable ones stay 0."""

    usable: np.ndarray
    labels: np.ndarray
    content: Digests
    perceptual: Digests
    faults: list[tuple[str, int, str]]  # kind, row, detail


def check_pack(
    root: str | Path,
    *,
    size: tuple[int, int] | None = None,
    near_bits: int = 12,
    num_threads: int = 2,
    on_progress: Progress = no_progress,
    keep_all: bool = False,
) -> CheckReport:
    """Return what is wrong with the pack at `root`, from its files down to every image.

    Args:
        size: the (height, width) images must have; None: what `property` says, else 112x112.
        near_bits: images whose 256-bit perceptual digests differ in at most so many bits count as near duplicates;
            0..15.
        keep_all: keep every finding, not the first thousand of each kind; of equal images every key.

    Raises:
        FileNotFoundError: if there is no pack to look at.
        ValueError: for a near_bits outside 0..15.
    """
    if not 0 <= near_bits <= MOST_BITS:
        raise ValueError(f"near_bits must be in 0..{MOST_BITS}, got {near_bits}")
    started = time.monotonic()
    path_rec = find_rec(Path(root))
    report = CheckReport(path_rec.parent, keep_all=keep_all)
    opened = _open(path_rec, report)
    if opened is not None:
        if size is None:
            size = opened.stated.image_size if opened.stated is not None else (112, 112)
        _check_index(opened, report)
        looked = _look(opened, size=size, num_threads=num_threads, on_progress=on_progress, report=report)
        _check_labels(opened, looked, report)
        _check_duplicates(opened, looked, near_bits=near_bits, report=report)
    report.seconds = time.monotonic() - started
    return report


def _open(path_rec: Path, report: CheckReport) -> _Opened | None:
    stated = None
    path_property = path_rec.parent / "property"
    try:
        stated = read_property(path_property) if path_property.is_file() else None
        if stated is None:
            report.add("file", f"{path_property} is missing")
    except ValueError as error:
        report.add("file", str(error))
    path_idx = path_rec.with_suffix(".idx")
    try:
        if not path_idx.is_file():
            report.add("file", f"{path_idx} is missing")
        reader = RecordReader(path_rec, check_end=False)
    except ValueError as error:
        kind = (
            "truncated" if "truncated" in str(error) else "corrupt_record" if isinstance(error, RecordError) else "file"
        )
        report.add(kind, str(error))
        return None
    report.num_records = len(reader)
    try:
        places = image_places(reader).array()
    except ValueError as error:
        report.add("file", str(error))
        places = np.arange(len(reader), dtype=np.int64)
    if not len(places):
        report.add("file", f"{path_rec} holds no images")
        return None
    return _Opened(reader, places, stated)


def _check_index(opened: _Opened, report: CheckReport) -> None:
    reader = opened.reader
    offsets = np.asarray(reader.index.offsets)
    beyond = np.flatnonzero(offsets >= reader.num_bytes)
    if len(beyond):
        key = reader.index.key_at(int(beyond[np.argmin(offsets[beyond])]))
        report.add(
            "truncated",
            f"{len(beyond)} records from key {key} on lie beyond the end of {reader.path} ({reader.num_bytes} bytes)",
            keys=(key,),
        )
    keys = reader.keys()[opened.places]
    ordered = np.sort(keys)
    for place in np.flatnonzero(np.diff(ordered) > 1).tolist():
        report.add(
            "key_gap",
            f"keys {ordered[place] + 1}..{ordered[place + 1] - 1} are missing",
            keys=(int(ordered[place]), int(ordered[place + 1])),
        )
    try:
        found = np.asarray(scan_index(reader.path).offsets)
    except RecordError as error:
        report.add("truncated" if "truncated" in str(error) else "corrupt_record", f"walking the file: {error}")
        return
    for offset in np.setdiff1d(found, offsets).tolist():
        report.add("unindexed_record", f"the record at offset {offset} is not in {reader.path_idx.name}")


def _look(
    opened: _Opened, *, size: tuple[int, int], num_threads: int, on_progress: Progress, report: CheckReport
) -> _Looked:
    """Read and decode every image once."""
    count = len(opened.places)
    whole = _Looked(
        np.zeros(count, bool), np.full(count, np.nan), np.zeros((count, 2), "<u8"), np.zeros((count, 4), "<u8"), []
    )
    runs = [opened.places[start : start + CHUNK] for start in range(0, count, CHUNK)]
    start = 0
    with ThreadPoolExecutor(num_threads) as pool:
        for part in _bounded(pool, opened.reader, runs, size=size, ahead=8 * num_threads):
            end = start + len(part.usable)
            for name in ("usable", "labels", "content", "perceptual"):
                getattr(whole, name)[start:end] = getattr(part, name)
            for kind, row, detail in part.faults:
                key = opened.reader.index.key_at(int(opened.places[start + row]))
                label = part.labels[row]
                report.add(kind, detail, keys=(key,), labels=(int(label) if np.isfinite(label) else -1,))
            on_progress(end - start)
            start = end
    report.num_images = count
    return whole


def _bounded(
    pool: ThreadPoolExecutor, reader: RecordReader, runs: list[IntArray], *, size: tuple[int, int], ahead: int
) -> Iterator[_Looked]:
    waiting = [pool.submit(_look_at, reader, run, size) for run in runs[:ahead]][::-1]
    for run in [*runs[ahead:], *[None] * min(ahead, len(runs))]:
        part = waiting.pop().result()
        if run is not None:
            waiting.insert(0, pool.submit(_look_at, reader, run, size))
        yield part


def _look_at(reader: RecordReader, places: IntArray, size: tuple[int, int]) -> _Looked:
    count = len(places)
    part = _Looked(
        np.zeros(count, bool), np.full(count, np.nan), np.zeros((count, 2), "<u8"), np.zeros((count, 4), "<u8"), []
    )
    payloads: dict[int, bytes] = {}
    for row, place in enumerate(places.tolist()):
        name = f"key {reader.index.key_at(place)}"
        try:
            record = unpack_record(reader.raw_at(place), where=f"{reader.path}: {name}")
        except (ValueError, OSError) as error:
            if int(reader.index.offsets[place]) < reader.num_bytes:  # else counted as one finding: truncated
                part.faults.append(("corrupt_record", row, str(error)))
            continue
        part.labels[row] = np.ravel(record.header.label)[0]
        payloads[row] = record.payload
    while payloads:
        rows = list(payloads)
        try:
            images = decode_images(
                [payloads[row] for row in rows],
                size=size,
                names=[f"of key {reader.index.key_at(int(places[r]))}" for r in rows],
            )
        except ImageError as error:
            bad = rows[error.index]
            part.faults.append(("wrong_size" if " must be " in str(error) else "undecodable", bad, str(error)))
            del payloads[bad]
            continue
        part.usable[rows] = True
        part.content[rows] = content_digests([payloads[row] for row in rows])
        part.perceptual[rows] = perceptual_digests(images)
        for row, spread in zip(rows, grey_spread(images).tolist(), strict=True):
            if spread < 2:
                part.faults.append(
                    (
                        "blank",
                        row,
                        (
                            f"image of key {reader.index.key_at(int(places[row]))} is blank: its grey levels spread by"
                            f" {spread:.2f}"
                        ),
                    )
                )
                part.usable[row] = False  # blank images all look the same
        break
    return part


def _check_labels(opened: _Opened, looked: _Looked, report: CheckReport) -> None:
    labels = looked.labels
    read = np.isfinite(labels)
    whole = read & (labels == np.floor(np.where(read, labels, 0))) & (np.where(read, labels, -1) >= 0)
    limit = opened.stated.num_identities if opened.stated else int(labels[whole].max(initial=-1)) + 1
    good = whole & (np.where(whole, labels, 0) < limit)
    for place in np.flatnonzero(read & ~good).tolist():
        key = opened.reader.index.key_at(int(opened.places[place]))
        report.add("label_out_of_range", f"key {key} has label {labels[place]:g}, outside 0..{limit - 1}", keys=(key,))
    people, present = np.unique(labels[good].astype(np.int64), return_counts=True)
    # Among so many labels stand the first KEPT_FINDINGS without images: a forged property file must not make a list of
    # millions.
    empty = np.setdiff1d(np.arange(min(limit, len(people) + KEPT_FINDINGS)), people)[:KEPT_FINDINGS].tolist()
    for label in empty:
        report.add("empty_identity", f"identity {label} has no image", labels=(label,))
    if limit - len(people) > len(empty):
        report.counts["empty_identity"] = limit - len(people)
    report.num_identities = limit
    if len(present):
        report.images_per_identity = {
            "smallest": int(present.min()),
            "median": float(np.median(present)),
            "mean": float(present.mean()),
            "largest": int(present.max()),
        }
        edges = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, int(max(present.max(), 1000)) + 1]
        numbers, _ = np.histogram(present, bins=edges)
        names = [str(low) if high == low + 1 else f"{low}-{high - 1}" for low, high in pairwise(edges)]
        report.histogram = {name: int(number) for name, number in zip(names, numbers, strict=True) if number}
    _check_identity_records(opened, labels, report)


def _check_identity_records(opened: _Opened, labels: np.ndarray, report: CheckReport) -> None:
    """The records of identities, where there are any, give first key and last key + 1 of each label."""
    reader = opened.reader
    first_key = reader.index.key_at(int(opened.places[0]))
    rest = np.setdiff1d(np.arange(len(reader)), opened.places)
    rest = rest[reader.keys()[rest] > first_key]
    order = np.lexsort((labels,))
    by_label = reader.keys()[opened.places][order]
    starts = np.searchsorted(labels[order], np.arange(len(rest) + 1))
    for label, place in enumerate(rest.tolist()):
        try:
            header = unpack_record(reader.raw_at(place)).header
        except (ValueError, OSError) as error:
            report.add("corrupt_record", str(error), keys=(reader.index.key_at(place),))
            continue
        limits = np.ravel(header.label)
        own = by_label[starts[label] : starts[label + 1]]
        # Keys above 2^24 are rounded in a record's float32, and these here alike.
        if header.flag != 2 or (
            len(own) and not (limits[0] <= np.float32(own.min()) and np.float32(own.max() + 1) <= limits[1])
        ):
            detail = (
                f"identity {label} has images in keys {own.min(initial=1 << 62)}..{own.max(initial=-1)}, its record"
                f" says {limits.tolist()}"
            )
            report.add("identity_range", detail, keys=(reader.index.key_at(place),), labels=(label,))


def _check_duplicates(opened: _Opened, looked: _Looked, *, near_bits: int, report: CheckReport) -> None:
    rows = np.flatnonzero(looked.usable)
    if len(rows) < 2:
        return
    keys = opened.reader.keys()[opened.places[rows]]
    labels = np.where(np.isfinite(looked.labels[rows]), looked.labels[rows], -1).astype(np.int64)
    same = np.arange(len(rows))
    for group in equal_groups(looked.content[rows]):
        same[group] = group[0]
        where = (
            "one identity"
            if len(set(labels[group].tolist())) == 1
            else f"identities {sorted(set(labels[group].tolist()))[:5]}"
        )
        chosen = group if report.keep_all else group[:20]
        detail = f"{len(group)} equal images under {where}: keys {keys[chosen[:20]].tolist()}"
        report.add("duplicate", detail, keys=tuple(keys[chosen].tolist()), labels=tuple(labels[chosen].tolist()))
    alone = np.flatnonzero(same == np.arange(len(rows)))  # of equal images, one is compared further
    pairs = near_pairs(looked.perceptual[rows[alone]], most_bits=near_bits)
    for a, b, bits in zip(
        alone[pairs.first].tolist(), alone[pairs.second].tolist(), pairs.distance.tolist(), strict=True
    ):
        where = "one identity" if labels[a] == labels[b] else f"identities {labels[a]} and {labels[b]}"
        detail = f"keys {keys[a]} and {keys[b]} look the same ({bits} of 256 bits differ), under {where}"
        report.add("near_duplicate", detail, keys=(int(keys[a]), int(keys[b])), labels=(int(labels[a]), int(labels[b])))
