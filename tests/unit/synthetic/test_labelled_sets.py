"""Made-up people who know their labels: the files are those of the published sets, the labels what was drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.io import decode_image

from transface.cli.config.errors import UserError
from transface.cli.synthesize import settings_of
from transface.data.labels.attributes import CELEBA_NAMES
from transface.data.sources.attributes.opening import open_attributes
from transface.data.sources.face_labels import open_label_files
from transface.synthetic.attributes import NOT_DRAWN, attributes_of, draw_attribute_album
from transface.synthetic.canvas import PORTRAIT_TEMPLATE
from transface.synthetic.drawing import render_faces
from transface.synthetic.labelled_sets import write_age_folder, write_attribute_folder, write_expression_folder
from transface.synthetic.looks import EXPRESSIONS, give_ages, give_expressions, give_genders
from transface.synthetic.people import NUISANCE_COLUMNS, TRAIT_COLUMNS, draw_identities, draw_nuisance


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def celeba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_attribute_folder(
        tmp_path_factory.mktemp("made_up") / "celeba", num_identities=9, images_per_identity=2, seed=3
    )


def test_the_attribute_folder_has_celeba_s_lists_and_size(celeba: Path) -> None:
    lists = {name: (celeba / name).read_text().splitlines() for name in contents(celeba) if name.endswith(".txt")}
    assert set(lists) == {
        "list_attr_celeba.txt",
        "list_eval_partition.txt",
        "identity_CelebA.txt",
        "list_landmarks_align_celeba.txt",
    }
    assert lists["list_attr_celeba.txt"][0] == "18"
    assert tuple(lists["list_attr_celeba.txt"][1].split()) == CELEBA_NAMES
    for row in lists["list_attr_celeba.txt"][2:]:
        assert set(row.split()[1:]) <= {"-1", "1"}
    names = [row.split()[0] for row in lists["list_attr_celeba.txt"][2:]]
    assert names[:2] == ["000001.jpg", "000002.jpg"]
    assert names == sorted(path.name for path in (celeba / "img_align_celeba").iterdir())
    for stem in ("list_eval_partition", "identity_CelebA"):
        assert [row.split()[0] for row in lists[f"{stem}.txt"]] == names
    assert tuple(decode_image(str(celeba / "img_align_celeba" / names[0])).shape) == (3, 218, 178)


def test_the_reader_of_celeba_reads_what_was_drawn_and_no_person_is_in_two_splits(celeba: Path) -> None:
    opened = open_attributes(celeba)
    album = draw_attribute_album(9, 2, torch.Generator().manual_seed(3 * 1_000_003 + 40))
    np.testing.assert_array_equal(opened.labels.values.astype(bool), album.attributes.numpy())
    assert opened.identities is not None
    people = [set(opened.identities[opened.rows(split)].tolist()) for split in ("train", "val", "test")]
    assert [len(part) for part in people] == [7, 1, 1]
    assert not people[0] & people[1] and not people[0] & people[2] and not people[1] & people[2]  # noqa: PT018


def test_landmarks_of_portraits_lie_where_celeba_has_them() -> None:
    generator = torch.Generator().manual_seed(0)
    album = draw_attribute_album(20, 1, generator, difficulty=0.0)
    faces = render_faces(album.traits, album.nuisance, image_size=218, crop="portrait")
    assert tuple(faces.images.shape) == (20, 3, 218, 218)
    assert float((faces.landmarks.mean(0) - torch.tensor(PORTRAIT_TEMPLATE)).abs().max()) < 4


def test_labels_follow_the_tables_the_face_is_drawn_from() -> None:
    generator = torch.Generator().manual_seed(0)
    who, how = draw_identities(4, generator), draw_nuisance(4, generator, 0.0)
    nothing = torch.zeros(4, dtype=torch.bool)
    for name, table, columns, low, high in (
        ("Eyeglasses", how, NUISANCE_COLUMNS["glasses"], 0.0, 1.0),
        ("Wearing_Hat", how, NUISANCE_COLUMNS["hat"], 0.0, 1.0),
        ("Smiling", how, NUISANCE_COLUMNS["smile"], 0.0, 1.0),
        ("Mouth_Slightly_Open", how, NUISANCE_COLUMNS["mouth_open"], -0.3, 0.6),
        ("Mustache", who, TRAIT_COLUMNS["moustache"], -1.0, 0.9),
        ("Bald", who, TRAIT_COLUMNS["hairline"], -40.0, -95.0),
    ):
        place, before = CELEBA_NAMES.index(name), table[:, columns].clone()
        found = []
        for value in (low, high):
            table[:, columns] = value
            found.append(attributes_of(who, how, male=nothing, ages=torch.full((4,), 30.0))[:, place].tolist())
        table[:, columns] = before
        assert found == [[False] * 4, [True] * 4], name
    ages = torch.tensor([20.0, 60.0, 20.0, 60.0])
    found_ages = attributes_of(who, how, male=~nothing, ages=ages)
    assert found_ages[:, CELEBA_NAMES.index("Young")].tolist() == [True, False, True, False]
    assert found_ages[:, CELEBA_NAMES.index("Male")].all()
    assert not found_ages[:, [CELEBA_NAMES.index(name) for name in NOT_DRAWN]].any()


def test_every_attribute_that_is_drawn_occurs_and_none_is_in_every_image() -> None:
    share = draw_attribute_album(400, 2, torch.Generator().manual_seed(1)).attributes.float().mean(0)
    drawn = [place for place, name in enumerate(CELEBA_NAMES) if name not in NOT_DRAWN]
    assert float(share[drawn].min()) > 0.005
    assert float(share.max()) < 0.95


@pytest.mark.parametrize("write", [write_attribute_folder, write_expression_folder, write_age_folder])
def test_the_same_seed_gives_the_same_bytes_another_seed_others_and_nothing_is_made_twice(
    write: object, tmp_path: Path
) -> None:
    settings = {"num_identities": 3, "images_per_identity": 2}
    first = contents(write(tmp_path / "a", seed=5, **settings))  # type: ignore[operator]
    assert contents(write(tmp_path / "b", seed=5, **settings)) == first  # type: ignore[operator]
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "b").rglob("*")}
    write(tmp_path / "b", seed=5, **settings)  # type: ignore[operator]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "b").rglob("*")} == stamps
    assert contents(write(tmp_path / "b", seed=6, **settings)) != first  # type: ignore[operator]


def test_foreign_files_are_left_alone_and_too_few_people_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not made-up data"):
        write_age_folder(tmp_path / "mine", num_identities=3)
    with pytest.raises(ValueError, match="at least 3 people"):
        write_attribute_folder(tmp_path / "few", num_identities=2)
    assert not (tmp_path / "few").exists()


def test_expressions_lie_in_folders_of_three_splits_every_person_in_one(tmp_path: Path) -> None:
    root = write_expression_folder(tmp_path / "faces", num_identities=4, images_per_identity=7, seed=1)
    files = open_label_files(root)
    assert len(files.paths) == 28
    assert sorted({path.split("/")[1] for path in files.paths}) == sorted(EXPRESSIONS)
    splits: dict[str, set[str]] = {}
    for path in files.paths:
        splits.setdefault(path.rsplit("/", 1)[1].split("_")[0], set()).add(path.split("/")[0])
    assert all(len(found) == 1 for found in splits.values())
    assert set().union(*splits.values()) == {"train", "val", "test"}


def test_ages_are_named_as_utkface_names_them(tmp_path: Path) -> None:
    root = write_age_folder(tmp_path / "faces", num_identities=6, images_per_identity=2, seed=1)
    files = open_label_files(root)
    assert (len(files.paths), files.rejected, set(files.labels)) == (12, [], {"age", "gender"})


def test_gestures_move_mouth_and_brows_apart_and_no_strength_is_neutral() -> None:
    generator = torch.Generator().manual_seed(0)
    person = draw_identities(1, generator).expand(7, -1)
    how = draw_nuisance(1, generator, 0.0).expand(7, -1)
    kinds = torch.arange(7)
    faces = render_faces(*give_expressions(person, how, kinds)).images.float()
    for half in (faces[:, :, :56], faces[:, :, 56:]):
        for one in range(7):
            for other in range(one):
                assert float((half[one] - half[other]).abs().mean()) > 0.2, (EXPRESSIONS[one], EXPRESSIONS[other])
    same = render_faces(*give_expressions(person, how, kinds, strength=0.0)).images
    assert all(torch.equal(same[0], face) for face in same)


def test_age_and_gender_change_their_cues_and_no_other_trait() -> None:
    people = draw_identities(50, torch.Generator().manual_seed(0))
    old, young = (give_ages(people, torch.full((50,), age)) for age in (75.0, 25.0))
    for name in ("forehead_lines", "eye_bags", "hair_grey"):
        assert bool((old[:, TRAIT_COLUMNS[name]] > young[:, TRAIT_COLUMNS[name]]).all())
    assert torch.equal(old[:, TRAIT_COLUMNS["iris_hue"]], people[:, TRAIT_COLUMNS["iris_hue"]])
    men, women = (give_genders(people, torch.full((50,), male)) for male in (True, False))
    assert float(women[:, TRAIT_COLUMNS["beard"]].max()) < 0
    assert bool(
        (men[:, TRAIT_COLUMNS["brow_thickness"]] >= women[:, TRAIT_COLUMNS["brow_thickness"]]).float().mean() > 0.5
    )
    assert torch.equal(men[:, TRAIT_COLUMNS["mole_size"]], women[:, TRAIT_COLUMNS["mole_size"]])


def test_settings_that_a_kind_does_not_have_are_refused() -> None:
    nothing = dict.fromkeys(("num_identities", "images_per_identity", "num_pairs", "num_ijbc_identities"))
    base = {"root": "x", "seed": 4, **nothing}
    assert settings_of({**base, "kind": "ages", "num_identities": 5}) == {
        "num_identities": 5,
        "images_per_identity": 2,
        "seed": 4,
    }
    assert settings_of({**base, "kind": "identities"})["num_pairs"] == 600
    with pytest.raises(UserError, match="kind=ages has no num_pairs"):
        settings_of({**base, "kind": "ages", "num_pairs": 20})
    with pytest.raises(UserError, match="kind must be identities, attributes, expressions, ages, world, got 'hats'"):
        settings_of({**base, "kind": "hats"})
