"""The occluders of the occlusion papers by the names they are used under; drawn in data/augment, where any system may
use them.
"""

from transface.data.augment.headset import Headset
from transface.data.augment.occluders import (
    HalfBlackOut,
    Mixture,
    Occluded,
    Occluder,
    black_out,
    hidden_share,
    numbers_of_samples,
    random_numbers,
)
from transface.data.augment.surgical_mask import SurgicalMask

__all__ = [
    "HalfBlackOut",
    "Headset",
    "Mixture",
    "Occluded",
    "Occluder",
    "SurgicalMask",
    "black_out",
    "hidden_share",
    "numbers_of_samples",
    "random_numbers",
]
