"""`transface checks`: what is installed here, which devices and data sets there are, and what is missing for which
verb.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from transface.artifacts import code_commit, package_versions
from transface.images.files import folders_in

NAMED = 12  # data sets on the screen of one folder
GIB = 2**30


class Missing(NamedTuple):
    """What cannot be done here for want of packages, and the command that installs them."""

    what: str
    packages: tuple[str, ...]
    install: str


# Optional packages by the module that is imported: what needs them, and how they are installed.
OPTIONAL: tuple[Missing, ...] = (
    Missing("export format=onnx", ("onnx", "onnxscript", "onnxruntime"), "pip install 'transface[export]'"),
    Missing("checkpoint=FILE.onnx, detector=scrfd:FILE.onnx", ("onnxruntime",), "pip install 'transface[export]'"),
    Missing("detector=yunet:FILE.onnx", ("cv2",), "pip install 'transface[detect]'"),
    Missing(
        "detector=mtcnn",
        ("facenet_pytorch", "requests"),
        "pip install --no-deps facenet-pytorch==2.6.0; pip install requests",
    ),
    Missing("train backbone=lora", ("peft",), "pip install 'transface[models]'"),
    Missing("search engine=faiss (engine=exact needs nothing)", ("faiss",), "pip install 'transface[models]'"),
    Missing(
        "train sweep=optuna",
        ("optuna",),
        "pip install 'transface[cluster]'",
    ),
    Missing(
        "train hydra/launcher=slurm",
        ("submitit", "hydra_plugins.hydra_submitit_launcher"),
        "pip install 'transface[cluster]'",
    ),
    Missing("demo", ("gradio",), "pip install 'transface[demo]'"),
    Missing("train logger=wandb", ("wandb",), "pip install wandb"),
    Missing("train logger=mlflow", ("mlflow",), "pip install mlflow"),
)


def main(argv: list[str]) -> int:
    """Run `transface checks`; return 1 where a package that every verb needs is missing, else 0."""
    parser = argparse.ArgumentParser(prog="transface checks", description=(__doc__ or "").replace("`", ""))
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder to look for data sets in")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs, for its free disk")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    given = parser.parse_args(argv)
    found = checks(given.data, given.runs)
    print(json.dumps(found, indent=1) if given.json else as_text(found))
    return 1 if found["required_missing"] else 0


def checks(data: Path, runs: Path) -> dict[str, Any]:
    """Return all that is found, as plain values."""
    missing = [entry for entry in OPTIONAL if not all(has_module(name) for name in entry.packages)]
    return {
        "versions": {"python": platform.python_version(), **package_versions(), "commit": code_commit()},
        "required_missing": required_missing(),
        "devices": devices(),
        "data": {"folder": str(data), "exists": data.is_dir(), "sets": data_sets(data) if data.is_dir() else []},
        "disk": {str(folder): free_disk(folder) for folder in (data, runs)},
        "missing": [
            {
                "what": entry.what,
                "packages": [name for name in entry.packages if not has_module(name)],
                "install": entry.install,
            }
            for entry in missing
        ],
    }


def has_module(name: str) -> bool:
    """Return whether a module can be found, without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def required_missing() -> list[str]:
    """Return what the package's own metadata requires and this environment lacks, or has too old."""
    try:
        from packaging.requirements import Requirement

        wanted = [Requirement(line) for line in importlib.metadata.requires("transface") or []]
    except (
        importlib.metadata.PackageNotFoundError,
        ImportError,
    ):  # a checkout on PYTHONPATH: nothing says what it needs
        return []
    found = []
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{requirement} (not installed)")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            found.append(f"{requirement} ({version} is installed)")
    return found


def devices() -> list[dict[str, Any]]:
    """Return the processors that a model can run on, each with its memory in GiB."""
    import torch

    from transface.backbones.parts.precision import multiplies_bfloat16

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found: list[dict[str, Any]] = [
        {
            "device": "cpu",
            "name": f"{platform.machine()}, {cores} cores",
            "memory_gib": total_memory(),
            "bfloat16": multiplies_bfloat16(torch.device("cpu")),
        }
    ]
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        found.append(
            {
                "device": f"cuda:{index}",
                "name": about.name,
                "memory_gib": round(about.total_memory / GIB, 1),
                "bfloat16": multiplies_bfloat16(torch.device("cuda", index)),
            }
        )
    return found


def total_memory() -> float | None:
    """Return the memory of this machine in GiB, None where it does not say."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1)
    except (AttributeError, OSError, ValueError):
        return None


def free_disk(folder: Path) -> float:
    """Return the free space in GiB where a folder is or would be made."""
    here = folder.resolve()
    while not here.exists():
        here = here.parent
    return round(shutil.disk_usage(here).free / GIB, 1)


def data_sets(folder: Path) -> list[dict[str, str]]:
    """Return the data sets of a folder, itself and two levels down, each with its kind and the setting that takes
    it.
    """
    found = []
    own = folders_in(folder)
    below = [entry for one in own for entry in folders_in(one)]
    for place in (folder, *own, *below):
        found += [{"path": str(place), "kind": kind, "use": use.format(place)} for kind, use in kinds_of(place)]
    return found


def kinds_of(folder: Path) -> list[tuple[str, str]]:
    """Return what a folder holds, as (kind, how it is used), told by the names of its files alone."""
    found = []
    if (folder / "train.rec").is_file():
        people = (
            (folder / "property").read_text(encoding="utf-8").split(",")[0] if (folder / "property").is_file() else "?"
        )
        found.append((f"InsightFace pack of {people.strip()} people", "train data.root={}"))
    if sets := sorted(path.name for path in folder.glob("*.bin")):
        found.append(
            (f"pair sets {', '.join(sets)}", "evaluate protocol=pair_sets protocol.files=[{}/" + sets[0] + "]")
        )
    for name in ("ijbb", "ijbc"):
        if (folder / "meta" / f"{name}_face_tid_mid.txt").is_file():
            found.append((f"IJB-{name[-1].upper()}", f"evaluate protocol={name} protocol.root={{}}"))
    if (folder / "list_attr_celeba.txt").is_file() or (folder / "list_attr_celeba.csv").is_file():
        found.append(("attributes in CelebA's form", "train experiment=mzts/celeba data.root={}"))
    return found


def as_text(found: dict[str, Any]) -> str:
    """Return what `transface checks` prints."""
    versions = ", ".join(f"{name} {value}" for name, value in found["versions"].items() if value)
    lines = ["Versions", f"  {versions}", "Devices"]
    for device in found["devices"]:
        precision = "multiplies bfloat16" if device["bfloat16"] else "no bfloat16 in hardware"
        memory = "" if device["memory_gib"] is None else f", {device['memory_gib']} GiB"
        lines.append(f"  {device['device']}: {device['name']}{memory}, {precision}")
    data = found["data"]
    lines.append("Data")
    if not data["exists"]:
        lines.append(f"  no folder {data['folder']}: data/README.md says what goes there; --data names another")
    elif not data["sets"]:
        lines.append(
            f"  nothing known in {data['folder']}: 'transface synthesize root={data['folder']}/demo' makes a set"
        )
    lines += [f"  {one['path']}: {one['kind']} ({one['use']})" for one in data["sets"][:NAMED]]
    if len(data["sets"]) > NAMED:
        lines.append(f"  and {len(data['sets']) - NAMED} more (--json lists all)")
    lines += ["Free disk", *(f"  {folder}: {space} GiB" for folder, space in found["disk"].items())]
    if found["required_missing"]:
        lines += ["Needed by every verb and missing", *(f"  {line}" for line in found["required_missing"])]
    lines.append("Missing" if found["missing"] else "Nothing is missing for any verb.")
    for one in found["missing"]:
        lines.append(f"  {one['what']}: no {', '.join(one['packages'])}; {one['install']}")
    return "\n".join(lines)
