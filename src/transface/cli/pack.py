"""`transface pack`: make, change and check packs of faces. Its verbs take plain options, not a config."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from transface.cli.config.errors import UserError, one_line, reported
from transface.cli.packs.check import check
from transface.cli.packs.clean import clean
from transface.progress import working


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}; '{self.prog} --help' shows what it takes")


def main(argv: list[str]) -> int:
    """Run `transface pack <verb> ...` and return its exit code: 0, 1 where `check` found something, 2 for a user's
    mistake.
    """
    with reported() as outcome:
        try:
            options = _build_parser().parse_args(argv)
            refuse_absent(options)
            outcome.code = int(options.run(options))
        except SystemExit as stop:  # --help
            outcome.code = int(stop.code or 0)
        except KeyboardInterrupt:
            print("transface: stopped by the user; the same command resumes where it was", file=sys.stderr)
            outcome.code = 130
    return outcome.code


def refuse_absent(options: argparse.Namespace) -> None:
    """Raise where what a verb reads is not there, before anything slow is imported to look for it.

    Raises:
        FileNotFoundError: naming it.
    """
    names = ("pack", "images", "root", "points")
    for path in [*(getattr(options, name, None) for name in names), *getattr(options, "packs", [])]:
        if path is not None and not path.exists():
            raise FileNotFoundError(f"no {'list' if path.suffix else 'data folder'} {path}")


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="transface pack", description="Make, change and check packs of faces (train.rec, train.idx, property)."
    )
    verbs = parser.add_subparsers(title="verbs", metavar="verb", required=True, parser_class=_Parser)

    images = _verb(verbs, "from-folder", _from_images, "write a pack from a folder with one folder a person")
    _add_images(images, "folder with one folder a person")
    listed = _verb(
        verbs, "from-list", _from_images, "write a pack from a .csv or .parquet list (columns path, label) or a .lst"
    )
    _add_images(listed, "the list")
    listed.add_argument("--root", type=Path, help="folder that its paths are relative to (default: the list's)")

    shards = _verb(verbs, "to-shards", _to_shards, "write a pack's images as tar shards (WebDataset), with an index")
    _add_pack(shards)
    shards.add_argument("output", type=Path, help="folder of the shards; a stopped run resumes")
    shards.add_argument("--images-per-shard", type=count, default=10_000)

    folder = _verb(verbs, "to-folder", _to_folder, "write a pack's images as files, a folder per label")
    _add_pack(folder)
    folder.add_argument("output", type=Path)

    index = _verb(verbs, "index", _index, "write train.idx anew by walking train.rec")
    index.add_argument("pack", type=Path)

    shuffle = _verb(verbs, "shuffle", _shuffle, "write a pack in random order, for reading straight through")
    _add_pack(shuffle)
    shuffle.add_argument("output", type=Path)
    shuffle.add_argument("--seed", type=int, default=0)

    split = _verb(verbs, "split", _split, "deal a pack out to several")
    _add_pack(split)
    split.add_argument("outputs", type=Path, nargs="+")
    split.add_argument("--shares", type=float, nargs="+", required=True, help="what part each output gets, e.g. .9 .1")
    split.add_argument(
        "--by", choices=("identity", "image"), default="identity", help="identity: nobody is in two of them (default)"
    )
    split.add_argument("--seed", type=int, default=0)

    merge = _verb(verbs, "merge", _merge, "write several packs as one; their people stay apart")
    merge.add_argument("packs", type=Path, nargs="+")
    merge.add_argument("--output", type=Path, required=True)
    merge.add_argument(
        "--label-offsets",
        type=int,
        nargs="+",
        help="what is added to each pack's labels (default: the people before it)",
    )
    merge.add_argument("--size", type=size, help="of their images (default: what the property files say)")

    checked = _verb(verbs, "check", check, "look for whatever is wrong with a pack; exit code 1 if something is")
    _add_pack(checked)
    checked.add_argument("--json", type=Path, help="write the whole report here")
    checked.add_argument("--sheet", type=Path, help="write a contact sheet (PNG) of samples and suspects here")
    checked.add_argument(
        "--allow", nargs="+", default=[], metavar="KIND", help="kinds of findings that are no reason for exit code 1"
    )
    cleaned = _verb(verbs, "clean", clean, "write a copy without what a check finds wrong, and a list of what was done")
    _add_pack(cleaned)
    cleaned.add_argument("output", type=Path, help="folder of the cleaned copy")
    cleaned.add_argument("--near", action="store_true", help="treat images that look the same as equal ones")
    cleaned.add_argument(
        "--merge", type=float, metavar="COSINE", help="join people who look alike from this cosine on (default: never)"
    )
    cleaned.add_argument(
        "--strangers", type=float, metavar="COSINE", help="leave out images less like the others of their person"
    )
    cleaned.add_argument("--min-images", type=count, default=1, help="leave out people left with fewer")
    for verb in (checked, cleaned):
        _add_likeness(verb)
    for verb in (images, listed, folder, shuffle, split, merge, checked, cleaned):
        verb.add_argument("--threads", type=count, default=os.cpu_count() or 1)
    return parser


def _add_likeness(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--near-bits",
        type=int,
        default=12,
        help="how many of 256 bits two images may differ in to look the same (0..15)",
    )
    parser.add_argument(
        "--against",
        type=Path,
        nargs="+",
        default=[],
        metavar="BIN",
        help="pair sets whose people must not be in the pack",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="model that says who looks alike; needed by --against, enough to find look-alike identities",
    )
    parser.add_argument(
        "--alike", type=float, help="cosine from which two look like one person (default 0.6); of --checkpoint"
    )
    parser.add_argument("--device", help="of --checkpoint (default cpu)")


def _verb(verbs: Any, name: str, run: Callable[[argparse.Namespace], int], what: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=what, description=what)
    parser.set_defaults(run=run)
    return parser


def _add_pack(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pack", type=Path, help="folder of train.rec")
    parser.add_argument(
        "--size", type=size, help="of its images: 112, or HEIGHTxWIDTH (default: what its property file says)"
    )


def _add_images(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("images", type=Path, help=what)
    parser.add_argument("output", type=Path, help="folder of the new pack")
    parser.add_argument(
        "--size", type=size, default=(112, 112), help="of the pack's images: 112 (default), or HEIGHTxWIDTH, as 218x178"
    )
    fits = ("refuse", "resize", "letterbox", "center_crop", "stretch")
    parser.add_argument("--fit", choices=fits, help="what happens to images of another size (default: refuse)")
    parser.add_argument("--points", type=Path, help="CSV of image,x1,y1,...,x5,y5: align faces by these points")
    parser.add_argument(
        "--detector", help="find and align one face in each photograph: mtcnn, yunet:FILE.onnx, scrfd:FILE.onnx"
    )
    policies = ("largest", "central", "score", "only")
    parser.add_argument("--faces", choices=policies, help="which of a photograph's faces (default: largest)")
    parser.add_argument("--quality", type=int, default=95, help="of JPEGs written anew (default 95)")
    parser.add_argument("--min-images", type=count, default=1, help="leave out people with fewer")
    parser.add_argument("--skip-bad", action="store_true", help="leave out images that cannot be used, and list them")


def count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return value


def size(text: str) -> tuple[int, int]:
    """Return the (height, width) of `112` or `218x178`."""
    sides = [int(side) for side in text.lower().split("x")]
    if len(sides) > 2 or not all(1 <= side <= 8192 for side in sides):
        raise argparse.ArgumentTypeError(f"{text} must be one side or HEIGHTxWIDTH, each in 1..8192 pixels")
    return sides[0], sides[-1]


def _tell_written(summary: Any) -> None:
    resumed = f" ({summary.num_resumed} found from a stopped run)" if summary.num_resumed else ""
    print(f"{summary.root}: {summary.num_images} images of {summary.num_identities} identities{resumed}")
    for reason in summary.skipped[:20]:
        print(f"skipped: {one_line(reason)}", file=sys.stderr)
    if summary.skipped:
        print(f"{len(summary.skipped)} images were skipped", file=sys.stderr)
    if summary.num_emptied:
        what = "all of whose images were skipped keep their labels, which then stand for nobody"
        print(f"{summary.num_emptied} identities {what}: mend or remove their images and pack again", file=sys.stderr)


def _from_images(options: argparse.Namespace) -> int:
    from transface.packs.operations import open_images, pack_images

    cut = next((name for name in ("points", "detector") if getattr(options, name) is not None), None)
    if options.faces is not None and options.detector is None:
        raise UserError("--faces is not read: without --detector no faces are found that one could be chosen of")
    if options.fit is not None and cut is not None:
        raise UserError(f"--fit is not read: --{cut} cuts each face out at the pack's size; leave it out")
    images = open_images(options.images, root=getattr(options, "root", None), size=options.size)
    with working("pack", len(images)) as tell:
        summary = pack_images(
            images,
            options.output,
            fit=options.fit or "refuse",
            points_file=options.points,
            detector=options.detector,
            faces=options.faces or "largest",
            quality=options.quality,
            min_images=options.min_images,
            on_bad_image="skip" if options.skip_bad else "raise",
            num_threads=options.threads,
            on_progress=tell,
        )
    _tell_written(summary)
    return 0


def _to_folder(options: argparse.Namespace) -> int:
    from transface.packs.operations import open_pack, unpack_to_folder

    pack = open_pack(options.pack, size=options.size)
    with working("to-folder", len(pack)) as tell:
        count = unpack_to_folder(pack, options.output, num_threads=options.threads, on_progress=tell)
    print(f"{options.output}: {count} images of {pack.num_identities} identities")
    return 0


def _to_shards(options: argparse.Namespace) -> int:
    from transface.packs.operations import open_pack
    from transface.packs.shards import write_shards

    pack = open_pack(options.pack, size=options.size)
    with working("to-shards", len(pack)) as tell:
        summary = write_shards(pack, options.output, images_per_shard=options.images_per_shard, on_progress=tell)
    resumed = f", {summary.num_resumed} of them written before" if summary.num_resumed else ""
    print(f"{summary.root}: {summary.num_images} images in {summary.num_shards} shards{resumed}")
    return 0


def _index(options: argparse.Namespace) -> int:
    from transface.data.sources.identity_pack import find_rec
    from transface.packs.operations import write_index

    with working("index", find_rec(options.pack).stat().st_size, unit="bytes") as tell:
        summary = write_index(options.pack, on_progress=tell)
    print(f"{summary.path}: {summary.num_records} records")
    return 0


def _shuffle(options: argparse.Namespace) -> int:
    from transface.packs.operations import open_pack, shuffle_pack

    pack = open_pack(options.pack, size=options.size)
    with working("shuffle", len(pack)) as tell:
        _tell_written(
            shuffle_pack(pack, options.output, seed=options.seed, num_threads=options.threads, on_progress=tell)
        )
    return 0


def _split(options: argparse.Namespace) -> int:
    from transface.packs.operations import open_pack, split_pack

    pack = open_pack(options.pack, size=options.size)
    with working("split", len(pack)) as tell:
        summaries = split_pack(
            pack,
            options.outputs,
            shares=options.shares,
            by=options.by,
            seed=options.seed,
            num_threads=options.threads,
            on_progress=tell,
        )
    for summary in summaries:
        _tell_written(summary)
    return 0


def _merge(options: argparse.Namespace) -> int:
    from transface.packs.operations import merge_packs, open_pack

    packs = [open_pack(pack, size=options.size) for pack in options.packs]
    with working("merge", sum(map(len, packs))) as tell:
        summary = merge_packs(
            packs, options.output, label_offsets=options.label_offsets, num_threads=options.threads, on_progress=tell
        )
    _tell_written(summary)
    return 0
