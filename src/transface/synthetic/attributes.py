"""Which of CelebA's forty attributes a made-up photograph has: read off the tables it is drawn from, so that no label
is a guess.

Shapes: B photographs, P traits, Q circumstances.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from transface.data.labels.attributes import CELEBA_NAMES
from transface.synthetic.looks import give_ages, give_genders, without_occasions
from transface.synthetic.people import (
    NUISANCE_COLUMNS,
    TRAIT_COLUMNS,
    Columns,
    draw_identities,
    draw_nuisance,
)
from transface.synthetic.photographs import draw_difficulties

# Nothing of these is drawn, so no made-up photograph has them.
NOT_DRAWN = (
    "Attractive",
    "Double_Chin",
    "Sideburns",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Necklace",
    "Wearing_Necktie",
)
BALD_SHARE = 0.15  # of the men
OLD_FROM = 45.0


class LabelledAlbum(NamedTuple):
    """Photographs to be rendered, person by person: traits (B, P), circumstances (B, Q), attributes (B, 40) bool."""

    traits: Tensor
    nuisance: Tensor
    attributes: Tensor


def draw_attribute_album(
    num_identities: int,
    images_per_identity: int,
    generator: torch.Generator,
    *,
    difficulty: float | tuple[float, float] = (0.0, 0.25),
) -> LabelledAlbum:
    """Return photographs of new people of both genders and all ages, many with glasses, some with hats, and their
    attributes.

    Raises:
        ValueError: if there are no people or no images of them.
    """
    if num_identities < 1 or images_per_identity < 1:
        raise ValueError(
            f"at least one person with one image was expected, got {num_identities} people x {images_per_identity}"
            " images"
        )
    male = torch.rand(num_identities, generator=generator) < 0.5
    ages = 16 + 60 * torch.rand(num_identities, generator=generator).square()
    people = give_ages(give_genders(draw_identities(num_identities, generator), male), ages)
    bald = male & (torch.rand(num_identities, generator=generator) < BALD_SHARE)
    for name, value in (("hairline", -95.0), ("hair_volume", -2.0), ("hair_length", -30.0)):
        people[bald, TRAIT_COLUMNS[name]] = value
    wearers = torch.rand(num_identities, generator=generator) < 0.2
    who = torch.arange(num_identities).repeat_interleave(images_per_identity)
    traits = people[who]
    nuisance = draw_nuisance(len(who), generator, draw_difficulties(len(who), generator, difficulty))
    nuisance = without_occasions(nuisance)
    nuisance[:, NUISANCE_COLUMNS["scenery_contrast"]] *= 0.3  # before a wall: few images have to suffice
    chances = torch.rand(len(who), 5, generator=generator)
    nuisance[:, NUISANCE_COLUMNS["glasses"]] = (wearers[who] & (chances[:, 0] < 0.8)).float()
    nuisance[:, NUISANCE_COLUMNS["hat"]] = (chances[:, 1] < 0.08).float()
    # Made up or not, with an open mouth or not, smiling or not: seldom halfway.
    made_up = ~male[who] & (chances[:, 2] < 0.5)
    nuisance[:, NUISANCE_COLUMNS["make_up"]] = torch.where(made_up, 0.6, -0.1)
    smile = nuisance[:, NUISANCE_COLUMNS["smile"]]
    nuisance[:, NUISANCE_COLUMNS["smile"]] = torch.where(chances[:, 3] < 0.45, 0.6 + 0.5 * smile.abs(), 0.3 * smile)
    opened = nuisance[:, NUISANCE_COLUMNS["mouth_open"]]
    nuisance[:, NUISANCE_COLUMNS["mouth_open"]] = torch.where(chances[:, 4] < 0.4, 0.2 + 0.6 * opened.abs(), -0.3)
    return LabelledAlbum(traits, nuisance, attributes_of(traits, nuisance, male=male[who], ages=ages[who]))


def attributes_of(traits: Tensor, nuisance: Tensor, *, male: Tensor, ages: Tensor) -> Tensor:
    """Return the attributes (B, 40) bool of photographs, in CelebA's order.

    Args:
        traits, nuisance: (B, P) and (B, Q).
        male: (B,) bool.
        ages: (B,) in years.
    """
    who, how = Columns(traits, TRAIT_COLUMNS), Columns(nuisance, NUISANCE_COLUMNS)
    found = {name: torch.zeros(len(traits), 1, dtype=torch.bool) for name in NOT_DRAWN}
    found |= {"Male": male[:, None], "Young": ages[:, None] < OLD_FROM}
    found |= _hair(who, how) | _beard(who, how) | _features(who, how)
    assert set(found) == set(CELEBA_NAMES)
    return torch.cat([found[name] for name in CELEBA_NAMES], 1)


def _hair(who: Columns, how: Columns) -> dict[str, Tensor]:
    line = who["hairline"] + how["hair_shift"]
    bald = who["hairline"] < -80
    light = who["hair_light"] + how["hair_fade"]
    grey, red = who["hair_grey"] > 0.5, who["hair_red"] > 0.5
    coloured = ~bald & ~grey & ~red
    return {
        "Bald": bald,
        "Bangs": ~bald & (line > -37),
        "Receding_Hairline": ~bald & (line < -48),
        "Gray_Hair": ~bald & grey,
        "Black_Hair": coloured & (light < 0.2),
        "Brown_Hair": coloured & (light >= 0.25) & (light < 0.7),
        "Blond_Hair": coloured & (light > 0.78),
        "Wearing_Hat": how["hat"] > 0,
    }


def _beard(who: Columns, how: Columns) -> dict[str, Tensor]:
    """Return what grows on chin and lip, as strong as it is drawn."""
    beard, tache = ((who[name] + how["shave"]).clamp(0, 1) * (who[name] > 0) for name in ("beard", "moustache"))
    chin_only = who["beard_line"] > 22
    return {
        "5_o_Clock_Shadow": (beard > 0.08) & (beard < 0.45) & ~chin_only,
        "Goatee": (beard >= 0.3) & chin_only,
        "Mustache": tache > 0.3,
        "No_Beard": (beard < 0.08) & (tache < 0.08),
    }


def _features(who: Columns, how: Columns) -> dict[str, Tensor]:
    opening = how["eye_open"].clamp(0.06, 1.25)
    eye = who["eye_upper"] * opening + who["eye_lower"] * opening.sqrt()
    blur = torch.maximum(how["blur_across"], how["blur_down"])
    return {
        "Arched_Eyebrows": who["brow_bend"] > 2.2,
        "Bags_Under_Eyes": who["eye_bags"] > 0.4,
        "Big_Lips": who["upper_lip"] + who["lower_lip"] > 7.8,
        "Big_Nose": who["nose_width"] > 7.8,
        "Blurry": blur > 0.8,
        "Bushy_Eyebrows": (who["brow_thickness"] > 2.6) & (who["brow_strength"] > 0.6),
        "Chubby": (who["head_width"] > 42.5) & (who["jaw_narrowing"] < 0.28),
        "Eyeglasses": how["glasses"] + how["sunglasses"] > 0,
        "Heavy_Makeup": how["make_up"] > 0.3,
        "High_Cheekbones": who["cheekbones"] > 0.5,
        "Mouth_Slightly_Open": how["mouth_open"] > 0.08,
        "Narrow_Eyes": eye < 5.2,
        "Oval_Face": (who["jaw_squareness"] < 0.3) & (who["jaw_narrowing"] > 0.3),
        "Pale_Skin": who["skin_tone"] < 0.12,
        "Pointy_Nose": (who["nose_bulb"] < 3.0) & (who["nose_width"] < 6.5),
        "Rosy_Cheeks": who["blush"] > 0.7,
        "Smiling": how["smile"] > 0.4,
        "Wearing_Lipstick": who["lip_redness"] + how["make_up"] > 0.85,
    }
