"""Writes sets of made-up people in the field's file formats: an InsightFace pack, pair sets, an IJB-C folder, an image
folder.

The people of the pair sets, of the IJB-C folder and of the pack are drawn apart: nobody is in two of them. The same
seed gives the same bytes. What the faces look like: people.py; how they are drawn: drawing.py.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from transface.data.batches import FaceBatch
from transface.data.benchmarks.pairs import write_pair_set
from transface.data.recordio.reader import RecordHeader, RecordWriter
from transface.synthetic.people import TRAITS, draw_identities, draw_nuisance
from transface.synthetic.photographs import (
    FOLDERS,
    PAIRS,
    TRAIN,
    draw_album,
    encode_all,
    photographs,
    render_all,
    stream,
)
from transface.synthetic.templates import write_ijbc_folder
from transface.synthetic.whole_folders import DRAWING, write_whole

NUM_FOLDS = 10


class PairDifficulty(NamedTuple):
    """How a pair set is drawn: the photographs' difficulty, and among how many strangers the likest one is the
    impostor.
    """

    photographs: float
    num_strangers: int


PAIR_SETS = {"easy": PairDifficulty(0.15, 1), "medium": PairDifficulty(0.4, 3), "hard": PairDifficulty(0.75, 8)}
COLOUR_TRAITS = ("skin_tone", "hair_light", "hair_red", "hair_grey", "hairline", "hair_length", "beard", "head_width")


def make_faces(
    num_identities: int, images_per_identity: int, *, seed: int = 0, difficulty: float | tuple[float, float] = 0.5
) -> FaceBatch:
    """Return aligned 112x112 faces of new people, person by person; `difficulty` is one number in 0..1 or a range."""
    traits, nuisance = draw_album(num_identities, images_per_identity, stream(seed, TRAIN), difficulty=difficulty)
    labels = torch.arange(num_identities).repeat_interleave(images_per_identity)
    return FaceBatch(render_all(traits, nuisance), labels, torch.arange(len(labels)))


def write_identity_pack(
    root: str | Path,
    num_identities: int,
    *,
    images_per_identity: int,
    seed: int = 0,
    difficulty: float | tuple[float, float] = (0.0, 0.8),
) -> Path:
    """Write an InsightFace pack (train.rec, train.idx, property) of new people into `root` and return `root`.

    Images are keys 1..N, person by person; the keys after them hold each person's first key and last key + 1.
    """
    folder = Path(root)
    folder.mkdir(parents=True, exist_ok=True)
    traits, nuisance = draw_album(num_identities, images_per_identity, stream(seed, TRAIN), difficulty=difficulty)
    end = len(traits) + 1
    with RecordWriter(folder / "train.rec", folder / "train.idx") as writer:
        writer.write(0, _range_header(0, end, end + num_identities), b"")
        key = 0
        for batch in photographs(traits, nuisance):
            for jpeg in batch.jpegs:
                key += 1
                writer.write(key, RecordHeader(0, float((key - 1) // images_per_identity), key), jpeg)
        for person in range(num_identities):
            first = 1 + person * images_per_identity
            writer.write(end + person, _range_header(end + person, first, first + images_per_identity), b"")
    (folder / "property").write_text(f"{num_identities},112,112\n", encoding="ascii")
    return folder


def _range_header(key: int, first: int, end: int) -> RecordHeader:
    return RecordHeader(2, torch.tensor([first, end], dtype=torch.float32).numpy(), key)


def write_pair_sets(
    root: str | Path, num_pairs: int = 600, *, num_identities: int = 150, seed: int = 0
) -> dict[str, Path]:
    """Write easy.bin, medium.bin and hard.bin of people who are in no pack of this seed; return them by name.

    Ten folds in file order, in each first the genuine pairs, then as many impostors.

    Raises:
        ValueError: if the pairs do not make ten balanced folds, or there are fewer than two people.
    """
    if num_pairs <= 0 or num_pairs % (2 * NUM_FOLDS):
        raise ValueError(f"num_pairs must be a multiple of {2 * NUM_FOLDS} (ten balanced folds), got {num_pairs}")
    if num_identities < 2:
        raise ValueError(f"impostors need at least 2 people, got num_identities={num_identities}")
    folder = Path(root)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for number, (name, how) in enumerate(PAIR_SETS.items()):
        generator = stream(seed, PAIRS + number)
        people = draw_identities(num_identities, generator)
        is_same = (torch.arange(num_pairs) % (num_pairs // NUM_FOLDS)) < num_pairs // NUM_FOLDS // 2
        pairs = draw_pairs(people, is_same, generator, num_strangers=how.num_strangers)
        nuisance = draw_nuisance(2 * num_pairs, generator, how.photographs)
        paths[name] = folder / f"{name}.bin"
        write_pair_set(paths[name], encode_all(people[pairs.flatten()], nuisance), is_same.tolist())
    return paths


def draw_pairs(people: Tensor, is_same: Tensor, generator: torch.Generator, *, num_strangers: int = 1) -> Tensor:
    """Return who is on each pair (N, 2); an impostor is the likest in colouring of `num_strangers` others, drawn at
    random.
    """
    first = torch.arange(len(is_same)) % len(people)
    strangers = torch.randint(1, len(people), (len(is_same), num_strangers), generator=generator)
    strangers = (first[:, None] + strangers) % len(people)
    columns = [list(TRAITS).index(name) for name in COLOUR_TRAITS]
    spans = torch.tensor([TRAITS[name].high - TRAITS[name].low for name in COLOUR_TRAITS])
    looks = people[:, columns] / spans
    likest = (looks[strangers] - looks[first, None]).square().sum(2).argmin(1)
    second = torch.where(is_same, first, strangers[torch.arange(len(first)), likest])
    return torch.stack([first, second], dim=1)


def write_image_folder(
    root: str | Path,
    num_identities: int,
    *,
    images_per_identity: int,
    seed: int = 0,
    difficulty: float | tuple[float, float] = (0.0, 0.8),
) -> Path:
    """Write one folder of JPEG files a person and return `root`."""
    folder = Path(root)
    folder.mkdir(parents=True, exist_ok=True)
    traits, nuisance = draw_album(num_identities, images_per_identity, stream(seed, FOLDERS), difficulty=difficulty)
    for number, jpeg in enumerate(encode_all(traits, nuisance)):
        person, photograph = divmod(number, images_per_identity)
        path = folder / f"person_{person:04d}" / f"{photograph:04d}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(jpeg)
    return folder


class DemoData(NamedTuple):
    """Where `write_demo_data` left its sets: the pack lies in `root` itself, as the field keeps it, the pair sets
    beside it.
    """

    root: Path
    pair_sets: dict[str, Path]
    ijbc: Path


def write_demo_data(
    root: str | Path,
    *,
    num_identities: int = 400,
    images_per_identity: int = 24,
    num_pairs: int = 600,
    num_ijbc_identities: int = 24,
    seed: int = 0,
) -> DemoData:
    """Write pack, pair sets and IJB-C folder into `root`; if they lie there with the same settings, do nothing.

    Raises:
        FileExistsError: if `root` holds anything but made-up data.
    """
    root = Path(root)
    settings = {
        "drawing": DRAWING,
        "num_identities": num_identities,
        "images_per_identity": images_per_identity,
        "num_pairs": num_pairs,
        "num_ijbc_identities": num_ijbc_identities,
        "seed": seed,
    }

    def write(folder: Path) -> None:
        write_identity_pack(folder, num_identities, images_per_identity=images_per_identity, seed=seed)
        write_pair_sets(folder, num_pairs, seed=seed)
        write_ijbc_folder(folder / "ijbc", num_ijbc_identities, seed=seed)

    write_whole(root, settings, write)
    return DemoData(root, {name: root / f"{name}.bin" for name in PAIR_SETS}, root / "ijbc")
