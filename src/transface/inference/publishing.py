"""Writes a model as a folder to publish: model.safetensors, config.json, and a card that states data, licences, recipe,
results.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from transface.artifacts import replace_folder
from transface.evaluation.results import Result
from transface.inference.face_model import CONFIG_FILE, WEIGHTS_FILE, FaceModel
from transface.inference.model_card import model_card

CARD = "README.md"


def publish(
    model: FaceModel,
    folder: str | Path,
    *,
    training_data: str | None = None,
    data_licence: str | None = None,
    licence: str | None = None,
    results: Sequence[Result] = (),
    overwrite: bool = False,
) -> Path:
    """Write the folder, whole or not at all, and return its path; `transface.load` and `FaceModel.from_pretrained` open
    it.

    `FaceModel.push_to_hub` sends the same files. The arguments are those of `model_card`.

    Raises:
        FileExistsError: if there is such a folder already and it is not to be overwritten, or it holds anything but a
            published model.
        ValueError: if the backbone cannot be built from plain values (an ONNX file).
    """
    folder = Path(folder)
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder} is there already: choose another output, or overwrite=true")
    if folder.exists():
        refuse_other_content(folder)
    writing = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(writing, ignore_errors=True)
    try:
        text = model_card(
            model.config(),
            model.provenance,
            name=folder.name,
            training_data=training_data,
            data_licence=data_licence,
            licence=licence,
            results=results,
        )
        writing.mkdir(parents=True)
        (writing / CARD).write_text(text, encoding="utf-8")
        model.save_pretrained(writing)
        replace_folder(writing, folder)
    finally:
        shutil.rmtree(writing, ignore_errors=True)
    return folder


def refuse_other_content(folder: Path) -> None:
    """Raise FileExistsError unless a folder holds the files of a published model and no others: overwriting removes all
    that lies in it.
    """
    others = (
        [folder.name]
        if not folder.is_dir()
        else sorted(path.name for path in folder.iterdir() if path.name not in (CARD, CONFIG_FILE, WEIGHTS_FILE))
    )
    if others:
        raise FileExistsError(
            f"{folder} is no published model, it holds {others[0]}: overwrite=true replaces such a model alone, choose"
            " another output"
        )
