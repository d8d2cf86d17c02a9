import numpy as np
import pytest
import torch

from transface.data.labels.attributes import CELEBA_NAMES, JUDGEMENTS, AttributeLabels
from transface.data.labels.label import Labels, mirror_some, to_tensors

VALUES = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0]])
KNOWN = np.array([[True, True, False], [True, True, True], [True, False, True]])


def labels() -> AttributeLabels:
    return AttributeLabels(VALUES, ["Bald", "Smiling", "Male"], known=KNOWN)


def test_they_are_labels_of_the_house() -> None:
    assert isinstance(labels(), Labels)
    assert labels().facts() == {"label_names": ["Bald", "Smiling", "Male"]}


def test_rows_become_tensors_and_what_is_not_known_is_masked() -> None:
    targets = labels().targets(labels().take([2, 0]))
    assert targets.values.tolist() == [[1, 0, 0], [1, 0, 0]]
    assert targets.known.tolist() == [[True, False, True], [True, True, False]]
    assert (targets.values.dtype, targets.known.dtype) == (torch.uint8, torch.bool)
    rows = to_tensors(labels().take([2, 0]))
    assert torch.equal(rows.values, targets.values)


def test_a_flip_changes_no_label() -> None:
    own = labels()
    targets = own.targets(own.take([0, 1, 2]))
    flipped = mirror_some(own, targets, torch.tensor([True, False, True]), 178)
    assert all(torch.equal(a, b) for a, b in zip(flipped, targets, strict=True))
    assert not any(word in name for name in CELEBA_NAMES for word in ("Left", "Right"))


def test_some_labels_are_chosen_in_the_order_asked_for_and_others_left_out() -> None:
    chosen = labels().chosen(["Male", "Bald"])
    assert chosen.names == ("Male", "Bald")
    assert chosen.values.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert chosen.known[0].tolist() == [False, True]
    assert labels().chosen(without=["Smiling"]).names == ("Bald", "Male")


def test_prevalence_counts_known_labels_only() -> None:
    assert labels().prevalence().tolist() == pytest.approx([2 / 3, 0.0, 0.5])
    unknown = AttributeLabels(np.zeros((2, 1)), ["Bald"], known=np.zeros((2, 1), dtype=bool))
    assert np.isnan(unknown.prevalence()).all()


def test_celeba_has_forty_names_and_judgements_are_some_of_them() -> None:
    assert len(CELEBA_NAMES) == len(set(CELEBA_NAMES)) == 40
    assert set(JUDGEMENTS) <= set(CELEBA_NAMES)


def test_what_is_no_table_of_attributes_is_refused() -> None:
    with pytest.raises(ValueError, match="for as many names"):
        AttributeLabels(VALUES, ["Bald", "Male"])
    with pytest.raises(ValueError, match="Bald came more than once"):
        AttributeLabels(VALUES, ["Bald", "Bald", "Male"])
    with pytest.raises(ValueError, match=r"attributes are 0 or 1, got \[-1, 2\]"):
        AttributeLabels(np.array([[2], [-1]]), ["Bald"])
    with pytest.raises(ValueError, match="no attribute is called 'Hat'"):
        labels().chosen(["Hat"])
    with pytest.raises(ValueError, match="no attribute is left"):
        labels().chosen(["Bald"], without=["Bald"])
    with pytest.raises(ValueError, match="known must be"):
        AttributeLabels(VALUES, ["Bald", "Smiling", "Male"], known=KNOWN[:2])
