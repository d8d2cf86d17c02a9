"""Drawn faces: pure, alike for one person, aligned to the template, and their landmarks where they are said to be."""

import numpy as np
import pytest
import torch
from torch import Tensor

from transface.synthetic.canvas import ALIGNMENT_TEMPLATE, project
from transface.synthetic.drawing import render_faces
from transface.synthetic.people import (
    CIRCUMSTANCES,
    NUISANCE_COLUMNS,
    OCCASIONS,
    TRAITS,
    Columns,
    draw_identities,
    draw_nuisance,
)


def mean_person(num_people: int = 1) -> Tensor:
    return torch.tensor([[(span.low + span.high) / 2 for span in TRAITS.values()]]).repeat(num_people, 1)


def neutral(num_images: int = 1, **changes: float) -> Tensor:
    nuisance = torch.full((num_images, len(NUISANCE_COLUMNS)), 0.5)
    for name in CIRCUMSTANCES:
        nuisance[:, NUISANCE_COLUMNS[name]] = CIRCUMSTANCES[name].neutral
    for name in OCCASIONS:
        nuisance[:, NUISANCE_COLUMNS[name]] = 0
    for name, value in changes.items():
        nuisance[:, NUISANCE_COLUMNS[name]] = value
    return nuisance


def test_the_same_tables_give_the_same_pixels_whatever_the_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    who, how = draw_identities(37, generator), draw_nuisance(37, generator, 0.9)
    faces = render_faces(who, how)
    assert faces.images.dtype == torch.uint8
    assert faces.images.shape == (37, 3, 112, 112)
    assert torch.equal(faces.images, render_faces(who, how).images)
    alone = render_faces(who[20:21], how[20:21])
    assert (alone.images.int() - faces.images[20:21].int()).abs().max() <= 1  # sums in another order
    torch.testing.assert_close(alone.landmarks, faces.landmarks[20:21])


def test_the_mean_frontal_face_meets_the_alignment_template() -> None:
    landmarks = render_faces(mean_person(), neutral()).landmarks[0]
    assert (landmarks - torch.tensor(ALIGNMENT_TEMPLATE)).norm(dim=1).max() < 1.5


def test_aligned_landmarks_are_the_least_squares_similarity_to_the_template() -> None:
    generator = torch.Generator().manual_seed(1)
    how = neutral(6)
    how[:, NUISANCE_COLUMNS["yaw"]] = torch.linspace(-0.6, 0.6, 6)
    landmarks = render_faces(draw_identities(6, generator), how).landmarks.double().numpy()
    template = np.array(ALIGNMENT_TEMPLATE)
    for points in landmarks:  # already aligned, so the best further similarity (a, b, shift) does nothing
        rows = [[x, -y, 1, 0] for x, y in points] + [[y, x, 0, 1] for x, y in points]
        solution = np.linalg.lstsq(np.array(rows), template.T.ravel(), rcond=None)[0]
        np.testing.assert_allclose(solution, [1, 0, 0, 0], atol=2e-3)


def test_eyes_are_drawn_where_the_landmarks_say() -> None:
    who = mean_person(2)
    who[:, list(TRAITS).index("iris_hue")] = 0
    faces = render_faces(who, neutral(2, eye_open=1.2))
    for x, y in faces.landmarks[0, :2].round().long().tolist():
        at_eye = faces.images[0, :, y - 1 : y + 2, x - 1 : x + 2].float().mean()
        beside = faces.images[0, :, y + 12 : y + 15, x - 1 : x + 2].float().mean()
        assert at_eye < 0.5 * beside, "a dark pupil was expected at the landmark, skin below it"


def test_a_turn_of_the_head_moves_the_nose_further_than_the_eyes() -> None:
    how = neutral(2)
    how[1, NUISANCE_COLUMNS["yaw"]] = 0.4
    columns = Columns(how, NUISANCE_COLUMNS)
    eye = project(torch.zeros(2, 1), torch.full((2, 1), -14.0), columns).real
    nose = project(torch.zeros(2, 1), torch.full((2, 1), 5.0), columns, relief=10).real
    assert eye[1] - eye[0] > 15
    assert nose[1] - nose[0] > 1.1 * (eye[1] - eye[0])


def test_loose_crops_of_other_sizes_hold_the_landmarks() -> None:
    generator = torch.Generator().manual_seed(0)
    faces = render_faces(draw_identities(8, generator), draw_nuisance(8, generator, 0.3), image_size=160, crop="loose")
    assert faces.images.shape == (8, 3, 160, 160)
    assert ((faces.landmarks > 10) & (faces.landmarks < 150)).all()
    template = torch.tensor(ALIGNMENT_TEMPLATE)
    assert (faces.landmarks - template).norm(dim=2).mean() > 10, "loose crops are not aligned"


@pytest.mark.parametrize("trait", list(TRAITS))
def test_every_trait_can_be_seen(trait: str) -> None:
    who = mean_person(4)
    shown = {
        "moustache": 0.9,
        "freckles": 0.9,
        "mole_size": 2,
        "second_mole_size": 2,
        "scar_strength": 0.9,
        "smile_folds": 0.9,
    }
    for name, value in {**shown, "hairline": -38, "beard": 0.9 if trait == "beard_line" else -1}.items():
        who[:, list(TRAITS).index(name)] = value
    who[:, list(TRAITS).index(trait)] = torch.linspace(*TRAITS[trait], 4)
    images = render_faces(who, neutral(4, noise=0.0)).images.float()
    assert (images[1:] - images[0]).abs().max() > 12, f"{trait} changes nothing"


@pytest.mark.parametrize("occasion", [name for name in OCCASIONS if name != "grey_picture"])
def test_every_occasion_hides_something(occasion: str) -> None:
    images = render_faces(
        mean_person(2), torch.cat([neutral(1, noise=0.0), neutral(1, noise=0.0, **{occasion: 1.0})])
    ).images.float()
    assert ((images[0] - images[1]).abs().amax(0) > 12).float().mean() > 0.01


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": "tight"}, "crop must be"),
        ({"image_size": 160}, "112 wide"),
        ({"image_size": 161, "crop": "loose"}, "even number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render_faces(mean_person(), neutral(), **changes)


def test_tables_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one row of nuisance"):
        render_faces(mean_person(2), neutral(1))
