"""Names the first file or folder of a command that is not there, before anything slow is imported to look for it."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from transface.cli.config.command_line import key_of
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
    "verify.root": "no data at {}, which verify.root names: docs/evaluation.md says what each protocol reads",
    "protocol.root": "no data at {}, which protocol.root names: docs/evaluation.md says what each protocol reads",
    "data.root": "no data at {}, which data.root names: docs/data.md lists the folders, packs and lists that are read",
    "world": "no data at {}, which world names: 'transface synthesize kind=world root={}' draws a made-up one",
    "resume": "no checkpoint at {}: give a run folder, a folder of runs/<name>/checkpoints, or a .ckpt file",
}
# Looked for only where the command line gives them, for what stands by default may be of no use to a run; and where a
# part of ours reads them, for another may fetch what is not there.
IF_GIVEN = ("data.root", "protocol.root", "verify.root", "world")
VERBS = {
    "evaluate": ("checkpoint", "protocol.file", "protocol.files", "protocol.root"),
    "train": ("data.root", "world", "protocol.root", "resume"),
    "embed": ("checkpoint", "points", "detector"),
    "compare": ("checkpoint", "first", "second", "result", "detector"),
    "search": ("checkpoint", "gallery", "query", "result", "points", "detector"),
    "predict": ("checkpoint", "points", "detector"),
    "align": ("detector",),
    "demo": ("checkpoint",),
    "export": ("checkpoint", "verify.root"),
}
NO_PATH = re.compile(r"^hf:|://|[*{]")  # of a hub, of another machine, or of several files
WORDS = ("pixels", "true", "false", "auto")


def refuse_absent(cfg: DictConfig, verb: str, given: Sequence[str] = ()) -> None:
    """Raise where a key that names something to read names nothing that is there; `given` are the words of the command
    line.

    Raises:
        FileNotFoundError: with what was expected.
    """
    is_plain = verb == "align" or (verb == "embed" and not str(cfg.images).endswith((".bin", ".rec")))
    if is_plain and not (Path(cfg.images) / "train.rec").is_file():
        list_images(cfg.images)
    if cfg.get("threshold") is not None and cfg.get("result") is not None:
        return  # what is wrong with those together is told first
    if cfg.get("plan"):
        return  # a run that is not made reads nothing
    keys_given = {key_of(word) for word in given}
    for key in VERBS.get(verb, ()):
        if key in IF_GIVEN and (key not in keys_given or not _is_read_by_us(cfg, key)):
            continue
        if key in ("first", "second") and cfg.points is not None:
            continue
        for value in _values(OmegaConf.select(cfg, key, throw_on_missing=False)):
            if value.lower() in WORDS or (verb == "export" and value.endswith(".onnx")):
                continue
            if key == "detector":
                value = value.partition(":")[2] or "."
            if not NO_PATH.search(value) and not Path(value).exists():
                raise FileNotFoundError(EXPECTED[key].replace("{}", value))


def _is_read_by_us(cfg: DictConfig, key: str) -> bool:
    target = OmegaConf.select(cfg, f"{key.partition('.')[0]}._target_", throw_on_missing=False)
    return key == "world" or target is None or str(target).startswith("transface.")


def _values(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, ListConfig):
        yield from (entry for entry in value if isinstance(entry, str))
