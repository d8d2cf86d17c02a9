"""How fast occluders hide faces, and what a distillation step costs beside its parts.

    python benchmarks/occlusion.py [--rounds 15] [--backbone resnet18] [--batch 64] [--image-size 112]
    [--only occluders|step]

occluders  half, headset, surgical mask and the mixture on batches of 112 x 112, images a second of one core
step       in turns: a step of the student alone (forward, loss, backward, AdamW), a forward pass of the teacher alone,
           and a step of classic and of triplet distillation, as a share of the first two together

Time of the processor, one thread; exit code 1 if a limit is passed.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from transface.backbones.timm_encoder import TimmEncoder
from transface.data.augment.headset import Headset
from transface.data.augment.occluders import (
    HalfBlackOut,
    Mixture,
    Occluder,
    points_in_pixels,
    random_numbers,
    template_shares,
)
from transface.data.augment.surgical_mask import SurgicalMask
from transface.data.batches import FaceBatch
from transface.images.pixels import normalise
from transface.systems.occlusion.answer_network import AnswerNetwork
from transface.systems.occlusion.distillations import SoftTargets, TripletTargets
from transface.systems.occlusion.module import OcclusionModule

LIMITS = {"half": 5000.0, "headset": 500.0, "surgical mask": 500.0, "mixture": 500.0}
LIMIT_STEP = 1.05
EXPRESSIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")


class Labels(NamedTuple):
    """The labels of a batch."""

    expression: Tensor


def in_turns(actions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median processor time of each action, taken in turns after one round of warm-up."""
    taken: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            start = time.process_time()
            action()
            if number:
                taken[name].append(time.process_time() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def measure_occluders(settings: argparse.Namespace) -> bool:
    """Print the images a second of each occluder; return whether all keep their limit."""
    size = settings.image_size
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (settings.batch, 3, size, size), dtype=torch.uint8, generator=generator)
    points = points_in_pixels(template_shares(), (size, size)).expand(settings.batch, -1, -1)
    occluders: dict[str, Occluder] = {
        "half": HalfBlackOut("lower"),
        "headset": Headset(),
        "surgical mask": SurgicalMask(),
        "mixture": Mixture({"half": HalfBlackOut("lower"), "mask": SurgicalMask()}, {"half": 0.3, "mask": 0.7}),
    }
    numbers = {name: random_numbers(own, settings.batch, generator) for name, own in occluders.items()}
    taken = in_turns(
        {name: partial(own, images, numbers[name], points) for name, own in occluders.items()}, settings.rounds
    )
    rates = {name: settings.batch / seconds for name, seconds in taken.items()}
    for name, rate in rates.items():
        print(f"{name}: {rate:,.0f} images/s (limit {LIMITS[name]:,.0f})")
    return all(rate >= LIMITS[name] for name, rate in rates.items())


def network_of(settings: argparse.Namespace) -> AnswerNetwork:
    """Return a network of expressions."""
    encoder = TimmEncoder(settings.backbone, image_size=settings.image_size)
    return AnswerNetwork(encoder, {"expression": {"kind": "one_of", "names": list(EXPRESSIONS)}})


def step_of(module: OcclusionModule, batch: FaceBatch, generator: torch.Generator) -> Callable[[], None]:
    """Return one training step as a function."""
    optimizer = torch.optim.AdamW(module.parameter_groups(), lr=1e-4)
    module.train()

    def step() -> None:
        optimizer.zero_grad()
        module.losses(batch, generator).total().backward()
        optimizer.step()

    return step


def measure_step(settings: argparse.Namespace) -> bool:
    """Print what a distillation step costs; return whether all keep the limit."""
    generator = torch.Generator().manual_seed(0)
    size = settings.image_size
    images = torch.randint(0, 256, (settings.batch, 3, size, size), dtype=torch.uint8, generator=generator)
    classes = torch.randint(0, len(EXPRESSIONS), (settings.batch,), generator=generator)
    batch = FaceBatch(images, Labels(classes), torch.arange(settings.batch))  # type: ignore[arg-type]
    torch.manual_seed(0)
    teacher = network_of(settings)
    common: dict[str, Any] = {
        "view": "occluded",
        "occluder": HalfBlackOut("lower"),
        "optimizer": partial(torch.optim.AdamW, lr=1e-4),
    }
    taught = {"classic": SoftTargets(), "triplet": TripletTargets()}
    modules = {"student": OcclusionModule(network_of(settings), **common)}
    for name, distillation in taught.items():
        modules[name] = OcclusionModule(network_of(settings), teacher=teacher, distillation=distillation, **common)
    for module in modules.values():
        module.log_dict = module.log = lambda *_, **__: None  # type: ignore[method-assign,assignment]
    pixels = normalise(images)

    @torch.no_grad()
    def ask() -> Tensor:
        found: Tensor = teacher.eval()(pixels).embedding
        return found

    actions: dict[str, Callable[[], Any]] = {name: step_of(own, batch, generator) for name, own in modules.items()}
    taken = in_turns({**actions, "teacher": ask}, settings.rounds)
    parts = taken["student"] + taken["teacher"]
    print(f"student {1000 * taken['student']:.0f} ms, forward of the teacher {1000 * taken['teacher']:.0f} ms")
    within = True
    for name in taught:
        ratio = taken[name] / parts
        within = within and ratio <= LIMIT_STEP
        print(f"{name}: {1000 * taken[name]:.0f} ms, {ratio:.3f} of both (limit {LIMIT_STEP})")
    return within


def main() -> int:
    """Print what was measured; return 1 if a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=112)
    parts = {"occluders": measure_occluders, "step": measure_step}
    parser.add_argument("--only", choices=parts)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    within = [parts[name](settings) for name in ([settings.only] if settings.only else list(parts))]
    return int(not all(within))


if __name__ == "__main__":
    sys.exit(main())
