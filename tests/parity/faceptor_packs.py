"""How the Faceptor tests read their packs: arrays, sizes, weights, and comparison by the largest value."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from transface.backbones.clip_vit import ClipViT
from transface.systems.generalist.faceptor import Faceptor
from transface.systems.generalist.released import KIND_OF_PREFIX
from transface.systems.generalist.tasks import Task


class Pack:
    """One recorded file: `pack["out/value"]` is a tensor, `cfg` its sizes, `state(prefix)` the weights below a key."""

    def __init__(self, shared: Path, name: str) -> None:
        path = shared / "parity" / "faceptor" / f"{name}.npz"
        if not path.exists():
            pytest.skip(f"no {path.name} in the shared folder")
        with np.load(path, allow_pickle=False) as arrays:
            self.arrays = {key: arrays[key] for key in arrays.files}
        self.cfg: dict[str, Any] = json.loads(str(self.arrays["cfg_json"]))

    def __getitem__(self, key: str) -> Tensor:
        return torch.from_numpy(np.atleast_1d(self.arrays[key]).reshape(self.arrays[key].shape))

    def state(self, prefix: str = "") -> dict[str, Tensor]:
        start = f"sd/{prefix}"
        return {key.removeprefix(start): self[key] for key in self.arrays if key.startswith(start)}

    def below(self, prefix: str) -> list[str]:
        """Return the keys that begin with a prefix, without it."""
        return [key.removeprefix(prefix) for key in self.arrays if key.startswith(prefix)]


def assert_close(ours: Any, recorded: Any, limit: float = 2e-5) -> None:
    """Fail unless the largest difference is below `limit` times the largest recorded value."""
    ours, recorded = (
        np.asarray(one.detach() if isinstance(one, Tensor) else one, dtype=np.float64) for one in (ours, recorded)
    )
    assert ours.shape == recorded.shape
    difference = np.abs(ours - recorded).max()
    assert difference <= limit * max(np.abs(recorded).max(), 1e-12), (
        f"differs by {difference} of {np.abs(recorded).max()}"
    )


def small_model(cfg: dict[str, Any], layers: list[int]) -> Faceptor:
    """Return the whole model of the sizes in a pack of whole_stage1 or whole_stage2."""
    encoder = ClipViT(
        image_size=cfg["res_small"],
        position_size=cfg["forced_resolution"],
        patch_size=cfg["patch"],
        width=cfg["width"],
        depth=cfg["depth"],
        num_heads=cfg["heads"],
        output_width=cfg["output_dim"],
        drop_path=cfg["drop_path"],
        layers=sorted(layers),
    )
    decoder = cfg["decoder"]
    return Faceptor(
        encoder,
        small_tasks(cfg),
        width=decoder["hidden_dim"],
        num_heads=decoder["nheads"],
        feedforward_width=decoder["ffn"],
        num_layers=decoder["layers"],
        read_layers=layers,
    )


def small_tasks(cfg: dict[str, Any]) -> list[Task]:
    """Return the tasks of a pack; the queries of identity, which no part uses, are the size of the embedding."""
    rows = []
    for name, count in zip(cfg["task_names"], cfg["query_nums"], strict=True):
        kind: Any = KIND_OF_PREFIX[name.split("_")[0]]
        rows.append(Task(name, kind, cfg["embed_dim"] if kind == "identity" else count, cfg["batch"].get(name, 1)))
    return rows
