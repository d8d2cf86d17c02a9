"""Writes an IJB-C-shaped folder of made-up people: loose crops in templates of several media, with their landmarks.

Shapes: M images, T templates.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from transface.synthetic.people import draw_identities, draw_nuisance
from transface.synthetic.photographs import TEMPLATES, draw_difficulties, photographs, stream


class TemplateTable(NamedTuple):
    """Who and what is on each image of an IJB-C-shaped set: (M,) person, template, medium; people (T,) of the
    templates.
    """

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
    """Write an IJB-C-shaped folder (meta/*.txt, loose_crop/*.jpg) of new people, every template against every other,
    with the galleries and probes of a 1:N search.

    The crops are loose: faces are rolled and off centre, so an evaluation has to align them by the five points of the
    meta file.

    Raises:
        ValueError: if there are no people or no templates of them.
    """
    if num_identities < 1 or templates_per_identity < 1:
        raise ValueError(
            f"at least one person with one template was expected, got {num_identities} people x"
            f" {templates_per_identity} templates"
        )
    folder = Path(root)
    generator = stream(seed, TEMPLATES)
    people = draw_identities(num_identities, generator)
    table = draw_templates(num_identities, templates_per_identity, generator)
    difficulties = draw_difficulties(len(table.person), generator, difficulty)
    nuisance = draw_nuisance(len(table.person), generator, difficulties)
    crops, meta = folder / "loose_crop", folder / "meta"
    for path in (crops, meta):
        path.mkdir(parents=True, exist_ok=True)
    names = [f"{number + 1}.jpg" for number in range(len(table.person))]
    points, written = [], iter(names)
    for batch in photographs(people[table.person], nuisance, image_size=image_size, crop="loose"):
        points.append(batch.landmarks)
        for jpeg in batch.jpegs:
            (crops / next(written)).write_bytes(jpeg)
    scores = (1 - 0.35 * difficulties).tolist()
    _write_ijbc_meta(meta, names, table, torch.cat(points).flatten(1).tolist(), scores)
    _write_search_lists(meta, table.person_of_template.tolist())
    return folder


def _write_search_lists(meta: Path, person_of_template: list[int]) -> None:
    """Write galleries G1 and G2, half of the people each with their first template, and all other templates as probes.

    There are none where one person, or one template of each, leaves nobody to search for.
    """
    people = sorted(set(person_of_template))
    firsts = {person: person_of_template.index(person) for person in people}
    probes = [number for number in range(len(person_of_template)) if number not in firsts.values()]
    if len(people) < 2 or not probes:
        return
    half = len(people) // 2
    lists = {
        "gallery_G1": [firsts[person] for person in people[:half]],
        "gallery_G2": [firsts[person] for person in people[half:]],
        "probe_mixed": probes,
    }
    for name, templates in lists.items():
        rows = "".join(f"{template + 1},{person_of_template[template] + 1}\n" for template in templates)
        (meta / f"ijbc_1N_{name}.csv").write_text(f"TEMPLATE_ID,SUBJECT_ID\n{rows}", encoding="ascii")


def _write_ijbc_meta(
    meta: Path, names: list[str], table: TemplateTable, points: list[list[float]], scores: list[float]
) -> None:
    rows = zip(names, table.template.tolist(), table.medium.tolist(), strict=True)
    (meta / "ijbc_face_tid_mid.txt").write_text(
        "".join(f"{name} {template + 1} {medium + 1}\n" for name, template, medium in rows), encoding="ascii"
    )
    lines = (
        f"{name} {' '.join(f'{value:.3f}' for value in row)} {score:.4f}\n"
        for name, row, score in zip(names, points, scores, strict=True)
    )
    (meta / "ijbc_name_5pts_score.txt").write_text("".join(lines), encoding="ascii")
    first, second = torch.triu_indices(len(table.person_of_template), len(table.person_of_template), offset=1)
    same = (table.person_of_template[first] == table.person_of_template[second]).int()
    pairs = zip((first + 1).tolist(), (second + 1).tolist(), same.tolist(), strict=True)
    (meta / "ijbc_template_pair_label.txt").write_text(
        "".join(f"{a} {b} {label}\n" for a, b, label in pairs), encoding="ascii"
    )
