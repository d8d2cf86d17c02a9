"""Keys that users write (configs) and keep (checkpoints): none is removed or renamed without a line in CHANGELOG.md.

TRANSFACE_RENEW_KEYS=1 pytest tests/contracts/test_recorded_keys.py records the keys there are now.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.utils import instantiate
from omegaconf import OmegaConf

from transface.cli.config.compose import compose

ROOT = Path(__file__).parents[2]
RECORDED = Path(__file__).parent / "recorded"
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
BACKBONES = sorted(path.stem for path in (ROOT / "conf" / "backbone").glob("*.yaml"))
NEEDS_A_FILE = {"lora"}  # wraps a backbone with weights on disk


def config_keys() -> list[str]:
    """Return the keys of every YAML file: <file>: <dotted key>."""

    def below(value: Any, trail: str) -> Iterator[str]:
        for key, inner in value.items() if isinstance(value, dict) else ():
            if key != "defaults":
                yield f"{trail}{key}"
                yield from below(inner, f"{trail}{key}.")

    found = []
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        name = path.relative_to(ROOT / "conf").with_suffix("").as_posix()
        found += [f"{name}: {key}" for key in below(content, "")]
    return found


def checkpoint_keys(backbone: str) -> list[str]:
    """Return the names of a backbone's state, numbers of blocks as *, and how many names each line stands for."""
    config = compose("train", [f"backbone={backbone}"])
    if OmegaConf.is_missing(config.backbone, "name"):
        config.backbone.name = "test_vit"  # any timm model: one that timm keeps for tests
    with torch.device("meta"):
        network = instantiate(config.backbone)
    counted = Counter(re.sub(r"(?<=\.)\d+(?=\.)", "*", name) for name in network.state_dict())
    return [f"{name} x {count}" for name, count in sorted(counted.items())]


def compare(name: str, now: list[str], words_of: Any) -> None:
    """Fail for keys that went without a line in the CHANGELOG, and for new ones that were not recorded."""
    file = RECORDED / f"{name}.txt"
    if os.environ.get("TRANSFACE_RENEW_KEYS"):
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in now), encoding="utf-8")
        return
    recorded = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    gone = [line for line in recorded if line not in set(now) and words_of(line) not in CHANGELOG]
    assert not gone, f"removed or renamed without a line in CHANGELOG.md that names it: {', '.join(gone[:20])}"
    missing = sorted(set(now) ^ set(recorded))
    assert not missing, (
        f"not recorded: {', '.join(missing[:10])}: TRANSFACE_RENEW_KEYS=1 pytest {Path(__file__).name} records them"
    )


def test_no_config_key_goes_silently() -> None:
    compare("config_keys", config_keys(), lambda line: line.split(": ")[1].split(".")[-1])


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if name not in NEEDS_A_FILE])
def test_no_checkpoint_key_of_a_backbone_goes_silently(backbone: str) -> None:
    compare(f"checkpoint_{backbone}", checkpoint_keys(backbone), lambda line: line.split(" x ")[0])


def test_a_key_that_went_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRANSFACE_RENEW_KEYS", raising=False)
    recorded = (RECORDED / "config_keys.txt").read_text(encoding="utf-8").splitlines()
    with pytest.raises(AssertionError, match="removed or renamed without a line"):
        compare("config_keys", [line for line in recorded if "monitor" not in line], lambda line: "\0")
    with pytest.raises(AssertionError, match="not recorded: train: a_new_key"):
        compare("config_keys", [*recorded, "train: a_new_key"], lambda line: line)
