"""Which numbers an ONNX recogniser takes for black and white: stated, told by the arithmetic at its front, or seen by
which range lets it tell pictures apart.
"""

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from torch import Tensor

RANGE_KEY = "transface.range"
SAME, APART = 0.005, 0.05  # one minus the cosine: of pictures that a network cannot tell apart, and of those it can
NODES_AT_THE_FRONT = 8


class InputRange(NamedTuple):
    """The numbers that a network takes for black and for white."""

    low: float
    high: float

    def of(self, faces: Tensor) -> Tensor:
        """Return faces in [-1, 1] as the network takes them."""
        if self == SIGNED:
            return faces
        return faces * ((self.high - self.low) / 2) + (self.high + self.low) / 2

    def __str__(self) -> str:
        return f"[{self.low:g},{self.high:g}]"


class Guess(NamedTuple):
    """An input range, and why it is thought to be that."""

    range: InputRange
    reason: str


SIGNED, UNIT, PIXELS = InputRange(-1.0, 1.0), InputRange(0.0, 1.0), InputRange(0.0, 255.0)


def stated_range(value: Any) -> InputRange:
    """Return the range that a user gives: two numbers, black and white.

    Raises:
        ValueError: for anything else.
    """
    try:
        low, high = (float(number) for number in value)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"input_range must be the numbers for black and white, such as [-1,1], [0,1] or [0,255], got {value}"
        )
    return InputRange(low, high)


def range_of(graph: onnx.ModelProto, embed: Callable[[Tensor], Tensor], image_size: tuple[int, int]) -> Guess:
    """Return the range that a file states in its metadata (ours do), that its front tells, or in which it tells faces
    apart.

    Args:
        embed: what the network itself gives for numbers of any range, (N, 3, H, W) -> (N, E).
    """
    stated = next((entry.value for entry in graph.metadata_props if entry.key == RANGE_KEY), None)
    if stated is not None:
        try:
            return Guess(stated_range(json.loads(stated)), "the file states it")
        except ValueError as error:
            raise ValueError(f"the file's {RANGE_KEY} is none: {error}") from error
    front = arithmetic_at_the_front(graph)
    if front == (1.0, 0.0):
        if _named_as_by_mxnet(graph):
            return Guess(PIXELS, "its first nodes are named as in MXNet's models")
        return _seen_range(embed, image_size)
    factor, offset = front
    ranges = {known: _distance(factor, offset, known) for known in (SIGNED, UNIT, PIXELS)}
    return Guess(min(ranges, key=ranges.__getitem__), f"it begins with x * {factor:.4g} + {offset:.4g}")


def arithmetic_at_the_front(graph: onnx.ModelProto) -> tuple[float, float]:
    """Return (a, b) where a graph begins with a x + b by constants, (1, 0) where it begins with anything else; of
    numbers that differ by colour their mean.
    """
    constants = {entry.name: entry for entry in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type == "Constant":
            constants.update((node.output[0], part.t) for part in node.attribute if part.name == "value")
    name = next(entry.name for entry in graph.graph.input if entry.name not in constants)
    factor, offset = 1.0, 0.0
    while len(users := [node for node in graph.graph.node if name in node.input]) == 1:
        step = _step(users[0], name, constants)
        if step is None:
            break
        factor, offset = factor * step[0], offset * step[0] + step[1]
        name = users[0].output[0]
    return factor, offset


def _step(node: onnx.NodeProto, name: str, constants: dict[str, onnx.TensorProto]) -> tuple[float, float] | None:
    """Return (a, b) of a node that computes a x + b of its input `name`, None for any other node."""
    if node.op_type in ("Identity", "Cast", "Transpose", "Clip"):
        return 1.0, 0.0
    others = [_mean(constants[other]) if other in constants else None for other in node.input if other != name]
    if any(value is None for value in others):
        return None
    if node.op_type == "BatchNormalization":
        variance = onnx.numpy_helper.to_array(constants[node.input[4]]).astype(np.float64)
        epsilon = next((part.f for part in node.attribute if part.name == "epsilon"), 1e-5)
        weight, bias, mean = (
            onnx.numpy_helper.to_array(constants[part]).astype(np.float64) for part in node.input[1:4]
        )
        scale = weight / np.sqrt(variance + epsilon)
        return float(scale.mean()), float((bias - mean * scale).mean())
    if len(others) != 1 or (number := others[0]) is None:
        return None
    first = node.input[0] == name
    steps = {"Add": (1.0, number), "Sub": (1.0, -number) if first else (-1.0, number), "Mul": (number, 0.0)}
    if node.op_type == "Div" and first and number:
        return 1 / number, 0.0
    return steps.get(node.op_type)


def _mean(constant: onnx.TensorProto) -> float | None:
    """Return the mean of a constant of one number, or of one a colour; None for others."""
    if math.prod(constant.dims) not in (1, 3) or constant.data_location == onnx.TensorProto.EXTERNAL:
        return None
    values = onnx.numpy_helper.to_array(constant)
    return float(values.astype(np.float64).mean()) if np.issubdtype(values.dtype, np.number) else None


def _distance(factor: float, offset: float, known: InputRange) -> float:
    """Return how far what the arithmetic makes of a range is from numbers about 0 of size 1."""
    half, middle = (known.high - known.low) / 2, (known.high + known.low) / 2
    return abs(math.log(max(abs(factor) * half, 1e-12))) + abs(factor * middle + offset)


def _named_as_by_mxnet(graph: onnx.ModelProto) -> bool:
    """Return whether a subtraction and a multiplication stand at the front of a graph by their names, as InsightFace's
    reader looks for them.
    """
    names = [node.name for node in graph.graph.node[:NODES_AT_THE_FRONT]]
    return any(name.startswith(("Sub", "_minus")) for name in names) and any(
        name.startswith(("Mul", "_mul")) for name in names
    )


def _seen_range(embed: Callable[[Tensor], Tensor], image_size: tuple[int, int]) -> Guess:
    """Return [-1, 1] unless the network cannot tell pictures in it apart and can in [0, 255]."""
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 3, 7, 7, generator=random) * 2 - 1
    pictures = torch.nn.functional.interpolate(coarse, image_size, mode="bilinear")
    if _spread(embed(pictures)) < SAME and _spread(embed(PIXELS.of(pictures))) > APART:
        return Guess(PIXELS, "it cannot tell pictures in [-1,1] apart, and can in [0,255]")
    return Guess(SIGNED, "as most are")


def _spread(rows: Tensor) -> float:
    """Return one minus the mean cosine of different rows (N, E); 0 where they are no numbers."""
    unit = torch.nn.functional.normalize(rows.double())
    others = ~torch.eye(len(unit), dtype=torch.bool)
    return float(torch.nan_to_num(1 - (unit @ unit.T)[others]).mean())
