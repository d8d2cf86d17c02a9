"""What a network's raw answers mean: probabilities, numbers with a unit, points, regions, as tensors and as plain
values.

Shapes: N faces, C classes, A labels, P points, R regions of H x W pixels.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from transface.backbones.features import Output


def answer_values(output: Output, raw: Tensor) -> Tensor:
    """Return the values (N, ...) that raw answers (N, ...) of a kind mean: probabilities of logits, unit vectors of
    embeddings, the rest as it is.
    """
    if output.kind == "one_of":
        return raw.softmax(1)
    if output.kind == "several_of":
        return raw.sigmoid()
    if output.kind == "regions":
        return raw.softmax(1)
    return F.normalize(raw) if output.kind == "embedding" else raw


def described(output: Output) -> dict[str, Any]:
    """Return an output as plain values, without what it does not have."""
    fields = {
        "kind": output.kind,
        "names": list(output.names),
        "unit": output.unit,
        "thresholds": list(output.thresholds),
    }
    return {name: value for name, value in fields.items() if value}


def plain_answer(output: Output, row: Tensor) -> Any:
    """Return the answer to one face as plain values for JSON.

    one_of: {"label", "probability", "probabilities"}; several_of: {label: probability}; number: {"value", "unit",
    "low", "high"} with None where no interval is known; embedding: [...]; points: [[x, y], ...] in pixels of the
    network's image; regions: the (H, W) map of indices into the names.
    """
    if output.kind == "one_of":
        best = int(row.argmax())
        probabilities = dict(zip(output.names, row.tolist(), strict=True))
        return {"label": output.names[best], "probability": float(row[best]), "probabilities": probabilities}
    if output.kind == "several_of":
        return dict(zip(output.names, row.tolist(), strict=True))
    if output.kind == "number":
        value, low, high = row.tolist() if row.ndim else (float(row), None, None)
        return {"value": value, "unit": output.unit, "low": low, "high": high}
    if output.kind == "regions":
        return row.argmax(0).to(torch.uint8)
    return row.tolist()


def answer_text(output: Output, value: Any) -> str:
    """Return a plain answer as a line for people."""
    if output.kind == "one_of":
        return f"{value['label']} ({100 * value['probability']:.0f} %)"
    if output.kind == "several_of":
        limits = dict(zip(output.names, output.thresholds or [0.5] * len(output.names), strict=True))
        given = [
            f"{name} {100 * p:.0f} %"
            for name, p in sorted(value.items(), key=lambda item: -item[1])
            if p >= limits[name]
        ]
        return ", ".join(given) or "none"
    if output.kind == "number":
        interval = "" if value["low"] is None else f" [{value['low']:.1f}, {value['high']:.1f}]"
        return f"{value['value']:.1f}{interval} {value['unit']}".strip()
    if output.kind == "points":
        return f"{len(value)} points"
    return f"{len(value)} numbers" if output.kind == "embedding" else "a map"
