"""Writes the made-up world: one set a task, each in the form of a real data set, and on wish all thirteen forms.

The same seed gives the same bytes; the people of the sets are drawn apart.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transface.data.recordio.reader import RecordHeader, RecordWriter
from transface.synthetic.datasets import write_pair_sets
from transface.synthetic.whole_folders import write_whole
from transface.synthetic.world import dense_forms, label_forms
from transface.synthetic.world.label_forms import Faces, known_faces

DRAWING = 2  # counts changes of the world's looks: in the manifest, so that older data is made again


class WorldSettings(NamedTuple):
    """How large a world is.

    Attributes:
        num_identities, images_per_identity: of the pack.
        num_pairs: of its pair sets; 0: none.
        num_images: of each other set.
        image_size: of photographs with landmarks and regions, even.
        all_forms: also every of the thirteen forms, in forms/<name>.
        seed: of everything.
    """

    num_identities: int = 60
    images_per_identity: int = 16
    num_pairs: int = 200
    num_images: int = 800
    image_size: int = 160
    all_forms: bool = False
    seed: int = 0


FORMS: Mapping[str, Callable[[Path, Any], Path]] = {
    "morph2": label_forms.write_morph2,
    "utkface": label_forms.write_utkface_lists,
    "celeba": label_forms.write_label_pickle,
    "affectnet": label_forms.write_affectnet,
    "rafdb": label_forms.write_raf_db,
    "ferplus": label_forms.write_ferplus,
    "celebamask_hq": dense_forms.write_celebamask_hq,
    "lapa": dense_forms.write_lapa,
    "300w": lambda root, taken: dense_forms.write_hrnet_lists(root, "300w", taken),
    "wflw": lambda root, taken: dense_forms.write_hrnet_lists(root, "wflw", taken),
    "wflw_lists": dense_forms.write_wflw_lists,
    "cofw": dense_forms.write_cofw,
    "aflw": dense_forms.write_aflw,
    "lfw_parts": dense_forms.write_lfw_parts,
    "pts": dense_forms.write_pts_files,
}
DENSE = ("celebamask_hq", "lapa", "300w", "wflw", "wflw_lists", "cofw", "aflw", "lfw_parts", "pts")


def write_world(root: str | Path, settings: WorldSettings | None = None) -> Path:
    """Write a made-up world into `root`; if one lies there with the same settings, do nothing.

    identity/ (train.rec and pair sets), attributes/ (CelebA), age/ (UTKFace), expression/ (folders of classes),
    landmarks/ (300W), parsing/ (CelebAMask-HQ), forms/<name>. It is made beside `root` and renamed when whole.

    Raises:
        FileExistsError: if `root` holds anything else.
        ValueError: for a setting out of range.
    """
    root, settings = Path(root), settings or WorldSettings()
    if settings.num_images < 10:
        raise ValueError(f"num_images must be at least 10, for train, val and test, got {settings.num_images}")
    write_whole(root, {"world": DRAWING, **settings._asdict()}, partial(_write_sets, settings))
    return root


def _write_sets(settings: WorldSettings, root: Path) -> None:
    seed, count = settings.seed, settings.num_images
    people = known_faces(settings.num_identities, settings.images_per_identity, seed=seed, number=43)
    write_pack(root / "identity", people, settings.num_identities)
    if settings.num_pairs:
        write_pair_sets(root / "identity", settings.num_pairs, num_identities=40, seed=seed)
    label_forms.write_celeba(root / "attributes", known_faces(count, seed=seed, number=44))
    label_forms.write_utkface(root / "age", known_faces(count, seed=seed, number=45))
    label_forms.write_expression_folders(root / "expression", known_faces(count, seed=seed, number=46))
    taken = dense_forms.shots(count, image_size=settings.image_size, seed=seed)
    dense_forms.write_hrnet_lists(root / "landmarks", "300w", taken)
    dense_forms.write_celebamask_hq(root / "parsing", taken)
    if settings.all_forms:
        faces = known_faces(count, seed=seed, number=47)
        for name, write in FORMS.items():
            write(root / "forms" / name, taken if name in DENSE else faces)


def write_pack(root: Path, faces: Faces, num_people: int) -> Path:
    """Write an InsightFace pack of all faces, whatever their split."""
    root.mkdir(parents=True, exist_ok=True)
    end = len(faces.jpegs) + 1
    each = len(faces.jpegs) // num_people
    with RecordWriter(root / "train.rec", root / "train.idx") as writer:
        writer.write(0, _range(0, end, end + num_people), b"")
        for key, (jpeg, who) in enumerate(zip(faces.jpegs, faces.album.people.tolist(), strict=True), start=1):
            writer.write(key, RecordHeader(0, float(who), key), jpeg)
        for who in range(num_people):
            writer.write(end + who, _range(end + who, 1 + who * each, 1 + (who + 1) * each), b"")
    (root / "property").write_text(f"{num_people},112,112\n", encoding="ascii")
    return root


def _range(key: int, first: int, end: int) -> RecordHeader:
    return RecordHeader(2, np.array([first, end], dtype=np.float32), key)
