"""Makes and changes packs: from a folder or list of images, to a folder, a new index, shuffled, split, merged.

What writes a pack goes through `packs/writer.py:write_pack`, so it appears only when whole and can be resumed.
Shapes: n images.
"""

import csv
import hashlib
import io
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torchvision.io import encode_jpeg

from transface.artifacts import sync_tree, write_whole, writing_file
from transface.backbones.features import image_sides
from transface.data.recordio.index import IntArray
from transface.data.recordio.reader import RecordReader, scan_index
from transface.data.recordio.writer import partial_path
from transface.data.sources.identity_pack import IdentityPack, find_rec, read_property
from transface.data.sources.image_files import FileFaces, PathTable, open_folder, open_list
from transface.data.sources.record_list import read_list
from transface.data.sources.source import IdentitySource, SourceMix
from transface.data.sources.sparse_labels import count_anew
from transface.images.alignment import align_image
from transface.images.alignment_check import check_points
from transface.images.decoding import decode_image
from transface.images.detection import Policy
from transface.images.detectors.locating import locate_faces
from transface.images.fit import Fit, check_fit, fit_image
from transface.images.headers import image_size, is_plain
from transface.images.user_points import listed_points, points_by_name
from transface.packs.journal import forget_journal
from transface.packs.writer import (
    PackPlan,
    PackSummary,
    Prepare,
    Progress,
    check_free,
    in_order,
    no_progress,
    plan_by_identity,
    write_pack,
)

NO_FACE = "no face was found"
PLAN_OF_FOLDER = ".pack.partial"  # in a folder that is not whole yet: of which pack it is


def face_maker(
    *,
    size: tuple[int, int],
    fit: Fit,
    quality: int,
    points: Mapping[str, torch.Tensor] | None = None,
    reasons: Mapping[str, str] | None = None,
    source: FileFaces | None = None,
) -> Prepare:
    """Return a function that brings an image's bytes to `size`: aligned by its points, else as `fit` says.

    `reasons` say why there are no points of some.
    JPEGs and PNGs of that size stay as they are; everything else is written anew, as JPEG: a pack holds no other kinds.
    """

    def prepare(data: bytes, index: int) -> bytes:
        if points is None and is_plain(data) and image_size(data) == size:
            return data
        name = "" if source is None else source.name(index)
        image = decode_image(data, name=name)
        if points is not None:
            assert source is not None
            path = source.paths[index]
            if path not in points:
                why = (reasons or {}).get(path)
                raise ValueError(f"image {name}" + (" has no line in the points file" if why is None else f": {why}"))
            check_points(points[path], name=f"image {name}", picture=(image.shape[1], image.shape[2]))
            face = align_image(image, points[path], size=size)[0]
        else:
            face = fit_image(image, size, fit=fit, name=f"image {name}")
        return encode_jpeg(face.contiguous(), quality=quality).numpy().tobytes()

    return prepare


def open_images(path: str | Path, *, root: str | Path | None = None, size: int | Sequence[int] = 112) -> FileFaces:
    """Return the images of a folder (one folder a person), or of a .csv, .parquet or .lst list, relative to `root`.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: no images, or a list that is none.
    """
    path = Path(path)
    sides = image_sides(size)
    if path.is_dir():
        return open_folder(path, image_size=sides)
    if path.suffix.lower() != ".lst":
        return open_list(path, root=root, image_size=sides)
    lines = read_list(path)
    labels = np.array([line.label for line in lines])
    if not (np.isfinite(labels) & (labels >= 0) & (labels == np.floor(labels)) & (labels < 1 << 31)).all():
        raise ValueError(f"{path}: labels must be whole numbers from 0")
    paths = PathTable(line.path for line in lines)
    counted = count_anew(labels.astype(np.int64), source=path)
    return FileFaces(
        path.parent if root is None else root, paths, labels=counted.labels, people=counted.names, image_size=sides
    )


def pack_images(
    images: FileFaces,
    output: str | Path,
    *,
    fit: Fit = "refuse",
    points_file: str | Path | None = None,
    detector: str | None = None,
    faces: Policy = "largest",
    quality: int = 95,
    min_images: int = 1,
    **words: Any,
) -> PackSummary:
    """Write a pack of image files, identity by identity; the names of the people lie beside it, in identities.csv
    (label,name).

    Args:
        fit: what happens to images of another size; see `images.fit`.
        points_file: a CSV of five points an image, by which faces are aligned.
        detector: finds one face in each photograph, by which it is aligned; `faces` says which of several.
        quality: of the JPEGs that are written anew.
        min_images: people with fewer are left out, and the others numbered anew.
        words: on_bad_image, num_threads, on_progress of `write_pack`.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be in 1..100, got {quality}")
    check_fit(fit)
    size = (int(images.image_size[0]), int(images.image_size[1]))
    shape = f"{size[0]}x{size[1]}"
    points, reasons, settings = None, None, f"{fit} {shape} {quality} {min_images}"
    if points_file is not None and detector is not None:
        raise ValueError("give a points file or a detector, not both")
    if points_file is not None:
        points, reasons = _listed_points(images, points_file)
        settings = f"aligned {shape} {quality} {min_images} {_digest_of(points)}"
    if detector is not None:
        points, reasons = _found_points(images, detector, faces)
        settings = f"aligned {shape} {quality} {min_images} {_digest_of(points)}"
    prepare = face_maker(size=size, fit=fit, quality=quality, points=points, reasons=reasons, source=images)
    plan = plan_of_frequent(images, min_images=min_images)
    summary = write_pack(output, plan, prepare=prepare, settings=settings, **words)
    if images.people:
        _write_people(Path(output) / "identities.csv", images, plan)
    return summary


def _found_points(images: FileFaces, detector: str, faces: Policy) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The points of one face of each image that has one, and why the others have none, by path."""
    names = [images.paths[index] for index in range(len(images))]
    located = locate_faces([images.root / name for name in names], detector, take=faces)
    points = {
        name: five
        for name, five in zip(names, torch.from_numpy(located.points).double(), strict=True)
        if not five.isnan().any()
    }
    absent = [place for place, name in enumerate(names) if name not in points]
    return points, {names[place]: located.reasons.get(place, NO_FACE) for place in absent}


def _write_people(path: Path, images: FileFaces, plan: PackPlan) -> None:
    """Write label,name: who each label of a plan is."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["label", "name"])
    labels, first = np.unique(plan.labels, return_index=True)
    writer.writerows(
        [label, images.people[images.labels[plan.indices[place]]]]
        for label, place in zip(labels.tolist(), first.tolist(), strict=True)
    )
    write_whole(path, text.getvalue())


def _listed_points(images: FileFaces, path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Return the points of each image that a file has some of, and why it has none of others, by path.

    Raises:
        ValueError: if two faces of one are listed, of which a pack can hold but one, or they are those of another
            picture.
    """
    names = [images.paths[place] for place in range(len(images))]
    found = listed_points(points_by_name(path), names, lambda name: Path(images.root) / name)
    return {name: torch.from_numpy(five) for name, five in found.items()}, found.reasons


def _digest_of(points: Mapping[str, torch.Tensor]) -> str:
    """Return a digest of all points: a pack begun by others is not resumed."""
    digest = hashlib.sha256()
    for path, places in sorted(points.items()):
        digest.update(path.encode("utf-8", "surrogateescape") + b"\0" + places.numpy().tobytes())
    return digest.hexdigest()


def plan_of_frequent(source: IdentitySource, *, min_images: int) -> PackPlan:
    """Return the plan of the identities with at least `min_images` images; numbered anew if any is left out."""
    plan = plan_by_identity(source)
    if min_images <= 1:
        return plan
    counts = np.bincount(plan.labels, minlength=plan.num_identities)
    kept = counts >= min_images
    if not kept.any():
        raise ValueError(f"nobody has {min_images} images: the most is {counts.max()}")
    chosen = kept[plan.labels]
    return PackPlan(source, plan.indices[chosen], (np.cumsum(kept) - 1)[plan.labels[chosen]], int(kept.sum()), True)


def unpack_to_folder(
    pack: IdentitySource, output: str | Path, *, num_threads: int = 2, on_progress: Progress = no_progress
) -> int:
    """Write each image of a pack as a file, in a folder per label, and return how many; resumes where it was stopped.

    The folder has its name only when all images are there.

    Raises:
        FileExistsError: if `output` exists.
    """
    output = Path(output)
    fingerprint = plan_by_identity(pack).fingerprint("to-folder")
    if _is_of_plan(output, fingerprint):  # a run was stopped after the last image
        (output / PLAN_OF_FOLDER).unlink()
        on_progress(len(pack))
        return len(pack)
    if output.exists():
        raise FileExistsError(f"{output} exists already; choose another name or remove it")
    partial = partial_path(output)
    _begin_folder(partial, fingerprint)
    digits = [len(str(number)) for number in (max(pack.num_identities - 1, 0), len(pack))]
    labels = pack.labels
    for label in np.unique(labels).tolist():
        (partial / f"{label:0{digits[0]}}").mkdir(exist_ok=True)

    def write(indices: IntArray) -> int:
        for index in indices.tolist():
            _write_image(partial / f"{labels[index]:0{digits[0]}}" / f"{index:0{digits[1]}}", pack.encoded(index))
        return len(indices)

    with ThreadPoolExecutor(num_threads) as pool:
        for count in in_order(pool, write, np.arange(len(pack)), ahead=4 * num_threads):
            on_progress(count)
    sync_tree(partial)
    partial.replace(output)
    (output / PLAN_OF_FOLDER).unlink()
    return len(pack)


def _is_of_plan(folder: Path, fingerprint: str) -> bool:
    """Return whether a folder says that it is being written of this pack."""
    plan = folder / PLAN_OF_FOLDER
    return plan.is_file() and plan.read_text(encoding="ascii", errors="replace") == fingerprint


def _begin_folder(partial: Path, fingerprint: str) -> None:
    """Make the folder that is not whole yet, or keep what a stopped run of the same pack left in it.

    Raises:
        FileExistsError: if it is not what a stopped run left.
    """
    plan = partial / PLAN_OF_FOLDER
    if partial.exists() and not plan.is_file() and (not partial.is_dir() or any(partial.iterdir())):
        raise FileExistsError(f"{partial} is in the way and no stopped run left it; remove it or choose another name")
    if plan.is_file() and not _is_of_plan(partial, fingerprint):
        shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    plan.write_text(fingerprint, encoding="ascii")


def _write_image(stem: Path, data: bytes) -> None:
    path = stem.with_name(stem.name + (".png" if data[:4] == b"\x89PNG" else ".jpg"))
    if not path.is_file() or path.read_bytes() != data:  # a power cut leaves names of what was not yet on the disk
        temporary = path.with_name(path.name + ".part")
        temporary.write_bytes(data)
        temporary.replace(path)


class IndexSummary(NamedTuple):
    """The index that was written, and its number of records."""

    path: Path
    num_records: int


def write_index(root: str | Path, *, on_progress: Progress = no_progress) -> IndexSummary:
    """Write the .idx of a pack or .rec file anew, by walking its records; the old one stays if that fails. Progress is
    in bytes.

    Raises:
        RecordError: naming the offset at which the file is broken.
    """
    path_rec = find_rec(Path(root))
    index = scan_index(path_rec, on_progress)
    path_idx = path_rec.with_suffix(".idx")
    with writing_file(path_idx) as file:
        step = 1 << 16
        for start in range(0, len(index), step):
            keys = [index.key_at(place) for place in range(start, min(start + step, len(index)))]
            offsets = index.offsets[start : start + step].tolist()
            file.write(b"".join(b"%d\t%d\n" % pair for pair in zip(keys, offsets, strict=True)))
    RecordReader(path_rec).close()  # what was written must be readable
    return IndexSummary(path_idx, len(index))


def shuffle_pack(pack: IdentitySource, output: str | Path, *, seed: int = 0, **words: Any) -> PackSummary:
    """Write the images of a pack in random order, so that reading it straight through is a shuffle; the result has no
    header record.
    """
    order = np.random.default_rng([seed, 0x5AFF]).permutation(len(pack)).astype(np.int64)
    plan = PackPlan(pack, order, pack.labels[order], pack.num_identities, False)
    return write_pack(output, plan, settings=f"shuffle {seed}", **{"on_bad_image": "keep", **words})


def split_pack(
    pack: IdentitySource,
    outputs: Sequence[str | Path],
    *,
    shares: Sequence[float],
    by: Literal["identity", "image"] = "identity",
    seed: int = 0,
    **words: Any,
) -> list[PackSummary]:
    """Write the images of a pack as several packs.

    Args:
        shares: what part each gets; they sum to 1.
        by: "identity": no person is in two of them, and people are numbered anew; "image": each person's images are
            dealt out, labels stay.

    Raises:
        ValueError: for shares that do not sum to 1, one for each output, or a part without images.
    """
    if by not in ("identity", "image"):
        raise ValueError(f"by must be 'identity' or 'image', got {by!r}")
    if len(shares) != len(outputs) or len(outputs) < 2 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(
            f"shares must be one number above 0 for each of the {len(outputs)} outputs (2 or more) and sum to 1, got"
            f" {list(shares)}"
        )
    if len({Path(output).resolve() for output in outputs}) < len(outputs):
        raise ValueError(f"the outputs must differ, got {', '.join(map(str, outputs))}")
    for output in outputs:
        check_free(Path(output))
    part = _parts(pack.labels, shares, by=by, seed=seed)
    plans = [
        _plan_of_part(pack, np.flatnonzero(part == number), renumber=by == "identity") for number in range(len(outputs))
    ]
    for output, plan in zip(outputs, plans, strict=True):
        if not len(plan.indices):
            raise ValueError(f"no image would go to {output}: give it a larger share")
    words = {"on_bad_image": "keep", "settings": f"split {by} {seed} {list(shares)}", "keep_journal": True, **words}
    summaries = [write_pack(output, plan, **words) for output, plan in zip(outputs, plans, strict=True)]
    for output in outputs:  # until all are done, a run stopped between two of them finds the first by its journal
        forget_journal(Path(output))
    return summaries


def _parts(labels: IntArray, shares: Sequence[float], *, by: str, seed: int) -> IntArray:
    """The part (n,) each image goes to: people are dealt by their number, or the images of each person by theirs."""
    generator = np.random.default_rng([seed, 0x5B17])
    limits = np.cumsum(shares)[:-1]
    if by == "identity":
        people, inverse = np.unique(labels, return_inverse=True)
        place = (generator.permutation(len(people)) + 0.5) / len(people)
        return np.searchsorted(limits, place, side="right")[inverse]
    order = np.lexsort((generator.random(len(labels)), labels))
    sizes = np.bincount(labels)[labels[order]]
    first = np.searchsorted(labels[order], labels[order])
    place = np.empty(len(labels))
    place[order] = (np.arange(len(labels)) - first + 0.5) / sizes
    return np.searchsorted(limits, place, side="right")


def _plan_of_part(pack: IdentitySource, indices: IntArray, *, renumber: bool) -> PackPlan:
    indices = indices[np.argsort(pack.labels[indices], kind="stable")]
    labels = pack.labels[indices]
    if not renumber:
        return PackPlan(pack, indices, labels, pack.num_identities, True)
    people, labels = np.unique(labels, return_inverse=True)
    return PackPlan(pack, indices, labels.astype(np.int64), max(len(people), 1), True)


def merge_packs(
    packs: Sequence[IdentitySource], output: str | Path, *, label_offsets: Sequence[int] | None = None, **words: Any
) -> PackSummary:
    """Write the images of several packs as one; people of different packs stay apart unless `label_offsets` say
    otherwise.
    """
    mix = SourceMix(packs, label_offsets=label_offsets)
    return write_pack(output, plan_by_identity(mix), settings="merge", **{"on_bad_image": "keep", **words})


def open_pack(
    root: str | Path, *, size: int | Sequence[int] | None = None, on_bad_record: Literal["raise", "skip"] = "raise"
) -> IdentityPack:
    """Return the pack at `root`, whose images have `size`: one side, or (height, width); None: what its `property`
    says, else 112x112.
    """
    return IdentityPack(
        root, image_size=stated_size(root) if size is None else image_sides(size), on_bad_record=on_bad_record
    )


def stated_size(root: str | Path) -> tuple[int, int]:
    """Return the size (height, width) of the images of a pack as its `property` states it; 112x112 where there is
    none.
    """
    path = find_rec(Path(root)).parent / "property"
    return read_property(path).image_size if path.is_file() else (112, 112)
