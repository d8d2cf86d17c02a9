"""Writes made-up people who know their labels in the forms of published sets: CelebA's attributes, FER2013's folders of
expressions, UTKFace's names of ages.

The same seed gives the same bytes. Which cues mean which label: attributes.py and looks.py. Shapes: B photographs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transface.data.labels.attributes import CELEBA_NAMES
from transface.synthetic.attributes import draw_attribute_album
from transface.synthetic.canvas import PORTRAIT_SIZE
from transface.synthetic.looks import EXPRESSIONS, give_ages, give_expressions, give_genders, without_occasions
from transface.synthetic.people import draw_identities, draw_nuisance
from transface.synthetic.photographs import (
    AGES,
    ATTRIBUTES,
    EXPRESSED,
    draw_difficulties,
    encode_all,
    photographs,
    stream,
)
from transface.synthetic.whole_folders import DRAWING, write_whole

PORTRAIT_WIDTH = 178
SHARES = (0.7, 0.15, 0.15)  # of the people: train, val, test
SPLITS = ("train", "val", "test")
OLDEST_MADE_UP = 85


def write_attribute_folder(
    root: str | Path, *, num_identities: int = 2400, images_per_identity: int = 2, seed: int = 0
) -> Path:
    """Write a folder in CelebA's form (178 x 218, the official five lists) and return it.

    Splits do not share people. Made-up data of the same settings is left as it is.

    Raises:
        FileExistsError: if `root` holds anything but made-up data.
        ValueError: if there are fewer than three people, or no images of them.
    """
    _check(num_identities, images_per_identity)
    settings = _settings("attributes", num_identities, images_per_identity, seed)

    def write(folder: Path) -> None:
        album = draw_attribute_album(num_identities, images_per_identity, stream(seed, ATTRIBUTES))
        names = [f"{number + 1:06d}.jpg" for number in range(len(album.traits))]
        images = folder / "img_align_celeba"
        images.mkdir()
        points, written = [], iter(names)
        shots = photographs(
            album.traits, album.nuisance, image_size=PORTRAIT_SIZE, crop="portrait", width=PORTRAIT_WIDTH
        )
        for batch in shots:
            points.append(batch.landmarks)
            for jpeg in batch.jpegs:
                (images / next(written)).write_bytes(jpeg)
        who = torch.arange(num_identities).repeat_interleave(images_per_identity)
        _write_celeba_lists(folder, names, album.attributes, torch.cat(points), who)

    write_whole(root, settings, write)
    return Path(root)


def write_expression_folder(
    root: str | Path, *, num_identities: int = 120, images_per_identity: int = 21, seed: int = 0
) -> Path:
    """Write folders of seven expressions in train/, val/ and test/, 112 x 112, as FER2013 has them, and return `root`.

    Every person shows every expression about equally often; splits do not share people.

    Raises:
        FileExistsError, ValueError: as write_attribute_folder.
    """
    _check(num_identities, images_per_identity)

    def write(folder: Path) -> None:
        generator = stream(seed, EXPRESSED)
        people = draw_identities(num_identities, generator)
        who = torch.arange(num_identities).repeat_interleave(images_per_identity)
        expressions = (torch.arange(len(who)) % images_per_identity) % len(EXPRESSIONS)
        nuisance = draw_nuisance(len(who), generator, draw_difficulties(len(who), generator, (0.0, 0.35)))
        strength = 0.7 + 0.4 * torch.rand(len(who), generator=generator)
        traits, nuisance = give_expressions(people[who], without_occasions(nuisance), expressions, strength=strength)
        parts = _split_of(num_identities)
        for number, jpeg in enumerate(encode_all(traits, nuisance)):
            place = folder / SPLITS[parts[int(who[number])]] / EXPRESSIONS[int(expressions[number])]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"person{int(who[number]):04d}_{number % images_per_identity:03d}.jpg").write_bytes(jpeg)

    write_whole(root, _settings("expressions", num_identities, images_per_identity, seed), write)
    return Path(root)


def write_age_folder(
    root: str | Path, *, num_identities: int = 1200, images_per_identity: int = 2, seed: int = 0
) -> Path:
    """Write aligned faces, 112 x 112, named age_gender_race_date as UTKFace's are, and return `root`.

    Ages are drawn evenly from 1 to 85; the race is UTKFace's 4 (others) throughout.

    Raises:
        FileExistsError, ValueError: as write_attribute_folder.
    """
    _check(num_identities, images_per_identity)

    def write(folder: Path) -> None:
        generator = stream(seed, AGES)
        people = draw_identities(num_identities, generator)
        male = torch.rand(num_identities, generator=generator) < 0.5
        ages = torch.randint(1, OLDEST_MADE_UP + 1, (num_identities,), generator=generator)
        people = give_ages(give_genders(people, male), ages.float())
        who = torch.arange(num_identities).repeat_interleave(images_per_identity)
        nuisance = draw_nuisance(len(who), generator, draw_difficulties(len(who), generator, (0.0, 0.35)))
        for number, jpeg in enumerate(encode_all(people[who], without_occasions(nuisance))):
            person = int(who[number])
            name = f"{int(ages[person])}_{int(not male[person])}_4_{20170101000000000 + number}.jpg.chip.jpg"
            (folder / name).write_bytes(jpeg)

    write_whole(root, _settings("ages", num_identities, images_per_identity, seed), write)
    return Path(root)


def _check(num_identities: int, images_per_identity: int) -> None:
    if num_identities < len(SPLITS) or images_per_identity < 1:
        raise ValueError(
            f"at least {len(SPLITS)} people (one for train, val and test each) with one image were expected, got"
            f" {num_identities} people x {images_per_identity} images"
        )


def _settings(kind: str, num_identities: int, images_per_identity: int, seed: int) -> dict[str, Any]:
    return {
        "drawing": DRAWING,
        "kind": kind,
        "num_identities": num_identities,
        "images_per_identity": images_per_identity,
        "seed": seed,
    }


def _split_of(num_identities: int) -> list[int]:
    """Return 0, 1 or 2 (train, val, test) of each person; every split has at least one."""
    num_val, num_test = (max(1, round(share * num_identities)) for share in SHARES[1:])
    num_train = num_identities - num_val - num_test
    return [0] * num_train + [1] * num_val + [2] * num_test


def _write_celeba_lists(folder: Path, names: Sequence[str], attributes: Tensor, landmarks: Tensor, who: Tensor) -> None:
    parts = _split_of(int(who.max()) + 1)
    points = landmarks.clone()
    points[..., 0] -= (PORTRAIT_SIZE - PORTRAIT_WIDTH) // 2
    places = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
    head = " ".join(f"{place}_{axis}" for place in places for axis in "xy")
    signs = [" ".join(f"{1 if given else -1:2d}" for given in row) for row in attributes.tolist()]
    rows = [" ".join(f"{value:4d}" for value in row) for row in points.flatten(1).round().int().tolist()]
    people = who.tolist()
    _write_lines(folder / "list_attr_celeba.txt", [str(len(names)), " ".join(CELEBA_NAMES)], names, signs)
    _write_lines(folder / "list_landmarks_align_celeba.txt", [str(len(names)), head], names, rows)
    _write_lines(folder / "list_eval_partition.txt", [], names, [str(parts[person]) for person in people])
    _write_lines(folder / "identity_CelebA.txt", [], names, [str(person + 1) for person in people])


def _write_lines(path: Path, head: Sequence[str], names: Sequence[str], rows: Sequence[str]) -> None:
    lines = [*head, *(f"{name} {row}" for name, row in zip(names, rows, strict=True))]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
