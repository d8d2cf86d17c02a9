"""What watching a run costs: a look of MethodObserver, its pictures, and Throughput, as shares of the steps they are
spread over.

    python benchmarks/watching.py [--backbone face_vit_t] [--batch 128] [--identities 10572] [--rounds 5]

Time of the processor, not of the clock, so that a busy machine changes nothing; one thread, no GPU.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch

from transface.backbones import face_vit
from transface.classifiers.full_softmax import FullSoftmax
from transface.data.batches import FaceBatch
from transface.margins.cosface import CosFace
from transface.systems.recognition.dpap import DPAP
from transface.systems.recognition.ehsm import EHSM
from transface.systems.recognition.method_observer import MethodObserver
from transface.systems.recognition.method_pictures import method_pictures
from transface.systems.recognition.method_view import look
from transface.systems.recognition.module import RecognitionModule
from transface.training.callbacks.throughput import Throughput

LIMIT = 0.02


def seconds(action: Callable[[], Any], rounds: int) -> float:
    """Return the median processor time of an action, after one for warm-up."""
    action()
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        action()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def unheard(*_: Any, **__: Any) -> None:
    """Take what would be logged."""


def main() -> int:
    """Print the shares; exit code 1 if one is over the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="face_vit_t")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--identities", type=int, default=10_572)
    parser.add_argument("--rounds", type=int, default=5)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)

    backbone = getattr(face_vit, settings.backbone)()
    classifier = FullSoftmax(settings.identities, 512, CosFace())
    optimizer = partial(torch.optim.AdamW, lr=1e-4)
    module: Any = RecognitionModule(backbone, classifier, perturbation=DPAP(), weighting=EHSM(), optimizer=optimizer)
    module.log = module.log_dict = unheard
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (settings.batch, 3, *backbone.image_size), dtype=torch.uint8, generator=generator)
    batch = FaceBatch(
        images,
        torch.randint(0, settings.identities, (settings.batch,), generator=generator),
        torch.arange(settings.batch),
    )
    steps = optimizer(module.parameter_groups())

    def step() -> None:
        steps.zero_grad()
        module.losses(batch, generator).total().backward()
        steps.step()

    observer = MethodObserver("unused")
    faces = observer.num_faces
    parts = {
        "backbone": backbone,
        "classifier": classifier,
        "perturbation": module.perturbation,
        "weighting": module.weighting,
    }

    def looking() -> Any:
        return look(batch.images[:faces], batch.labels[:faces], generator=generator, **parts)

    one_step, one_look = seconds(step, settings.rounds), seconds(looking, settings.rounds)
    view = looking()
    drawing = seconds(lambda: method_pictures(view), settings.rounds)
    throughput = throughput_seconds()
    shares = {
        f"a look at {faces} faces every {observer.every_n_steps} steps": (
            one_look,
            one_look / observer.every_n_steps / one_step,
        ),
        f"three pictures every {observer.pictures_every_n_steps} steps": (
            drawing,
            drawing / observer.pictures_every_n_steps / one_step,
        ),
        "throughput, every step": (throughput, throughput / one_step),
    }
    print(
        f"{settings.backbone}, batch {settings.batch}, {settings.identities} identities: a step takes {one_step:.3f} s"
        " of one core"
    )
    for name, (taken, share) in shares.items():
        print(f"{name:<42} {1000 * taken:9.3f} ms   {100 * share:7.4f} % of a step")
    return int(sum(share for _, share in shares.values()) > LIMIT)


def throughput_seconds(calls: int = 10_000) -> float:
    """Return the processor time of Throughput in a step, its rows included."""
    callback = Throughput(every_n_steps=10)
    logger = SimpleNamespace(log_metrics=unheard)
    trainer: Any = SimpleNamespace(
        loggers=[logger],
        world_size=1,
        global_step=0,
        estimated_stepping_batches=1e6,
        accumulate_grad_batches=1,
        precision="32-true",
    )
    module: Any = SimpleNamespace(device=torch.device("cpu"))
    callback.on_train_start(trainer, module)
    batch = (torch.zeros(2, 1),)
    start = time.process_time()
    for index in range(calls):
        callback.on_train_batch_start(trainer, module, batch, index)
        callback.on_train_batch_end(trainer, module, None, batch, index)
    return (time.process_time() - start) / calls


if __name__ == "__main__":
    raise SystemExit(main())
