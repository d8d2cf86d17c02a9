"""Writes sets of made-up people in the field's file formats: an InsightFace pack, pair sets, an IJB-C folder, an image folder.

The people of the pair sets, of the IJB-C folder and of the pack are drawn apart: nobody is in two of them. The same seed gives the
same bytes. What the faces look like: synthetic_people.py; how they are drawn: synthetic_drawing.py.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.io import encode_jpeg

from transface.data.batches import FaceBatch
from transface.data.pairs import write_pair_set
from transface.data.recordio import RecordHeader, RecordWriter
from transface.data.synthetic_drawing import RenderedFaces, render_faces
from transface.data.synthetic_people import NUISANCE_COLUMNS, TRAITS, draw_identities, draw_nuisance

DRAWING = 2  # counts changes of the faces' looks: in the manifest, so that older data is made again
NUM_FOLDS = 10
BATCH = 256
MANIFEST = "made_up.json"
# Streams of random numbers under one seed.
TRAIN, PAIRS, TEMPLATES, FOLDERS = 0, 10, 20, 30


class PairDifficulty(NamedTuple):
    """How a pair set is drawn: the photographs' difficulty, and among how many strangers the likest one is the impostor."""

    photographs: float
    num_strangers: int


PAIR_SETS = {"easy": PairDifficulty(0.15, 1), "medium": PairDifficulty(0.4, 3), "hard": PairDifficulty(0.75, 8)}
COLOUR_TRAITS = ("skin_tone", "hair_light", "hair_red", "hair_grey", "hairline", "hair_length", "beard", "head_width")


def stream(seed: int, number: int) -> torch.Generator:
    """Return the generator of one of a seed's independent streams."""
    return torch.Generator().manual_seed((seed * 1_000_003 + number) & (2**63 - 1))


def draw_difficulties(num_images: int, generator: torch.Generator, difficulty: float | tuple[float, float]) -> Tensor:
    """Return (B,) difficulties: one number for all, or evenly from a range."""
    low, high = difficulty if isinstance(difficulty, tuple) else (difficulty, difficulty)
    return low + (high - low) * torch.rand(num_images, generator=generator)


def make_faces(
    num_identities: int, images_per_identity: int, *, seed: int = 0, difficulty: float | tuple[float, float] = 0.5
) -> FaceBatch:
    """Return aligned 112x112 faces of new people, person by person; `difficulty` is one number in 0..1 or a range."""
    generator = stream(seed, TRAIN)
    traits = draw_identities(num_identities, generator).repeat_interleave(images_per_identity, dim=0)
    nuisance = draw_nuisance(len(traits), generator, draw_difficulties(len(traits), generator, difficulty))
    labels = torch.arange(num_identities).repeat_interleave(images_per_identity)
    return FaceBatch(render_faces(traits, nuisance).images, labels, torch.arange(len(labels)))


class EncodedFaces(NamedTuple):
    """Some photographs as files: `jpegs` and the landmarks (B, 5, 2)."""

    jpegs: list[bytes]
    landmarks: Tensor


def encode_faces(faces: RenderedFaces, nuisance: Tensor) -> EncodedFaces:
    """Return the faces as JPEG files of the quality that `nuisance` says."""
    qualities = nuisance[:, NUISANCE_COLUMNS["jpeg_quality"]].round().clamp(20, 100).int().tolist()
    jpegs = [encode_jpeg(image, quality).numpy().tobytes() for image, quality in zip(faces.images, qualities, strict=True)]
    return EncodedFaces(jpegs, faces.landmarks)


def photographs(traits: Tensor, nuisance: Tensor, *, image_size: int = 112, crop: str = "aligned") -> Iterator[EncodedFaces]:
    """Yield the encoded photographs of `traits` (B, P) under `nuisance` (B, Q), some hundreds at a time."""
    for who, how in zip(traits.split(BATCH), nuisance.split(BATCH), strict=True):
        yield encode_faces(render_faces(who, how, image_size=image_size, crop=crop), how)


def _jpegs(traits: Tensor, nuisance: Tensor) -> list[bytes]:
    return [jpeg for batch in photographs(traits, nuisance) for jpeg in batch.jpegs]


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
    folder = _folder(root)
    generator = stream(seed, TRAIN)
    traits = draw_identities(num_identities, generator).repeat_interleave(images_per_identity, dim=0)
    nuisance = draw_nuisance(len(traits), generator, draw_difficulties(len(traits), generator, difficulty))
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
    _write_text(folder / "property", f"{num_identities},112,112\n")
    return folder


def _range_header(key: int, first: int, end: int) -> RecordHeader:
    return RecordHeader(2, torch.tensor([first, end], dtype=torch.float32).numpy(), key)


def write_pair_sets(root: str | Path, num_pairs: int = 600, *, num_identities: int = 150, seed: int = 0) -> dict[str, Path]:
    """Write easy.bin, medium.bin and hard.bin of people who are in no pack of this seed; return them by name.

    Ten folds in file order, in each first the genuine pairs, then as many impostors.

    Raises:
        ValueError: if the pairs do not make ten balanced folds, or there are fewer than two people.
    """
    if num_pairs <= 0 or num_pairs % (2 * NUM_FOLDS):
        raise ValueError(f"num_pairs must be a multiple of {2 * NUM_FOLDS} (ten balanced folds), got {num_pairs}")
    if num_identities < 2:
        raise ValueError(f"impostors need at least 2 people, got num_identities={num_identities}")
    folder = _folder(root)
    paths = {}
    for number, (name, how) in enumerate(PAIR_SETS.items()):
        generator = stream(seed, PAIRS + number)
        people = draw_identities(num_identities, generator)
        is_same = (torch.arange(num_pairs) % (num_pairs // NUM_FOLDS)) < num_pairs // NUM_FOLDS // 2
        pairs = draw_pairs(people, is_same, generator, num_strangers=how.num_strangers)
        nuisance = draw_nuisance(2 * num_pairs, generator, how.photographs)
        paths[name] = folder / f"{name}.bin"
        write_pair_set(paths[name], _jpegs(people[pairs.flatten()], nuisance), is_same.tolist())
    return paths


def draw_pairs(people: Tensor, is_same: Tensor, generator: torch.Generator, *, num_strangers: int = 1) -> Tensor:
    """Return who is on each pair (N, 2); an impostor is the likest in colouring of `num_strangers` others, drawn at random."""
    first = torch.arange(len(is_same)) % len(people)
    strangers = torch.randint(1, len(people), (len(is_same), num_strangers), generator=generator)
    strangers = (first[:, None] + strangers) % len(people)
    columns = [list(TRAITS).index(name) for name in COLOUR_TRAITS]
    spans = torch.tensor([TRAITS[name].high - TRAITS[name].low for name in COLOUR_TRAITS])
    looks = people[:, columns] / spans
    likest = (looks[strangers] - looks[first, None]).square().sum(2).argmin(1)
    second = torch.where(is_same, first, strangers[torch.arange(len(first)), likest])
    return torch.stack([first, second], dim=1)


class TemplateTable(NamedTuple):
    """Who and what is on each image of an IJB-C-shaped set: (M,) person, template, medium; people (T,) of the templates."""

    person: Tensor
    template: Tensor
    medium: Tensor
    person_of_template: Tensor


def draw_templates(num_identities: int, templates_per_identity: int, generator: torch.Generator) -> TemplateTable:
    """Return templates of 1 to 3 media, each medium a photograph or a video of 2 or 3 frames."""
    person, template, medium = [], [], []
    num_media = torch.randint(1, 4, (num_identities * templates_per_identity,), generator=generator).tolist()
    frames = torch.randint(-1, 4, (sum(num_media),), generator=generator).clamp(min=1).tolist()
    medium_id = 0
    for number, count in enumerate(num_media):
        for _ in range(count):
            repeats = frames[medium_id]
            person += [number // templates_per_identity] * repeats
            template += [number] * repeats
            medium += [medium_id] * repeats
            medium_id += 1
    owners = torch.arange(num_identities).repeat_interleave(templates_per_identity)
    return TemplateTable(torch.tensor(person), torch.tensor(template), torch.tensor(medium), owners)


def write_ijbc_folder(
    root: str | Path,
    num_identities: int = 24,
    *,
    templates_per_identity: int = 4,
    image_size: int = 160,
    seed: int = 0,
    difficulty: float | tuple[float, float] = (0.1, 0.6),
) -> Path:
    """Write an IJB-C-shaped folder (meta/*.txt, loose_crop/*.jpg) of new people, every template against every other.

    The crops are loose: faces are rolled and off centre, so an evaluation has to align them by the five points of the meta file.
    """
    folder = _folder(root)
    generator = stream(seed, TEMPLATES)
    people = draw_identities(num_identities, generator)
    table = draw_templates(num_identities, templates_per_identity, generator)
    difficulties = draw_difficulties(len(table.person), generator, difficulty)
    nuisance = draw_nuisance(len(table.person), generator, difficulties)
    crops, meta = _folder(folder / "loose_crop"), _folder(folder / "meta")
    names = [f"{number + 1}.jpg" for number in range(len(table.person))]
    points, written = [], iter(names)
    for batch in photographs(people[table.person], nuisance, image_size=image_size, crop="loose"):
        points.append(batch.landmarks)
        for jpeg in batch.jpegs:
            (crops / next(written)).write_bytes(jpeg)
    scores = (1 - 0.35 * difficulties).tolist()
    _write_ijbc_meta(meta, names, table, torch.cat(points).flatten(1).tolist(), scores)
    return folder


def _write_ijbc_meta(meta: Path, names: list[str], table: TemplateTable, points: list[list[float]], scores: list[float]) -> None:
    rows = zip(names, table.template.tolist(), table.medium.tolist(), strict=True)
    _write_text(meta / "ijbc_face_tid_mid.txt", "".join(f"{name} {template + 1} {medium + 1}\n" for name, template, medium in rows))
    lines = (
        f"{name} {' '.join(f'{value:.3f}' for value in row)} {score:.4f}\n"
        for name, row, score in zip(names, points, scores, strict=True)
    )
    _write_text(meta / "ijbc_name_5pts_score.txt", "".join(lines))
    first, second = torch.triu_indices(len(table.person_of_template), len(table.person_of_template), offset=1)
    same = (table.person_of_template[first] == table.person_of_template[second]).int()
    pairs = zip((first + 1).tolist(), (second + 1).tolist(), same.tolist(), strict=True)
    _write_text(meta / "ijbc_template_pair_label.txt", "".join(f"{a} {b} {label}\n" for a, b, label in pairs))


def write_image_folder(
    root: str | Path,
    num_identities: int,
    *,
    images_per_identity: int,
    seed: int = 0,
    difficulty: float | tuple[float, float] = (0.0, 0.8),
) -> Path:
    """Write one folder of JPEG files a person and return `root`."""
    folder = _folder(root)
    generator = stream(seed, FOLDERS)
    traits = draw_identities(num_identities, generator).repeat_interleave(images_per_identity, dim=0)
    nuisance = draw_nuisance(len(traits), generator, draw_difficulties(len(traits), generator, difficulty))
    for number, jpeg in enumerate(_jpegs(traits, nuisance)):
        person, photograph = divmod(number, images_per_identity)
        _folder(folder / f"person_{person:04d}").joinpath(f"{photograph:04d}.jpg").write_bytes(jpeg)
    return folder


class DemoData(NamedTuple):
    """Where `write_demo_data` left its sets: the pack lies in `root` itself, as the field keeps it, the pair sets beside it."""

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

    They are made beside `root` and renamed when whole. Made-up data of other settings is replaced.

    Raises:
        FileExistsError: if `root` holds anything else.
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
    data = DemoData(root, {name: root / f"{name}.bin" for name in PAIR_SETS}, root / "ijbc")
    if _manifest(root) == settings:
        return data
    if root.exists() and any(root.iterdir()) and _manifest(root) is None:
        raise FileExistsError(f"{root} holds something that is not made-up data (no {MANIFEST}); give another folder")
    partial = root.with_name(root.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    write_identity_pack(partial, num_identities, images_per_identity=images_per_identity, seed=seed)
    write_pair_sets(partial, num_pairs, seed=seed)
    write_ijbc_folder(partial / "ijbc", num_ijbc_identities, seed=seed)
    _write_text(partial / MANIFEST, json.dumps(settings, indent=1) + "\n")
    if root.exists():
        shutil.rmtree(root)
    partial.rename(root)
    return data


def _manifest(root: Path) -> dict[str, int] | None:
    path = root / MANIFEST
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _folder(path: str | Path) -> Path:
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
