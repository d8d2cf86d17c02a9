"""What DPAP and EHSM add to a training step, and what mixing costs against a NumPy loop.

    python benchmarks/step.py [--rounds 30] [--backbone face_vit_t] [--batch 32] [--identities 10572] [--threads 1]
    [--device cpu]

Four kinds of step take turns on one model, so that a busy machine slows all alike:
  plain      uint8 images to [-1, 1], backbone, ArcFace, mean loss, backward, AdamW
  transface  the same with DPAP and EHSM as this package has them (a float32 run ranks patches in bfloat16 where the
  hardware multiplies it) float32    that with perturbation.scoring_precision=null: patches ranked in float32 everywhere
  released   the same by the released design: the whole batch scored in training mode, neck and all; patches mixed one
  by one in NumPy
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from transface.backbones import face_vit
from transface.backbones.face_vit import FaceViT
from transface.classifiers.full_softmax import FullSoftmax
from transface.margins.arcface import ArcFace
from transface.systems.recognition.dpap import DPAP, Perturbation, dominant_patches, draw_perturbation, mix_amplitudes
from transface.systems.recognition.ehsm import EHSM

NUM_PATCHES = 7
CALLS = 20
LIMIT_STEP, LIMIT_MIXING = 1.08, 20.0


def mix_in_numpy(source: np.ndarray, reference: np.ndarray, ratio: float) -> np.ndarray:
    """Return one patch (P, P, 3) of grey levels with mixed amplitude, cut down to uint8: the reference."""
    spectrum = np.fft.fft2(source, axes=(0, 1))
    amplitude = (1 - ratio) * np.abs(spectrum) + ratio * np.abs(np.fft.fft2(reference, axes=(0, 1)))
    mixed = np.fft.ifft2(amplitude * np.exp(1j * np.angle(spectrum)), axes=(0, 1)).real
    return np.clip(mixed, 0, 255).astype(np.uint8)


def perturb_as_released(images: Tensor, backbone: FaceViT, draw: Perturbation) -> Tensor:
    """Return images perturbed by the released design: every image scored, by the whole model in training mode, then a
    loop.
    """
    with torch.no_grad():
        importance = backbone(images).patch_importance
    chosen = dominant_patches(importance, NUM_PATCHES).tolist()
    side, columns = backbone.patch_size, backbone.grid_size[1]
    pixels = ((images + 1) * 127.5).permute(0, 2, 3, 1).cpu().numpy()

    def cell(image: int, index: int) -> tuple[int, slice, slice]:
        row, column = divmod(index, columns)
        return image, slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side)

    for image, others, cells, ratios in zip(*(part.tolist() for part in draw), strict=True):
        for index, other, other_cell, ratio in zip(chosen[image], others, cells, ratios, strict=True):
            pixels[cell(image, index)] = mix_in_numpy(
                pixels[cell(image, index)], pixels[cell(other, other_cell)], ratio
            )
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).to(images.device) / 127.5 - 1


class Step:
    """One model with its optimizer, and four ways to take a training step with it."""

    def __init__(self, backbone: FaceViT, num_identities: int, batch_size: int, device: torch.device) -> None:
        self.backbone = backbone.to(device).train()
        self.classifier = FullSoftmax(num_identities, backbone.embedding_size, ArcFace()).to(device)
        self.dpap, self.full_dpap = DPAP(NUM_PATCHES), DPAP(NUM_PATCHES, scoring_precision=None)
        self.ehsm, self.released_ehsm = EHSM(), EHSM("std")
        self.optimizer = torch.optim.AdamW([*self.backbone.parameters(), *self.classifier.parameters()], lr=1e-5)
        self.images = torch.randint(256, (batch_size, 3, *backbone.image_size), dtype=torch.uint8, device=device)
        self.labels = torch.randint(num_identities, (batch_size,), device=device)
        self.generator = torch.Generator().manual_seed(0)

    def _learn(self, images: Tensor, weighting: nn.Module | None) -> None:
        features = self.backbone(images)
        losses = self.classifier(features.embedding, self.labels)
        if weighting is not None:
            losses = losses * weighting(features.tokens)
        losses.mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _normalised(self) -> Tensor:
        return self.images.float().div(127.5).sub(1)

    def plain(self) -> None:
        self._learn(self._normalised(), None)

    def transface(self) -> None:
        self._learn(self.dpap(self._normalised(), self.backbone, generator=self.generator), self.ehsm)

    def float32(self) -> None:
        self._learn(self.full_dpap(self._normalised(), self.backbone, generator=self.generator), self.ehsm)

    def released(self) -> None:
        images = self._normalised()
        rows, columns = self.backbone.grid_size
        draw = draw_perturbation(
            len(images), rows * columns, num_patches=NUM_PATCHES, probability=0.2, alpha=1.0, generator=self.generator
        )
        self._learn(perturb_as_released(images, self.backbone, draw), self.released_ehsm)


class Seconds(NamedTuple):
    """What one action took in each round: by the clock on the wall, and of processor time (which other programs hardly
    lengthen).
    """

    wall: list[float]
    processor: list[float]


def take_turns(actions: list[Callable[[], object]], rounds: int, synchronize: Callable[[], object]) -> list[Seconds]:
    """Return the seconds of each action in each round, after one round that does not count; the order turns with each
    round.
    """
    seconds = [Seconds([], []) for _ in actions]
    for number in range(rounds + 1):
        for offset in range(len(actions)):
            which = (number + offset) % len(actions)
            synchronize()
            start, start_processor = time.perf_counter(), time.process_time()
            actions[which]()
            synchronize()
            if number:
                seconds[which].wall.append(time.perf_counter() - start)
                seconds[which].processor.append(time.process_time() - start_processor)
    return seconds


def measure_mixing(
    num_patches: int, side: int, device: torch.device, synchronize: Callable[[], object]
) -> tuple[float, float]:
    """Return the median seconds to mix that many patches by a NumPy loop and by mix_amplitudes."""
    source, reference = torch.rand(2, num_patches, 3, side, side, device=device) * 255
    ratio = torch.rand(num_patches, 1, device=device)
    arrays = [x.permute(0, 2, 3, 1).cpu().numpy().copy() for x in (source, reference)]
    ratios = ratio[:, 0].tolist()

    def loop() -> None:
        for patches in zip(*arrays, ratios, strict=True):
            mix_in_numpy(*patches)

    def ours() -> None:
        for _ in range(CALLS):
            mix_amplitudes(source, reference, ratio)

    both = take_turns([loop, ours], 20, synchronize)
    return statistics.median(both[0].wall), statistics.median(both[1].wall) / CALLS


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What DPAP and EHSM add to a training step.")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument(
        "--backbone", default="face_vit_t", choices=["face_vit_t", "face_vit_s", "face_vit_b", "face_vit_l"]
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--identities", type=int, default=10572)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    if options.rounds < 2:
        parser.error(f"--rounds must be at least 2, got {options.rounds}")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)
    synchronize: Callable[[], object] = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    step = Step(getattr(face_vit, options.backbone)(), options.identities, options.batch, device)
    names = ["plain", "transface", "float32", "released"]
    seconds = take_turns([getattr(step, name) for name in names], options.rounds, synchronize)
    print(
        f"{options.backbone}, batch {options.batch}, {options.identities:,} identities, {device}, {options.threads}"
        f" thread(s), torch {torch.__version__}"
    )
    print(f"median of {options.rounds} interleaved rounds; the limit for transface is {LIMIT_STEP:.2f}")
    print(f"{'step':10} {'ms':>9} {'/ plain':>8} {'half of the rounds':>19} {'/ plain, processor time':>24}")
    plain = [statistics.median(times) for times in seconds[0]]
    for name, times in zip(names, seconds, strict=True):
        wall, processor = (statistics.median(values) for values in times)
        low, _, high = statistics.quantiles([x / y for x, y in zip(times.wall, seconds[0].wall, strict=True)], n=4)
        print(
            f"{name:10} {wall * 1e3:9.1f} {wall / plain[0]:8.3f} {f'{low:.3f} to {high:.3f}':>19}"
            f" {processor / plain[1]:24.3f}"
        )
    whole = options.batch * NUM_PATCHES
    for what, count in (
        (f"mixing a whole batch (limit {LIMIT_MIXING:.0f}x)", whole),
        ("mixing what a step draws", max(1, whole // 5)),
    ):
        loop, ours = measure_mixing(count, 9, device, synchronize)
        print(
            f"{what}, {count} patches: NumPy loop {loop * 1e3:.2f} ms, mix_amplitudes {ours * 1e3:.3f} ms,"
            f" {loop / ours:.1f}x"
        )


if __name__ == "__main__":
    main()
