"""Names the first file or folder of a command that is not there, before anything slow is imported to look for it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from transface.images.files import list_images

# What a key names, in the words of what reads it.
EXPECTED = {
    "checkpoint": (
        "no model at {}: expected a run folder, a checkpoint, an exported folder, an .onnx file or released weights"
    ),
    "result": "no result file {}",
    "points": "no file of points {}",
    "first": "no image at {}",
    "second": "no image at {}",
    "gallery": "no picture, folder or file of embeddings at {}",
    "query": "no picture, folder or file of embeddings at {}",
    "detector": "no detector at {}",
    "protocol.file": "no file {}",
    "protocol.files": "no pair set {}: protocol.files names .bin files",
}
VERBS = {
    "evaluate": ("checkpoint", "protocol.file", "protocol.files"),
    "embed": ("checkpoint", "points", "detector"),
    "compare": ("checkpoint", "first", "second", "result", "detector"),
    "search": ("checkpoint", "gallery", "query", "result", "points", "detector"),
    "predict": ("checkpoint", "points", "detector"),
    "align": ("detector",),
    "demo": ("checkpoint",),
    "export": ("checkpoint",),
}
NO_PATH = re.compile(r"^hf:|://|[*{]")  # of a hub, of another machine, or of several files
WORDS = ("pixels",)


def refuse_absent(cfg: DictConfig, verb: str) -> None:
    """Raise where a key that names something to read names nothing that is there.

    Raises:
        FileNotFoundError: with what was expected.
    """
    is_plain = verb == "align" or (verb == "embed" and not str(cfg.images).endswith((".bin", ".rec")))
    if is_plain and not (Path(cfg.images) / "train.rec").is_file():
        list_images(cfg.images)
    if cfg.get("threshold") is not None and cfg.get("result") is not None:
        return  # what is wrong with those together is told first
    for key in VERBS.get(verb, ()):
        if key in ("first", "second") and cfg.points is not None:
            continue
        for value in _values(OmegaConf.select(cfg, key, throw_on_missing=False)):
            if value in WORDS or (verb == "export" and value.endswith(".onnx")):
                continue
            if key == "detector":
                value = value.partition(":")[2] or "."
            if not NO_PATH.search(value) and not Path(value).exists():
                raise FileNotFoundError(EXPECTED[key].format(value))


def _values(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, ListConfig):
        yield from (entry for entry in value if isinstance(entry, str))
