"""What the multi-zone transformer costs beside the plain one, and how fast attributes are read.

    python benchmarks/attributes.py [--rounds 15] [--backbone vit_small_patch16_224] [--batch 16] [--threads 1]
    [--only step|inference|reading|images]

step       a training step (forward, losses, backward, AdamW) of mzts, depth_attn and 4 zones, against timm's own
           transformer with one head, in turns; the memory that each one's step takes at most
inference  a forward pass of the stripped network against that of timm's own, in turns
           `control` is our network of one zone: as mzts, it makes only the class token's row in its last block
reading    CelebA's text lists of 202,599 lines, attributes, partition, people
images     JPEG files of 178 x 218 to a batch of uint8 of 224 x 224, one thread

Time of the processor; exit code 1 if a limit is passed.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.io import encode_jpeg

from transface.data.batches import FaceBatch
from transface.data.labels.attributes import CELEBA_NAMES, AttributeTargets
from transface.data.sources.attributes.celeba import NUM_IMAGES, SPLIT_SIZES, read_celeba
from transface.images.decoding import decode_images
from transface.images.pixels import normalise
from transface.systems.attributes.attribute_network import AttributeNetwork
from transface.systems.attributes.module import AttributesModule
from transface.systems.attributes.multi_zone_encoder import MultiZoneEncoder

LIMIT_STEP, LIMIT_INFERENCE, LIMIT_READING, LIMIT_IMAGES = 1.12, 1.02, 2.0, 2500.0
KINDS: dict[str, dict[str, Any]] = {
    "mzts": {"zones": 4, "interaction": {"kind": "depth_attn"}, "zone_tokens": "causal"},
    "control": {"zones": 1, "interaction": {"kind": "none"}, "zone_tokens": "none"},
}
ALL = ("mzts", "plain", "control")


class PlainTransformer(nn.Module):
    """timm's transformer as it is, with a head of forty."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.model = timm.create_model(name, num_classes=len(CELEBA_NAMES))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(images)
        return logits


def network_of(kind: str, backbone: str) -> AttributeNetwork:
    """Return the network of a kind, from the same seed."""
    torch.manual_seed(0)
    return AttributeNetwork(MultiZoneEncoder(backbone, image_size=224, input_size=224, **KINDS[kind]), CELEBA_NAMES)


def plain_step(backbone: str, images: torch.Tensor, values: torch.Tensor) -> Callable[[], None]:
    """Return one training step of timm's transformer as a function."""
    torch.manual_seed(0)
    network = PlainTransformer(backbone)
    steps = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.05)

    def step() -> None:
        steps.zero_grad()
        F.binary_cross_entropy_with_logits(network(normalise(images)), values.float()).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        steps.step()

    return step


def step_of(kind: str, backbone: str, batch: int) -> Callable[[], None]:
    """Return one training step of a kind as a function."""
    optimizer = partial(torch.optim.AdamW, lr=1e-4, weight_decay=0.05)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, 3, 224, 224), dtype=torch.uint8, generator=generator)
    values = torch.randint(0, 2, (batch, len(CELEBA_NAMES)), dtype=torch.uint8, generator=generator)
    if kind == "plain":
        return plain_step(backbone, images, values)
    distillation = {} if kind == "mzts" else {"alpha": 0.0, "beta": 0.0, "gamma": 0.0}
    module = AttributesModule(network_of(kind, backbone), distillation=distillation, optimizer=optimizer)
    labels: Any = AttributeTargets(values, torch.ones_like(values, dtype=torch.bool))
    faces = FaceBatch(images, labels, torch.arange(batch))
    steps = optimizer(module.parameter_groups())

    def step() -> None:
        steps.zero_grad()
        module.losses(faces, generator).total().backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        steps.step()

    return step


def in_turns(actions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median processor time of each action, taken in turns after one round of warm-up."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            start = time.process_time()
            action()
            if number:
                taken[name].append(time.process_time() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def peak_of(kind: str, backbone: str, batch: int) -> float:
    """Return the most memory, in MiB, that a process of its own takes for two steps of a kind, above that before."""
    words = [sys.executable, __file__, "--peak", kind, "--backbone", backbone, "--batch", str(batch)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def print_peak(kind: str, backbone: str, batch: int) -> None:
    """Print what `peak_of` reads."""
    step = step_of(kind, backbone, batch)
    before = peak_memory()
    step()
    step()
    print(peak_memory() - before)


def peak_memory() -> float:
    """Return the most memory this process took so far, in MiB (getrusage tells a child the peak of its parent)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def spoken(taken: dict[str, float]) -> str:
    """Return times in words."""
    return ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in taken.items())


def measure_step(settings: argparse.Namespace) -> bool:
    steps = {kind: step_of(kind, settings.backbone, settings.batch) for kind in ALL}
    taken = in_turns(steps, settings.rounds)
    ratio = taken["mzts"] / taken["plain"]
    peaks = {kind: peak_of(kind, settings.backbone, settings.batch) for kind in ALL}
    print(
        f"step: {spoken(taken)}; mzts / plain {ratio:.3f} (limit {LIMIT_STEP}); memory of a step: "
        + ", ".join(f"{kind} {peak:.0f} MiB" for kind, peak in peaks.items())
    )
    return ratio <= LIMIT_STEP


def measure_inference(settings: argparse.Namespace) -> bool:
    images = torch.rand(settings.batch, 3, 224, 224) * 2 - 1
    networks: dict[str, nn.Module] = {
        "mzts": network_of("mzts", settings.backbone).strip_for_inference(),
        "plain": PlainTransformer(settings.backbone),
        "control": network_of("control", settings.backbone).strip_for_inference(),
    }
    with torch.inference_mode():
        taken = in_turns({kind: partial(network.eval(), images) for kind, network in networks.items()}, settings.rounds)
    ratio = taken["mzts"] / taken["plain"]
    print(f"inference, stripped: {spoken(taken)}; mzts / plain {ratio:.3f} (limit {LIMIT_INFERENCE})")
    return ratio <= LIMIT_INFERENCE


def write_lists(root: Path) -> None:
    """Write lists of CelebA's size and form; the images are empty files, which reading only looks for."""
    generator = np.random.default_rng(0)
    names = [f"{number + 1:06d}.jpg" for number in range(NUM_IMAGES)]
    signs = np.where(generator.integers(0, 2, (NUM_IMAGES, len(CELEBA_NAMES))) > 0, " 1", "-1")
    rows = [f"{name} {' '.join(row)}" for name, row in zip(names, signs.tolist(), strict=True)]
    (root / "list_attr_celeba.txt").write_text("\n".join([str(NUM_IMAGES), " ".join(CELEBA_NAMES), *rows]) + "\n")
    parts = np.repeat([0, 1, 2], SPLIT_SIZES).tolist()
    people = generator.integers(1, 10_178, NUM_IMAGES).tolist()
    for stem, numbers in (("list_eval_partition", parts), ("identity_CelebA", people)):
        lines = [f"{name} {number}" for name, number in zip(names, numbers, strict=True)]
        (root / f"{stem}.txt").write_text("\n".join(lines) + "\n")
    images = root / "img_align_celeba"
    images.mkdir()
    for name in names:
        (images / name).touch()


def measure_reading(settings: argparse.Namespace) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        write_lists(Path(folder))
        taken = in_turns({"read": partial(read_celeba, folder)}, min(settings.rounds, 5))["read"]
    print(f"reading: {NUM_IMAGES:,} lines of three lists in {taken:.2f} s (limit {LIMIT_READING} s)")
    return taken <= LIMIT_READING


def measure_images(settings: argparse.Namespace) -> bool:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(
        torch.rand(256, 3, 28, 23, generator=generator), (218, 178), mode="bicubic"
    )
    photos = (255 * smooth).clamp(0, 255).to(torch.uint8)
    files = [encode_jpeg(photo, 90).numpy().tobytes() for photo in photos]

    def batch() -> None:
        decode_images(files, size=(224, 224), fit="stretch", names=[str(number) for number in range(len(files))])

    rate = len(files) / in_turns({"batch": batch}, settings.rounds)["batch"]
    kept = partial(decode_images, files, size=(218, 178))
    whole = len(files) / in_turns({"batch": kept}, settings.rounds)["batch"]
    print(
        f"images: {rate:,.0f} images/s from JPEG of 178 x 218 to a batch of 224 x 224 (limit {LIMIT_IMAGES:,.0f}),"
        f" {whole:,.0f} without the change of size"
    )
    return rate >= LIMIT_IMAGES


def main() -> int:
    """Print what was measured; return 1 if a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--backbone", default="vit_small_patch16_224")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parts = {
        "step": measure_step,
        "inference": measure_inference,
        "reading": measure_reading,
        "images": measure_images,
    }
    parser.add_argument("--only", choices=parts)
    parser.add_argument("--peak", choices=ALL, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    if settings.peak:
        print_peak(settings.peak, settings.backbone, settings.batch)
        return 0
    chosen = [settings.only] if settings.only else list(parts)
    within = [parts[name](settings) for name in chosen]
    return int(not all(within))


if __name__ == "__main__":
    sys.exit(main())
