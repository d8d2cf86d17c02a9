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
from PIL import Image, ImageDraw

from transface.artifacts import write_whole, writing_path
from transface.backbones.features import Output
from transface.images.pixels import to_uint8
from transface.images.user_images import read_picture
from transface.inference.answers import answer_text
from transface.inference.predict import FoundFace, Prediction

TEXT_WIDTH = 320  # pixels beside the picture
LEAST_HEIGHT = 220


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
    """Write predictions to a .json or .parquet file, maps of regions as PNGs in the folder <stem>_regions beside it.

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
                    file = path.with_name(f"{path.stem}_regions") / f"{flat_name(prediction.image)}_{place}_{name}.png"
                    with writing_path(file) as partial:
                        Image.fromarray(value.numpy()).save(partial, format="PNG")
                    written[f"{prediction.image}/{place}/{name}"] = str(file.relative_to(path.parent))
    return written


def flat_name(image: str) -> str:
    """Return the name of a picture as one word of a file's name."""
    return Path(image).as_posix().strip("/").replace("/", "__")


def write_overlay(prediction: Prediction, picture: Any, folder: str | Path, *, outputs: dict[str, Output]) -> Path:
    """Write <folder>/<picture>.png: the picture with boxes, points and regions drawn on it, and the answers in words
    beside it.
    """
    pixels = read_picture(picture, name=prediction.image)
    pixels = pixels if pixels.dtype == torch.uint8 else to_uint8(pixels)
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    scale = max(1, round(LEAST_HEIGHT / image.height))
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.LANCZOS)
    for face in prediction.faces:
        image = _with_regions(image, face, outputs, scale)
        _draw_geometry(ImageDraw.Draw(image), face, outputs, scale)
    lines = [
        line
        for place, face in enumerate(prediction.faces)
        for line in _lines(place, face, outputs, several=len(prediction.faces) > 1)
    ]
    lines = lines or [prediction.error or "no face"]
    page = Image.new("RGB", (image.width + TEXT_WIDTH, max(image.height, 16 * len(lines) + 16)), "white")
    page.paste(image, (0, 0))
    drawing = ImageDraw.Draw(page)
    for row, line in enumerate(lines):
        drawing.text((image.width + 10, 8 + 16 * row), line, fill="black")
    target = Path(folder) / f"{flat_name(prediction.image)}.png"
    with writing_path(target) as partial:
        page.save(partial, format="PNG")
    return target


def _draw_geometry(drawing: ImageDraw.ImageDraw, face: FoundFace, outputs: dict[str, Output], scale: int) -> None:
    if face.box is not None:
        drawing.rectangle([side * scale for side in face.box], outline=(255, 160, 0), width=2)
    for name, value in face.outputs.items():
        if outputs[name].kind == "points":
            for x, y in value:
                drawing.ellipse([x * scale - 2, y * scale - 2, x * scale + 2, y * scale + 2], fill=(0, 220, 90))


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
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float64)
    if back is None:
        x, y = (columns + 0.5) * width / size[1] - 0.5, (rows + 0.5) * height / size[0] - 0.5
    else:
        forward = np.linalg.inv(np.vstack([np.asarray(back, np.float64), [0.0, 0.0, 1.0]]))
        x = forward[0, 0] * columns + forward[0, 1] * rows + forward[0, 2]
        y = forward[1, 0] * columns + forward[1, 1] * rows + forward[1, 2]
    x, y = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    found = regions[y.clip(0, height - 1), x.clip(0, width - 1)]
    return np.where(inside, found, 0).astype(np.uint8)


def _with_regions(image: Image.Image, face: FoundFace, outputs: dict[str, Output], scale: int) -> Image.Image:
    for name, value in face.outputs.items():
        if outputs[name].kind != "regions":
            continue
        size = (image.height // scale, image.width // scale)
        shown = regions_of_picture(value.numpy(), face.back, size)
        painted = Image.fromarray(region_colours(outputs[name].names)[shown]).resize(
            image.size, Image.Resampling.NEAREST
        )
        cover = Image.fromarray(((shown > 0) * 110).astype(np.uint8)).resize(image.size, Image.Resampling.NEAREST)
        image = Image.composite(painted, image, cover)
    return image


def _lines(place: int, face: FoundFace, outputs: dict[str, Output], *, several: bool) -> list[str]:
    lines = [f"face {place + 1}"] if several else []
    for name, value in face.outputs.items():
        text = answer_text(outputs[name], value)
        parts = text.split(", ") if outputs[name].kind == "several_of" else [text]
        lines += [f"{name}: {parts[0]}", *(f"    {part}" for part in parts[1:])]
    return lines
