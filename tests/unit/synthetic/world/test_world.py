"""The made-up world knows its faces: points lie on what they name, regions and labels are those of the picture."""

import json
from pathlib import Path

import numpy as np
import pytest

from transface.data.labels.attributes import CELEBA_NAMES
from transface.data.labels.points import CELEBAMASK_REGIONS
from transface.synthetic.world.photographs import (
    EXPRESSIONS,
    SHOWN_ATTRIBUTES,
    attributes_of,
    draw_known_album,
    photographed,
)
from transface.synthetic.world.sets import WorldSettings, write_world

NUMBER = {name: number for number, name in enumerate(CELEBAMASK_REGIONS)}


def test_points_lie_on_the_parts_they_name() -> None:
    album = draw_known_album(12, 1, seed=1)
    album.nuisance[:] = album.nuisance
    (shown,) = photographed(album, image_size=160, crop="loose")
    hits = []
    for points, regions in zip(shown.points, shown.regions, strict=True):
        for chosen, names in (
            (points[37:39].mean(0) / 2 + points[40:42].mean(0) / 2, ("r_eye", "eye_g", "hair")),
            (points[43:45].mean(0) / 2 + points[46:48].mean(0) / 2, ("l_eye", "eye_g", "hair")),
            (points[30], ("nose", "eye_g", "skin")),
            (points[51] / 2 + points[62] / 2, ("u_lip", "mouth")),
            (points[57] / 2 + points[66] / 2, ("l_lip", "mouth")),
        ):
            x, y = chosen.round().astype(int)
            hits.append(regions[y, x] in [NUMBER[name] for name in names])
    assert np.mean(hits) > 0.85


def test_the_outline_of_the_jaw_parts_skin_from_the_rest() -> None:
    (shown,) = photographed(draw_known_album(8, 1, seed=4), image_size=160, crop="loose")
    for points, regions in zip(shown.points, shown.regions, strict=True):
        chin, middle = points[8], points[27:31].mean(0)
        inside = chin + 4 * (middle - chin) / np.linalg.norm(middle - chin)
        outside = chin - 4 * (middle - chin) / np.linalg.norm(middle - chin)
        (ix, iy), (ox, oy) = inside.round().astype(int), outside.round().astype(int)
        assert regions[iy, ix] in (NUMBER["skin"], NUMBER["l_lip"], NUMBER["hair"])
        assert regions[oy, ox] != NUMBER["skin"]


def test_attributes_follow_what_is_drawn() -> None:
    album = draw_known_album(300, 1, seed=0)
    found = attributes_of(album)
    assert set(np.unique(found).tolist()) == {-1, 1}
    named = {name: found[:, CELEBA_NAMES.index(name)] == 1 for name in CELEBA_NAMES}
    assert np.array_equal(named["Young"], album.ages < 40)
    smiling = album.expressions == EXPRESSIONS.index("happiness")
    assert (named["Smiling"] == smiling).mean() > 0.95
    assert all(
        0.02 < named[name].mean() < 0.98 for name in SHOWN_ATTRIBUTES if name not in ("Wearing_Hat", "Eyeglasses")
    )
    assert not any(named[name].any() for name in set(CELEBA_NAMES) - set(SHOWN_ATTRIBUTES))


def test_one_seed_gives_one_world_and_other_seeds_other_faces() -> None:
    first, again, other = (draw_known_album(3, 2, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.traits.numpy(), again.traits.numpy())
    assert not np.array_equal(first.traits.numpy(), other.traits.numpy())


def test_a_world_is_written_once_whole_and_read_by_every_reader(tmp_path: Path) -> None:
    settings = WorldSettings(num_identities=3, images_per_identity=2, num_pairs=0, num_images=10, image_size=64)
    root = write_world(tmp_path / "world", settings)
    assert sorted(path.name for path in root.iterdir()) == [
        "age",
        "attributes",
        "expression",
        "identity",
        "landmarks",
        "made_up.json",
        "parsing",
    ]
    assert json.loads((root / "made_up.json").read_text())["num_images"] == 10
    before = (root / "identity" / "train.rec").stat().st_mtime_ns
    write_world(root, settings)
    assert (root / "identity" / "train.rec").stat().st_mtime_ns == before


def test_a_world_too_small_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_images must be at least 10"):
        write_world(tmp_path / "world", WorldSettings(num_images=3))
