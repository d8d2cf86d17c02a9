"""Writes made-up faces with ages, expressions and attributes in the forms of the real data sets.

Faces are aligned, 112 x 112. Shapes: n images.
"""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.data.labels.attributes import CELEBA_NAMES
from transface.data.labels.expressions import FER2013, FERPLUS
from transface.data.sources.face_lists import FERPLUS_ORDER, RAF_DB_ORDER, UTKFACE_SHIFT
from transface.data.sources.fer2013 import SIDE, VOTES
from transface.images.decoding import decode_images
from transface.synthetic.world.photographs import EXPRESSIONS, Album, attributes_of, draw_known_album, photographed

SPLITS = ("train", "val", "test")
USAGES = {"train": "Training", "val": "PublicTest", "test": "PrivateTest"}  # FER2013's words


class Faces(NamedTuple):
    """Aligned faces: n files, what is known of them, and their splits (n,) of SPLITS."""

    jpegs: list[bytes]
    album: Album
    splits: NDArray[np.str_]

    def of(self, *splits: str) -> list[int]:
        """Return the places of the images of some splits."""
        return [place for place, own in enumerate(self.splits.tolist()) if own in splits]


def known_faces(
    num_people: int,
    images_per_person: int = 1,
    *,
    seed: int = 0,
    number: int = 42,
    shares: Sequence[float] = (0.8, 0.1, 0.1),
) -> Faces:
    """Return aligned faces of new people; whole people lie in one split, the first share of them in train."""
    album = draw_known_album(num_people, images_per_person, seed=seed, number=number)
    ends = np.cumsum(shares) / np.sum(shares) * num_people
    splits = np.array([SPLITS[min(int(np.searchsorted(ends, who, side="right")), 2)] for who in album.people])
    return Faces([jpeg for part in photographed(album) for jpeg in part.jpegs], album, splits)


def write_celeba(root: str | Path, faces: Faces) -> Path:
    """Write CelebA's lists of attributes, splits and people, and img_align_celeba/."""
    root = Path(root)
    names = [f"{place + 1:06d}.jpg" for place in range(len(faces.jpegs))]
    for name, jpeg in zip(names, faces.jpegs, strict=True):
        _write(root / "img_align_celeba" / name, jpeg)
    rows = attributes_of(faces.album)
    lines = [f"{name} {' '.join(map(str, row))}" for name, row in zip(names, rows.tolist(), strict=True)]
    _lines(root / "list_attr_celeba.txt", [str(len(names)), " ".join(CELEBA_NAMES), *lines])
    parts = [f"{name} {SPLITS.index(split)}" for name, split in zip(names, faces.splits.tolist(), strict=True)]
    _lines(root / "list_eval_partition.txt", parts)
    people = [f"{name} {who + 1}" for name, who in zip(names, faces.album.people.tolist(), strict=True)]
    _lines(root / "identity_CelebA.txt", people)
    return root


def write_label_pickle(root: str | Path, faces: Faces) -> Path:
    """Write CelebA as the released code reads it: data/ and label.pkl."""
    root = Path(root)
    names = [f"{place + 1:06d}.jpg" for place in range(len(faces.jpegs))]
    for name, jpeg in zip(names, faces.jpegs, strict=True):
        _write(root / "data" / name, jpeg)
    said = {
        "image_name": names,
        "attr": ((attributes_of(faces.album) + 1) // 2).tolist(),
        "attr_name": list(CELEBA_NAMES),
        "partition": {split: faces.of(split) for split in SPLITS} | {"trainval": faces.of("train", "val")},
    }
    _write(root / "label.pkl", pickle.dumps(said))
    return root


def write_utkface(root: str | Path, faces: Faces) -> Path:
    """Write UTKFace: age_gender_race_date.jpg.chip.jpg; gender and race, which made-up faces do not have, are 0."""
    for place, (jpeg, age) in enumerate(zip(faces.jpegs, faces.album.ages.tolist(), strict=True)):
        _write(Path(root) / f"{int(age)}_0_0_2017{place:010d}.jpg.chip.jpg", jpeg)
    return Path(root)


def write_utkface_lists(root: str | Path, faces: Faces) -> Path:
    """Write UTKFace as CORAL lists it: data/ and label/{train,test}.csv with ages counted from 21."""
    root = Path(root)
    for split, own in (("train", ("train", "val")), ("test", ("test",))):
        lines = [",file,age"]
        for row, place in enumerate(faces.of(*own)):
            age = int(faces.album.ages[place])
            name = f"{age}_0_0_2017{place:010d}.jpg.chip.jpg"
            _write(root / "data" / name, faces.jpegs[place])
            lines.append(f"{row},{name},{age - UTKFACE_SHIFT}")
        _lines(root / "label" / f"{split}.csv", lines)
    return root


def write_morph2(root: str | Path, faces: Faces) -> Path:
    """Write MORPH II: data/ and label/RANDOM_80_20/{train,test}.txt."""
    root = Path(root)
    for split, own in (("train", ("train", "val")), ("test", ("test",))):
        lines = []
        for place in faces.of(*own):
            name = f"Album2/{place:06d}.jpg"
            _write(root / "data" / name, faces.jpegs[place])
            lines.append(f"{name} {int(faces.album.ages[place])} 0")
        _lines(root / "label" / "RANDOM_80_20" / f"{split}.txt", lines)
    return root


def write_affectnet(root: str | Path, faces: Faces) -> Path:
    """Write AffectNet as the released code lists it: data/ and label/{train,test}.txt; a few are contempt (7)."""
    root = Path(root)
    for split, own in (("train", ("train", "val")), ("test", ("test",))):
        lines = []
        for row, place in enumerate(faces.of(*own)):
            name = f"{place % 7}/{place:06d}.jpg"
            _write(root / "data" / name, faces.jpegs[place])
            label = 7 if row % 25 == 24 else int(faces.album.expressions[place])
            lines.append(f"{name} {label}")
        _lines(root / "label" / f"{split}.txt", lines)
    return root


def write_raf_db(root: str | Path, faces: Faces) -> Path:
    """Write RAF-DB's basic set: data/ and label.txt, labels 1 to 7 in its own order."""
    root = Path(root)
    number_of = {place: number for number, place in RAF_DB_ORDER.items()}
    lines = []
    for place, jpeg in enumerate(faces.jpegs):
        word = "test" if faces.splits[place] == "test" else "train"
        name = f"{word}_{place + 1:05d}.jpg"
        _write(root / "data" / name, jpeg)
        lines.append(f"{name} {number_of[int(faces.album.expressions[place])]}")
    _lines(root / "label.txt", lines)
    return root


def write_ferplus(root: str | Path, faces: Faces) -> Path:
    """Write FER+ as the released code lists it: data/ and label/{train,val,test}.txt in FER+'s order."""
    root = Path(root)
    for split in SPLITS:
        lines = []
        for place in faces.of(split):
            name = f"{split}/fer{place:07d}.jpg"
            _write(root / "data" / name, faces.jpegs[place])
            lines.append(f"{name} {FERPLUS_ORDER.index(int(faces.album.expressions[place]))}")
        _lines(root / "label" / f"{split}.txt", lines)
    return root


def write_fer2013(root: str | Path, faces: Faces, *, name: str = "fer2013.csv") -> Path:
    """Write FER2013 as it is published: a list of grey 48 x 48 pixels with an emotion and a usage; icml_face_data.csv
    has blanks in its header and its columns in another order.
    """
    spaced = name == "icml_face_data.csv"
    lines = ["emotion, Usage, pixels" if spaced else "emotion,pixels,Usage"]
    for place, jpeg in enumerate(faces.jpegs):
        image = decode_images([jpeg], size=(SIDE, SIDE), fit="resize")[0].float().mean(0).round().byte()
        emotion = FER2013.index(EXPRESSIONS[int(faces.album.expressions[place])])
        pixels = " ".join(map(str, image.flatten().tolist()))
        usage = USAGES[str(faces.splits[place])]
        lines.append(f"{emotion},{usage},{pixels}" if spaced else f"{emotion},{pixels},{usage}")
    _lines(Path(root) / name, lines)
    return Path(root)


def write_ferplus_votes(root: str | Path, faces: Faces) -> Path:
    """Write fer2013new.csv, FER+'s votes of the rows of write_fer2013: nine of ten see the expression; every tenth
    image has a tie, every fifteenth no name, for it shows no face.
    """
    lines = [",".join(["Usage", "Image name", *FERPLUS, "unknown", "NF"])]
    for place, split in enumerate(faces.splits.tolist()):
        expression = FERPLUS.index(EXPRESSIONS[int(faces.album.expressions[place])])
        votes = [0] * 10
        votes[expression] = 5 if place % 10 == 9 else 9
        votes[7] += 10 - votes[expression]  # contempt, which no made-up face shows
        name = f"fer{place:07d}.png"
        if place % 15 == 14:
            votes, name = [0] * 9 + [10], ""
        lines.append(",".join([USAGES[split], name, *map(str, votes)]))
    _lines(Path(root) / VOTES, lines)
    return Path(root)


def write_expression_folders(root: str | Path, faces: Faces) -> Path:
    """Write folders of expressions in train/, val/ and test/, as FER2013 and RAF-DB are passed on."""
    for place, jpeg in enumerate(faces.jpegs):
        word = EXPRESSIONS[int(faces.album.expressions[place])]
        _write(Path(root) / str(faces.splits[place]) / word / f"{place:06d}.jpg", jpeg)
    return Path(root)


def _lines(path: Path, lines: Sequence[str]) -> None:
    _write(path, ("\n".join(lines) + "\n").encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
