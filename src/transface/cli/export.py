"""`transface export`: a model for use elsewhere, as ONNX, torch.export program or safetensors folder, checked before it
is published.
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig

from transface.cli.config.compose import instantiate, run_verb
from transface.cli.config.errors import UserError
from transface.cli.config.model_options import open_model, refuse_unread
from transface.cli.runs.run_folder import run_name

SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2", "safetensors": ""}
PRECISIONS = ("float32", "float16", "int8")


def main(argv: list[str]) -> int:
    """Run `transface export checkpoint=... format=onnx`."""
    run_verb("export", [word for given in argv for word in verify_words(given)], export)
    return 0


def verify_words(word: str) -> list[str]:
    """Return the words by which Hydra knows `verify=PROTOCOL`; a .bin file, or a list of them, is verify=pair_sets."""
    key, equals, value = word.partition("=")
    if key != "verify" or not equals:
        return [word]
    if value in ("", "[]", "null"):
        return []
    if value.startswith("[") or value.endswith(".bin"):
        return ["protocol@verify=pair_sets", f"verify.files={value if value.startswith('[') else f'[{value}]'}"]
    return [f"protocol@verify={value}"]


def export(cfg: DictConfig) -> None:
    """Write the model in the wanted format and print how well it agrees with PyTorch, and what the protocol `verify`
    measures before and after.
    """
    check_settings(cfg)
    model = open_model(cfg)
    if hasattr(model.backbone, "strip_for_inference"):
        model.backbone.strip_for_inference()  # what only training needs is not exported
    if not model.embedding_size and cfg.precision != "float32":
        raise UserError(
            f"precision is for models with an embedding, this one answers {', '.join(model.outputs)}: leave it out"
        )
    if list(model.outputs) != ["embedding"]:
        refuse_unread({"output_name"}, f"the outputs are named after what they are: {', '.join(model.outputs)}")
    path = output_path(cfg)
    if path.exists() and not cfg.overwrite:
        raise FileExistsError(f"{path} is there already: choose another output, or overwrite=true")
    verification = Verification(cfg, model)
    if cfg.format == "safetensors":
        publish_folder(cfg, model, path)
        return
    # An older export stays until the new one is written and checked.
    if cfg.format == "torch_export":
        export_program_file(cfg, model, path, verification)
    else:
        export_onnx_file(cfg, model, path, verification)
    if cfg.format == "onnx":
        outputs = cfg.output_name if list(model.outputs) == ["embedding"] else ", ".join(model.outputs)
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB, input {cfg.input_name}, output {outputs}")
    else:
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


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
    if cfg.format == "safetensors" and cfg.get("verify"):
        raise UserError(
            "verify is for files that compute otherwise than PyTorch: a folder of format=safetensors holds the weights"
            " themselves"
        )
    if not cfg.verify_tolerance >= 0:
        raise UserError(f"verify_tolerance must be at least 0, got {cfg.verify_tolerance}")
    if Path(cfg.checkpoint).suffix.lower() == ".onnx":
        raise UserError(
            f"{cfg.checkpoint} is an export already: give the run, checkpoint or weights that it was made from"
        )
    if cfg.keypoints_from not in (None, "template"):
        raise UserError(
            f"keypoints_from={cfg.keypoints_from} is found outside the network, and no exported file holds it: leave it"
            " out, which exports the template of aligned faces"
        )
    refuse_unread_of_export(cfg)
    if cfg.num_calibration_images < 1:
        raise UserError(f"num_calibration_images must be at least 1, got {cfg.num_calibration_images}")
    if not -1 <= cfg.min_cosine <= 1 or not cfg.tolerance >= 0:
        raise UserError(
            f"min_cosine is in -1..1, and tolerance at least 0, got {cfg.min_cosine:g} and {cfg.tolerance:g}"
        )
    if cfg.precision == "int8" and not cfg.images:
        raise UserError(
            "precision=int8 is calibrated on real faces: give images=FOLDER (or a .bin pair set) with a few hundred"
            " aligned ones"
        )


def refuse_unread_of_export(cfg: DictConfig) -> None:
    """Raise where the command line gives a setting that the format and the precision leave unread.

    Raises:
        UserError: naming the setting.
    """
    card = {"card.training_data", "card.data_licence", "card.licence", "card.results"}
    if cfg.format == "safetensors":
        names = {"images", "tolerance", "verify_tolerance", "batch_size"}
        refuse_unread(names, "a folder of format=safetensors holds the weights themselves")
    else:
        refuse_unread(card, f"the card is of a folder of format=safetensors, and the format is {cfg.format}")
    if cfg.format != "onnx":
        refuse_unread({"opset", "input_name", "output_name"}, f"it is of format=onnx, and the format is {cfg.format}")
    if cfg.precision == "float32":
        refuse_unread({"min_cosine"}, "precision=float32 is held against tolerance=")
    if cfg.precision != "int8":
        refuse_unread({"num_calibration_images"}, "precision=int8 alone is calibrated")
    if not cfg.get("verify"):
        refuse_unread({"verify_tolerance", "batch_size"}, "there is no verify=")


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


def export_program_file(cfg: DictConfig, model: Any, path: Path, verification: "Verification") -> None:
    """Write a torch.export program that passes the verification."""
    from transface.export.to_torch_export import export_program

    def check(written: Path, agreement: Any) -> None:
        print(agreement)
        verification.check(written)

    export_program(model.backbone, path, tolerance=cfg.tolerance, faces=real_faces(cfg, model, 16), check=check)


def export_onnx_file(cfg: DictConfig, model: Any, path: Path, verification: "Verification") -> None:
    """Write an ONNX file of the wanted precision that passes the verification."""
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

    def check(written: Path, agreement: Any) -> None:
        print(f"float32: {agreement}")
        if cfg.precision == "float32":
            verification.check(written)

    def check_smaller(written: Path) -> None:
        report_agreement(cfg, model, written, faces)
        verification.check(written)

    with tempfile.TemporaryDirectory() as folder:
        full = path if cfg.precision == "float32" else Path(folder) / "full.onnx"
        export_onnx(model.backbone, full, faces=faces, metadata=metadata, check=check, **settings)
        if cfg.precision == "float16":
            to_float16(full, path, check=check_smaller)
        elif cfg.precision == "int8":
            to_int8(full, path, real_faces(cfg, model, cfg.num_calibration_images), check=check_smaller)


def report_agreement(cfg: DictConfig, model: Any, path: Path, faces: Any) -> None:
    """Print how far the smaller file is from PyTorch; raise ExportError where its lowest cosine is below
    `min_cosine`.
    """
    from transface.export.agreement import ExportError, compare
    from transface.export.input_range import SIGNED
    from transface.export.onnx_backbone import OnnxBackbone
    from transface.export.to_onnx import comparison_faces, on_the_cpu, runner

    original, image_size = on_the_cpu(model.backbone)
    compared = faces if faces is not None else comparison_faces(image_size, None)
    agreement = compare(runner(original), runner(OnnxBackbone(path, input_range=SIGNED)), compared)
    print(f"{cfg.precision}: {agreement}")
    if agreement.min_cosine < cfg.min_cosine:
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


class Verification:
    """What a protocol measures with the PyTorch model and with the file made of it.

    Args:
        cfg: of the verb; without `verify` nothing is measured.
        model: the FaceModel that is exported.
    """

    def __init__(self, cfg: DictConfig, model: Any) -> None:
        from transface.evaluation.validation import runner_for

        self.model, self.tolerance = model, float(cfg.verify_tolerance)
        self.runner_of = partial(runner_for, batch_size=cfg.batch_size)
        self.protocol: Any = None
        if cfg.get("verify") is None:
            return
        try:
            self.protocol = instantiate(cfg.verify)
            self.protocol.prepare()
        except Exception as error:
            cause = error.__cause__ if isinstance(error, HydraException) else error
            if not isinstance(cause, ValueError | FileNotFoundError):
                raise
            raise type(cause)(str(cause).replace("protocol.", "verify.")) from error
        self.before = self.measured(model.backbone)

    def measured(self, network: Any) -> Any:
        """Return the results of the protocol, numbers alone."""
        from transface.evaluation.protocol import run_protocol

        return run_protocol(self.protocol, self.runner_of(network), detailed=False)

    def check(self, path: Path) -> None:
        """Print what the protocol measures before and after.

        Raises:
            ExportError: naming the result that moved the most.
        """
        if self.protocol is None:
            return
        from transface.evaluation.changes import changes
        from transface.export.agreement import ExportError

        found = changes(self.before, self.measured(self._written(path)))
        for change in found:
            print(change)
        worst = max(found, key=lambda change: change.amount)
        if not worst.amount <= self.tolerance:
            raise ExportError(f"{worst}: moved by {worst.amount:.4g}, beyond verify_tolerance={self.tolerance:g}")

    def _written(self, path: Path) -> Any:
        if path.suffix != ".pt2":
            from transface.inference.opening import load

            return load(path).backbone
        from transface.export.exported_program import ExportedProgram

        model = self.model
        return ExportedProgram(
            path, outputs=model.outputs, image_size=model.image_size, embedding_size=model.embedding_size
        )
