"""Photographs of a made-up world with everything known about them.

Ages and expressions are drawn first and shape the face; attributes are read from its traits. Shapes: B photographs, S
image side.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.io import encode_jpeg

from transface.data.labels.attributes import CELEBA_NAMES
from transface.synthetic.canvas import aligned_placement, landmarks_on_screen, loose_placement, pixel_canvas
from transface.synthetic.drawing import one_thread, render_faces
from transface.synthetic.people import NUISANCE_COLUMNS, TRAIT_COLUMNS, TRAITS, Columns, draw_identities, draw_nuisance
from transface.synthetic.photographs import stream
from transface.synthetic.world.landmarks import landmarks_68
from transface.synthetic.world.regions import regions_of

EXPRESSIONS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
# smile, mouth_open, brow_raise, eye_open of each.
LOOKS = {
    "neutral": (0.05, -0.35, 0.0, 1.0),
    "happiness": (1.1, 0.25, 0.5, 0.9),
    "sadness": (-1.1, -0.35, 1.5, 0.65),
    "surprise": (0.1, 1.2, 3.2, 1.25),
    "fear": (-0.9, 0.6, 3.0, 1.25),
    "disgust": (-0.5, 0.25, -1.5, 0.4),
    "anger": (-0.4, -0.35, -3.2, 0.75),
}
LOOK_NAMES = ("smile", "mouth_open", "brow_raise", "eye_open")
LOOK_NOISE = (0.12, 0.08, 0.3, 0.06)
YOUNGEST, OLDEST = 5.0, 80.0
HIDING = ("face_mask", "bar", "scarf")  # left out: nobody knows what lies below
# Those that a made-up face shows; all others of the forty are "no" everywhere.
SHOWN_ATTRIBUTES = (
    "Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair", "Bushy_Eyebrows", "Eyeglasses", "Gray_Hair",
    "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard", "Pale_Skin", "Rosy_Cheeks", "Smiling", "Wearing_Hat",
    "Young",
)  # fmt: skip


class Album(NamedTuple):
    """Photographs to be rendered.

    Attributes:
        traits, nuisance: (B, T) and (B, Q), of people.py.
        people: (B,) int64 number of the person.
        ages: (B,) years.
        expressions: (B,) int64 places in EXPRESSIONS.
    """

    traits: Tensor
    nuisance: Tensor
    people: NDArray[np.int64]
    ages: NDArray[np.float64]
    expressions: NDArray[np.int64]


class KnownPhotographs(NamedTuple):
    """Some photographs with what is known.

    Attributes:
        jpegs: B files.
        points: (B, 68, 2) x and y in pixels.
        regions: (B, S, S) uint8 in CelebAMask-HQ's numbers.
    """

    jpegs: list[bytes]
    points: NDArray[np.float64]
    regions: NDArray[np.uint8]


def draw_known_album(
    num_people: int, images_per_person: int, *, seed: int = 0, number: int = 40, difficulty: float = 0.2
) -> Album:
    """Return an album of new people: each image has an age of its own near the person's, and an expression.

    Args:
        number: of the stream of random numbers under the seed: other numbers give other people.
        difficulty: of the circumstances, 0..1.

    Raises:
        ValueError: if there are no people or no images of them.
    """
    if num_people < 1 or images_per_person < 1:
        raise ValueError(
            f"at least one person with one image was expected, got {num_people} people x {images_per_person} images"
        )
    generator = stream(seed, number)
    count = num_people * images_per_person
    traits = draw_identities(num_people, generator).repeat_interleave(images_per_person, 0)
    nuisance = draw_nuisance(count, generator, difficulty)
    born = YOUNGEST + (OLDEST - YOUNGEST) * torch.rand(num_people, generator=generator)
    ages = born.repeat_interleave(images_per_person) + torch.randn(count, generator=generator)
    ages = ages.round().clamp(YOUNGEST, OLDEST)
    faces = torch.randint(len(EXPRESSIONS), (count,), generator=generator)
    _age(traits, ages)
    _express(nuisance, faces, torch.randn(count, len(LOOK_NAMES), generator=generator))
    for name in HIDING:
        nuisance[:, NUISANCE_COLUMNS[name]] = 0
    people = np.repeat(np.arange(num_people), images_per_person)
    return Album(traits, nuisance, people, ages.double().numpy(), faces.numpy())


def _age(traits: Tensor, ages: Tensor) -> None:
    """Let faces show their ages: grey hair, lines and folds, bags under the eyes, a hairline that moves up; small faces
    of children.
    """
    share = (ages - YOUNGEST) / (OLDEST - YOUNGEST)
    for name, low, high in (
        ("hair_grey", -0.6, 1.0),
        ("forehead_lines", -0.8, 1.0),
        ("smile_folds", -0.6, 1.0),
        ("eye_bags", -0.6, 1.0),
        ("hairline", -36.0, -52.0),
        ("chin", 42.0, 54.0),
    ):
        span = TRAITS[name]
        own = low + (high - low) * share
        traits[:, TRAIT_COLUMNS[name]] = own.clamp(min(span.low, span.high), max(span.low, span.high))


def _express(nuisance: Tensor, faces: Tensor, noise: Tensor) -> None:
    looks = torch.tensor([LOOKS[name] for name in EXPRESSIONS])[faces] + noise * torch.tensor(LOOK_NOISE)
    for place, name in enumerate(LOOK_NAMES):
        nuisance[:, NUISANCE_COLUMNS[name]] = looks[:, place]


def attributes_of(album: Album) -> NDArray[np.int64]:
    """Return the forty attributes (B, 40) of CelebA, 1 or -1; those that made-up faces do not show are all -1."""
    traits, how = Columns(album.traits, TRAIT_COLUMNS), Columns(album.nuisance, NUISANCE_COLUMNS)
    grey, light, red = (traits[name] for name in ("hair_grey", "hair_light", "hair_red"))
    coloured = (grey < 0.25) & (red < 0.3)
    said = {
        "Big_Lips": traits["upper_lip"] + traits["lower_lip"] > 7.5,
        "Big_Nose": traits["nose_width"] > 7.5,
        "Black_Hair": coloured & (light < 0.3),
        "Blond_Hair": coloured & (light > 0.75),
        "Bushy_Eyebrows": traits["brow_thickness"] > 2.6,
        "Eyeglasses": how["glasses"] + how["sunglasses"] > 0,
        "Gray_Hair": grey > 0.4,
        "Mouth_Slightly_Open": how["mouth_open"] > 0.15,
        "Mustache": traits["moustache"] > 0.25,
        "Narrow_Eyes": how["eye_open"] < 0.72,
        "No_Beard": (traits["beard"] < 0.15) & (traits["moustache"] < 0.15),
        "Pale_Skin": traits["skin_tone"] < 0.25,
        "Rosy_Cheeks": traits["blush"] > 0.7,
        "Smiling": how["smile"] > 0.45,
        "Wearing_Hat": how["hat"] > 0,
        "Young": torch.from_numpy(album.ages < 40)[:, None],
    }
    found = np.full((len(album.people), len(CELEBA_NAMES)), -1, dtype=np.int64)
    for name in SHOWN_ATTRIBUTES:
        found[:, CELEBA_NAMES.index(name)] = np.where(said[name][:, 0].numpy(), 1, -1)
    return found


def photographed(
    album: Album, *, image_size: int = 112, crop: str = "aligned", batch_size: int = 32
) -> Iterator[KnownPhotographs]:
    """Yield the photographs of an album, some at a time: aligned faces of 112 pixels, or loose ones of an even size."""
    for start in range(0, len(album.people), batch_size):
        part = slice(start, start + batch_size)
        yield _photograph(album.traits[part], album.nuisance[part], image_size=image_size, crop=crop)


def _photograph(who: Tensor, how: Tensor, *, image_size: int, crop: str) -> KnownPhotographs:
    faces = render_faces(who, how, image_size=image_size, crop=crop)
    traits, nuisance = Columns(who, TRAIT_COLUMNS), Columns(how, NUISANCE_COLUMNS)
    with one_thread():
        if crop == "aligned":
            placement = aligned_placement(landmarks_on_screen(traits, nuisance), nuisance)
        else:
            placement = loose_placement(nuisance, image_size)
        regions = regions_of(pixel_canvas(placement, nuisance, image_size), traits, nuisance)
        points = torch.view_as_real(placement.turn * landmarks_68(traits, nuisance) + placement.shift)
    qualities = how[:, NUISANCE_COLUMNS["jpeg_quality"]].round().clamp(20, 100).int().tolist()
    jpegs = [bytes(encode_jpeg(image, quality).numpy()) for image, quality in zip(faces.images, qualities, strict=True)]
    return KnownPhotographs(jpegs, points.double().numpy(), regions.unflatten(1, (image_size, image_size)).numpy())
