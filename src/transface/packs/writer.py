"""Writes an InsightFace pack from any source, in parallel, so that a stopped run leaves nothing that looks whole and
can be resumed.

Until a pack is whole, its files end in .partial; beside them `pack.partial` says what they are the beginning of.
Reading and checking run in threads (files and decoder leave Python's lock), writing in order, so the same plan gives
the same bytes however often it was stopped.
Shapes: n images.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np

from transface.artifacts import write_whole
from transface.data.recordio.headers import RecordHeader
from transface.data.recordio.index import IntArray
from transface.data.recordio.writer import RecordWriter, partial_path
from transface.data.sources.source import IdentitySource
from transface.images.decoding import decode_images
from transface.packs.journal import JOURNAL, Journal, forget_journal

CHUNK = 64  # images a task
FLUSHED_EVERY = 1024  # images

Prepare = Callable[[bytes, int], bytes]
Progress = Callable[[int], None]
Result = TypeVar("Result")


def no_progress(_: int) -> None:
    """Tell nobody."""


class PackPlan(NamedTuple):
    """What goes into a pack, in order.

    Attributes:
        source: where the images come from.
        indices: (n,) which of them.
        labels: (n,) the label each gets.
        num_identities: labels are 0..num_identities-1.
        grouped: whether images of one identity stand together: the pack then gets a header and records of identities.
    """

    source: IdentitySource
    indices: IntArray
    labels: IntArray
    num_identities: int
    grouped: bool

    def fingerprint(self, settings: str) -> str:
        """Return a digest of the plan, by which a partial pack is known again."""
        digest = hashlib.sha256(f"{len(self.source)} {self.num_identities} {self.grouped} {settings}".encode())
        for array in (self.indices, self.labels):
            digest.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
        for index in self.indices[:: max(len(self.indices) // 1000, 1)].tolist():
            digest.update(self.source.name(index).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


class PackSummary(NamedTuple):
    """What was written: the pack's folder, its images and identities, the names of images left out, images found
    written already, and identities all of whose images were left out (their labels stand for nobody).
    """

    root: Path
    num_images: int
    num_identities: int
    skipped: list[str]
    num_resumed: int
    num_emptied: int


def plan_by_identity(
    source: IdentitySource, *, labels: IntArray | None = None, num_identities: int | None = None
) -> PackPlan:
    """Return the plan of a pack of all images of `source`, identity by identity, otherwise in their order."""
    labels = source.labels if labels is None else labels
    order = np.argsort(labels, kind="stable")
    people = source.num_identities if num_identities is None else num_identities
    return PackPlan(source, order.astype(np.int64), labels[order], people, True)


def write_pack(
    root: str | Path,
    plan: PackPlan,
    *,
    on_bad_image: Literal["raise", "skip", "keep"] = "raise",
    prepare: Prepare | None = None,
    settings: str = "",
    num_threads: int = 2,
    on_progress: Progress = no_progress,
    keep_journal: bool = False,
) -> PackSummary:
    """Write the pack that `plan` describes into the folder `root`; resumes where an earlier call of the same plan was
    stopped.

    Args:
        on_bad_image: an image that cannot be read, decoded, or has another size: "raise" stops, "skip" leaves it out,
            "keep" writes images as they come, undecoded.
        prepare: changes the bytes of an image, given also its index in the source.
        settings: what else decides the result (how `prepare` was set up); a partial pack of other settings is begun
            anew.
        on_progress: told the number of images done since it was last told.
        keep_journal: leave the journal, by which a later call finds this pack done, for `forget_journal` to remove.

    Raises:
        FileExistsError: if a pack stands there already.
        ValueError: naming an image that cannot be used, under "raise"; for a plan without images or with labels out of
            range.
    """
    root = Path(root)
    check_free(root)
    if not len(plan.indices):
        raise ValueError(f"there are no images to write into {root}")
    if plan.labels.min() < 0 or plan.labels.max() >= plan.num_identities:
        raise ValueError(
            f"labels must be in 0..{plan.num_identities - 1}, got {plan.labels.min()}..{plan.labels.max()}"
        )
    root.mkdir(parents=True, exist_ok=True)
    journal = Journal(root, plan.fingerprint(f"{on_bad_image} {settings}"))
    if (root / "train.rec").exists():
        return _done_already(root, plan, journal, on_progress=on_progress, keep_journal=keep_journal)
    with RecordWriter(root / "train.rec", root / "train.idx", resume=True) as writer:
        done = _written_already(writer, plan, journal)
        resumed = done.position
        on_progress(resumed)
        if plan.grouped and writer.num_written == 0:
            writer.write(0, _limits(0, 0, 0), b"")
        task = _Reader(plan.source, check=on_bad_image != "keep", prepare=prepare)
        with ThreadPoolExecutor(num_threads) as pool:
            for images in in_order(pool, task, plan.indices[done.position :], ahead=4 * num_threads):
                for image in images:
                    done = _take(writer, plan, done, image, journal=journal, on_bad_image=on_bad_image)
                on_progress(len(images))
                if done.position % FLUSHED_EVERY < CHUNK:
                    writer.flush()
        if done.num_images == 0:
            raise ValueError(f"none of the {len(plan.indices)} images can be used; the first: {journal.skipped[0]}")
        if plan.grouped:
            _write_identities(writer, _images_left(plan, journal), done.num_images)
        # The property file first: records and index appear last, so that a folder with both is whole.
        write_whole(
            root / "property", f"{plan.num_identities},{plan.source.image_size[0]},{plan.source.image_size[1]}\n"
        )
    if not keep_journal:
        forget_journal(root)
    return PackSummary(
        root, done.num_images, plan.num_identities, journal.skipped, resumed, _num_emptied(plan, journal)
    )


def _done_already(
    root: Path, plan: PackPlan, journal: Journal, *, on_progress: Progress, keep_journal: bool
) -> PackSummary:
    """What is left to do of a pack whose records have their name: a run was stopped between its last renamings, or is
    one of several.
    """
    if not journal.known:
        raise FileExistsError(_taken(root))
    if partial_path(root / "train.idx").exists():
        partial_path(root / "train.idx").replace(root / "train.idx")
    if not keep_journal:
        forget_journal(root)
    num_images = len(plan.indices) - len(journal.positions)
    on_progress(len(plan.indices))
    return PackSummary(root, num_images, plan.num_identities, journal.skipped, num_images, _num_emptied(plan, journal))


def check_free(root: Path) -> None:
    """Raise FileExistsError if a finished pack, or a file, stands at `root`."""
    if root.is_file():
        raise FileExistsError(f"{root} is a file; a pack is a folder: choose another name")
    if (root / "train.rec").exists() and not (root / JOURNAL).exists():
        raise FileExistsError(_taken(root))


def _taken(root: Path) -> str:
    return f"{root} holds a pack already; choose another folder or remove it"


class _Done(NamedTuple):
    position: int  # in the plan
    num_images: int  # written


class _Image(NamedTuple):
    place: int  # in the source
    data: bytes
    error: str | None


class _Reader:
    """Reads, prepares and checks a run of images; runs in a thread."""

    def __init__(self, source: IdentitySource, *, check: bool, prepare: Prepare | None) -> None:
        self.source, self.check, self.prepare = source, check, prepare

    def __call__(self, indices: IntArray) -> list[_Image]:
        images = [self._read(int(index)) for index in indices]
        good = [image for image in images if image.error is None]
        if not self.check or not good:
            return images
        try:
            decode_images([image.data for image in good], size=self.source.image_size)
        except ValueError:
            return [self._checked(image) for image in images]
        return images

    def _read(self, index: int) -> _Image:
        try:
            data = self.source.encoded(index)
            return _Image(index, data if self.prepare is None else self.prepare(data, index), None)
        except (ValueError, OSError) as error:
            text = str(error)
            name = self.source.name(index)
            return _Image(index, b"", text if name in text else f"image {name}: {text}")

    def _checked(self, image: _Image) -> _Image:
        if image.error is not None:
            return image
        try:
            decode_images([image.data], size=self.source.image_size, names=[self.source.name(image.place)])
        except ValueError as error:
            return image._replace(error=str(error))
        return image


def in_order(
    pool: ThreadPoolExecutor, task: Callable[[IntArray], Result], indices: IntArray, *, ahead: int
) -> Iterator[Result]:
    """Yield what `task` returns for runs of `indices` (n,), in order, never more than `ahead` runs in memory."""
    waiting: deque[Future[Result]] = deque()
    try:
        for start in range(0, len(indices), CHUNK):
            waiting.append(pool.submit(task, indices[start : start + CHUNK]))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _take(
    writer: RecordWriter, plan: PackPlan, done: _Done, image: _Image, *, journal: Journal, on_bad_image: str
) -> _Done:
    if image.error is not None:
        if on_bad_image != "skip":
            raise ValueError(f"{image.error}; --skip-bad leaves such images out")
        journal.skip(done.position, image.error)
        return done._replace(position=done.position + 1)
    key = done.num_images + int(plan.grouped)
    writer.write(key, RecordHeader(0, float(plan.labels[done.position]), key), image.data)
    return _Done(done.position + 1, done.num_images + 1)


def _written_already(writer: RecordWriter, plan: PackPlan, journal: Journal) -> _Done:
    """Where a stopped run came to: images written and images skipped before the next one to write."""
    written = max(writer.num_written - int(plan.grouped), 0)
    if not journal.known:
        writer.keep_first(0)
        journal.keep_below(0)
        return _Done(0, 0)
    # What follows the images are records of identities; they are written again.
    written = min(written, len(plan.indices) - len(journal.positions))
    writer.keep_first(written + int(plan.grouped) if writer.num_written else 0)
    position = written
    for skipped in journal.positions:
        if skipped <= position:
            position += 1
    journal.keep_below(position)
    return _Done(position, written)


def _images_left(plan: PackPlan, journal: Journal) -> IntArray:
    return np.bincount(np.delete(plan.labels, journal.positions), minlength=plan.num_identities)


def _num_emptied(plan: PackPlan, journal: Journal) -> int:
    planned = np.bincount(plan.labels, minlength=plan.num_identities)
    return int(((planned > 0) & (_images_left(plan, journal) == 0)).sum())


def _limits(key: int, first: int, end: int) -> RecordHeader:
    return RecordHeader(2, np.array([first, end], dtype=np.float32), key)


def _write_identities(writer: RecordWriter, counts: IntArray, num_images: int) -> None:
    ends = np.cumsum(counts) + 1
    for label, (count, end) in enumerate(zip(counts.tolist(), ends.tolist(), strict=True)):
        key = num_images + 1 + label
        writer.write(key, _limits(key, end - count, end), b"")
    writer.rewrite_first(_limits(0, num_images + 1, num_images + 1 + len(counts)), b"")
