"""`transface predict`: what a model answers about one photograph, a folder of them or a pack, by name."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from transface.cli.config.compose import plain, run_verb
from transface.cli.config.errors import UserError
from transface.cli.config.model_options import (
    images_from_words,
    open_model,
    points_by_picture,
    points_of,
    refuse_unread_of_pictures,
    telling_replaced,
)
from transface.progress import working

SHOWN = 20  # pictures on the screen where nothing is written


def main(argv: list[str]) -> int:
    """Run `transface predict PHOTO|FOLDER checkpoint=...`; return 1 where a picture failed."""
    argv = ["json=true" if word == "--json" else word for word in argv]
    return int(run_verb("predict", images_from_words("predict", argv), predict) or 0)


def predict(cfg: DictConfig) -> int:
    """Print or write the answers; return 1 where a picture failed, else 0."""
    if cfg.output is not None and Path(cfg.output).suffix not in (".json", ".parquet"):
        raise UserError(f"output must end in .json or .parquet, got {cfg.output}")
    if not Path(cfg.images).exists():
        raise FileNotFoundError(f"no picture, folder or pack at {cfg.images}")
    refuse_unread_of_pictures(cfg)
    for key in ("outputs", "labels"):
        value = plain(cfg[key])
        if value is not None and (not isinstance(value, list) or not value):
            raise UserError(f"{key} must be a list of names, [a,b], got {value!r}")
    from transface.data.sources.picture_list import open_pictures
    from transface.images.detectors.opening import open_detector
    from transface.images.files import ImageList, require_utf8
    from transface.inference.predict import predict_pictures
    from transface.inference.predictions_file import (
        as_json,
        refuse_one_name,
        regions_folder,
        write_overlay,
        write_predictions,
    )

    listed = open_pictures(cfg.images)
    if isinstance(listed, ImageList):  # those that the last run has written are no photographs
        if cfg.overlay is not None and Path(cfg.overlay).resolve() == listed.root.resolve():
            raise UserError(f"overlay={cfg.overlay} is the folder of the pictures: name another")
        for folder in filter(None, (cfg.overlay, None if cfg.output is None else regions_folder(cfg.output))):
            listed = listed.outside(folder)
    if cfg.output is not None or cfg.overlay is not None:
        refuse_one_name(listed.names)
    if cfg.output is not None and Path(cfg.output).suffix == ".parquet":
        require_utf8(listed.names, kind="a .parquet file")
    pictures = [(name, listed.picture(name)) for name in listed.names]
    model = open_model(cfg)
    asked = {name: output for name, output in model.outputs.items() if cfg.outputs is None or name in cfg.outputs}
    picked([], plain(cfg.labels), asked)  # a label that is not answered is told before anything is read
    with working("predicting", len(pictures)) as progress:
        found = predict_pictures(
            model,
            pictures,
            points=points_by_picture(points_of(cfg), listed),
            detector=None if cfg.detector is None else open_detector(cfg.detector, device=model.device),
            faces=cfg.faces,
            outputs=plain(cfg.outputs),
            fit=cfg.fit,
            batch_size=cfg.batch_size,
            progress=progress,
        )
    chosen = picked(found, plain(cfg.labels), asked)
    if cfg.overlay is not None:
        for prediction, (_, picture) in zip(chosen, pictures, strict=True):
            if not prediction.error:
                write_overlay(prediction, picture, cfg.overlay, outputs=model.outputs)
    failed = [prediction for prediction in chosen if prediction.error]
    if cfg.output is not None:
        with telling_replaced(cfg.output):
            write_predictions(chosen, cfg.output)
    if cfg.json:
        print(json.dumps(as_json(chosen), indent=1, allow_nan=False))
    elif cfg.output is not None:
        told = f", {len(failed)} failed" if failed else ""
        print(f"{cfg.output}: {len(chosen) - len(failed)} pictures answered{told}")
    else:
        show(chosen, model.outputs)
    if failed and not cfg.json:
        for prediction in failed[:SHOWN]:
            print(f"failed: {prediction.image}: {prediction.error}")
        if len(failed) > SHOWN:
            print(f"... and {len(failed) - SHOWN} more failed")
    return 1 if failed else 0


def picked(found: Any, labels: list[str] | None, outputs: Any) -> Any:
    """Return predictions with the chosen labels alone of outputs that hold several at once.

    Raises:
        UserError: for a label that no output has.
    """
    if labels is None:
        return found
    known = [name for output in outputs.values() if output.kind == "several_of" for name in output.names]
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise UserError(f"labels: the model knows no {', '.join(unknown)}; it knows {', '.join(known) or 'no labels'}")

    def chosen(face: Any) -> Any:
        answers = {
            name: {label: value[label] for label in labels if label in value}
            if outputs[name].kind == "several_of"
            else value
            for name, value in face.outputs.items()
        }
        return face._replace(outputs=answers)

    return [prediction._replace(faces=[chosen(face) for face in prediction.faces]) for prediction in found]


def show(found: Any, outputs: Any) -> None:
    """Print the answers, a line an output."""
    from transface.inference.answers import answer_text

    for prediction in found[:SHOWN]:
        for place, face in enumerate(prediction.faces):
            print(prediction.image if len(prediction.faces) == 1 else f"{prediction.image}, face {place + 1}")
            for name, value in face.outputs.items():
                if outputs[name].kind == "several_of":
                    for label, probability in sorted(value.items(), key=lambda item: -item[1]):
                        print(f"  {label:<24}{100 * probability:5.1f} %")
                else:
                    print(f"  {name:<24}{answer_text(outputs[name], value)}")
    if len(found) > SHOWN:
        print(f"... and {len(found) - SHOWN} more pictures: output=answers.json writes all")
