"""Sharded parameters and their optimizer state in files by range of rows: each rank writes its own, any number of ranks
reads what it needs.

A file `centers-<first>-<stop>-of-<C>.safetensors` holds "weight" (R, E) and "state.<name>" with one row or number per
row. Reading maps the files and copies only the rows asked for, bit for bit. torch.distributed.checkpoint is not used
here: its DTensor knows only even splits.
Shapes: C rows of the whole table, R of them in a range, E columns.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from transface.training.optimization.sampled_rows import set_state_by_row, state_by_row
from transface.training.parallel.sharded_ddp import Sharded, sharded_parts


class ShardFile(NamedTuple):
    """A file of rows.

    Attributes:
        path: where it lies.
        start: its first row.
        stop: one past its last.
    """

    path: Path
    start: int
    stop: int


class ShardedParameter(NamedTuple):
    """One sharded parameter of a module, and what its files are called."""

    part: Sharded
    name: str
    stem: str

    @property
    def value(self) -> nn.Parameter:
        found: nn.Parameter = getattr(self.part, self.name)
        return found


def sharded_parameters(module: nn.Module) -> list[ShardedParameter]:
    """Return the sharded parameters of a module; the only one's files carry its own name, those of several their full
    names.
    """
    found = [(prefix, part, name) for prefix, part in sharded_parts(module).items() for name in part.sharded_parameters]
    alone = len(found) == 1
    return [
        ShardedParameter(part, name, name if alone or not prefix else f"{prefix}.{name}")
        for prefix, part, name in found
    ]


def write_shards(folder: str | Path, module: nn.Module, *, optimizer: Optimizer | None = None) -> list[Path]:
    """Write this rank's rows of every sharded parameter of `module`, with their optimizer state, and return the paths.
    Every rank calls it.
    """
    return [_write(Path(folder), parameter, optimizer) for parameter in sharded_parameters(module)]


def read_shards(folder: str | Path, module: nn.Module, *, optimizer: Optimizer | None = None) -> None:
    """Set this rank's rows of every sharded parameter, and their optimizer state, from a folder written by any number
    of ranks.

    Raises:
        FileNotFoundError: if rows are missing.
        ValueError: if the files are of another number of rows or columns.
    """
    for parameter in sharded_parameters(module):
        _read(Path(folder), parameter, optimizer)


def _write(folder: Path, parameter: ShardedParameter, optimizer: Optimizer | None) -> Path:
    start, stop = parameter.part.rows
    tensors = {"weight": parameter.value.detach()}
    if optimizer is not None:
        tensors |= {f"state.{name}": value for name, value in state_by_row(optimizer, parameter.value).items()}
    path = folder / f"{parameter.stem}-{start:09d}-{stop:09d}-of-{parameter.part.num_rows:09d}.safetensors"
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)
    return path


def _read(folder: Path, parameter: ShardedParameter, optimizer: Optimizer | None) -> None:
    rows = read_rows(folder, *parameter.part.rows, num_rows=parameter.part.num_rows, stem=parameter.stem)
    weight, own = rows.pop("weight"), parameter.value
    if weight.shape != own.shape:
        size, wanted = weight.shape[1], own.shape[1]
        raise ValueError(
            f"the {parameter.stem} in {folder} have embedding size {size}, expected {wanted}: build the classifier as"
            " it was saved"
        )
    with torch.no_grad():
        own.copy_(weight)
    if optimizer is not None:
        set_state_by_row(optimizer, own, {name.removeprefix("state."): value for name, value in rows.items()})


def read_rows(folder: str | Path, start: int, stop: int, *, num_rows: int, stem: str = "centers") -> dict[str, Tensor]:
    """Return the tensors of the rows start..stop-1, put together from the files that hold them; 0 where a file keeps no
    such state.

    A rank none of whose rows has moved yet writes no state: no moments and no steps, which is what 0 says.

    Raises:
        FileNotFoundError: if rows are missing.
        ValueError: if the files are of another number of rows.
    """
    parts: list[dict[str, Tensor]] = []
    reached = start
    for file in _files(Path(folder), stem, num_rows):
        end = min(stop, file.stop)
        if file.start > reached or (reached >= end and parts):
            continue
        with safe_open(file.path, framework="pt") as opened:
            lines = slice(min(reached, end) - file.start, end - file.start)
            parts.append({name: opened.get_slice(name)[lines] for name in opened.keys()})  # noqa: SIM118 - not a dict
        reached = max(reached, end)
    if reached < stop or not parts:
        raise FileNotFoundError(
            f"no file in {folder} holds the {stem} of class {reached}: a rank's file is missing, use another checkpoint"
        )
    whole = {name: tensor for part in parts for name, tensor in part.items()}
    return {
        name: torch.cat(
            [part[name] if name in part else one.new_zeros(len(part["weight"]), *one.shape[1:]) for part in parts]
        )
        for name, one in whole.items()
    }


def _files(folder: Path, stem: str, num_rows: int) -> list[ShardFile]:
    files = []
    for path in sorted(folder.glob(f"{stem}-*-of-*.safetensors")):
        _, start, stop, _, total = path.stem.rsplit("-", 4)
        if int(total) != num_rows:
            raise ValueError(
                f"{path} holds the {stem} of {int(total)} classes, expected {num_rows}: is it another data set's"
                " checkpoint?"
            )
        files.append(ShardFile(path, int(start), int(stop)))
    return files
