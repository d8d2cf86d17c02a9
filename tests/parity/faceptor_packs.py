"""How the Faceptor tests read their packs: arrays, sizes, weights, and comparison by the largest value."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from transface.backbones.clip_vit import ClipViT
from transface.systems.generalist.decoder.interpreters import soft_argmax, upsampled_regions
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


def read_layers(depth: int, state: Mapping[str, Tensor]) -> list[int]:
    """Return the layers that a network reads, the main one first: the last, and every second one from the second for
    each that the state dict adds.
    """
    added = {int(key.split("new_input_proj.")[1].split(".")[0]) for key in state if "new_input_proj." in key}
    return [depth - 1, *(2 * one + 1 for one in sorted(added))]


def assert_answers(pack: Pack, model: Faceptor, answers: Mapping[str, Tensor]) -> None:
    """Fail unless the answers of all tasks to the images of a whole pack are those recorded in evaluation mode."""
    for task, logits in answers.items():
        start, kind = f"out_eval/{task}/", model.tasks[task].kind
        if kind == "parsing":
            sampled = upsampled_regions(logits, (512, 512)).permute(0, 2, 3, 1)[:, 5::16, 3::16]
            assert_close(sampled, pack[start + "logits_512_every_16th"])
        elif kind == "landmarks":
            assert_close(logits, pack[start + "heatmap_logits"])
            assert_close(soft_argmax(logits), pack[start + "landmark_normalised"])
        else:
            assert_close(logits, pack[start + "output"])


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
