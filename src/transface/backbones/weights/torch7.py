"""Reads the layers of a Torch7 network from its binary .t7 file; nothing in it is executed, functions are refused.

The file is a tree of objects: numbers, strings, tables, tensors, storages, and modules, which are tables with a class.
Shapes: O channels out, I channels in, K kernel side.
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NOTHING, NUMBER, STRING, TABLE, OBJECT, BOOLEAN = 0, 1, 2, 3, 4, 5
STORAGES = {
    "Float": np.float32, "Double": np.float64, "Long": np.int64, "Int": np.int32,
    "Short": np.int16, "Char": np.int8, "Byte": np.uint8,
}  # fmt: skip
DEEPEST = 200
WEIGHTED = ("nn.SpatialConvolution", "nn.SpatialConvolutionMM", "cudnn.SpatialConvolution", "nn.Linear")


class Torch7Module(dict[Any, Any]):
    """A module: its attributes, and the name of its class."""

    kind: str = ""


def read_torch7_layers(path: Path) -> list[tuple[Tensor, Tensor]]:
    """Return (weight (O, I, K, K) or (O, I), bias (O,)) of every convolution and linear layer, in order.

    Raises:
        ValueError: if the file is no binary Torch7 file, is cut short, or holds functions.
    """
    with path.open("rb") as file:
        reader = _Reader(file, path, path.stat().st_size)
        root = reader.read()
    return list(_layers_below(root, path))


def _layers_below(found: Any, path: Path) -> Any:
    if not isinstance(found, dict):
        return
    if isinstance(found, Torch7Module) and found.kind in WEIGHTED:
        weight, bias = found.get("weight"), found.get("bias")
        if not isinstance(weight, Tensor) or not isinstance(bias, Tensor):
            raise ValueError(f"{path}: a {found.kind} has no weight and bias")
        sides = [found.get(name) for name in ("nOutputPlane", "nInputPlane", "kH", "kW")]
        if weight.ndim == 2 and all(isinstance(side, float) for side in sides):
            weight = weight.reshape([int(side) for side in sides if side is not None])
        yield weight.float(), bias.float()
        return
    modules = found.get("modules")
    if isinstance(modules, dict):
        for key in sorted(key for key in modules if isinstance(key, float)):
            yield from _layers_below(modules[key], path)


class _Reader:
    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self.file, self.path, self.size = file, path, size
        self.known: dict[int, Any] = {}

    def read(self, depth: int = 0) -> Any:
        """Return the next object.

        Raises:
            ValueError: for anything that is no such object.
        """
        if depth > DEEPEST:
            raise ValueError(f"{self.path} is nested deeper than {DEEPEST}: no Torch7 network")
        kind = self._int()
        if kind == NOTHING:
            return None
        if kind == NUMBER:
            return float(self._unpack("<d"))
        if kind == STRING:
            return self._text()
        if kind == BOOLEAN:
            return self._int() == 1
        if kind in (TABLE, OBJECT):
            place = self._int()
            if place not in self.known:
                self._table(place, depth) if kind == TABLE else self._object(place, depth)
            return self.known[place]
        raise ValueError(
            f"{self.path}: an object of kind {kind} is none that is read (functions are not): no Torch7 file"
        )

    def _table(self, place: int, depth: int, table: dict[Any, Any] | None = None) -> None:
        found = {} if table is None else table
        self.known[place] = found
        for _ in range(self._count(self._int())):
            key = self.read(depth + 1)
            value = self.read(depth + 1)
            if isinstance(key, str | float | bool):
                found[key] = value

    def _object(self, place: int, depth: int) -> None:
        word = self._text()
        name = self._text() if word.startswith("V ") else word
        if name.endswith("Storage") and name.startswith("torch."):
            self.known[place] = self._storage(name)
        elif name.endswith("Tensor") and name.startswith("torch."):
            self.known[place] = self._tensor(depth)
        else:
            module = Torch7Module()
            module.kind = name
            self.known[place] = module
            attributes = self.read(depth + 1)
            if isinstance(attributes, dict):
                module.update(attributes)

    def _storage(self, name: str) -> NDArray[Any]:
        kind = STORAGES.get(name.removeprefix("torch.").removeprefix("Cuda").removesuffix("Storage") or "Float")
        if kind is None:
            raise ValueError(f"{self.path}: numbers of {name} are not read")
        count = self._count(self._long())
        return np.frombuffer(self._bytes(count * np.dtype(kind).itemsize), dtype=kind)

    def _tensor(self, depth: int) -> Tensor | None:
        ndim = self._count(self._int())
        sizes = [self._count(self._long()) for _ in range(ndim)]
        strides = [self._long() for _ in range(ndim)]
        offset = self._long() - 1
        storage = self.read(depth + 1)
        if storage is None or not ndim:
            return None
        last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
        if min(sizes) < 1 or min(strides) < 0 or offset < 0 or last >= len(storage):
            raise ValueError(f"{self.path}: a tensor of {sizes} reaches beyond its {len(storage)} numbers")
        return torch.as_strided(torch.from_numpy(storage.copy()), sizes, strides, offset).contiguous()

    def _text(self) -> str:
        return self._bytes(self._count(self._int())).decode("latin-1")

    def _int(self) -> int:
        return int(self._unpack("<i"))

    def _long(self) -> int:
        return int(self._unpack("<q"))

    def _unpack(self, form: str) -> Any:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))[0]

    def _count(self, count: int) -> int:
        if not 0 <= count <= self.size:
            raise ValueError(f"{self.path}: a length of {count} in a file of {self.size} bytes: no Torch7 file")
        return count

    def _bytes(self, count: int) -> bytes:
        found = self.file.read(count)
        if len(found) < count:
            raise ValueError(f"{self.path} ends too early: cut short, or no binary Torch7 file")
        return found
