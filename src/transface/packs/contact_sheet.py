"""Draws a contact sheet: rows of a pack's images under a line of text, samples first, then what a check found
suspicious.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from transface.artifacts import writing_file
from transface.data.recordio.reader import RecordReader
from transface.data.sources.source import IdentitySource
from transface.images.decoding import decode_images
from transface.packs.check import CheckReport

COLUMNS = 10
ROWS_A_KIND = 3
TEXT_HEIGHT = 16
GAP = 4


class SheetRow(NamedTuple):
    """A line of text over up to COLUMNS images, each (3, H, W) uint8 or None for one that cannot be decoded.

    `split` of them belong to one side of a comparison, the others to the other; 0: nothing is compared.
    """

    text: str
    images: list[Tensor | None]
    split: int = 0


def suspect_rows(
    report: CheckReport,
    reader: RecordReader,
    *,
    people: IdentitySource | None = None,
    test_sets: Mapping[str, Sequence[bytes]] | None = None,
) -> list[SheetRow]:
    """Return a few rows of each kind of finding that is about images.

    Of two who look alike, several images of each are shown, taken from `people`; of an overlap, the test image first.
    """
    rows = []
    for kind, findings in report.findings.items():
        for finding in [finding for finding in findings if finding.keys][:ROWS_A_KIND]:
            text = f"{kind}: {finding.detail}"
            if people is None or kind not in ("overlap", "look_alike"):
                rows.append(SheetRow(text, [_image(reader, key) for key in finding.keys[:COLUMNS]]))
                continue
            sides = [_images_of(people, label, COLUMNS // 2) for label in finding.labels]
            if finding.test_image is not None:
                name, place = finding.test_image
                sides.insert(0, [_decoded((test_sets or {})[name][place])])
            rows.append(SheetRow(text, [image for side in sides for image in side][:COLUMNS], len(sides[0])))
    return rows


def _images_of(people: IdentitySource, label: int, count: int) -> list[Tensor | None]:
    own = np.flatnonzero(people.labels == label)[:count]
    return [_decoded(people.encoded(index)) for index in own.tolist()]


def sample_rows(source: IdentitySource, *, count: int = 3, seed: int = 0) -> list[SheetRow]:
    """Return rows of images of identities drawn at random, a row each."""
    generator = np.random.default_rng(seed)
    labels = source.labels
    rows = []
    for label in np.sort(generator.permutation(np.unique(labels[labels >= 0]))[:count]).tolist():
        rows.append(SheetRow(f"sample: identity {label}", _images_of(source, label, COLUMNS)))
    return rows


def _image(reader: RecordReader, key: int) -> Tensor | None:
    try:
        return _decoded(reader[key].payload)
    except (ValueError, OSError):
        return None


def _decoded(encoded: bytes) -> Tensor | None:
    try:
        return decode_images([encoded])[0]
    except ValueError:
        return None


def write_sheet(path: str | Path, rows: Sequence[SheetRow], *, side: int = 112) -> None:
    """Write the rows as a PNG, images fitted into side x side; the file appears only when whole."""
    path = Path(path)
    height = max(len(rows), 1) * (TEXT_HEIGHT + side + GAP)
    sheet = Image.new("RGB", (COLUMNS * (side + GAP), height), "white")
    pen = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        top = number * (TEXT_HEIGHT + side + GAP)
        pen.text((2, top + 2), row.text[:190], fill="black")
        if row.split:
            line = row.split * (side + GAP) - GAP
            pen.rectangle((line, top + TEXT_HEIGHT, line + GAP - 1, top + TEXT_HEIGHT + side - 1), fill="red")
        for column, image in enumerate(row.images[:COLUMNS]):
            left = column * (side + GAP)
            if image is None:
                pen.rectangle((left, top + TEXT_HEIGHT, left + side - 1, top + TEXT_HEIGHT + side - 1), outline="red")
                pen.text((left + 6, top + TEXT_HEIGHT + side // 2 - 6), "no image", fill="red")
                continue
            picture = Image.fromarray(image.permute(1, 2, 0).to(torch.uint8).contiguous().numpy())
            picture.thumbnail((side, side))
            sheet.paste(picture, (left, top + TEXT_HEIGHT))
    with writing_file(path) as stream:
        sheet.save(stream, format="PNG")
