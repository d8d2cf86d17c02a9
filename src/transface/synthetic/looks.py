"""Looks that are asked for: made-up people of a gender and an age, and photographs with an expression, as changes of
their tables.

The cues are conventions of the drawing, not statements about people. Shapes: B photographs, P traits, Q circumstances.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from transface.synthetic.people import NUISANCE_COLUMNS, OCCASIONS, TRAIT_COLUMNS

EXPRESSIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear")


class Gesture(NamedTuple):
    """An expression: the circumstances it sets, and what it adds to a person's traits; mouth, brows and eyes all tell
    it.
    """

    circumstances: Mapping[str, float]
    added: Mapping[str, float]


GESTURES: dict[str, Gesture] = {
    "neutral": Gesture({"smile": 0.0, "mouth_open": -0.3, "brow_raise": 0.0, "eye_open": 1.0}, {}),
    "happiness": Gesture(
        {"smile": 1.1, "mouth_open": 0.5, "brow_raise": 0.4, "eye_open": 0.72}, {"smile_folds": 0.7, "cheekbones": 0.3}
    ),
    "surprise": Gesture(
        {"smile": 0.0, "mouth_open": 1.0, "brow_raise": 4.5, "eye_open": 1.25}, {"forehead_lines": 0.6}
    ),
    "sadness": Gesture(
        {"smile": -0.9, "mouth_open": -0.3, "brow_raise": 0.6, "eye_open": 0.65}, {"brow_angle": 0.45, "brow_bend": -2}
    ),
    "anger": Gesture(
        {"smile": -0.45, "mouth_open": -0.3, "brow_raise": -3.2, "eye_open": 0.85},
        {"brow_angle": -0.45, "brow_thickness": 0.8, "upper_lip": -1.2},
    ),
    "disgust": Gesture(
        {"smile": -0.6, "mouth_open": 0.25, "brow_raise": -2.4, "eye_open": 0.45},
        {"upper_lip": 2.0, "smile_folds": 0.8, "nose_height": -1.5},
    ),
    "fear": Gesture(
        {"smile": -0.5, "mouth_open": 0.55, "brow_raise": 3.2, "eye_open": 1.25},
        {"brow_angle": 0.4, "mouth_width": 2.5, "forehead_lines": 0.5},
    ),
}


def give_genders(traits: Tensor, male: Tensor) -> Tensor:
    """Return traits (B, P) of men where `male` (B,) bool says so, else of women: beard, brows, jaw, lips and hair."""
    men: dict[str, Callable[[Tensor], Tensor]] = {
        "brow_thickness": lambda x: x.clamp(min=1.8),
        "jaw_squareness": lambda x: 0.4 + 0.6 * x,
        "hair_length": lambda x: -30 + 0.3 * (x + 30),
        "lip_redness": lambda x: 0.3 * x,
        "head_width": lambda x: x.clamp(min=39),
    }
    women: dict[str, Callable[[Tensor], Tensor]] = {
        "beard": lambda x: x.clamp(max=-0.6),
        "moustache": lambda x: x.clamp(max=-0.6),
        "brow_thickness": lambda x: x.clamp(max=2.0),
        "jaw_squareness": lambda x: 0.5 * x,
        "hair_length": lambda x: 10 + 0.6 * (x + 30),
        "lip_redness": lambda x: 0.35 + 0.65 * x,
        "head_width": lambda x: x.clamp(max=44),
    }
    return torch.where(male[:, None], _changed(traits, men), _changed(traits, women))


def give_ages(traits: Tensor, ages: Tensor) -> Tensor:
    """Return traits (B, P) of people of an age (B,) in years: lines, folds and eye bags deepen, hair greys and recedes,
    children have rounder heads, thin brows and no beard.
    """
    old = ((ages - 25) / 50).clamp(0, 1.3)
    child = ((16 - ages) / 14).clamp(0, 1)

    def towards(target: Callable[[Tensor], Tensor], share: float = 0.8) -> Callable[[Tensor], Tensor]:
        return lambda x: (1 - share) * x + share * target(x)

    changed = _changed(
        traits,
        {
            "forehead_lines": towards(lambda _: -0.2 + 1.1 * old),
            "smile_folds": towards(lambda _: -0.2 + 1.1 * old),
            "eye_bags": towards(lambda _: -0.3 + 1.1 * old),
            "hair_grey": towards(lambda _: -0.5 + 1.35 * old),
            "hairline": towards(lambda x: x.clamp(min=-46) - 7 * old, 0.6),
            "lid_crease": towards(lambda _: old, 0.5),
            "blush": lambda x: x * (1 - 0.6 * old),
            "beard": lambda x: x - 2.6 * child,
            "moustache": lambda x: x - 2.6 * child,
        },
    )
    young: dict[str, Callable[[Tensor], Tensor]] = {
        "chin": lambda x: x - 5 * child,
        "eye_upper": lambda x: x + 1.4 * child,
        "iris_radius": lambda x: x + 0.6 * child,
        "nose_width": lambda x: x - 1.2 * child,
        "nose_relief": lambda x: x * (1 - 0.5 * child),
        "brow_thickness": lambda x: x * (1 - 0.4 * child),
        "jaw_narrowing": lambda x: x * (1 - 0.4 * child),
        "socket_depth": lambda x: x * (1 - 0.7 * child),
    }
    return _changed(changed, young)


def give_expressions(
    traits: Tensor, nuisance: Tensor, expressions: Tensor, *, strength: Tensor | float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return traits (B, P) and circumstances (B, Q) of photographs with expressions (B,), indices into EXPRESSIONS.

    Args:
        strength: of each, (B,) or one number: 1 is all of it, 0 a neutral face.
    """
    traits, nuisance = traits.clone(), nuisance.clone()
    how_much = torch.as_tensor(strength, dtype=torch.float32).expand(len(traits))
    neutral = GESTURES["neutral"]
    for number, name in enumerate(EXPRESSIONS):
        rows = (expressions == number).nonzero()[:, 0]
        share = how_much[rows]
        for column, value in GESTURES[name].circumstances.items():
            rest = neutral.circumstances[column]
            nuisance[rows, NUISANCE_COLUMNS[column]] = rest + share * (value - rest)
        for column, value in GESTURES[name].added.items():
            traits[rows, TRAIT_COLUMNS[column]] += share * value
    return traits, nuisance


def without_occasions(nuisance: Tensor, *, kept: tuple[str, ...] = ()) -> Tensor:
    """Return circumstances (B, Q) in which nothing hides the face but what is kept."""
    nuisance = nuisance.clone()
    for name in OCCASIONS:
        if name not in kept:
            nuisance[:, NUISANCE_COLUMNS[name]] = 0
    return nuisance


def _changed(traits: Tensor, changes: Mapping[str, Callable[[Tensor], Tensor]]) -> Tensor:
    traits = traits.clone()
    for name, change in changes.items():
        column = TRAIT_COLUMNS[name]
        traits[:, column] = change(traits[:, column])
    return traits
