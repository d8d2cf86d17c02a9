"""A very small Faceptor with a task of each kind that is not dense, and batches for it."""

from functools import partial
from typing import Any

import torch

from transface.backbones.clip_vit import ClipViT
from transface.classifiers.full_softmax import FullSoftmax
from transface.data.batches import FaceBatch
from transface.data.labels.attributes import AttributeTargets
from transface.margins.cosface import CosFace
from transface.systems.generalist.faceptor import Faceptor
from transface.systems.generalist.module import GeneralistModule
from transface.systems.generalist.tasks import Task

TASKS = (
    Task("identity", "identity", 8, 4, image_size=16),
    Task("age", "age", 101, 4, image_size=16),
    Task("smile", "attributes", 2, 4, ("Smiling", "Young"), image_size=16),
    Task("mood", "expression", 3, 4, ("sad", "neutral", "glad"), image_size=16),
)


def encoder(image_size: int = 16, depth: int = 2) -> ClipViT:
    return ClipViT(
        image_size=image_size,
        position_size=image_size,
        patch_size=4,
        width=16,
        depth=depth,
        num_heads=2,
        output_width=8,
        drop_path=0.0,
        layers=list(range(depth)),
    )


def network(tasks: Any = TASKS, *, image_size: int = 16, layers: tuple[int, ...] = (1,), **settings: Any) -> Faceptor:
    torch.manual_seed(0)
    return Faceptor(
        encoder(image_size),
        tasks,
        width=8,
        num_heads=2,
        feedforward_width=16,
        num_layers=2,
        read_layers=layers,
        **settings,
    )


def module(own: Any = None, **settings: Any) -> GeneralistModule:
    own = network() if own is None else own
    identity = any(task.kind == "identity" for task in own.tasks.values())
    settings = {"classifier": FullSoftmax(5, 8, CosFace(scale=8.0, margin=0.1)) if identity else None} | settings
    return GeneralistModule(own, optimizer=partial(torch.optim.AdamW, lr=1e-3), **settings)


def batches(size: int = 16, count: int = 4, seed: int = 0) -> dict[str, FaceBatch]:
    draw = torch.Generator().manual_seed(seed)

    def images() -> torch.Tensor:
        return torch.randint(0, 256, (count, 3, size, size), generator=draw, dtype=torch.uint8)

    keys = torch.arange(count)
    known = torch.tensor([[True, True], [True, False], [True, True], [True, True]])[:count]
    labels = {
        "identity": torch.arange(count) % 5,
        "age": torch.tensor([3.0, 20.0, 44.0, 71.0])[:count],
        "smile": AttributeTargets(torch.tensor([[0, 1], [1, 0], [1, 1], [0, 0]], dtype=torch.uint8)[:count], known),
        "mood": torch.tensor([0, 1, 2, 1])[:count],
    }
    return {name: FaceBatch(images(), own, keys) for name, own in labels.items()}
