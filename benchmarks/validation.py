"""What validation inside training costs: three pair sets beside their bare forward passes, memory; and ten folds beside
the published loop.

    python benchmarks/validation.py [--pairs 6000] [--threads 1] [--rounds 1] [--folds-only]

Targets: seconds at most 1.10 of the forward passes', memory at most 500 MB beyond the start; ten-fold evaluation of
6,000 pairs, 512 numbers each, at least 20 times as fast as a loop over 400 thresholds and 10 folds. The network is
FaceViT with patch 14, width 128, depth 4, on the CPU; faces are 200 drawn ones, encoded as JPEG, repeated.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.io import encode_jpeg

from transface.backbones.face_vit import FaceViT
from transface.data.benchmarks.pairs import write_pair_set
from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.recognition.pair_sets import PairSets
from transface.images.pixels import normalise
from transface.metrics.verification import verify_pairs
from transface.synthetic.datasets import make_faces

NUM_FACES, BATCH, NUM_SETS = 200, 128, 3
TIME_LIMIT, MEMORY_LIMIT, LEAST_SPEEDUP = 1.10, 500.0, 20.0


def resident() -> float:
    """Return this process's memory in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


class Peak:
    """The largest memory of the process while it is entered, in MB beyond the start."""

    def __enter__(self) -> "Peak":
        self.start, self.highest, self._stop = resident(), 0.0, threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.highest = max(self.highest, resident() - self.start)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._watcher.join()


def seconds(action: Callable[[], object]) -> float:
    """Return the wall time of an action."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def validation(num_pairs: int, rounds: int) -> bool:
    """Tell the cost of validating three sets; return whether it is within the limits."""
    faces = make_faces(NUM_FACES // 4, 4).images
    encoded = [encode_jpeg(face, 95).numpy().tobytes() for face in faces.contiguous()]
    network = FaceViT(112, 14, embed_dim=128, depth=4, num_heads=4, embedding_size=512).eval()
    random = np.random.default_rng(0)
    num_images = 2 * num_pairs  # of a set

    def forward_passes() -> None:
        with torch.no_grad():
            for start in range(0, num_images, BATCH):
                batch = normalise(faces[: min(BATCH, num_images - start)])
                network(batch)
                network(batch.flip(-1))

    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number in range(NUM_SETS):
            files.append(Path(folder) / f"set{number}.bin")
            chosen = random.integers(0, NUM_FACES, 2 * num_pairs)
            write_pair_set(files[-1], [encoded[i] for i in chosen], np.arange(num_pairs) % 2 == 0)
        ratios, peaks = [], []
        embedder = Embedder(network, batch_size=BATCH, num_workers=2, progress=False)
        for _ in range(rounds):
            bare = taken = 0.0
            with Peak() as peak:
                # Set by set in turns, so that a busy machine slows both alike; every set stays in memory, as in a run.
                for protocol in [PairSets([file]) for file in files]:
                    bare += seconds(forward_passes)
                    taken += seconds(lambda p=protocol: p.evaluate(embedder, detailed=False))
            ratios.append(taken / bare)
            peaks.append(peak.highest)
            print(
                f"{NUM_SETS} x {num_images} images: forward passes {bare:.1f} s, validation {taken:.1f} s ="
                f" {ratios[-1]:.3f}, {peak.highest:.0f} MB",
                flush=True,
            )
    return median(ratios) <= TIME_LIMIT and max(peaks) <= MEMORY_LIMIT


def accuracy(accepted: NDArray[np.bool_], same: NDArray[np.bool_]) -> float:
    """Return the accuracy from the four counts that the published scripts take at every threshold."""
    hits, alarms = np.sum(accepted & same), np.sum(accepted & ~same)
    rejections, misses = np.sum(~accepted & ~same), np.sum(~accepted & same)
    return float((hits + rejections) / (hits + alarms + rejections + misses))


def looped_folds(distances: NDArray[np.float32], same: NDArray[np.bool_]) -> list[float]:
    """The published way: every threshold on every fold, one by one."""
    thresholds, order = np.arange(0, 4, 0.01), np.arange(len(same))
    accuracies = []
    for fold in np.array_split(order, 10):
        others = np.setdiff1d(order, fold)
        best = int(np.argmax([accuracy(distances[others] < t, same[others]) for t in thresholds]))
        # It also makes a ROC point of each threshold on the fold.
        rates = [accuracy(distances[fold] < t, same[fold]) for t in thresholds]
        accuracies.append(rates[best])
    return accuracies


def ten_folds(num_pairs: int) -> bool:
    """Tell how much faster ten folds are than the loop; return whether by enough."""
    random = np.random.default_rng(0)
    same = np.arange(num_pairs) % 2 == 0
    rows = random.standard_normal((num_pairs, 2, 512)).astype(np.float32)
    rows[same, 1] = rows[same, 0] + 1.2 * rows[same, 1]
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    embeddings = rows.reshape(-1, 512)

    def loop() -> list[float]:
        return looped_folds(np.sum(np.square(embeddings[0::2] - embeddings[1::2]), axis=1), same)

    found = verify_pairs(embeddings, same)
    assert found.fold_accuracies.tolist() == loop()
    ours, theirs = (
        median(seconds(lambda: verify_pairs(embeddings, same)) for _ in range(9)),
        median(seconds(loop) for _ in range(3)),
    )
    print(
        f"ten folds of {num_pairs} pairs: {1000 * ours:.1f} ms, the loop {1000 * theirs:.0f} ms: {theirs / ours:.0f}"
        " times"
    )
    return theirs / ours >= LEAST_SPEEDUP


def main() -> int:
    """Print the costs; exit code 1 if one is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=6000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folds-only", action="store_true")
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    held = ten_folds(6000)
    return 0 if held and (settings.folds_only or validation(settings.pairs, settings.rounds)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
