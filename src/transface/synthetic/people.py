"""What varies in made-up faces: the traits that make a person, and the circumstances of one photograph.

Lengths are pixels of the frontal mean face at 112x112, measured from the head's centre, u to the right and v down;
angles are radians; colours and strengths lie in 0..1. A strength whose range begins below zero is absent (clamped to 0)
in that share of the people.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Span(NamedTuple):
    """The range a trait is drawn from, evenly."""

    low: float
    high: float


TRAITS: dict[str, Span] = {
    # Head and ears: half widths and heights.
    "head_width": Span(36, 47),
    "head_top": Span(58, 68),
    "chin": Span(40, 55),
    "jaw_narrowing": Span(0.1, 0.52),
    "jaw_squareness": Span(0, 1),
    "ear_size": Span(6, 13),
    "ear_height": Span(-12, 4),
    "ear_out": Span(-1, 5),
    # Eyes and brows.
    "eye_distance": Span(14.5, 20.5),
    "eye_height": Span(-18, -10.5),
    "eye_width": Span(5.5, 10),
    "eye_upper": Span(2.4, 6),
    "eye_lower": Span(1.4, 4.4),
    "eye_tilt": Span(-0.22, 0.3),
    "iris_radius": Span(2.6, 4.8),
    "iris_hue": Span(0, 1),
    "iris_light": Span(0, 1),
    "lid_thickness": Span(0.4, 2.4),
    "lid_crease": Span(-0.5, 1),
    "eye_bags": Span(-0.5, 1),
    "socket_depth": Span(0, 1),
    "brow_gap": Span(6.5, 12.5),
    "brow_thickness": Span(0.7, 3.6),
    "brow_angle": Span(-0.3, 0.35),
    "brow_length": Span(6, 12),
    "brow_bend": Span(-1, 4.5),
    "brow_shift": Span(-3, 3),
    "brow_strength": Span(0.45, 1),
    # Nose and mouth.
    "nose_height": Span(0, 11),
    "nose_width": Span(4, 9.5),
    "nose_bridge": Span(1.4, 4.4),
    "nose_bulb": Span(2, 5.5),
    "nose_relief": Span(0.25, 1),
    "nose_bend": Span(-2, 2),
    "nostrils": Span(0, 1),
    "mouth_height": Span(21, 31.5),
    "mouth_width": Span(9, 18),
    "upper_lip": Span(1, 4.6),
    "lower_lip": Span(1.6, 6),
    "lip_bow": Span(-0.2, 0.9),
    "lip_redness": Span(0, 1),
    "lip_darkness": Span(0, 1),
    "mouth_corners": Span(-2, 2),
    "philtrum": Span(-0.5, 1),
    # Hair.
    "hair_light": Span(0, 1),
    "hair_red": Span(-0.4, 1),
    "hair_grey": Span(-1.6, 1),
    "hairline": Span(-54, -33),
    "hairline_bow": Span(2, 26),
    "hairline_slant": Span(-9, 9),
    "widows_peak": Span(-8, 8),
    "hair_volume": Span(0, 13),
    "hair_length": Span(-30, 70),
    "strand_frequency": Span(0.15, 1.1),
    "strand_direction": Span(-1.2, 1.2),
    "strand_contrast": Span(0.03, 0.3),
    # Skin and marks.
    "skin_tone": Span(0, 1),
    "skin_warmth": Span(-1, 1),
    "blush": Span(0, 1),
    "cheekbones": Span(-0.3, 1),
    "cheek_height": Span(2, 14),
    "beard": Span(-1.6, 1),
    "beard_line": Span(8, 30),
    "moustache": Span(-1.6, 1),
    "freckles": Span(-1.5, 1),
    "freckle_scale": Span(0.6, 1.3),
    "freckle_shift": Span(0, 6.28),
    "smile_folds": Span(-0.4, 1),
    "fold_spread": Span(2, 8),
    "chin_cleft": Span(-1, 1),
    "forehead_lines": Span(-1, 1),
    "mole_across": Span(-26, 26),
    "mole_down": Span(-2, 36),
    "mole_size": Span(-1.6, 2.2),
    "second_mole_across": Span(-26, 26),
    "second_mole_down": Span(-32, 20),
    "second_mole_size": Span(-1.8, 1.9),
    "scar_across": Span(-28, 28),
    "scar_down": Span(-34, 30),
    "scar_angle": Span(-1.5, 1.5),
    "scar_strength": Span(-1.6, 0.9),
}


class Circumstance(NamedTuple):
    """How far a condition strays from `neutral`: evenly within +- (calm + difficulty * (wild - calm))."""

    neutral: float
    calm: float
    wild: float


CIRCUMSTANCES: dict[str, Circumstance] = {
    # Pose and crop. The aligned crop undoes roll, so only the loose crop shows `roll`.
    "yaw": Circumstance(0, 0.12, 0.75),
    "pitch": Circumstance(0, 0.06, 0.32),
    "roll": Circumstance(0, 0.1, 0.5),
    "crop_across": Circumstance(0, 0.8, 3.2),
    "crop_down": Circumstance(0, 0.8, 3.2),
    "crop_scale": Circumstance(0, 0.015, 0.07),
    "crop_turn": Circumstance(0, 0.02, 0.11),
    # Expression and style of the day.
    "smile": Circumstance(0.1, 0.35, 1.1),
    "mouth_open": Circumstance(-0.35, 0.45, 1.3),
    "brow_raise": Circumstance(0, 0.8, 3.2),
    "eye_open": Circumstance(1, 0.12, 0.6),
    "gaze_across": Circumstance(0, 0.6, 2.6),
    "gaze_down": Circumstance(0, 0.3, 1.2),
    "hair_shift": Circumstance(0, 0.6, 5),
    "hair_growth": Circumstance(0, 4, 30),
    "hair_fade": Circumstance(0, 0.04, 0.25),
    "shave": Circumstance(0, 0.05, 0.5),
    "make_up": Circumstance(0, 0.08, 0.6),
    # Light.
    "light_across": Circumstance(0, 0.16, 0.6),
    "light_down": Circumstance(0, 0.1, 0.4),
    "exposure": Circumstance(0, 0.12, 0.5),
    "contrast": Circumstance(0, 0.08, 0.35),
    "cast_red": Circumstance(0, 0.05, 0.22),
    "cast_green": Circumstance(0, 0.03, 0.12),
    "cast_blue": Circumstance(0, 0.05, 0.24),
    "saturation": Circumstance(-0.05, 0.1, 0.5),
    "shadow_depth": Circumstance(-0.25, 0.3, 0.8),
    "shadow_angle": Circumstance(0, 3.14, 3.14),
    "shadow_edge": Circumstance(0, 14, 20),
    # Picture quality.
    "blur_across": Circumstance(0.2, 0.35, 1.9),
    "blur_down": Circumstance(0.2, 0.3, 1.6),
    "noise": Circumstance(0.008, 0.008, 0.07),
    "jpeg_quality": Circumstance(82, 12, 45),
}

# Each happens in a share of the images: (calm, wild).
OCCASIONS: dict[str, tuple[float, float]] = {
    "glasses": (0.03, 0.3),
    "sunglasses": (0.0, 0.1),
    "face_mask": (0.0, 0.14),
    "bar": (0.02, 0.4),
    "scarf": (0.02, 0.2),
    "hat": (0.02, 0.3),
    "grey_picture": (0.0, 0.12),
}

# Plain draws in 0..1: colours and places of what has nothing to do with the person.
CHANCES: tuple[str, ...] = (
    "scenery_across", "scenery_down", "scenery_contrast", "scenery_red", "scenery_green", "scenery_blue",
    "grain_across", "grain_down",
    "cloth_red", "cloth_green", "cloth_blue",
    "thing_red", "thing_green", "thing_blue",
    "frame_size", "frame_shape", "frame_tone",
    "bar_across", "bar_down", "bar_width", "bar_height", "bar_angle", "hat_depth", "scarf_depth", "mask_depth",
)  # fmt: skip

TRAIT_COLUMNS = {name: column for column, name in enumerate(TRAITS)}
NUISANCE_COLUMNS = {name: column for column, name in enumerate([*CIRCUMSTANCES, *OCCASIONS, *CHANCES])}


class Columns:
    """Reads a column of a (B, P) table by its name, as (B, 1)."""

    def __init__(self, table: Tensor, columns: dict[str, int]) -> None:
        if table.ndim != 2 or table.shape[1] != len(columns):
            raise ValueError(
                f"a table of {len(columns)} columns was expected, (B, {len(columns)}); got {tuple(table.shape)}"
            )
        self.table, self.columns = table, columns
        self._by_name = dict(zip(columns, table[..., None].unbind(1), strict=True))

    def __getitem__(self, name: str) -> Tensor:
        return self._by_name[name]

    def rows(self, chosen: Tensor) -> "Columns":
        """Return the chosen rows."""
        return Columns(self.table[chosen], self.columns)


def draw_identities(num_identities: int, generator: torch.Generator) -> Tensor:
    """Return the traits (I, P) of new people, each trait drawn evenly from its range and independently of the
    others.
    """
    low, high = (torch.tensor([span[side] for span in TRAITS.values()]) for side in (0, 1))
    return low + (high - low) * torch.rand(num_identities, len(TRAITS), generator=generator)


def draw_nuisance(num_images: int, generator: torch.Generator, difficulty: float | Tensor = 0.5) -> Tensor:
    """Return the circumstances (B, Q) of new photographs.

    `difficulty` is one number, or (B,) numbers, from 0 (a calm studio) to 1 (everything goes wrong).

    Raises:
        ValueError: if a difficulty is not in 0..1.
    """
    hardness = torch.as_tensor(difficulty, dtype=torch.float32).reshape(-1, 1)
    if not bool(((hardness >= 0) & (hardness <= 1)).all()):
        raise ValueError(f"difficulty must lie in 0..1, got {difficulty}")
    neutral, calm, wild = torch.tensor(list(CIRCUMSTANCES.values())).T
    straying = 2 * torch.rand(num_images, len(CIRCUMSTANCES), generator=generator) - 1
    conditions = neutral + straying * (calm + hardness * (wild - calm))
    rare, often = torch.tensor(list(OCCASIONS.values())).T
    occasions = torch.rand(num_images, len(OCCASIONS), generator=generator) < rare + hardness * (often - rare)
    return torch.cat([conditions, occasions.float(), torch.rand(num_images, len(CHANCES), generator=generator)], dim=1)
