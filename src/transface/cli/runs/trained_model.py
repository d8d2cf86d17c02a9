"""What a run trained, in numbers: network, data, steps, time; written beside its results for the report."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transface.artifacts import write_whole
from transface.cli.runs.run_folder import TRAINED


def describe_trained(module: Any, data: Any, trainer: Any, *, seconds: float, resumed: bool) -> dict[str, Any]:
    """Return plain values: the network's name and parameters, images and people or classes of the data, steps, epochs,
    seconds.
    """
    network = getattr(module, "network", module)
    values = list(network.parameters())
    sets = getattr(data, "datasets", None)
    parts = list(sets.values()) if isinstance(sets, Mapping) else [data]
    facts = [part.facts() for part in parts if hasattr(part, "facts")]
    people = [fact["num_identities"] for fact in facts if isinstance(fact.get("num_identities"), int)]
    found = {
        "network": type(network).__name__,
        "parameters": sum(value.numel() for value in values),
        "trainable_parameters": sum(value.numel() for value in values if value.requires_grad),
        "image_size": [int(side) for side in getattr(network, "image_size", ())],
        "images": sum(len(part.dataset) for part in parts if hasattr(part, "dataset")),
        "identities": sum(people) if people else None,
        "steps": int(trainer.global_step),
        "images_per_step": images_per_step(data, trainer),
        "epochs": int(trainer.current_epoch),
        "devices": int(trainer.world_size),
        "seconds": round(seconds, 1),
        "resumed": resumed,
    }
    return {name: value for name, value in found.items() if value not in (None, [])}


def images_per_step(data: Any, trainer: Any) -> int | None:
    """Return the images of an optimizer step over all devices and accumulated batches, of all data sets together; None
    of data that does not tell.
    """
    of_device = getattr(data, "device_batch_size", None)
    if of_device is None:
        return None
    devices, accumulation = int(trainer.world_size), int(trainer.accumulate_grad_batches)
    return int(of_device(devices=devices, accumulation=accumulation)) * devices * accumulation


def record_trained(folder: Path, module: Any, data: Any, trainer: Any, *, started: float, resumed: bool) -> None:
    """Write what was trained into the run's folder; `started` is the time.perf_counter() at which training began."""
    content = describe_trained(module, data, trainer, seconds=time.perf_counter() - started, resumed=resumed)
    write_whole(folder / TRAINED, json.dumps(content, indent=1) + "\n")
