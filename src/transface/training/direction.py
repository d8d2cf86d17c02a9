"""Whether a higher or a lower value of a validated metric is better: as a setting says, else as the measure itself
does.
"""

from collections.abc import Mapping
from typing import Any, Literal


def higher_is_better(module: Any, monitor: str, *, mode: Literal["max", "min"] | None = None) -> bool:
    """Return whether the higher value of `monitor` is the better one; a metric of no known direction counts as the
    higher the better.

    Args:
        module: its `directions` are those of the measures that validation logged.
        monitor: name of the metric.
        mode: "max" or "min" as a setting states it; None: as the measure says.
    """
    if mode is not None:
        return mode == "max"
    directions: dict[str, str] = getattr(module, "directions", {})
    return directions.get(monitor, "higher") == "higher"


def is_of_another_metric(state: Mapping[str, Any], monitor: str, *, mode: Literal["max", "min"] | None) -> bool:
    """Return whether a callback's saved state was kept for another metric or direction than it watches now: its best
    value means nothing then.
    """
    kept = state.get("mode")
    return state.get("monitor", monitor) != monitor or (kept is not None and mode is not None and kept != mode)
