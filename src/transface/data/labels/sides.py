"""Which names of labels tell left from right, and which trade places in a mirror.

Shapes: B images, A names.
"""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

NO_OPPOSITE = -1
_SIDE = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)
_OPPOSITE = {"left": "right", "right": "left", "l_": "r_", "r_": "l_"}


def opposite_name(name: str) -> str:
    """Return a name with left and right exchanged: as words of it, or as its prefixes l_ and r_.

    Example:
        >>> opposite_name("Left_Eye_Closed"), opposite_name("l_brow"), opposite_name("Bright")
        ('Right_Eye_Closed', 'r_brow', 'Bright')
    """
    if name[:2] in ("l_", "r_"):
        return _OPPOSITE[name[:2]] + name[2:]
    return _SIDE.sub(_other_word, name.replace("_", "\0")).replace("\0", "_")


def _other_word(found: re.Match[str]) -> str:
    word = found.group()
    other = _OPPOSITE[word.lower()]
    return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other


def mirrored_order(names: Sequence[str]) -> tuple[int, ...]:
    """Return for each name the place of what stands there in the mirrored image: of the opposite name where it names a
    side, NO_OPPOSITE where that one is missing, else its own.

    A prefix l_ or r_ without its opposite is no side: CelebAMask-HQ's l_lip is the lower lip.
    """
    place = {name: number for number, name in enumerate(names)}
    found = []
    for number, name in enumerate(names):
        other = opposite_name(name)
        lone = number if name[:2] in ("l_", "r_") else NO_OPPOSITE
        found.append(number if other == name else place.get(other, lone))
    return tuple(found)


def mirrored_classes(classes: Tensor, names: Sequence[str]) -> Tensor:
    """Return the classes (B,) of the mirrored images; those below 0 stay.

    Raises:
        ValueError: for a name of a side whose opposite is no class.
    """
    order = mirrored_order(names)
    if order == tuple(range(len(names))):
        return classes
    if NO_OPPOSITE in order:
        raise ValueError(
            f"class {names[order.index(NO_OPPOSITE)]!r} names a side and its opposite is no class: its images cannot be"
            " mirrored; flip_probability=0 leaves all as they are"
        )
    return torch.where(classes < 0, classes, classes.new_tensor(order)[classes.clamp_min(0)])
