"""The protocol of attributes: counts over all images, thresholds told to the network, nothing chosen on test."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from transface.backbones.features import Output
from transface.data.labels.attributes import CELEBA_NAMES
from transface.evaluation.classes.attributes import Attributes
from transface.evaluation.runner import ModelRunner
from transface.synthetic.labelled_sets import write_attribute_folder

LABELS = ("Smiling", "Male", "Young")


class Answers(NamedTuple):
    attributes: Tensor


class Brightness(nn.Module):
    """Answers by the brightness of three rows of the picture, so that every image has other logits."""

    image_size = (218, 178)

    def __init__(self, names: tuple[str, ...] = LABELS) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(4.0))
        self.set_thresholds((), names)

    def set_thresholds(self, thresholds: Any, names: tuple[str, ...] | None = None) -> None:
        found = self.outputs["attributes"].names if names is None else names
        self.outputs = {"attributes": Output("several_of", found, thresholds=tuple(thresholds or ()))}

    def forward(self, images: Tensor) -> Answers:
        count = len(self.outputs["attributes"].names)
        rows = [images[:, :, 40 * place : 40 * place + 40].mean((1, 2, 3)) for place in range(count)]
        return Answers(self.scale * torch.stack(rows, 1))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_attribute_folder(
        tmp_path_factory.mktemp("made_up") / "faces", num_identities=20, images_per_identity=2
    )


def runner_of(network: nn.Module, batch_size: int = 7) -> ModelRunner:
    return ModelRunner(network, batch_size=batch_size, progress=False)


def test_the_mean_of_the_attributes_is_the_share_of_right_answers_whatever_the_batch(faces: Path) -> None:
    network = Brightness()
    (result,) = Attributes(faces, split="train", num_bootstraps=0).evaluate(runner_of(network))
    (other,) = Attributes(faces, split="train", num_bootstraps=0).evaluate(runner_of(network, batch_size=1000))
    assert result.measure("accuracy").value == other.measure("accuracy").value
    correct = result.arrays["correct"]
    assert result.measure("accuracy").value == pytest.approx(correct.mean())
    assert result.counts == {"images": 28, "attributes": 3, "subjects": 14}
    assert list(result.tables["Attributes"].rows) == list(LABELS)


def test_thresholds_that_are_best_on_val_are_told_and_measured_apart_on_test(faces: Path) -> None:
    network = Brightness()
    val = Attributes(faces, split="val", num_bootstraps=0)
    results = val.evaluate(runner_of(network), detailed=False)
    val.tell_network(network, results)
    told = network.outputs["attributes"].thresholds
    assert len(told) == 3
    assert told == tuple(results[0].arrays["thresholds"].tolist())
    names = {measure.name for measure in val.evaluate(runner_of(network))[0].measures}
    assert "accuracy_tuned_thresholds" not in names, "on val they were chosen"
    (test,) = Attributes(faces, split="test", num_bootstraps=0).evaluate(runner_of(network))
    given = test.arrays["probabilities"] >= np.float32(told)
    wanted = (given == (test.arrays["correct"] == (test.arrays["probabilities"] >= 0.5))).mean()
    assert test.measure("accuracy_tuned_thresholds").value == pytest.approx(wanted, abs=0.02)


def test_nothing_is_told_on_test(faces: Path) -> None:
    network = Brightness()
    protocol = Attributes(faces, split="test", num_bootstraps=0)
    protocol.tell_network(network, protocol.evaluate(runner_of(network), detailed=False))
    assert network.outputs["attributes"].thresholds == ()


def test_a_network_of_other_labels_is_refused_by_name(faces: Path) -> None:
    with pytest.raises(ValueError, match="the network knows Wings, the set 5_o_Clock_Shadow"):
        Attributes(faces).evaluate(runner_of(Brightness(("Wings",))))


def test_labels_that_the_set_does_not_have_are_left_out_and_others_are_measured(faces: Path) -> None:
    (result,) = Attributes(faces, num_bootstraps=0).evaluate(runner_of(Brightness(("Smiling", "Wings"))))
    assert list(result.tables["Attributes"].rows) == ["Smiling"]
    assert "Wings" not in CELEBA_NAMES
