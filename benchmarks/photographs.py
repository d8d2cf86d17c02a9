"""What it costs to embed photographs beside the detector and the network alone: decoding, alignment, waiting.

    python benchmarks/photographs.py FOLDER --detector yunet:FILE.onnx

Detector and forward pass are timed on pictures that are decoded already; the pipeline starts from files. Rounds are
interleaved, the ratio is that of the medians. Limit: 1.15.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from transface.backbones.mobilefacenet import MobileFaceNet
from transface.images.detection import choose, detect_faces
from transface.images.detectors.opening import open_detector
from transface.images.faces import as_bytes, cut
from transface.images.files import list_images
from transface.images.user_images import read_picture
from transface.inference.face_model import FaceModel
from transface.inference.opening import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--detector", default="mtcnn")
    parser.add_argument("--checkpoint", help="a model; default: an untrained MobileFaceNet")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    model = FaceModel(MobileFaceNet()) if given.checkpoint is None else load(given.checkpoint)
    model.to(given.device)
    detector = open_detector(given.detector, device=given.device)
    paths = []
    for path in list_images(given.folder).paths:
        picture = as_bytes(read_picture(path))
        (found,) = detect_faces(detector, [picture.permute(1, 2, 0).contiguous().numpy()])
        if cut(picture, found, take="largest", size=model.image_size).faces:
            paths.append(path)
        if len(paths) == given.count:
            break
    pictures = [as_bytes(read_picture(path)) for path in paths]
    arrays = [picture.permute(1, 2, 0).contiguous().numpy() for picture in pictures]
    found = [detect_faces(detector, [array])[0] for array in arrays]
    assert all(choose(faces, "largest", picture=array.shape[:2]) for faces, array in zip(found, arrays, strict=True))
    aligned = torch.stack(
        [
            cut(picture, faces, take="largest", size=model.image_size).faces[0].image
            for picture, faces in zip(pictures, found, strict=True)
        ]
    )
    times: dict[str, list[float]] = {"detector": [], "forward": [], "pipeline": []}
    for _ in range(given.rounds + 1):
        started = time.perf_counter()
        for start in range(0, len(arrays), given.batch_size):
            detect_faces(detector, arrays[start : start + given.batch_size])
        times["detector"].append(time.perf_counter() - started)
        started = time.perf_counter()
        model.embed(aligned, batch_size=given.batch_size)
        times["forward"].append(time.perf_counter() - started)
        started = time.perf_counter()
        model.embed(paths, detector=detector, batch_size=given.batch_size)
        times["pipeline"].append(time.perf_counter() - started)
    medians = {name: 1000 * statistics.median(values[1:]) / len(paths) for name, values in times.items()}
    bare = medians["detector"] + medians["forward"]
    print(f"{len(paths)} photographs, {given.detector}, {type(model.backbone).__name__}, ms a photograph:")
    print(", ".join(f"{name} {value:.2f}" for name, value in medians.items()))
    print(f"pipeline / (detector + forward) = {medians['pipeline'] / bare:.3f} (limit 1.15)")


if __name__ == "__main__":
    main()
