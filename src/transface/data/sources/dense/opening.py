"""Opens photographs with points or regions, of the form given or found by its look."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, get_args

from transface.data.crops.dense_set import DenseSet
from transface.data.sources.dense.checks import checked
from transface.data.sources.dense.hrnet_lists import read_hrnet_lists
from transface.data.sources.dense.matlab_sets import read_aflw, read_cofw
from transface.data.sources.dense.parsing_sets import read_celebamask_hq, read_lapa, read_lfw_parts
from transface.data.sources.dense.pts_files import is_points_file, read_pts_files
from transface.data.sources.dense.wflw_lists import LIST_FOLDERS, NAMES, read_wflw_lists, wflw_lists
from transface.data.sources.unnamed_images import tell_unnamed
from transface.images.files import files_below, folders_in

DenseForm = Literal["300w", "wflw", "cofw", "aflw", "pts", "celebamask_hq", "lapa", "lfw_parts"]
_READERS: Mapping[str, Callable[[Path], DenseSet]] = {
    "300w": lambda root: read_hrnet_lists(root, "300w"),
    "wflw": lambda root: read_wflw_lists(root) if wflw_lists(root) else read_hrnet_lists(root, "wflw"),
    "cofw": read_cofw,
    "aflw": read_aflw,
    "pts": read_pts_files,
    "celebamask_hq": read_celebamask_hq,
    "lapa": read_lapa,
    "lfw_parts": read_lfw_parts,
}


def open_dense(root: str | Path, form: DenseForm | None = None) -> DenseSet:
    """Return the photographs at `root`, with their points or regions.

    Raises:
        FileNotFoundError: nothing is there, or a file of the form is missing.
        ValueError: another form, or none that is known; what checks.py refuses.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: give one in the form of {', '.join(get_args(DenseForm))}")
    found = form or form_of(root)
    if found not in _READERS:
        raise ValueError(f"form must be one of {', '.join(get_args(DenseForm))} or null, got {found!r}")
    opened = checked(_READERS[found](root), root)
    if opened.encoded is None:
        tell_unnamed(root, opened.root, opened.paths)
    return opened


# What a folder of each form holds, one or the other; the first that is there.
_MARKS: Mapping[str, tuple[str, ...]] = {
    "300w": ("face_landmarks_300w_*.csv",),
    "wflw": ("face_landmarks_wflw_*.csv", *(f"{folder}/{NAMES}" for folder in LIST_FOLDERS)),
    "cofw": ("COFW_*_color.mat",),
    "aflw": ("AFLWinfo_release.mat",),
    "celebamask_hq": ("CelebAMask-HQ-mask-anno",),
    "lapa": ("*/landmarks",),
    "lfw_parts": ("parts_lfw_funneled_gt_images",),
}


def form_of(root: Path) -> str:
    """Return the form of a folder by what lies in it.

    Raises:
        ValueError: if it is none of those known.
    """
    found = _form_at(root) or ("pts" if any(is_points_file(name) for name in files_below(root)) else None)
    if found is None:
        raise ValueError(
            f"{root} holds no points or regions of a known form: {', '.join(get_args(DenseForm))}{_near(root)}"
        )
    return found


def _form_at(root: Path) -> str | None:
    return next((form for form, marks in _MARKS.items() if any(any(root.glob(mark)) for mark in marks)), None)


def _near(root: Path) -> str:
    """Return a hint where the folder in or above a root has a known form, as archives have a folder of their own."""
    for folder in folders_in(root):
        if (form := _form_at(folder)) is not None:
            return f"; {folder.name} in it has that of {form}: give that folder"
    form = _form_at(root.absolute().parent)
    return "" if form is None else f"; {root.absolute().parent} has that of {form}: give the folder above"
