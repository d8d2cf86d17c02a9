"""Images per second of FaceModel.embed beside the bare forward pass and onnxruntime, on the CPU.

    python benchmarks/embed.py                            # face_vit_t, one thread
    python benchmarks/embed.py --backbone iresnet50 --threads 2 --batch-sizes 8 16

The ways take turns within each round; medians over the rounds count, and a share is the median of each round's own.
"bare" is normalised float images straight into the backbone; "pixels" is embed of a uint8 tensor, "files" embed of JPEG
files, both with normalisation, copies and unit vectors.
"""

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from transface.backbones import face_vit, iresnet, mobilefacenet
from transface.export.onnx_backbone import open_session
from transface.export.to_onnx import export_onnx
from transface.images.pixels import normalised
from transface.inference.face_model import FaceModel


def build(name: str) -> FaceModel:
    """Return a model of fresh weights by the name of its constructor."""
    for home in (face_vit, iresnet, mobilefacenet):
        if hasattr(home, name):
            return FaceModel(getattr(home, name)())
    raise SystemExit(f"no backbone {name!r}: face_vit_t, face_vit_s, iresnet18, iresnet50, MobileFaceNet ...")


def smooth_faces(count: int) -> np.ndarray:
    """Return (N, 112, 112, 3) uint8 pictures about as smooth as faces, so that JPEGs have the usual size."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 14, 14, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((112, 112), Image.Resampling.BICUBIC)) for one in coarse])


def jpeg(picture: np.ndarray) -> bytes:
    """Return a picture as quality-90 JPEG."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def ways_of(model: FaceModel, pictures: np.ndarray, folder: Path, batch_size: int) -> dict[str, Callable[[], object]]:
    """Return what is measured: each call embeds all pictures."""
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()
    floats = normalised(pixels)
    files = [folder / f"{index}.jpg" for index in range(len(pictures))]
    for file, picture in zip(files, pictures, strict=True):
        file.write_bytes(jpeg(picture))
    path = folder / "model.onnx"
    if not path.exists():
        export_onnx(model.backbone, path)
    session = open_session(path)
    arrays = [part.numpy() for part in floats.split(batch_size)]

    def bare() -> None:
        with torch.inference_mode():
            for part in floats.split(batch_size):
                model.backbone(part)

    def onnx() -> None:
        for part in arrays:
            session.run(None, {"input.1": part})

    return {
        "bare": bare,
        "pixels": lambda: model.embed(pixels, batch_size=batch_size),
        "files": lambda: model.embed(files, batch_size=batch_size),
        "onnxruntime": onnx,
    }


def measure(ways: dict[str, Callable[[], object]], *, images: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return for each way the median and the best images/s of a round, and the median of its share of the bare pass's
    speed in that round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        names = list(ways)[turn % len(ways) :] + list(ways)[: turn % len(ways)]
        for name in names:
            start = time.perf_counter()
            ways[name]()
            if turn:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return {
        name: {
            "median": images / statistics.median(times),
            "best": images / min(times),
            "share": statistics.median(bare / time for bare, time in zip(seconds["bare"], times, strict=True)),
        }
        for name, times in seconds.items()
    }


def main() -> None:
    """Measure and print a table; --json writes the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="face_vit_t")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 16, 32])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    model, pictures = build(chosen.backbone), smooth_faces(chosen.images)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for batch_size in chosen.batch_sizes:
            ways = ways_of(model, pictures, Path(folder), batch_size)
            found[str(batch_size)] = measure(ways, images=chosen.images, rounds=chosen.rounds)
            row = ", ".join(
                f"{name} {rates['median']:.1f} (best {rates['best']:.1f})"
                for name, rates in found[str(batch_size)].items()
            )
            print(f"{chosen.backbone}, batch {batch_size}, images/s: {row}", flush=True)
    best = max(found, key=lambda batch_size: found[batch_size]["bare"]["median"])
    for name in ("pixels", "files", "onnxruntime"):
        print(
            f"at the best batch size of the bare pass ({best}): {name} {100 * found[best][name]['share']:.1f} % of it"
        )
    if chosen.json:
        chosen.json.write_text(
            json.dumps({"backbone": chosen.backbone, "threads": chosen.threads, "images_per_second": found}, indent=1)
            + "\n"
        )


if __name__ == "__main__":
    main()
