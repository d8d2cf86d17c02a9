"""Models of the Hugging Face Hub by name, `hf:org/name@revision`: downloaded once, then read from the Hub's cache,
offline too.
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download

log = logging.getLogger(__name__)
PREFIX = "hf:"
NAME = re.compile(r"^hf:(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[\w./-]+?))?(?::(?P<file>[^:]+))?$")
PLAIN = ("config.json", "*.safetensors")
OTHERS = ("*.onnx", "*.pt", "*.pth", "*.ckpt")
WHOLE = ("config.json", "model.safetensors")


def is_hub_name(path: str | Path) -> bool:
    """Return whether a path names a model of the Hub."""
    return str(path).startswith(PREFIX)


def local_path(path: str | Path) -> Path:
    """Return where a model lies on this machine: `path` itself, or the folder or file of the Hub's cache that it names.

    `hf:org/name` is the newest revision, `hf:org/name@REVISION` one that stays (a commit, a tag), and
    `hf:org/name@REVISION:FILE` one file of it. With HF_HUB_OFFLINE=1 the cache alone is asked.

    Raises:
        ValueError: for a name that is none, one that cannot be had, or a repository in which the model is not clear.
    """
    if not is_hub_name(path):
        return Path(path)
    found = NAME.match(str(path))
    if found is None:
        raise ValueError(
            f"{path} is no name of a model of the Hub: hf:org/name, hf:org/name@REVISION or hf:org/name@REVISION:FILE"
        )
    repo, revision, file = found["repo"], found["revision"], found["file"]
    if file is not None:
        target = _snapshot(path, repo, revision, [file]) / file
        if not target.is_file():
            raise ValueError(f"{repo} has no file {file}")
        return target
    folder = _snapshot(path, repo, revision, PLAIN)
    if revision is None:
        log.warning("%s is revision %s now: hf:%s@%s stays as it is", path, folder.name, repo, folder.name)
    if all((folder / name).is_file() for name in WHOLE):
        return folder
    weights = _weights(folder, PLAIN[1:])
    if not weights:
        folder = _snapshot(path, repo, revision, OTHERS)
        weights = _weights(folder, OTHERS)
    if len(weights) != 1:
        listed = ", ".join(str(one.relative_to(folder)) for one in weights) or "none"
        raise ValueError(
            f"{repo} must hold one file of weights, or {' and '.join(WHOLE)}; it holds {listed}:"
            f" hf:{repo}{'' if revision is None else '@' + revision}:FILE names one"
        )
    return weights[0]


def _snapshot(path: str | Path, repo: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """Return the folder of the cache that holds what matches of a repository."""
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(patterns)))
    except Exception as error:  # the Hub's, requests' and httpx's own
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{path} cannot be had from the Hugging Face Hub: {said}; with HF_HUB_OFFLINE=1 only what was had before is"
            " opened"
        ) from error


def _weights(folder: Path, patterns: Sequence[str]) -> list[Path]:
    return sorted({file for pattern in patterns for file in folder.rglob(pattern)})
