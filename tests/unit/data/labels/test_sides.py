"""Left and right in the names of labels, and what a mirror makes of labels of each kind."""

import numpy as np
import pytest
import torch

from transface.data.labels.attributes import CELEBA_NAMES, AttributeLabels, AttributeTargets, mirrored_attributes
from transface.data.labels.expressions import ClassLabels
from transface.data.labels.points import CELEBAMASK_REGIONS, LAPA_REGIONS, LFW_PARTS_REGIONS
from transface.data.labels.sides import NO_OPPOSITE, mirrored_classes, mirrored_order, opposite_name


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("l_brow", "r_brow"),
        ("Left_Eye_Closed", "Right_Eye_Closed"),
        ("looks right", "looks left"),
        ("LEFT", "RIGHT"),
        ("Bright_Light", "Bright_Light"),
        ("copyright", "copyright"),
        ("Wavy_Hair", "Wavy_Hair"),
    ],
)
def test_left_and_right_are_words_of_a_name_or_its_prefix(name: str, other: str) -> None:
    assert opposite_name(name) == other
    assert opposite_name(other) == name


@pytest.mark.parametrize("names", [CELEBAMASK_REGIONS, LAPA_REGIONS, LFW_PARTS_REGIONS, CELEBA_NAMES])
def test_mirroring_names_twice_changes_nothing(names: tuple[str, ...]) -> None:
    order = mirrored_order(names)
    assert [order[place] for place in order] == list(range(len(names)))


def test_no_attribute_of_celeba_names_a_side_and_the_lower_lip_is_none() -> None:
    assert mirrored_order(CELEBA_NAMES) == tuple(range(40))
    assert mirrored_order(("l_lip", "u_lip", "l_eye", "r_eye")) == (0, 1, 3, 2)


def test_attributes_of_sides_trade_places_and_one_without_its_opposite_is_not_known() -> None:
    names = ("left_eye_closed", "smile", "right_eye_closed", "left_dimple")
    values = torch.tensor([[1, 1, 0, 1], [0, 0, 1, 1]], dtype=torch.uint8)
    known = torch.tensor([[True, True, True, True], [False, True, True, True]])
    turned = mirrored_attributes(AttributeTargets(values, known), names)
    assert turned.values.tolist() == [[0, 1, 1, 0], [1, 0, 0, 0]]
    assert turned.known.tolist() == [[True, True, True, False], [True, True, False, False]]
    labels = AttributeLabels(values.numpy(), names)
    assert labels.mirrored(labels.targets(labels.take([0])), 8).values.tolist() == [[0, 1, 1, 0]]


def test_classes_of_sides_trade_places_and_unknown_ones_stay() -> None:
    names = ("frontal", "left", "right")
    assert mirrored_classes(torch.tensor([0, 1, 2, -1]), names).tolist() == [0, 2, 1, -1]
    labels = ClassLabels(np.array([1, 2]), names)
    assert labels.mirrored(labels.targets(labels.take([0, 1])), 8).tolist() == [2, 1]


def test_a_class_of_a_side_without_its_opposite_cannot_be_mirrored() -> None:
    assert mirrored_order(("frontal", "left")) == (0, NO_OPPOSITE)
    with pytest.raises(ValueError, match="class 'left' names a side"):
        mirrored_classes(torch.tensor([0]), ("frontal", "left"))
