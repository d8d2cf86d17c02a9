"""How tasks look at the network's image: regions, sizes, and the same answers by every way."""

import pytest
import torch
from tests.unit.systems.generalist.small import TASKS, network
from torch.nn import functional as F

from transface.backbones.weights.rebuild import build_backbone, config_of
from transface.systems.generalist.looks import Look, clip_pixels, resized
from transface.systems.generalist.tasks import Task, as_tasks


def test_resizing_is_the_averaged_bilinear_one() -> None:
    images = torch.rand(2, 3, 32, 24, dtype=torch.float64)
    wanted = F.interpolate(images, (16, 16), mode="bilinear", align_corners=False, antialias=True)
    assert torch.allclose(resized(images, 16), wanted, atol=1e-6)


def test_a_region_outside_the_image_is_black() -> None:
    seen = Look(region=(-0.25, 0.0, 0.75, 1.0)).of(torch.ones(1, 3, 8, 8))
    assert seen.shape == (1, 3, 8, 8)
    assert seen[0, 0, 0].tolist() == [-1, -1, 1, 1, 1, 1, 1, 1]


def test_clip_pixels_have_mean_nought_at_the_mean_colour() -> None:
    grey = torch.tensor([0.48145466, 0.4578275, 0.40821073])[None, :, None, None] * 2 - 1
    assert clip_pixels(grey).abs().max() < 1e-6


def test_tasks_of_two_sizes_answer_one_image_as_they_answer_their_own_size() -> None:
    tasks = (*TASKS, Task("points", "landmarks", 3, image_size=32))
    model = network(tasks, image_size=32).double().eval()
    image = torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1
    whole = model(image)
    assert whole._fields == ("embedding", "age", "smile", "mood", "points")
    small = model.answering(["age"])
    assert small.image_size == (16, 16)
    assert torch.allclose(small(resized(image, 16)).age, whole.age)
    assert torch.allclose(model.answering(["points"])(image).points, whole.points)
    assert model.answering(["embedding"]).embedding_size == 8


def test_the_network_is_built_again_from_its_config() -> None:
    model = network((*TASKS, Task("points", "landmarks", 3)), layers=(1, 0), layer_bias="task").eval()
    again = build_backbone(config_of(model)).eval()
    again.load_state_dict(model.state_dict())
    image = torch.rand(1, 3, 16, 16)
    assert all(torch.equal(a, b) for a, b in zip(model(image), again(image), strict=True))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"name": "a", "kind": "age", "num_outputs": 101, "image_size": 0}, "image_size of task 'a'"),
        ({"name": "a", "kind": "age", "num_outputs": 101, "pixels": "raw"}, "pixels of task 'a' must be half or clip"),
        ({"name": "a", "kind": "parsing", "num_outputs": 2, "region": [0, 0, 1, 1]}, "only tasks that are not dense"),
        ({"name": "a", "kind": "age", "num_outputs": 101, "region": [1, 0, 0, 1]}, "left, top, right, bottom"),
        ({"name": "a", "kind": "expression", "num_outputs": 3, "names": ["x"]}, "3 outputs and 1 names"),
    ],
)
def test_a_row_that_cannot_be_is_refused(row: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        as_tasks([row])
