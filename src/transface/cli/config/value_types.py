"""Refuses a value of the wrong kind (a word where a number is wanted) by its name, before anything is built with it."""

import inspect
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import hydra
from omegaconf import DictConfig, ListConfig, Node, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError

from transface.cli.config.errors import UserError

WORDS = {bool: "true or false", int: "a whole number", float: "a number", list: "a list, [a,b]"}
# Keys of verbs whose default does not say it.
NUMBERS: dict[str, type] = dict.fromkeys(
    ("threshold", "same_person", "min_quality", "crop_margin", "min_eye_distance"), float
) | dict.fromkeys(
    (
        *("workers", "exit", "num_heads", "num_identities", "images_per_identity", "num_pairs"),
        *("num_ijbc_identities", "num_images"),
    ),
    int,
)
LISTS = (list, tuple, Sequence, Iterable)


def refuse_wrong_kinds(cfg: DictConfig) -> None:
    """Raise where a value is not of the kind that the parameter it goes to states: a number, true or false, a list.

    Only what can be told is looked at: parameters whose annotation names nothing else. null always passes.

    Raises:
        UserError: naming the setting, the kind and the value.
    """
    for node in parts(cfg):
        stated = parameter_kinds(str(node["_target_"]))
        for name in map(str, node):
            kinds = stated.get(name)
            value = None if kinds is None or OmegaConf.is_missing(node, name) else _value_of(node, name)
            if kinds is None or value is None or is_of(value, kinds):
                continue
            wanted = " or ".join(
                WORDS[kind] for kind in WORDS if kind in kinds and not (kind is int and float in kinds)
            )
            nothing = " or null" if type(None) in kinds else ""
            raise UserError(f"{home_of(node, name)} must be {wanted}{nothing}, got {value!r}")


def _value_of(node: DictConfig, name: str) -> Any:
    """Return a value, None where it is one that is still to be given: a plan needs no data."""
    try:
        return node[name]
    except InterpolationToMissingValueError:
        return None


def refuse_wrong_kinds_of_verb(cfg: DictConfig, defaults: DictConfig) -> None:
    """Raise where a key of a verb itself is not of the kind of its default: a number, true or false; null passes where
    it is the default.

    Raises:
        UserError: naming the key, the kind and the value.
    """
    for name in map(str, defaults):
        if name not in cfg or OmegaConf.is_missing(defaults, name) or OmegaConf.is_missing(cfg, name):
            continue
        stated, value = defaults._get_node(name), cfg[name]
        default = stated._value() if isinstance(stated, Node) else None
        kind = NUMBERS.get(name, type(default))
        if kind not in (bool, int, float) or (value is None and default is None):
            continue
        if isinstance(value, ListConfig) or is_of(value, frozenset({kind})):
            continue
        raise UserError(f"{name} must be {WORDS[kind]}{' or null' if default is None else ''}, got {value!r}")


def home_of(node: DictConfig, name: str) -> str:
    """Return the full name of a setting; of a reference to another one, the other's."""
    leaf = node._get_node(name)
    assert isinstance(leaf, Node)
    return leaf._dereference_node()._get_full_key(None)


def parts(cfg: Any) -> Iterator[DictConfig]:
    """Yield the nodes of a config that name what they build."""
    if not isinstance(cfg, DictConfig) or cfg._is_none():
        return
    if "_target_" in cfg:
        yield cfg
    for name in cfg:
        child = cfg._get_node(name)
        if isinstance(child, DictConfig) and not child._is_interpolation() and not child._is_missing():
            yield from parts(child)


def is_of(value: Any, kinds: frozenset[Any]) -> bool:
    """Return whether a value of a config is of one of the kinds; a whole number is a number too, true and false are
    none.
    """
    if isinstance(value, ListConfig):
        return list in kinds
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int):
        return bool(kinds & {int, float})
    return type(value) in kinds


def parameter_kinds(target: str) -> dict[str, frozenset[Any]]:
    """Return {parameter: kinds} of what a `_target_` names; of a class with **settings, those of its bases too; {} if
    it cannot be found.
    """
    try:
        found = hydra.utils.get_object(target)
    except Exception:  # building it says what is wrong with it
        return {}
    callables = (
        [vars(base)["__init__"] for base in reversed(found.__mro__) if "__init__" in vars(base)]
        if inspect.isclass(found)
        else [found]
    )
    if target.endswith(".make_trainer"):  # hands its **settings on
        import lightning

        callables.insert(0, lightning.Trainer.__init__)
    stated: dict[str, frozenset[Any]] = {}
    for part in callables:
        stated |= {name: kinds for name, hint in hints(part).items() if (kinds := kinds_of(hint))}
    return stated


def hints(part: Any) -> dict[str, Any]:
    """Return the annotations of a function's parameters, {} if they cannot be read."""
    try:
        return typing.get_type_hints(part)
    except (NameError, TypeError, AttributeError):
        return {}


def kinds_of(hint: Any) -> frozenset[Any]:
    """Return the kinds of values an annotation takes, out of bool, int, float, list and None; empty if it takes others
    too.
    """
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        members = [kinds_of(member) for member in typing.get_args(hint)]
        return frozenset().union(*members) if all(members) else frozenset()
    if hint in LISTS or origin in LISTS:
        return frozenset({list})
    return frozenset({hint}) if hint in (bool, int, float, type(None)) else frozenset()
