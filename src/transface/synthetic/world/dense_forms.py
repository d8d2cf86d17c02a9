"""Writes made-up photographs with landmarks or regions in the forms of the real data sets."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import scipy.io
from numpy.typing import NDArray
from PIL import Image

from transface.data.crops.landmark_sets import square_around
from transface.data.labels.points import CELEBAMASK_REGIONS, LAPA_REGIONS
from transface.synthetic.world.landmarks import in_order
from transface.synthetic.world.photographs import draw_known_album, photographed

# CelebAMask-HQ's parts -> LaPa's.
LAPA_OF = {"skin": "skin", "l_brow": "l_brow", "r_brow": "r_brow", "l_eye": "l_eye", "r_eye": "r_eye"} | {
    name: name for name in ("nose", "u_lip", "mouth", "l_lip", "hair")
}
SPLITS = ("train", "val", "test")


class Shot(NamedTuple):
    """One photograph: its file, 68 points (68, 2), regions (S, S), and its split."""

    jpeg: bytes
    points: NDArray[np.float64]
    regions: NDArray[np.uint8]
    split: str


def shots(
    num_images: int, *, image_size: int = 160, seed: int = 0, shares: Sequence[float] = (0.8, 0.1, 0.1)
) -> list[Shot]:
    """Return loose photographs of as many people, the first share of them to train on.

    Raises:
        ValueError: for no images.
    """
    album = draw_known_album(num_images, 1, seed=seed, number=41)
    ends = np.cumsum(shares) / np.sum(shares) * num_images
    found: list[Shot] = []
    for part in photographed(album, image_size=image_size, crop="loose"):
        for jpeg, points, regions in zip(part.jpegs, part.points, part.regions, strict=True):
            split = SPLITS[min(int(np.searchsorted(ends, len(found), side="right")), 2)]
            found.append(Shot(jpeg, points, regions, split))
    return found


def write_hrnet_lists(root: str | Path, which: str, taken: Sequence[Shot]) -> Path:
    """Write 300W ("300w", 68 points, counted from 1 and moved by its 2 pixels) or WFLW ("wflw", 98 points)."""
    root = Path(root)
    count, offset = (68, 2.0) if which == "300w" else (98, 0.0)
    names = {"train": "train", "val": "valid", "test": "test"}
    for split in SPLITS:
        rows = [(number, shot) for number, shot in enumerate(taken) if shot.split == split]
        if not rows:
            continue
        path = root / f"face_landmarks_{which}_{names[split]}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(
                ["image_name", "scale", "center_w", "center_h"]
                + [f"original_{k}_{axis}" for k in range(count) for axis in "xy"]
            )
            for number, shot in rows:
                points = in_order(shot.points, count) + offset
                top, left, bottom, right = square_around(points)
                name = f"made_up/{number:05d}.jpg"
                _write(root / "data" / name, shot.jpeg)
                centre = ((left + right) / 2, (top + bottom) / 2)
                scale = (right - left) / 200
                writer.writerow([name, f"{scale:.6f}", *(f"{value:.4f}" for value in (*centre, *points.ravel()))])
    return root


def write_wflw_lists(root: str | Path, taken: Sequence[Shot]) -> Path:
    """Write WFLW as its authors publish it: 98 points, the box around them, six flags and the image a line."""
    root = Path(root)
    lists = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    lists.mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for number, shot in enumerate(taken):
        points = in_order(shot.points, 98)
        box = [*np.floor(points.min(0)).astype(int), *np.ceil(points.max(0)).astype(int)]
        flags = [int(number % 6 == place) for place in range(6)]
        name = f"0--Made_up/0_Made_up_{number:05d}.jpg"
        _write(root / "WFLW_images" / name, shot.jpeg)
        words = [*(f"{value:.6f}" for value in points.ravel()), *map(str, (*box, *flags)), name]
        lines["test" if shot.split == "test" else "train"].append(" ".join(words))
    for split, own in lines.items():
        (lists / f"list_98pt_rect_attr_{split}.txt").write_text("\n".join([*own, ""]), encoding="utf-8")
    return root


def write_pts_files(root: str | Path, taken: Sequence[Shot], *, num_points: int = 68) -> Path:
    """Write photographs with a .pts beside each, in train/, val/ and test/; points count from 1."""
    root = Path(root)
    for number, shot in enumerate(taken):
        stem = root / shot.split / f"{number:05d}"
        _write(stem.with_suffix(".jpg"), shot.jpeg)
        lines = [f"{x:.4f} {y:.4f}" for x, y in in_order(shot.points, num_points) + 1]
        text = "\n".join(["version: 1", f"n_points:  {num_points}", "{", *lines, "}"]) + "\n"
        stem.with_suffix(".pts").write_text(text, encoding="utf-8")
    return root


def write_cofw(root: str | Path, taken: Sequence[Shot]) -> Path:
    """Write COFW_train_color.mat and COFW_test_color.mat (MATLAB v7.3): images in cells, 29 points, their occlusion."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    for name, word, splits in (("train", "Tr", ("train", "val")), ("test", "T", ("test",))):
        own = [shot for shot in taken if shot.split in splits]
        with h5py.File(root / f"COFW_{name}_color.mat", "w") as file:
            cells = [_cell(file, shot, number) for number, shot in enumerate(own)]
            file.create_dataset(f"Is{word}", data=np.array(cells, dtype=h5py.ref_dtype)[None], dtype=h5py.ref_dtype)
            rows = np.array([_cofw_row(shot) for shot in own]).reshape(-1, 87)
            file.create_dataset(f"phis{word}", data=rows.T)
    return root


def _cell(file: Any, shot: Shot, number: int) -> Any:
    pixels = np.asarray(Image.open(io.BytesIO(shot.jpeg)).convert("L" if number % 5 == 4 else "RGB"))
    lying = pixels.T if pixels.ndim == 2 else pixels.transpose(2, 1, 0)  # MATLAB's columns come first
    return file.create_dataset(f"#refs#/{number:05d}", data=lying).ref


def _cofw_row(shot: Shot) -> NDArray[np.float64]:
    points = in_order(shot.points, 29)
    hidden = np.zeros(29)
    hidden[::7] = 1
    return np.concatenate([points[:, 0], points[:, 1], hidden])


def write_aflw(root: str | Path, taken: Sequence[Shot]) -> Path:
    """Write AFLW-19: AFLWinfo_release.mat and data/flickr/; a point of every third face cannot be seen."""
    root = Path(root)
    names, boxes, data = [], [], []
    for number, shot in enumerate(taken):
        name = f"0/image{number:05d}.jpg"
        _write(root / "data" / "flickr" / name, shot.jpeg)
        points = in_order(shot.points, 19)
        low, high = points.min(0) - 8, points.max(0) + 8
        names.append(name)
        boxes.append([low[0], high[0], low[1], high[1]])
        data.append(points.T.ravel())
    order = np.random.default_rng(0).permutation(len(taken)) + 1
    visible = np.ones((len(names), 19))
    visible[1::3, 7] = 0
    cells = np.empty((len(names), 1), dtype=object)
    cells[:, 0] = names
    scipy.io.savemat(
        root / "AFLWinfo_release.mat",
        {
            "bbox": np.array(boxes),
            "data": np.array(data),
            "mask_new": visible,
            "nameList": cells,
            "ra": order[None].astype(np.float64),
        },
    )
    return root


def write_celebamask_hq(root: str | Path, taken: Sequence[Shot]) -> Path:
    """Write CelebAMask-HQ: photographs, a PNG a part of half their size, and CelebA's lists of the split."""
    root = Path(root)
    mapping, partition = ["idx orig_idx orig_file"], []
    for number, shot in enumerate(taken):
        large = Image.open(io.BytesIO(shot.jpeg)).convert("RGB")
        stream = io.BytesIO()
        large.resize((2 * large.width, 2 * large.height), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=92)
        _write(root / "CelebA-HQ-img" / f"{number}.jpg", stream.getvalue())
        for value, part in enumerate(CELEBAMASK_REGIONS[1:], start=1):
            on = shot.regions == value
            if on.any():
                path = root / "CelebAMask-HQ-mask-anno" / str(number // 2000) / f"{number:05d}_{part}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(on.astype(np.uint8) * 255).save(path)
        mapping.append(f"{number} {number} {number:06d}.jpg")
        partition.append(f"{number:06d}.jpg {SPLITS.index(shot.split)}")
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(mapping) + "\n", encoding="utf-8")
    (root / "list_eval_partition.txt").write_text("\n".join(partition) + "\n", encoding="utf-8")
    return root


def write_lapa(root: str | Path, taken: Sequence[Shot]) -> Path:
    """Write LaPa: images/, labels/ and landmarks/ (106 points) in train/, val/ and test/."""
    root = Path(root)
    number_of = np.zeros(len(CELEBAMASK_REGIONS), dtype=np.uint8)
    for own, theirs in LAPA_OF.items():
        number_of[CELEBAMASK_REGIONS.index(own)] = LAPA_REGIONS.index(theirs)
    for number, shot in enumerate(taken):
        stem = f"{number:05d}"
        _write(root / shot.split / "images" / f"{stem}.jpg", shot.jpeg)
        label = root / shot.split / "labels" / f"{stem}.png"
        label.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(number_of[shot.regions]).save(label)
        points = in_order(shot.points, 106)
        text = "\n".join(["106", *(f"{x:.4f} {y:.4f}" for x, y in points)]) + "\n"
        _write(root / shot.split / "landmarks" / f"{stem}.txt", text.encode())
    return root


def write_lfw_parts(root: str | Path, taken: Sequence[Shot]) -> Path:
    """Write LFW's parts: lfw_funneled/<person>/ and a coloured .ppm each, red hair, green skin, blue background."""
    root = Path(root)
    lists: dict[str, list[str]] = {split: [] for split in SPLITS}
    for number, shot in enumerate(taken):
        person, stem = f"Person_{number // 2:04d}", f"Person_{number // 2:04d}_{number % 2 + 1:04d}"
        _write(root / "lfw_funneled" / person / f"{stem}.jpg", shot.jpeg)
        hair = shot.regions == CELEBAMASK_REGIONS.index("hair")
        outside = np.isin(CELEBAMASK_REGIONS, ("background", "cloth", "hat"))[shot.regions]
        colours = np.stack([hair, ~hair & ~outside, outside & ~hair], -1).astype(np.uint8) * 255
        path = root / "parts_lfw_funneled_gt_images" / f"{stem}.ppm"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(colours).save(path)
        lists[shot.split].append(f"{person} {number % 2 + 1}")
    for split, file in (("train", "parts_train.txt"), ("val", "parts_validation.txt"), ("test", "parts_test.txt")):
        (root / file).write_text("\n".join(lists[split]) + "\n", encoding="utf-8")
    return root


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
