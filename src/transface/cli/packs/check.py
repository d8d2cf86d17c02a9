"""`transface pack check`: what is wrong with a pack, whose people look alike or like those of a test set, on the
screen, as JSON and as a sheet.
"""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transface.cli.config.errors import UserError
from transface.progress import working

ALIKE = 0.6  # cosine from which two look like one person


def check(options: argparse.Namespace) -> int:
    """Look through a pack, show and write what was found, and return 1 if something was that --allow does not name."""
    from transface.packs.check import KINDS, check_pack

    if unknown := sorted(set(options.allow) - set(KINDS)):
        raise UserError(f"--allow {unknown[0]}: no such kind; there are {', '.join(KINDS)}")
    check_likeness(options, ("against",))
    for path in filter(None, (options.json, options.sheet)):
        _make_room(path)
    embed = embedder_of(options.checkpoint, options.device) if options.checkpoint is not None else None
    with working("check", _num_records(options.pack)) as tell:
        report = check_pack(
            options.pack, size=options.size, near_bits=options.near_bits, num_threads=options.threads, on_progress=tell
        )
    if embed is not None:
        compare_people(report, embed, options)
    _print_report(report)
    if options.json is not None:
        _write_json(options.json, report.as_dict())
    if options.sheet is not None:
        _draw(report, options)
    return 1 if set(report.counts) - set(options.allow) else 0


def check_likeness(options: argparse.Namespace, names: Sequence[str]) -> None:
    """Raise UserError for a cosine that is none, and for options that nothing reads without a model; fill in what is
    not given.
    """
    for name in ("alike", "merge", "strangers"):
        value = getattr(options, name, None)
        if value is not None and not -1 <= value <= 1:
            raise UserError(f"--{name} is a cosine in -1..1, got {value}")
    given = [name for name in (*names, "alike", "device") if getattr(options, name) not in (None, [])]
    if given and options.checkpoint is None:
        raise UserError(f"--{given[0]} needs --checkpoint: a model says who looks alike")
    options.alike = ALIKE if options.alike is None else options.alike
    options.device = options.device or "cpu"


def _make_room(path: Path) -> None:
    """Make the folder of an output, and refuse one that cannot be written: before hours of looking, not after them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UserError(
            f"{path} cannot be written: {'it is a folder' if path.is_dir() else 'no permission'}; choose another name"
        )


def _num_records(pack: Path) -> int:
    path = (pack / "train.rec" if pack.is_dir() else pack).with_suffix(".idx")
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def embedder_of(checkpoint: Path, device: str) -> Callable[[Any], Any]:
    """Return what embeds uint8 images (B, 3, H, W) with a model."""
    from transface.inference.opening import load

    model = load(checkpoint, device=device)

    def embed(images: Any) -> Any:
        return model.embed(images, batch_size=len(images))

    return embed


def compare_people(report: Any, embed: Callable[[Any], Any], options: argparse.Namespace) -> None:
    """Add identities that look like each other, or like people of the test sets, to the report."""
    import numpy as np

    from transface.data.benchmarks.pairs import read_pair_set
    from transface.data.sources.bad_records import TolerantDataset
    from transface.packs.operations import open_pack
    from transface.packs.overlap import embed_pair_set, identity_means, look_alikes, overlap_with

    test_sets = {str(path): read_pair_set(path) for path in options.against}
    try:
        pack = open_pack(options.pack, size=options.size, on_bad_record="skip")
    except ValueError as error:
        report.add("file", f"the pack is too broken to compare its people: {error}")
        return
    faces = TolerantDataset(pack, on_bad_record="skip", max_bad_share=1.0)
    with working("embed", len(pack)) as tell:
        means = identity_means(
            faces, embed, labels=pack.labels, num_identities=pack.num_identities, on_progress=tell
        ).to(options.device)
    people, first_image = np.unique(pack.labels, return_index=True)
    key = {label: pack.key(place) for label, place in zip(people.tolist(), first_image.tolist(), strict=True)}
    for first, second, cosine in look_alikes(means, threshold=options.alike):
        detail = f"identities {first} and {second} look like one person (cosine {cosine:.3f})"
        report.add("look_alike", detail, keys=(key[first], key[second]), labels=(first, second))
        report.likenesses.append((first, second, cosine))
    for path, pairs in test_sets.items():
        test = embed_pair_set(pairs, embed, size=options.size or pack.image_size).to(options.device)
        for label, place, cosine in overlap_with(means, test, threshold=options.alike):
            detail = f"identity {label} looks like image {place} of {pairs.name} (cosine {cosine:.3f})"
            report.add("overlap", detail, keys=(key[label],), labels=(label,), test_image=(path, place))


def _print_report(report: Any) -> None:
    from rich.console import Console
    from rich.table import Table

    from transface.packs.check import KINDS

    console = Console(width=None if sys.stdout.isatty() else 160)
    sizes = ", ".join(f"{name} {value:g}" for name, value in report.images_per_identity.items())
    speed = f", {report.num_images / report.seconds:.0f} images/s" if report.seconds else ""
    console.print(
        f"{report.root}: {report.num_images} images of {report.num_identities} identities{speed}",
        highlight=False,
        markup=False,
    )
    if sizes:
        console.print(f"images per identity: {sizes}", highlight=False, markup=False)
    if report.is_clean:
        console.print("nothing wrong was found")
        return
    table = Table("what", "times", "the first", title=None)
    for kind, count in report.counts.most_common():
        table.add_row(f"{kind}: {KINDS[kind]}", str(count), report.findings[kind][0].detail)
    console.print(table, markup=False)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    from transface.artifacts import write_whole

    write_whole(path, json.dumps(content, indent=1) + "\n")


def _draw(report: Any, options: argparse.Namespace) -> None:
    from transface.data.benchmarks.pairs import read_pair_set
    from transface.data.recordio.reader import RecordReader
    from transface.data.sources.identity_pack import find_rec
    from transface.packs.contact_sheet import sample_rows, suspect_rows, write_sheet
    from transface.packs.operations import open_pack

    rows, pack = [], None
    test_sets = {str(path): [bytes(image) for image in read_pair_set(path).images] for path in options.against}
    with contextlib.suppress(ValueError):
        pack = open_pack(options.pack, size=options.size, on_bad_record="skip")
        rows += sample_rows(pack)
    with contextlib.suppress(ValueError):
        rows += suspect_rows(
            report, RecordReader(find_rec(options.pack), check_end=False), people=pack, test_sets=test_sets
        )
    write_sheet(options.sheet, rows)
    print(f"contact sheet: {options.sheet}")
