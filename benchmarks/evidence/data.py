"""Folders that the runs of `make evidence` need and that are not as they were published: celeba_subset aligned by its
five points, as a pack of its people and as a folder in CelebA's form.
"""

import csv
import os
import shutil
from pathlib import Path

import torch
from PIL import Image

from transface.images.alignment import align_image
from transface.images.decoding import decode_image

LISTS = ("identity_CelebA.txt", "list_attr_celeba.txt", "list_eval_partition.txt")


def prepare(data: Path, made: Path) -> list[list[str]]:
    """Make what is missing in `made` of the photographs in `data`; return the commands that are still to be run.

    Raises:
        FileNotFoundError: if the photographs are not there.
    """
    source = data / "celeba_subset"
    if not source.is_dir():
        raise FileNotFoundError(f"no folder {source}: give DATA=..., the folder of real photographs")
    made.mkdir(parents=True, exist_ok=True)
    points = read_landmarks(source / "list_landmarks_align_celeba.txt")
    if not (made / "celeba_aligned").is_dir():
        partial = made / "celeba_aligned.part"
        shutil.rmtree(partial, ignore_errors=True)
        write_aligned(source, points, partial)
        partial.rename(made / "celeba_aligned")
    if (made / "celeba239" / "train.rec").is_file():
        return []
    people = dict(line.split() for line in (source / LISTS[0]).read_text(encoding="utf-8").splitlines())
    link_people(source / "img_align_celeba", people, made / "celeba_people")
    with (made / "celeba_points.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["image", *(f"{axis}{point}" for point in range(1, 6) for axis in "xy")])
        rows.writerows([f"{people[name]}/{name}", *values] for name, values in points.items())
    words = ["--points", str(made / "celeba_points.csv"), str(made / "celeba_people"), str(made / "celeba239")]
    return [["transface", "pack", "from-folder", *words]]


def read_landmarks(path: Path) -> dict[str, list[float]]:
    """Return ten numbers x1, y1, ..., x5, y5 by image of CelebA's list."""
    rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()[2:]]
    return {name: [float(value) for value in values] for name, *values in rows}


def link_people(images: Path, people: dict[str, str], folder: Path) -> None:
    """Link the images into one folder a person."""
    for name, person in people.items():
        (folder / person).mkdir(parents=True, exist_ok=True)
        if not (folder / person / name).is_symlink():
            os.symlink(images.resolve() / name, folder / person / name)


def write_aligned(source: Path, points: dict[str, list[float]], folder: Path) -> None:
    """Write the images aligned to 112 pixels beside the lists of CelebA's form."""
    (folder / "img_align_celeba").mkdir(parents=True)
    for name in LISTS:
        shutil.copyfile(source / name, folder / name)
    for name, values in points.items():
        image = decode_image((source / "img_align_celeba" / name).read_bytes(), name=name)
        face = align_image(image, torch.tensor(values, dtype=torch.float64).reshape(5, 2))[0]
        picture = Image.fromarray(face.permute(1, 2, 0).numpy())
        picture.save(folder / "img_align_celeba" / name, quality=95)
