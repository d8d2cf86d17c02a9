"""Which file a path to weights means (itself, the best checkpoint of a run, the weights of an exported folder), and a
backbone's part of it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transface.backbones.weights.hub import local_path

TRAINER_FILE, EXPORTED_FILE = "trainer.ckpt", "model.safetensors"


def trainer_file(folder: Path) -> Path | None:
    """Return the `trainer.ckpt` that a run folder or a checkpoint folder means, of a run: best, else last; None where
    there is none.
    """
    for candidate in (
        folder,
        folder / "checkpoints" / "best",
        folder / "checkpoints" / "last",
        folder / "best",
        folder / "last",
    ):
        if (candidate / TRAINER_FILE).is_file():
            return (candidate / TRAINER_FILE).resolve()
    return None


def weights_file(path: str | Path) -> Path:
    """Return the file of weights that a path means.

    Raises:
        FileNotFoundError: where there is none.
    """
    path = local_path(path)
    found = path if path.is_file() else path / EXPORTED_FILE if (path / EXPORTED_FILE).is_file() else trainer_file(path)
    if found is None:
        raise FileNotFoundError(
            f"no weights at {path}: give a file of weights, a run folder, a checkpoint or an exported folder"
        )
    return found


def is_of_our_trainer(content: Mapping[str, Any]) -> bool:
    """Return whether this is what our trainer saves."""
    return isinstance(content.get("transface"), Mapping) and isinstance(content.get("state_dict"), Mapping)


def network_weights(content: Mapping[str, Any], *, averaged: bool = True) -> dict[str, Any]:
    """Return the network's weights in a checkpoint of our trainer, the averaged ones (EMA) where it has them and
    `averaged` is set.

    Checkpoints written before the network had its name call it `backbone`, and the average `ema_backbone`.
    """
    for key in ("averaged", "ema_backbone"):
        if averaged and key in content:
            return dict(content[key])
    state = content.get("state_dict", {})
    prefix = "network." if any(name.startswith("network.") for name in state) else "backbone."
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
