"""Class centres and their optimizer state in files by class range: each rank writes its own, any number of ranks reads what it needs.

A file `centers-<first>-<stop>-of-<C>.safetensors` holds "weight" (R, E) and "state.<name>" with one row or number per class. Reading maps the
files and copies only the rows asked for, bit for bit. torch.distributed.checkpoint is not used here: its DTensor knows only even splits.
Shapes: C identities, R of them in a range, E embedding size.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from transface.classifiers.center_shards import ShardRange
from transface.classifiers.partial_fc import PartialFC
from transface.training.optimization.sampled_rows import set_state_by_row, state_by_row


class CenterFile(NamedTuple):
    """A file of centres.

    Attributes:
        path: where it lies.
        classes: which classes it holds.
    """

    path: Path
    classes: ShardRange


def write_centers(folder: str | Path, classifier: PartialFC, *, optimizer: Optimizer | None = None) -> Path:
    """Write this rank's centres and their optimizer state to a file of the folder, and return its path. Every rank calls it."""
    start, stop = classifier.classes
    tensors = {"weight": classifier.centers.detach()}
    if optimizer is not None:
        tensors |= {f"state.{name}": value for name, value in state_by_row(optimizer, classifier.centers).items()}
    path = Path(folder) / f"centers-{start:09d}-{stop:09d}-of-{classifier.num_identities:09d}.safetensors"
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)
    return path


def read_centers(folder: str | Path, classifier: PartialFC, *, optimizer: Optimizer | None = None) -> None:
    """Set this rank's centres, and their optimizer state, from a folder written by any number of ranks.

    Raises:
        FileNotFoundError: if classes are missing.
        ValueError: if the files are of another number of identities or another embedding size.
    """
    rows = read_rows(folder, classifier.classes, num_identities=classifier.num_identities)
    weight = rows.pop("weight")
    if weight.shape != classifier.centers.shape:
        size, wanted = weight.shape[1], classifier.embedding_size
        raise ValueError(f"centres in {folder} have embedding size {size}, expected {wanted}: build the classifier as it was saved")
    with torch.no_grad():
        classifier.centers.copy_(weight)
    if optimizer is not None:
        set_state_by_row(optimizer, classifier.centers, {name.removeprefix("state."): value for name, value in rows.items()})


def read_rows(folder: str | Path, classes: ShardRange, *, num_identities: int) -> dict[str, Tensor]:
    """Return the tensors of the classes asked for, put together from the files that hold them; 0 where a file keeps no such state.

    A rank none of whose classes has moved yet writes no state: no moments and no steps, which is what 0 says.

    Raises:
        FileNotFoundError: if classes are missing.
        ValueError: if the files are of another number of identities.
    """
    parts: list[dict[str, Tensor]] = []
    reached = classes.start
    for file in _center_files(Path(folder), num_identities):
        stop = min(classes.stop, file.classes.stop)
        if file.classes.start > reached or (reached >= stop and parts):
            continue
        with safe_open(file.path, framework="pt") as opened:
            lines = slice(min(reached, stop) - file.classes.start, stop - file.classes.start)
            parts.append({name: opened.get_slice(name)[lines] for name in opened.keys()})  # noqa: SIM118 - not a dict
        reached = max(reached, stop)
    if reached < classes.stop or not parts:
        raise FileNotFoundError(f"no file in {folder} holds the centres of class {reached}: a rank's file is missing, use another checkpoint")
    whole = {name: tensor for part in parts for name, tensor in part.items()}
    return {
        name: torch.cat([part[name] if name in part else one.new_zeros(len(part["weight"]), *one.shape[1:]) for part in parts])
        for name, one in whole.items()
    }


def _center_files(folder: Path, num_identities: int) -> list[CenterFile]:
    files = []
    for path in sorted(folder.glob("centers-*-of-*.safetensors")):
        _, start, stop, _, total = path.stem.split("-")
        if int(total) != num_identities:
            raise ValueError(f"{path} holds centres of {int(total)} identities, expected {num_identities}: is it another data set's checkpoint?")
        files.append(CenterFile(path, ShardRange(int(start), int(stop))))
    return files
