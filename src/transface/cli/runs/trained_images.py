"""Refuses to measure on images that were trained on: a protocol may deal the images of a set to other splits than the
training did.
"""

import inspect
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hydra
from hydra.errors import InstantiationException

from transface.cli.config.compose import instantiate
from transface.cli.config.errors import UserError, one_line
from transface.cli.runs.changed_settings import changed_dealing, pasteable

log = logging.getLogger(__name__)
OF_TRAINING = ("train", "trainval", "all")  # who asks for these splits means images of the training


class DealtSet(NamedTuple):
    """A set whose images are dealt to splits, and the settings by which: where they stand in a config, and the part."""

    home: str
    settings: Mapping[str, Any]
    part: Any = None

    @property
    def root(self) -> Path:
        """The folder or list of the set."""
        return Path(str(self.settings["root"]))

    @property
    def split(self) -> str:
        """Which images are taken."""
        return str(self.settings.get("split") or "train")


def refuse_trained(
    protocol: Any,
    asked: Mapping[str, Any],
    trained: Mapping[str, Any],
    *,
    who: str = "the checkpoint",
    names_in: Callable[[DealtSet], Sequence[str]] | None = None,
) -> None:
    """Raise where a protocol would measure on images of the training, and warn where it deals them otherwise.

    Args:
        protocol: prepared.
        asked: its config.
        trained: the config of the training.
        who: was trained, for the message.
        names_in: the names of the images of a set that is open already; None: the set is opened.

    Raises:
        UserError: naming an image, the settings that differ, and what to give.
    """
    sets = sets_of_training(trained)
    for measured in sets_of_protocol(protocol, asked):
        for own in sets:
            if (found := _same_set(own, measured)) is not None:
                _compare(measured, own, found, who=who, names_in=names_in or _opened_names)


def sets_of_training(config: Mapping[str, Any]) -> list[DealtSet]:
    """Return the sets that a config trains on: that of `data`, or those of each task."""
    data = config.get("data")
    if not isinstance(data, Mapping):
        return []
    sets = data.get("sets")
    nodes = (
        {"data": data} | {f"data.sets.{name}": own for name, own in sets.items()}
        if isinstance(sets, Mapping)
        else {"data": data}
    )
    return [
        DealtSet(home, _with_defaults(node))
        for home, node in nodes.items()
        if isinstance(node, Mapping) and isinstance(node.get("root"), str) and "_target_" in node
    ]


def sets_of_protocol(protocol: Any, asked: Mapping[str, Any], home: str = "protocol") -> Iterator[DealtSet]:
    """Yield the sets whose splits a protocol measures on; of several protocols those of each."""
    inner = getattr(protocol, "protocols", None)
    if isinstance(inner, Mapping):
        for name, own in inner.items():
            node = (asked.get("protocols") or {}).get(name) or {}
            yield from sets_of_protocol(own, node, f"{home}.protocols.{name}")
    elif hasattr(protocol, "image_names") and isinstance(asked.get("root"), str):
        yield DealtSet(home, _with_defaults(asked), protocol)


def _with_defaults(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a node with those that its `_target_` has by default."""
    try:
        parameters = inspect.signature(hydra.utils.get_object(str(node["_target_"]))).parameters
    except Exception:  # of an older version, or of a package that is not here
        return dict(node)
    known = {name: one.default for name, one in parameters.items() if one.default is not inspect.Parameter.empty}
    return known | dict(node)


def _same_set(trained: DealtSet, measured: DealtSet) -> Path | None:
    """Return where the set of a training is to be opened to compare it with one that is measured on, None where they
    have nothing to do with each other.

    A set of the same name counts as the same, for it may have been moved since; so does a list inside a folder.
    """
    own, other = trained.root, measured.root
    if own.exists() and own.resolve() != other.resolve():
        own_folder, other_folder = (path.resolve() if path.is_dir() else path.resolve().parent for path in (own, other))
        inside = own_folder.is_relative_to(other_folder) or other_folder.is_relative_to(own_folder)
        return own if inside or own.name == other.name else None
    return other if own.name == other.name or own.exists() else None


def _compare(
    measured: DealtSet,
    trained: DealtSet,
    root: Path,
    *,
    who: str,
    names_in: Callable[[DealtSet], Sequence[str]],
) -> None:
    same_root = root == measured.root
    changed = changed_dealing(trained.settings, measured.settings)
    if same_root and not changed and trained.split in ("train", measured.split):
        return
    try:
        names = names_in(trained._replace(settings={**trained.settings, "root": str(root)}))
    except (InstantiationException, ValueError, OSError, TypeError) as error:
        log.warning(
            "it is not known whether images of %s were trained on: the set of %s cannot be opened (%s)",
            measured.root,
            who,
            one_line(str(error))[:200],
        )
        return
    tested = measured.part.image_names()
    known = {_key(name, root, measured.root) for name in names}
    shared = [name for name in tested if _key(name, measured.root, root) in known]
    told = {
        name: (f"{trained.home}.{name}={pasteable(old)}", f"{measured.home}.{name}={pasteable(new)}")
        for name, (old, new) in changed.items()
    }
    others = " and ".join(now for _, now in told.values())
    before = ", ".join(old for old, _ in told.values())
    count = f"{len(shared)} of the {len(tested)} images of {measured.split} in {measured.root}"
    if not shared or measured.split in OF_TRAINING:
        if changed:
            log.warning(
                "%s: %s was trained with %s; %s were trained on",
                others,
                who,
                before,
                count if shared else f"none of the {len(tested)} images measured on",
            )
        return
    if root.name != measured.root.name:
        why, advice = f"{who} was trained on {root}, which has them too", f"{measured.home}.root={root}"
    elif changed:
        why = f"{others} {'deals' if len(told) == 1 else 'deal'} others to it than {who}'s {before}"
        advice = " ".join(f"{measured.home}.{name}={pasteable(old)}" for name, (old, _) in changed.items())
    else:
        why, advice = f"{who} was trained on {trained.home}.split={trained.split}", f"{measured.home}.split=test"
    raise UserError(
        f"{count} were trained on, such as {shared[0]}: {why}; give {advice}, or {measured.home}.split=train to measure"
        " on images of the training"
    )


def _key(name: str, root: Path, other: Path) -> str:
    """Return what an image is known by in two roots: its path, or below roots that are copies of each other its path
    inside and its size.
    """
    whole = os.path.abspath(name)
    if root == other or root.name != other.name:
        return whole
    size = os.path.getsize(name) if os.path.isfile(name) else ""
    return f"{os.path.relpath(whole, os.path.abspath(root))} {size}"


def _opened_names(trained: DealtSet) -> list[str]:
    """Return the names of the images that a training's own part of `data` trains on."""
    settings = {name: value for name, value in trained.settings.items() if name != "order"}
    made = instantiate(settings)
    if settings.get("_partial_"):
        made = made(image_size=112)
    return names_of_data(made)


def names_of_data(data: Any) -> list[str]:
    """Return the names of the images of a TrainingData."""
    source = data.dataset.source
    return [source.name(place) for place in range(len(source))]
