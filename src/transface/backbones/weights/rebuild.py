"""Builds the network a checkpoint's config names, and nothing but a network of this package; gives back the config of
one built.

A checkpoint says how its network was made as a plain dict: `_target_` and keyword arguments. A file from anywhere must
not choose which code runs, so only backbones of transface.backbones and rebuildable networks of transface.systems are
called.
"""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from torch import nn

HOMES = ("transface.backbones.", "transface.systems.")
COMPOSITION_KEYS = {"_convert_", "_recursive_"}
STARTING_WEIGHTS = {"weights": None, "pretrained": False}
Kind = TypeVar("Kind", bound=type[nn.Module])


def rebuildable(kind: Kind) -> Kind:
    """Decorate a backbone's class so that each object keeps the arguments it was built with, for `config_of`."""
    initialise: Callable[..., None] = kind.__init__
    signature = inspect.signature(initialise)

    @functools.wraps(initialise)
    def remembering(self: nn.Module, *args: Any, **keywords: Any) -> None:
        initialise(self, *args, **keywords)
        if type(self) is kind:
            given = dict(list(signature.bind(self, *args, **keywords).arguments.items())[1:])
            for parameter in signature.parameters.values():
                if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                    given |= given.pop(parameter.name, {})
            object.__setattr__(self, "built_with", given)

    setattr(kind, "__init__", remembering)  # noqa: B010
    setattr(kind, "is_rebuildable", True)  # noqa: B010
    return kind


def config_of(backbone: nn.Module) -> dict[str, Any]:
    """Return the plain config from which `build_backbone` makes a backbone of the same architecture.

    Raises:
        ValueError: if the class of the backbone does not keep its arguments (see `rebuildable`).
    """
    kind = type(backbone)
    built_with = getattr(backbone, "built_with", None)
    if not isinstance(built_with, dict):
        raise ValueError(
            f"{kind.__module__}.{kind.__qualname__} does not say how it was built: decorate the class with @rebuildable"
        )
    target = f"{kind.__module__}.{kind.__qualname__}"
    return {"_target_": target} | {key: STARTING_WEIGHTS.get(key, _plain(value)) for key, value in built_with.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, nn.Module):
        return config_of(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise ValueError(
        "a backbone's argument must be a plain value, a list or a backbone to be written down, got"
        f" {type(value).__name__}"
    )


def build_backbone(config: Mapping[str, Any]) -> nn.Module:
    """Return a fresh backbone of the config `{"_target_": "transface.backbones.<file>.<name>", <keyword>: <value>,
    ...}`.

    Weights the run started from (`weights`, `pretrained`) are not looked up: those of the checkpoint replace them.

    Raises:
        ValueError: if the config names anything but a backbone of this package, or one that does not take the given
            keywords.

    Example:
        >>> config = {"_target_": "transface.backbones.face_vit.face_vit_t", "embed_dim": 32, "depth": 1}
        >>> build_backbone(config).embedding_size
        512
    """
    target = backbone_target(config.get("_target_") if isinstance(config, Mapping) else None)
    settings = {
        key: STARTING_WEIGHTS.get(key, value)
        for key, value in config.items()
        if key != "_target_" and key not in COMPOSITION_KEYS
    }
    odd = [key for key in settings if str(key).startswith("_")]
    if odd:
        raise ValueError(f"a backbone's config may hold _target_ and keyword arguments only, got {odd}")
    try:
        backbone = target(**{key: _built(value) for key, value in settings.items()})
    except TypeError as error:
        raise ValueError(f"{config['_target_']} cannot be built from {settings}: {error}") from error
    if not isinstance(backbone, nn.Module):
        raise ValueError(f"{config['_target_']} gave a {type(backbone).__name__}, expected a backbone (nn.Module)")
    return backbone


def backbone_target(name: Any) -> Any:
    """Return the class or function of that dotted name: of a file of transface.backbones, or a rebuildable network of
    transface.systems.

    Raises:
        ValueError: if it is neither.
    """
    homes = " or ".join(f"{home}*" for home in HOMES)
    refusal = (
        f"network {name!r} is not one of {homes}: build it yourself and hand it over (transface.load(path,"
        " backbone=...))"
    )
    home = next((home for home in HOMES if isinstance(name, str) and name.startswith(home)), None)
    if home is None or not all(word.isidentifier() for word in name.split(".")):
        raise ValueError(refusal)
    file, _, attribute = name.rpartition(".")
    try:
        target = getattr(importlib.import_module(file), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(refusal) from error
    if not callable(target) or not getattr(target, "__module__", "").startswith(home.rstrip(".")):
        raise ValueError(refusal)
    if home != HOMES[0] and not getattr(target, "is_rebuildable", False):
        raise ValueError(refusal)
    return target


def _built(value: Any) -> Any:
    return build_backbone(value) if isinstance(value, Mapping) and "_target_" in value else value
