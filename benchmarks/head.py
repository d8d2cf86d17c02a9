"""Time and memory of the margin cross-entropy over hundreds of thousands of classes: streamed against the plain way.

    python benchmarks/head.py                                   # Glint360K's 360,232 classes, batch 1,024
    python benchmarks/head.py --classes 2000000 --batch 256 --ways streamed --step
    python benchmarks/head.py --ways streamed sampled           # partial_fc at sample_rate .1 beside
    python benchmarks/head.py --ways streamed compiled          # chunks through torch.compile beside

Each measurement is a fresh process, the ways take turns. "Above" is the peak of the resident memory above weights,
gradients and embeddings; "in all" is the process's peak. --step adds AdamW's state and a step. Linux only (/proc).
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transface.classifiers.full_softmax import FullSoftmax
from transface.classifiers.partial_fc import PartialFC
from transface.margins.arcface import ArcFace
from transface.training.optimization.optimizers import AdamW

MEGABYTE = 1e6


class PlainSoftmax(FullSoftmax):
    """The whole (batch x classes) logit matrix, as most code has it: the reference."""

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        cosines = F.normalize(embeddings) @ F.normalize(self.centers).T
        return F.cross_entropy(self.margin(cosines, labels, embeddings.norm(dim=1)), labels, reduction="none")


WAYS = {
    "streamed": FullSoftmax,
    "plain": PlainSoftmax,
    "compiled": lambda *sizes, **settings: FullSoftmax(*sizes, compile_chunks=True, **settings),
    "sampled": lambda *sizes, **settings: PartialFC(*sizes, sample_rate=0.1, **settings),
}


def resident(name: str) -> int:
    """Return VmRSS or VmHWM of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def forget_peak() -> None:
    """Set VmHWM to what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def measure(way: str, *, classes: int, batch: int, size: int, chunk: int | None, step: bool) -> dict[str, Any]:
    """Return seconds and bytes of one forward and backward (and optimizer step) of this process."""
    settings = {} if way == "plain" else {"chunk_size": chunk}
    few = min(classes, 4096)
    warm = WAYS[way](few, size, ArcFace(), **settings)
    warm(torch.randn(batch, size, requires_grad=True), torch.randint(few, (batch,))).mean().backward()
    classifier: nn.Module = WAYS[way](classes, size, ArcFace(), **settings)
    embeddings = torch.randn(batch, size, requires_grad=True)
    labels = torch.randint(classes, (batch,))
    optimizer = AdamW([classifier.centers], lr=1e-3, weight_decay=0.1)
    before = resident("VmRSS")
    forget_peak()
    begun, worked = time.perf_counter(), time.process_time()
    loss = classifier(embeddings, labels).mean()
    loss.backward()
    seconds, processor_seconds = time.perf_counter() - begun, time.process_time() - worked
    gradient = classifier.centers.grad
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    above = resident("VmHWM") - before - values.nbytes - embeddings.nbytes
    stepped = 0.0
    if step:
        begun = time.perf_counter()
        optimizer.step()
        stepped = time.perf_counter() - begun
    return {
        "way": way,
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "above": above,
        "step_seconds": stepped,
        "in_all": resident("VmHWM"),
        "loss": loss.item(),
        "gradient_norm": values.norm().item(),
    }


def run_apart(way: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the measurement of a fresh process."""
    command = [
        sys.executable,
        __file__,
        "--measure",
        way,
        "--classes",
        str(arguments.classes),
        "--batch",
        str(arguments.batch),
    ]
    command += ["--size", str(arguments.size), "--threads", str(arguments.threads)]
    command += ["--chunk", str(arguments.chunk)] if arguments.chunk else []
    command += ["--step"] if arguments.step else []
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=360_232)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--size", type=int, default=512, help="of the embedding")
    parser.add_argument("--chunk", type=int, help="classes walked at once (default: chosen from the device)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=sorted(WAYS), default=["streamed", "plain"])
    parser.add_argument("--step", action="store_true", help="with AdamW's state and step")
    parser.add_argument("--measure", choices=sorted(WAYS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.measure:
        sizes = {"classes": arguments.classes, "batch": arguments.batch, "size": arguments.size}
        print(json.dumps(measure(arguments.measure, **sizes, chunk=arguments.chunk, step=arguments.step)))
        return
    results = [run_apart(way, arguments) for _ in range(arguments.repeats) for way in arguments.ways]
    print(
        f"{arguments.classes:,} classes x batch {arguments.batch:,} x {arguments.size}, float32, {arguments.threads}"
        " threads, ",
        end="",
    )
    print(f"torch {torch.__version__}, median of {arguments.repeats}\n")
    print(
        "| way | forward + backward, s | of all threads, s | above, MB | AdamW step, s | in all, MB | loss | gradient"
        " norm |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for way in arguments.ways:
        own = [result for result in results if result["way"] == way]
        middle = {name: statistics.median(result[name] for result in own) for name in own[0] if name != "way"}
        print(
            f"| {way} | {middle['seconds']:.2f} | {middle['processor_seconds']:.2f} | {middle['above'] / MEGABYTE:,.0f}"
            f" | {middle['step_seconds']:.2f} | {middle['in_all'] / MEGABYTE:,.0f} | {middle['loss']:.5f} |"
            f" {middle['gradient_norm']:.5g} |"
        )


if __name__ == "__main__":
    main()
