"""The step benchmark runs and prints its table."""

import runpy
from pathlib import Path

import pytest
import torch

BENCHMARK = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "step.py"))


def test_mixing_of_the_benchmark_reference_equals_ours() -> None:
    patches = torch.rand(2, 9, 9, 3, dtype=torch.float64) * 255
    loop = BENCHMARK["mix_in_numpy"](patches[0].numpy(), patches[1].numpy(), 0.4)
    ours = BENCHMARK["mix_amplitudes"](*patches.permute(0, 3, 1, 2), torch.tensor(0.4)).permute(1, 2, 0)
    assert (ours.clamp(0, 255).floor() - torch.from_numpy(loop)).abs().max() <= 1


def test_the_released_design_perturbs_what_ours_perturbs() -> None:
    backbone = BENCHMARK["FaceViT"](40, 9, embed_dim=16, depth=1, num_heads=4, embedding_size=8)
    images = torch.rand(4, 3, 40, 40) * 2 - 1
    draw = BENCHMARK["draw_perturbation"](
        4, 16, num_patches=7, probability=0.5, alpha=1.0, generator=torch.Generator().manual_seed(2)
    )
    changed = (BENCHMARK["perturb_as_released"](images, backbone, draw) - images).abs().amax((1, 2, 3)) > 0.1
    assert changed.nonzero().flatten().tolist() == draw.images.tolist()


def test_all_four_steps_move_the_weights() -> None:
    step = BENCHMARK["Step"](
        BENCHMARK["FaceViT"](40, 9, embed_dim=16, depth=1, num_heads=4, embedding_size=8), 5, 4, torch.device("cpu")
    )
    for name in ("plain", "transface", "float32", "released"):
        before = step.classifier.centers.detach().clone()
        getattr(step, name)()
        assert not torch.equal(before, step.classifier.centers), name


def test_actions_take_turns_and_are_timed() -> None:
    order: list[str] = []
    seconds = BENCHMARK["take_turns"]([lambda: order.append("a"), lambda: order.append("b")], 2, lambda: None)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert [(len(times.wall), len(times.processor)) for times in seconds] == [(2, 2), (2, 2)]


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(SystemExit):
        BENCHMARK["main"](["--backbone", "vgg"])
