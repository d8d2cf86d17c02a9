"""`transface evaluate`: one checkpoint, one protocol: a table on the screen and a result file a set."""

import dataclasses
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from transface.artifacts import code_commit
from transface.cli.config.compose import instantiate, plain, run_verb
from transface.cli.config.errors import UserError
from transface.cli.config.model_options import (
    checkpoint_hash,
    chosen_device,
    open_model,
    refuse_unread,
    refuse_unread_of_protocol,
)
from transface.cli.runs.fitting_protocols import fitting_protocols
from transface.cli.runs.run_folder import run_name
from transface.cli.runs.trained_images import refuse_trained
from transface.cli.screen import print_results

PIXELS = "pixels"
HERE = Path("results")


class Subject(NamedTuple):
    """What is evaluated: a network, what tables call it, the file it comes from and that file's hash, and the config of
    its training where that is known.
    """

    backbone: Any
    label: str
    path: str
    digest: str
    trained: Mapping[str, Any] = {}


def main(argv: list[str]) -> int:
    """Run `transface evaluate` with overrides."""
    run_verb("evaluate", argv, evaluate)
    return 0


def evaluate(cfg: DictConfig) -> None:
    """Evaluate the checkpoint, print the table, write the results."""
    from transface.evaluation.embedding.embedder import Embedder
    from transface.evaluation.protocol import run_protocol, stamped
    from transface.evaluation.recognition.pair_sets import PairSets
    from transface.evaluation.results import write_result
    from transface.evaluation.runner import answering, require_outputs

    refuse_unread_of_protocol(cfg.protocol)
    if (cfg.protocol.get("seed") or 0) < 0:
        raise UserError(f"protocol.seed must be 0 or more, got {cfg.protocol.seed}")
    protocol = instantiate(cfg.protocol)
    if cfg.checkpoint == PIXELS:
        refuse_unread({"cache"}, "raw pixels take no network, and none of them are kept")
    if getattr(protocol, "quality", None) == "tokens":
        refuse_unread({"cache"}, "the tokens of every face are rated, which no kept embedding holds")
    if isinstance(protocol, PairSets) and not protocol.files and cfg.checkpoint != PIXELS:
        refuse_without_protocol(cfg)
    protocol.prepare()
    subject = open_subject(cfg)
    if hasattr(protocol, "check_images"):  # of faces, to be embedded
        require_outputs(subject.backbone, ["embedding"])
        protocol.check_images(tuple(answering(subject.backbone, ["embedding"]).image_size))
    refuse_trained(protocol, plain(cfg.protocol), subject.trained)
    folder = results_folder(cfg)
    folder.mkdir(parents=True, exist_ok=True)
    embedder = Embedder(
        subject.backbone,
        device=chosen_device(cfg.device),
        batch_size=cfg.batch_size,
        num_workers=cfg.num_workers,
        precision=cfg.precision,
        cache=cfg.cache,
        checkpoint_hash=subject.digest,
        model_settings={name: cfg[name] for name in ("averaged", "num_heads", "channels")}
        | range_setting(subject.backbone)
        | keypoint_setting(cfg),
    )
    results = stamped(
        run_protocol(protocol, embedder),
        label=subject.label,
        checkpoint=subject.path,
        config=plain(cfg),
        commit=code_commit() or "",
    )
    if cfg.checkpoint == PIXELS:
        results = [dataclasses.replace(result, role="baseline") for result in results]
    folder = unmixed_folder(folder, results, named_after=checkpoint_name(cfg.checkpoint, subject.label))
    paths = [write_result(result, folder) for result in results]
    print_results(results)
    print(f"results: {', '.join(str(path) for path in paths)}")


def refuse_without_protocol(cfg: DictConfig) -> None:
    """Raise UserError where no protocol was chosen and the model answers other things than an embedding, naming the
    protocols for them.
    """
    model = open_model(cfg)
    if all(output.kind == "embedding" for output in model.outputs.values()):
        return
    nothing = "" if "embedding" in model.outputs else " and gives no embedding of faces"
    raise UserError(
        f"{cfg.checkpoint} answers {', '.join(model.outputs)}{nothing}: give"
        f" {' or '.join(fitting_protocols(model.outputs, trained_config(str(cfg.checkpoint), model)))}"
    )


def keypoint_setting(cfg: DictConfig) -> dict[str, str]:
    """Return where key points come from, by which cached embeddings are keyed; nothing of the template."""
    from transface.inference.keypoints import setting_of

    found = setting_of(cfg.keypoints_from)
    return {"keypoints": found} if found else {}


def range_setting(backbone: Any) -> dict[str, str]:
    """Return the range of images that an ONNX file of elsewhere takes, by which its cached embeddings are keyed."""
    found = str(getattr(backbone, "input_range", "[-1,1]"))
    return {} if found == "[-1,1]" else {"input_range": found}


def open_subject(cfg: DictConfig) -> Subject:
    """Return the model that `checkpoint` names, or the raw pixels."""
    if cfg.checkpoint == PIXELS:
        from transface.evaluation.embedding.pixel_baseline import PixelBackbone
        from transface.inference.face_model import usable_device

        usable_device(chosen_device(cfg.device))
        return Subject(PixelBackbone(), cfg.name or "raw pixels", "", "")
    model = open_model(cfg)
    return Subject(
        model.backbone,
        cfg.name or run_name(Path(cfg.checkpoint)),
        str(cfg.checkpoint),
        checkpoint_hash(cfg.checkpoint),
        trained_config(str(cfg.checkpoint), model),
    )


def trained_config(checkpoint: str, model: Any) -> Mapping[str, Any]:
    """Return the config of a model's training: that which a checkpoint of ours holds, else the recipe of an exported
    folder, which names no folders; {} where neither is there.
    """
    from transface.backbones.weights.files import trainer_file
    from transface.training.checkpoints.reader import read_checkpoint

    path = Path(checkpoint)
    file = trainer_file(path) if path.is_dir() else path if path.suffix == ".ckpt" else None
    if file is not None and zipfile.is_zipfile(file):
        found = (read_checkpoint(file).get("transface") or {}).get("config")
        if found and isinstance(found, Mapping):
            return found
    return dict(model.provenance.get("recipe") or {})


def results_folder(cfg: DictConfig) -> Path:
    """Return where results go."""
    if cfg.output is not None:
        return Path(cfg.output)
    path = Path(cfg.checkpoint)
    for folder in (path, *path.parents):
        if (folder / "checkpoints").is_dir() and (folder / "config.yaml").is_file():
            return folder / "results"
    return HERE


def checkpoint_name(checkpoint: str, label: str) -> str:
    """Return what a folder of results is called after: the checkpoint's own folder in a run (step-000100), else the
    label.
    """
    from transface.backbones.weights.files import trainer_file

    path = Path(checkpoint)
    found = trainer_file(path) if path.is_dir() else path if path.is_file() else None
    name = found.resolve().parent.name if found is not None else ""
    return name if name.startswith("step-") else label


def unmixed_folder(folder: Path, results: Sequence[Any], *, named_after: str) -> Path:
    """Return the folder, or one below it named after the model where it holds results of the same names by another
    model.
    """
    if all(may_be_written(folder / f"{result.stem}.json", result) for result in results):
        return folder
    found = results[0].provenance
    label = "".join(c if c.isalnum() or c in "-._" else "-" for c in named_after)
    return folder / (f"{label}-{found.checkpoint_hash[:8]}" if found.checkpoint_hash else label)


def may_be_written(path: Path, result: Any) -> bool:
    """Return whether a result may go into this folder: there is none of its name, or it is of the same weights."""
    from transface.evaluation.results import read_result

    try:
        return not path.exists() or read_result(path).is_of_model_of(result)
    except ValueError:
        return False
