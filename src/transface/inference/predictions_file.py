"""Predictions as files: JSON, Parquet, and a picture of each with its answers drawn beside it; each written whole or
not at all.
"""

import colorsys
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from transface.artifacts import write_whole, writing_path
from transface.backbones.features import Output
from transface.images.pixels import to_uint8
from transface.images.user_images import read_picture
from transface.inference.answers import answer_text
from transface.inference.predict import FoundFace, Prediction

TEXT_WIDTH = 320  # pixels beside the picture
LEAST_HEIGHT = 220
BOX_COLOUR = (255, 160, 0)
LARGEST_SIDE = 2048  # of a picture in an overlay
USUAL_SIDE = 640  # the longer side up to which points and words have their usual size


def as_json(predictions: Sequence[Prediction], regions: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Return predictions as plain values: one entry a picture; what failed has an "error" and no faces.

    Args:
        regions: by "<image>/<face>/<output>", the PNG's name in which a map was written; a map without one is left out
            as None.
    """
    entries = []
    for prediction in predictions:
        faces = [
            {
                "box": face.box,
                "points": face.points,
                **({} if face.score is None else {"score": face.score}),
                "outputs": {
                    name: (regions or {}).get(f"{prediction.image}/{place}/{name}")
                    if isinstance(value, torch.Tensor)
                    else value
                    for name, value in face.outputs.items()
                },
            }
            for place, face in enumerate(prediction.faces)
        ]
        entries.append(
            {"image": prediction.image, "faces": faces, **({"error": prediction.error} if prediction.error else {})}
        )
    return entries


def write_predictions(predictions: Sequence[Prediction], path: str | Path) -> Path:
    """Write predictions to a .json or .parquet file, maps of regions as PNGs of the size of their picture, upright, in
    the folder <stem>_regions beside it: the number of the region of each pixel, 0 outside what the network saw.

    A Parquet file has a row a face: image, box, points, error, and a column a label ("attributes.Smiling"), class
    ("expression.label") or number.

    Raises:
        ValueError: for another ending.
    """
    path = Path(path)
    if path.suffix not in (".json", ".parquet"):
        raise ValueError(f"predictions are written to .json or .parquet, got {path}")
    regions = _write_regions(predictions, path)
    entries = as_json(predictions, regions)
    if path.suffix == ".json":
        return write_whole(path, json.dumps(entries, indent=1, allow_nan=False) + "\n")
    import pyarrow
    import pyarrow.parquet as parquet

    rows = [_row(entry, face) for entry in entries for face in (entry["faces"] or [None])]
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pyarrow.table({name: [row.get(name) for row in rows] for name in names})
    with writing_path(path) as partial:
        parquet.write_table(table, partial)
    return path


def _row(entry: dict[str, Any], face: dict[str, Any] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"image": entry["image"], "error": entry.get("error")}
    if face is None:
        return row
    row |= {"box": face["box"], "points": face["points"]}
    for name, value in face["outputs"].items():
        if isinstance(value, dict):
            flat = {key: inner for key, inner in value.items() if key != "probabilities"} | value.get(
                "probabilities", {}
            )
            row |= {f"{name}.{key}": inner for key, inner in flat.items()}
        else:
            row[name] = value
    return row


def _write_regions(predictions: Sequence[Prediction], path: Path) -> dict[str, str]:
    written = {}
    for prediction in predictions:
        for place, face in enumerate(prediction.faces):
            for name, value in face.outputs.items():
                if isinstance(value, torch.Tensor):
                    file = regions_folder(path) / f"{flat_name(prediction.image)}_{place}_{name}.png"
                    own = value.numpy()
                    shown = own if prediction.size is None else regions_of_picture(own, face.back, prediction.size)
                    with writing_path(file) as partial:
                        Image.fromarray(shown).save(partial, format="PNG")
                    written[f"{prediction.image}/{place}/{name}"] = str(file.relative_to(path.parent))
    return written


def regions_folder(path: str | Path) -> Path:
    """Return the folder beside a file of predictions that holds their maps of regions."""
    return Path(path).with_name(f"{Path(path).stem}_regions")


def flat_name(image: str) -> str:
    """Return the name of a picture as one word of a file's name."""
    return Path(image).as_posix().strip("/").replace("/", "__")


def refuse_one_name(images: Sequence[str]) -> None:
    """Raise ValueError for two pictures whose overlays or maps would be one file."""
    first: dict[str, str] = {}
    for image in images:
        if first.setdefault(flat_name(image), image) != image:
            raise ValueError(
                f"the files of {first[flat_name(image)]} and {image} would have one name, {flat_name(image)}: rename"
                " one of the pictures"
            )


def write_overlay(prediction: Prediction, picture: Any, folder: str | Path, *, outputs: dict[str, Output]) -> Path:
    """Write <folder>/<picture>.png: the picture with boxes, points and regions drawn on it, and the answers in words
    beside it; several faces have the numbers that stand there. Small pictures are enlarged for it, those of more than
    2,048 pixels a side reduced.
    """
    pixels = read_picture(picture, name=prediction.image)
    pixels = pixels if pixels.dtype == torch.uint8 else to_uint8(pixels)
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    to_page, size = _page_of((image.height, image.width))
    image = image.resize(size[::-1], Image.Resampling.LANCZOS)
    mark = max(1.0, max(size) / USUAL_SIDE)
    font = ImageFont.load_default(size=10 * mark)
    for place, face in enumerate(prediction.faces, 1):
        image = _with_regions(image, face, outputs, to_page)
        drawing = ImageDraw.Draw(image)
        _draw_geometry(drawing, face, outputs, to_page, mark)
        if face.box is not None and len(prediction.faces) > 1:
            left, top = np.asarray(face.box[:2]) @ to_page[:, :2].T + to_page[:, 2]
            drawing.text((max(left, 0) + 4 * mark, max(top, 0) + 2 * mark), str(place), fill=BOX_COLOUR, font=font)
    lines = [
        line
        for place, face in enumerate(prediction.faces)
        for line in _lines(place, face, outputs, several=len(prediction.faces) > 1)
    ]
    lines = lines or [prediction.error or "no face"]
    row_height, text_width = round(16 * mark), round(TEXT_WIDTH * mark)
    page = Image.new("RGB", (image.width + text_width, max(image.height, row_height * (len(lines) + 1))), "white")
    page.paste(image, (0, 0))
    drawing = ImageDraw.Draw(page)
    for row, line in enumerate(lines):
        drawing.text((image.width + 10 * mark, row_height * (row + 0.5)), line, fill="black", font=font)
    target = Path(folder) / f"{flat_name(prediction.image)}.png"
    with writing_path(target) as partial:
        page.save(partial, format="PNG")
    return target


def _page_of(size: tuple[int, int]) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Return the (2, 3) transform from the pixels of a picture of (height, width) to those it is drawn at, and their
    (height, width).
    """
    wanted = max(1, round(LEAST_HEIGHT / size[0]))
    scale = min(wanted, LARGEST_SIDE / max(size)) if max(size) * wanted > LARGEST_SIDE else wanted
    drawn = tuple(max(1, round(side * scale)) for side in size)
    y, x = (own / side for own, side in zip(drawn, size, strict=True))
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]]), (drawn[0], drawn[1])


def _draw_geometry(
    drawing: ImageDraw.ImageDraw,
    face: FoundFace,
    outputs: dict[str, Output],
    to_page: NDArray[np.float64],
    mark: float,
) -> None:
    radius = round(2 * mark)
    if face.box is not None:
        corners = np.reshape(face.box, (2, 2)) @ to_page[:, :2].T + to_page[:, 2]
        drawing.rectangle(np.rint(corners).ravel().tolist(), outline=BOX_COLOUR, width=radius)
    for name, value in face.outputs.items():
        if outputs[name].kind == "points":
            for x, y in np.rint(np.reshape(value, (-1, 2)) @ to_page[:, :2].T + to_page[:, 2]):  # Pillow cuts off
                drawing.ellipse([x - radius, y - radius, x + radius, y + radius], fill=(0, 220, 90))


def region_colours(names: Sequence[str]) -> NDArray[np.uint8]:
    """Return a colour (R, 3) for each region, the same for the same name in every model; the first, background, is
    black.
    """
    found = np.zeros((max(len(names), 1), 3), dtype=np.uint8)
    for place, name in enumerate(names[1:], start=1):
        hue = int.from_bytes(hashlib.sha256(name.encode()).digest()[:2], "big") / 65536
        found[place] = [round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.55 + 0.4 * (place % 2), 1.0)]
    return found


def regions_of_picture(
    regions: NDArray[np.uint8], back: Sequence[Sequence[float]] | None, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return the region (H, W) of every pixel of a picture of (height, width), from those of the network's image
    (h, w); 0 outside it.

    Args:
        back: (2, 3) from the network's pixels to the picture's; None: the whole picture is the network's image.
    """
    height, width = regions.shape
    if back is None:
        x, y = width / size[1], height / size[0]
        forward = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]])
    else:
        forward = np.linalg.inv(np.vstack([np.asarray(back, np.float64), [0.0, 0.0, 1.0]]))[:2]
    columns = np.arange(size[1], dtype=np.float64)
    shown = np.zeros(size, dtype=np.uint8)
    for row in range(size[0]):  # a row at a time: a photograph may have 80 million pixels
        x = np.rint(forward[0, 0] * columns + (forward[0, 1] * row + forward[0, 2]))
        y = np.rint(forward[1, 0] * columns + (forward[1, 1] * row + forward[1, 2]))
        inside = np.flatnonzero((x >= 0) & (x < width) & (y >= 0) & (y < height))
        shown[row, inside] = regions[y[inside].astype(np.int64), x[inside].astype(np.int64)]
    return shown


def _with_regions(
    image: Image.Image, face: FoundFace, outputs: dict[str, Output], to_page: NDArray[np.float64]
) -> Image.Image:
    for name, value in face.outputs.items():
        if outputs[name].kind != "regions":
            continue
        back = None
        if face.back is not None:
            back = (np.vstack([to_page, [0, 0, 1]]) @ np.vstack([face.back, [0, 0, 1]]))[:2].tolist()
        shown = regions_of_picture(value.numpy(), back, (image.height, image.width))
        painted = Image.fromarray(region_colours(outputs[name].names)[shown])
        cover = Image.fromarray(((shown > 0) * 110).astype(np.uint8))
        image = Image.composite(painted, image, cover)
    return image


def _lines(place: int, face: FoundFace, outputs: dict[str, Output], *, several: bool) -> list[str]:
    lines = [f"face {place + 1}"] if several else []
    for name, value in face.outputs.items():
        text = answer_text(outputs[name], value)
        parts = text.split(", ") if outputs[name].kind == "several_of" else [text]
        lines += [f"{name}: {parts[0]}", *(f"    {part}" for part in parts[1:])]
    return lines
