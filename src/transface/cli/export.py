"""`transface export`: a model for use elsewhere, as ONNX, torch.export program or safetensors folder, checked before it
is let out.
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from transface.cli.config.compose import plain, run_verb
from transface.cli.config.errors import UserError
from transface.cli.config.model_options import open_model
from transface.cli.runs.run_folder import run_name

SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2", "safetensors": ""}
PRECISIONS = ("float32", "float16", "int8")


def main(argv: list[str]) -> int:
    """Run `transface export checkpoint=... format=onnx`."""
    run_verb("export", argv, export)
    return 0


def export(cfg: DictConfig) -> None:
    """Write the model in the wanted format and print how well it agrees with PyTorch, and its accuracy before and
    after.
    """
    check_settings(cfg)
    model = open_model(cfg)
    if hasattr(model.backbone, "strip_for_inference"):
        model.backbone.strip_for_inference()  # what only training needs is not exported
    if not model.embedding_size and (cfg.precision != "float32" or cfg.verify):
        raise UserError(
            f"precision and verify are for models with an embedding, this one answers {', '.join(model.outputs)}: leave"
            " them out"
        )
    path = output_path(cfg)
    if path.exists() and not cfg.overwrite:
        raise FileExistsError(f"{path} is there already: choose another output, or overwrite=true")
    path.parent.mkdir(parents=True, exist_ok=True)
    if cfg.format == "safetensors":
        publish_folder(cfg, model, path)
    elif cfg.format == "torch_export":
        from transface.export.to_torch_export import export_program

        print(
            f"{path}: {export_program(model.backbone, path, tolerance=cfg.tolerance, faces=real_faces(cfg, model, 16))}"
        )
    else:
        export_onnx_file(cfg, model, path)


def check_settings(cfg: DictConfig) -> None:
    """Raise for settings that cannot be, or would have no effect.

    Raises:
        UserError: naming the setting.
    """
    if cfg.format not in SUFFIXES:
        raise UserError(f"format must be {', '.join(SUFFIXES)}, got {cfg.format!r}")
    if cfg.precision not in PRECISIONS:
        raise UserError(f"precision must be {', '.join(PRECISIONS)}, got {cfg.precision!r}")
    if cfg.precision != "float32" and cfg.format != "onnx":
        raise UserError(f"precision={cfg.precision} is for format=onnx, got format={cfg.format}")
    if Path(cfg.checkpoint).suffix.lower() == ".onnx":
        raise UserError(
            f"{cfg.checkpoint} is an export already: give the run, checkpoint or weights that it was made from"
        )
    if cfg.precision == "int8" and not cfg.images:
        raise UserError(
            "precision=int8 is calibrated on real faces: give images=FOLDER (or a .bin pair set) with a few hundred"
            " aligned ones"
        )


def output_path(cfg: DictConfig) -> Path:
    """Return where the model goes: `output`, or exports/<name of the checkpoint>."""
    if cfg.output is not None:
        return Path(cfg.output)
    precision = "" if cfg.precision == "float32" else f".{cfg.precision}"
    return Path("exports") / f"{run_name(Path(cfg.checkpoint))}{precision}{SUFFIXES[cfg.format]}"


def publish_folder(cfg: DictConfig, model: Any, path: Path) -> None:
    """Write the safetensors folder with its card."""
    from transface.evaluation.results import read_results
    from transface.inference.publishing import publish

    results = read_results(cfg.card.results)
    publish(
        model,
        path,
        training_data=cfg.card.training_data,
        data_licence=cfg.card.data_licence,
        licence=cfg.card.licence,
        results=results,
        overwrite=cfg.overwrite,
    )
    print(f"{path}: model.safetensors, config.json, README.md with {len(results)} results")


def export_onnx_file(cfg: DictConfig, model: Any, path: Path) -> None:
    """Write an ONNX file of the wanted precision."""
    import tempfile

    from transface.export.low_precision import to_float16, to_int8
    from transface.export.to_onnx import export_onnx

    metadata = {
        "source": str(model.provenance.get("source", "")),
        **({"embedding_size": model.embedding_size} if model.embedding_size else {}),
    }
    settings = {
        "opset": cfg.opset,
        "input_name": cfg.input_name,
        "output_name": cfg.output_name,
        "tolerance": cfg.tolerance,
    }
    faces = real_faces(cfg, model, 16)
    before = accuracies(cfg, model)
    with tempfile.TemporaryDirectory() as folder:
        full = path if cfg.precision == "float32" else Path(folder) / "full.onnx"
        agreement = export_onnx(model.backbone, full, faces=faces, metadata=metadata, **settings)
        print(f"float32: {agreement}")
        if cfg.precision == "float16":
            to_float16(full, path)
        elif cfg.precision == "int8":
            to_int8(full, path, real_faces(cfg, model, cfg.num_calibration_images))
    if cfg.precision != "float32":
        report_agreement(cfg, model, path, faces)
    report_accuracies(cfg, path, before)
    outputs = cfg.output_name if model.embedding_size else ", ".join(model.outputs)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB, input {cfg.input_name}, output {outputs}")


def report_agreement(cfg: DictConfig, model: Any, path: Path, faces: Any) -> None:
    """Print how far the smaller file is from PyTorch; remove it where its lowest cosine is below `min_cosine`."""
    from transface.export.agreement import ExportError, compare
    from transface.export.onnx_backbone import OnnxBackbone
    from transface.export.to_onnx import comparison_faces, on_the_cpu, remove_graph, runner

    original, image_size = on_the_cpu(model.backbone)
    compared = faces if faces is not None else comparison_faces(image_size, None)
    agreement = compare(runner(original), runner(OnnxBackbone(path)), compared)
    print(f"{cfg.precision}: {agreement}")
    if agreement.min_cosine < cfg.min_cosine:
        remove_graph(path)
        raise ExportError(
            f"{cfg.precision} gives a cosine of {agreement.min_cosine:.4f} with the PyTorch model, below"
            f" min_cosine={cfg.min_cosine}"
        )


def real_faces(cfg: DictConfig, model: Any, count: int) -> Any:
    """Return up to `count` of the faces in `images`, spread over it, as (N, 3, H, W) floats in [-1, 1]; None where
    there are none.
    """
    if not cfg.images:
        return None
    import torch

    from transface.images.pixels import normalised
    from transface.images.user_images import batches_of_faces

    chosen = picture_sources(Path(cfg.images), count)
    return torch.cat([normalised(batch) for batch in batches_of_faces(chosen, model.image_size, batch_size=64)])


def picture_sources(path: Path, count: int) -> list[Any]:
    """Return the pictures of a folder or a list (as paths), of a pack or a pair set (as bytes), read as they are
    needed.
    """
    from transface.data.sources.picture_list import open_pictures

    found = open_pictures(path)
    step = max(1, len(found.names) // count)
    return [found.picture(name) for name in found.names[::step][:count]]


def accuracies(cfg: DictConfig, model: Any) -> dict[str, Any]:
    """Return the ten-fold accuracy of a model on each pair set in `verify`."""
    from transface.data.benchmarks.pairs import read_pair_set
    from transface.metrics.verification import verify_pairs

    found = {}
    for file in plain(cfg.verify):
        pairs = read_pair_set(file)
        vectors = model.embed([bytes(image) for image in pairs.images], flip="sum", batch_size=cfg.batch_size)
        found[pairs.name] = verify_pairs(vectors, pairs.is_same)
    return found


def report_accuracies(cfg: DictConfig, path: Path, before: dict[str, Any]) -> None:
    """Print the accuracy on each pair set of the PyTorch model and of the file."""
    if not before:
        return
    from transface.inference.opening import load

    after = accuracies(cfg, load(path))
    for name, was in before.items():
        now = after[name]
        change = 100 * (now.accuracy_mean - was.accuracy_mean)
        print(
            f"{name}: accuracy {100 * was.accuracy_mean:.3f} % before, {100 * now.accuracy_mean:.3f} % after"
            f" ({change:+.3f} points)"
        )
