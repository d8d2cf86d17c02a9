"""Writes a backbone as a torch.export program (.pt2), which runs without this package, and checks it against the
original.
"""

import io
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from transface.artifacts import staging_path
from transface.export.agreement import Agreement, compare, random_faces, require
from transface.export.quiet import quiet
from transface.export.to_onnx import TOLERANCE, comparison_faces, on_the_cpu, runner


def export_program(
    backbone: nn.Module,
    path: str | Path,
    *,
    tolerance: float = TOLERANCE,
    faces: Tensor | None = None,
    check: Callable[[Path, Agreement], None] | None = None,
) -> Agreement:
    """Write `backbone` to `path` (.pt2), any batch size, and return how well the file read again agrees with it.

    `torch.export.load(path).module()(images)` gives embeddings (N, E), not normalised, of images (N, 3, H, W), RGB
    float in [-1, 1].

    Args:
        tolerance, faces, check: as export_onnx takes them.

    Raises:
        ExportError: if the numbers differ beyond the tolerance; then no file is left, and an older one stays.
        ValueError: if the path does not end in .pt2.
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ValueError(f"the file to write must end in .pt2, got {path}")
    model, image_size = on_the_cpu(backbone)
    with torch.no_grad(), quiet():
        batch = torch.export.Dim("batch", min=1)
        program = torch.export.export(model, (random_faces(image_size, num_faces=2),), dynamic_shapes=({0: batch},))
    written = io.BytesIO()  # torch's own writer of files ends the process where the disk is full
    torch.export.save(program, written)
    written.seek(0)
    kinds = [output.kind for output in model.outputs.values()]
    exported = runner(torch.export.load(written).module())
    agreement = compare(runner(model), exported, comparison_faces(image_size, faces), kinds=kinds)
    require(agreement, tolerance, what=path.name)
    with staging_path(path) as staged:
        staged.write_bytes(written.getbuffer())
        if check is not None:
            check(staged, agreement)
    return agreement
