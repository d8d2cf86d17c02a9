"""Loads released weights, or those of a run, into a backbone that is built already, to fine-tune it; gate and neck may
be fresh.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from transface.backbones.weights.released_families import Channels, read_released
from transface.backbones.weights.state_dicts import bare_weights, load_strictly

NEW_PARTS = ("gate.", "neck.")
REGISTERS = ("register_tokens", "model.reg_token")
SHORTCUT = "layer1.0.downsample.0.weight"
TIMM_HEADS = ("head.", "head_dist.", "fc.", "classifier.")
logger = logging.getLogger(__name__)


def parts_that_may_lack(registers_from: str) -> tuple[str, ...]:
    """Return the parts that weights to start from may lack: gate and neck, and with "fresh" the registers."""
    return (*NEW_PARTS, *REGISTERS) if registers_from == "fresh" else NEW_PARTS


def load_pretrained(
    backbone: nn.Module,
    source: str | Path | Mapping[str, Any],
    *,
    channels: Channels | None = None,
    may_be_absent: tuple[str, ...] = NEW_PARTS,
) -> tuple[str, ...]:
    """Load weights into a backbone that stands already, for fine-tuning, and return the names that kept their fresh
    values.

    Released weights are brought into our names; others must have them, or be those of the timm model inside. A part
    whose names begin with a word of `may_be_absent` may be fresh, as a whole; so may the mask token.

    Raises:
        FileNotFoundError, ValueError: as bare_weights, and if anything did not fit (all is listed).
    """
    state = _in_names_of(backbone, source, channels)
    absent = tuple(part for part in (*may_be_absent, "mask_token") if not any(key.startswith(part) for key in state))
    origin = f"the weights in {source}" if isinstance(source, str | Path) else "the weights"
    try:
        fresh = load_strictly(backbone, state, origin=origin, may_be_absent=absent)
    except ValueError as error:
        lacks_registers = any(key in backbone.state_dict() and key not in state for key in REGISTERS)
        if lacks_registers and not set(REGISTERS) & set(may_be_absent):
            raise ValueError(f"{error}; registers_from='fresh' lets the registers start fresh") from error
        lacks_first = SHORTCUT in backbone.state_dict() and SHORTCUT not in state and "layer1.0.bn3.weight" in state
        hint = (
            "; networks of AdaFace and CVLface halve their input without weights: build this one with"
            " first_shortcut='subsample'"
        )
        raise ValueError(f"{error}{hint if lacks_first else ''}") from error
    if fresh:
        logger.info("%s fill %s but for %s, which start fresh", origin, type(backbone).__name__, ", ".join(fresh))
    return fresh


def _in_names_of(
    backbone: nn.Module, source: str | Path | Mapping[str, Any], channels: Channels | None
) -> Mapping[str, Tensor]:
    own, state = backbone.state_dict().keys(), bare_weights(source).state
    if channels is None and state.keys() <= own:
        return state
    inside = {f"model.{key}": value for key, value in state.items() if not key.startswith(TIMM_HEADS)}
    if channels is None and inside and inside.keys() <= own:
        return inside
    return read_released(source, channels=channels).state
