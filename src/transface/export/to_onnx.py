"""Writes a backbone as ONNX the way InsightFace tools expect it, and writes no file that gives other numbers than
PyTorch.

One input (N, 3, H, W), RGB float in [-1, 1], batch size free; of a recogniser one output (N, E), not normalised, of any
other network its outputs by their names. The metadata say so.
"""

import contextlib
import copy
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from transface.artifacts import staging_path
from transface.export.agreement import Agreement, ExportError, compare, random_faces, require
from transface.export.export_view import ExportView
from transface.export.input_range import SIGNED
from transface.export.onnx_backbone import OnnxBackbone
from transface.export.onnx_network import OnnxNetwork
from transface.export.quiet import quiet

OPSET = 18
INPUT_NAME, OUTPUT_NAME = (
    "input.1",
    "embedding",
)  # the names in the released packs of InsightFace; its tools ask the file for them
TOLERANCE = 1e-4
INLINE_LIMIT = 1_900_000_000  # bytes of weights; beyond it protobuf cannot hold them and they lie beside the file
# Names at the front of a graph from which InsightFace's reader concludes that the model normalises pixels itself.
PIXEL_SCALING_NAMES = ("Sub", "_minus", "Mul", "_mul")


def export_onnx(
    backbone: nn.Module,
    path: str | Path,
    *,
    opset: int = OPSET,
    input_name: str = INPUT_NAME,
    output_name: str = OUTPUT_NAME,
    tolerance: float = TOLERANCE,
    faces: Tensor | None = None,
    metadata: Mapping[str, Any] | None = None,
    check: Callable[[Path, Agreement], None] | None = None,
) -> Agreement:
    """Write `backbone` to `path` (.onnx) and return how well onnxruntime agrees with PyTorch on random faces and on
    `faces`.

    Args:
        opset: at least 18.
        tolerance: the largest difference allowed in any number, relative to the norm of the embedding.
        faces: real ones to compare on besides, (N, 3, H, W) float in [-1, 1].
        metadata: more words for the file, e.g. where the model comes from.
        check: called with the file before it takes its place, and with its Agreement; may raise.

    Raises:
        ExportError: if the numbers differ beyond the tolerance; then no file is left, and an older one stays.
        ValueError: if opset or path cannot be.
    """
    path = checked_path(path, opset=opset)
    model, image_size = on_the_cpu(backbone)
    example = random_faces(image_size, num_faces=2)
    alone = list(model.outputs) == ["embedding"]
    names = [output_name] if alone else list(model.outputs)
    if "" in (input_name, *names) or input_name in names:
        raise ValueError(f"input and outputs need names of their own, got {input_name!r} and {', '.join(names)!r}")
    found = _graph_of(model, example, opset=opset, input_name=input_name, output_names=names)
    outputs = {name: output._asdict() for name, output in model.outputs.items()}
    describe(
        found,
        {
            **preprocessing(image_size),
            **({} if alone else {"output": ", ".join(names), "outputs": outputs}),
            **(metadata or {}),
        },
    )
    hide_pixel_scaling_names(found)
    with writing_graph(found, path) as written:
        opened = OnnxBackbone(written, batch_size=None, input_range=SIGNED) if alone else OnnxNetwork(written)
        kinds = [output.kind for output in model.outputs.values()]
        agreement = compare(runner(model), runner(opened), comparison_faces(image_size, faces), kinds=kinds)
        require(agreement, tolerance, what=path.name)
        if check is not None:
            check(written, agreement)
    return agreement


def checked_path(path: str | Path, *, opset: int = OPSET) -> Path:
    """Return the path to write, its folder made.

    Raises:
        ValueError: if it does not end in .onnx, or the opset is too old.
    """
    path = Path(path)
    if path.suffix != ".onnx":
        raise ValueError(f"the file to write must end in .onnx, got {path}")
    if opset < OPSET:
        raise ValueError(f"opset must be at least {OPSET}, got {opset}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def on_the_cpu(network: nn.Module) -> tuple[ExportView, tuple[int, int]]:
    """Return a copy of the network that gives its outputs as tensors, in eval mode, float32, on the CPU; and its image
    size.
    """
    model = ExportView(copy.deepcopy(network)).float().cpu().eval()
    height, width = model.network.image_size
    return model, (int(height), int(width))


def runner(model: nn.Module) -> Any:
    """Return the function from faces to raw outputs that a model is: a tensor, or a tuple of several."""

    def run(faces: Tensor) -> Any:
        with torch.inference_mode():
            out = model(faces)
        if isinstance(out, Tensor) or not hasattr(out, "_fields"):
            return out
        names = list(getattr(model, "outputs", ["embedding"]))
        return out.embedding if names == ["embedding"] else tuple(getattr(out, name) for name in names)

    return run


def comparison_faces(image_size: tuple[int, int], faces: Tensor | None) -> Tensor:
    """Return random faces, followed by the given ones."""
    made_up = random_faces(image_size)
    return made_up if faces is None else torch.cat([made_up, faces.float().cpu()])


def preprocessing(image_size: tuple[int, int]) -> dict[str, Any]:
    """Return what a reader of the file must know about its input and output."""
    return {
        "input": f"(N, 3, {image_size[0]}, {image_size[1]}) float32, RGB, aligned by five points",
        "mean": [127.5, 127.5, 127.5],
        "std": [127.5, 127.5, 127.5],
        "colours": "RGB",
        "range": [-1.0, 1.0],
        "output": "embedding, not normalised: divide by its L2 norm before comparing",
    }


def describe(graph: onnx.ModelProto, words: Mapping[str, Any]) -> None:
    """Put words into the metadata of a model, as `transface.<key>`: strings as they are, all else as JSON."""
    kept = {entry.key: entry.value for entry in graph.metadata_props}
    kept |= {f"transface.{key}": value if isinstance(value, str) else json.dumps(value) for key, value in words.items()}
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, kept)
    graph.producer_name = "transface"


def hide_pixel_scaling_names(graph: onnx.ModelProto) -> None:
    """Rename nodes from whose names InsightFace's reader would take it that pixels go in as 0..255."""
    for node in graph.graph.node:
        if node.name.startswith(PIXEL_SCALING_NAMES):
            node.name = f"node_{node.name}"


def save_graph(graph: onnx.ModelProto, path: Path) -> None:
    """Write a checked model, whole or not at all, in place of an older one."""
    with writing_graph(graph, path):
        pass


@contextlib.contextmanager
def writing_graph(graph: onnx.ModelProto, path: Path) -> Iterator[Path]:
    """Write a checked model beside `path`, give where it lies, and let it take the place of an older one once the block
    ends; of one that fails nothing is left.

    Weights that protobuf cannot hold go into `<name>.data` beside it; into `<name>.<id>.data` where an older model
    still needs a file of that name, which is removed once the new model is there.
    """
    with staging_path(path) as staged:
        beside = _files_of_weights(path)
        if graph.ByteSize() < INLINE_LIMIT:
            _require_valid(graph)
            staged.write_bytes(graph.SerializeToString())
        else:
            weights = f"{path.name}.{uuid.uuid4().hex[:8] + '.' if beside else ''}data"
            onnx.save(copy.deepcopy(graph), staged, save_as_external_data=True, location=weights, size_threshold=1024)
            _require_valid(staged)
        yield staged
    for file in beside:
        file.unlink(missing_ok=True)


def _require_valid(graph: onnx.ModelProto | Path) -> None:
    try:
        onnx.checker.check_model(graph)
    except onnx.checker.ValidationError as error:
        reason = str(error).splitlines()[0]
        raise ExportError(
            f"ONNX refuses the graph that was made ({reason}): take another opset, {OPSET} works"
        ) from error


def _files_of_weights(path: Path) -> list[Path]:
    """Return the files beside a model that hold weights of it."""
    name = re.compile(re.escape(path.name) + r"(\.[0-9a-f]{8})?\.data")
    return [file for file in path.parent.iterdir() if name.fullmatch(file.name)]


def _graph_of(
    model: nn.Module, example: Tensor, *, opset: int, input_name: str, output_names: list[str]
) -> onnx.ModelProto:
    with torch.inference_mode(False), torch.no_grad(), quiet():
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            opset_version=opset,
            input_names=[input_name],
            output_names=output_names,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            optimize=True,
            verbose=False,
        )
    assert program is not None
    found: onnx.ModelProto = program.model_proto
    for entry in (*found.graph.input, *found.graph.output):
        del entry.metadata_props[:]
    for node in found.graph.node:  # they tell file names of the machine
        del node.metadata_props[:]
    for value in found.graph.value_info:
        del value.metadata_props[:]
    return found
