"""DPAP: amplitude mixing re-derived in float64 NumPy, what is drawn, what is touched and what is not."""

import contextlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from transface.backbones.face_vit import FaceViT
from transface.systems.recognition.dpap import (
    DPAP,
    apply_perturbation,
    dominant_patches,
    draw_perturbation,
    mix_amplitudes,
)


@pytest.fixture
def backbone() -> FaceViT:
    # 40 = 4 x 9 + 4: the last four rows and columns are in no patch.
    return FaceViT(40, 9, embed_dim=16, depth=2, num_heads=4, embedding_size=8, drop_path_rate=0.5, token_drop_rate=0.5)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 3, 40, 40) * 2 - 1


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numpy_mix(source: np.ndarray, reference: np.ndarray, ratio: float) -> np.ndarray:
    spectrum, other = np.fft.fft2(source), np.fft.fft2(reference)
    return np.fft.ifft2(((1 - ratio) * abs(spectrum) + ratio * abs(other)) * np.exp(1j * np.angle(spectrum))).real


@pytest.mark.parametrize("side", [1, 2, 8, 9, 14])
def test_mixing_equals_numpy_patch_by_patch(side: int) -> None:
    source, reference = torch.rand(2, 5, 3, side, side, dtype=torch.float64)
    ratio = torch.rand(5, 1, dtype=torch.float64)
    mixed = mix_amplitudes(source, reference, ratio).numpy()
    for i in range(5):
        for colour in range(3):
            expected = numpy_mix(source[i, colour].numpy(), reference[i, colour].numpy(), ratio[i, 0].item())
            np.testing.assert_allclose(mixed[i, colour], expected, atol=1e-12)


def test_ratio_zero_is_the_source_and_ratio_one_has_the_amplitude_of_the_reference() -> None:
    source, reference = torch.rand(2, 4, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(mix_amplitudes(source, reference, torch.zeros(4)), source)
    other = mix_amplitudes(source, reference, torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(torch.fft.fft2(other).abs(), torch.fft.fft2(reference).abs())
    torch.testing.assert_close(torch.fft.fft2(other).angle(), torch.fft.fft2(source).angle())


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_flat_patch_takes_the_amplitude_with_phase_zero(value: float) -> None:
    source, reference = torch.full((1, 9, 9), value), torch.rand(1, 9, 9)
    mixed = mix_amplitudes(source, reference, torch.tensor([0.25]))
    amplitude = 0.25 * np.abs(np.fft.fft2(reference[0].numpy()))
    amplitude[0, 0] += 0.75 * 81 * value
    np.testing.assert_allclose(mixed[0].numpy(), np.fft.ifft2(amplitude).real, atol=1e-5)


def test_mixing_has_the_gradient_of_its_finite_differences() -> None:
    source, reference = (torch.rand(2, 3, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    ratio = torch.tensor([0.3, 0.8], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mix_amplitudes, (source, reference, ratio))


def test_ratio_may_carry_the_axes_of_the_patch_too() -> None:
    source, reference = torch.rand(2, 5, 3, 9, 9)
    ratio = torch.rand(5, 1)
    expected = mix_amplitudes(source, reference, ratio)
    torch.testing.assert_close(mix_amplitudes(source, reference, ratio[..., None, None]), expected)


def test_dominant_patches_come_in_falling_order_and_equals_in_reading_order() -> None:
    importance = torch.tensor([[0.1, 0.9, 0.5, 0.9], [0.4, 0.3, 0.2, 0.1]])
    assert dominant_patches(importance, 3).tolist() == [[1, 3, 2], [0, 1, 2]]
    assert dominant_patches(importance, 4).sort(1).values.tolist() == [[0, 1, 2, 3]] * 2
    assert torch.equal(dominant_patches(importance, 2), dominant_patches(importance.softmax(1), 2))


@pytest.mark.parametrize("count", [0, 5, -1])
def test_more_patches_than_there_are_is_refused_with_both_numbers(count: int) -> None:
    with pytest.raises(ValueError, match=f"4, got {count}"):
        dominant_patches(torch.rand(2, 4), count)


def test_draws_have_the_distribution_that_is_promised() -> None:
    draw = draw_perturbation(4000, 16, num_patches=3, probability=0.2, alpha=0.5, generator=seeded())
    assert abs(len(draw.images) / 4000 - 0.2) < 0.03
    assert (draw.images.diff() > 0).all()
    assert (draw.reference_images != draw.images[:, None]).all(), "the reference is another image"
    assert draw.reference_images.min() >= 0
    assert draw.reference_images.max() < 4000
    assert abs(draw.reference_images.float().mean() - 2000) < 120
    assert draw.reference_cells.unique().tolist() == list(range(16))
    assert 0 <= draw.ratios.min() < 0.01
    assert 0.49 < draw.ratios.max() <= 0.5
    assert abs(draw.ratios.mean() - 0.25) < 0.01


def test_every_other_image_is_a_reference_equally_often() -> None:
    draw = draw_perturbation(3, 16, num_patches=3000, probability=1.0, alpha=1.0, generator=seeded())
    for image in range(3):
        counts = draw.reference_images[image].bincount(minlength=3)
        assert counts[image] == 0
        assert (counts[[other for other in range(3) if other != image]] - 1500).abs().max() < 150


def test_the_only_image_of_a_batch_is_its_own_reference() -> None:
    draw = draw_perturbation(1, 16, num_patches=3, probability=1.0, alpha=1.0, generator=seeded())
    assert draw.reference_images.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("quantize", [False, True])
def test_perturbed_images_equal_a_naive_loop(images: Tensor, backbone: FaceViT, quantize: bool) -> None:
    images[0, :, :9, :9] = -1.0  # a black patch
    result, draw, chosen = DPAP(3, 0.7, quantize=quantize).perturb(
        images.double(), backbone.double(), generator=seeded(0)
    )
    assert 0 < len(draw.images) < 6
    expected = images.double().numpy().copy()
    for row, index in enumerate(draw.images.tolist()):
        for k in range(3):
            r, c = divmod(int(chosen[row, k]), 4)
            rr, rc = divmod(int(draw.reference_cells[row, k]), 4)
            other = images[draw.reference_images[row, k]].double().numpy()
            for colour in range(3):
                source = (images[index, colour, 9 * r : 9 * r + 9, 9 * c : 9 * c + 9].double().numpy() + 1) * 127.5
                reference = (other[colour, 9 * rr : 9 * rr + 9, 9 * rc : 9 * rc + 9] + 1) * 127.5
                grey = numpy_mix(source, reference, draw.ratios[row, k].double().item()).clip(0, 255)
                expected[index, colour, 9 * r : 9 * r + 9, 9 * c : 9 * c + 9] = (
                    np.floor(grey) if quantize else grey
                ) / 127.5 - 1
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-7)


def test_only_the_chosen_patches_of_the_drawn_images_change(images: Tensor, backbone: FaceViT) -> None:
    before = images.clone()
    result, draw, chosen = DPAP(2, 0.5).perturb(images, backbone, generator=seeded(1))
    assert torch.equal(images, before), "the caller's images stay"
    allowed = torch.zeros(6, 40, 40, dtype=torch.bool)
    for index, cells in zip(draw.images.tolist(), chosen.tolist(), strict=True):
        for cell in cells:
            allowed[index, 9 * (cell // 4) : 9 * (cell // 4) + 9, 9 * (cell % 4) : 9 * (cell % 4) + 9] = True
    changed = (result != images).any(1)
    assert not (changed & ~allowed).any()
    assert changed[allowed].float().mean() > 0.9
    assert result.abs().max() <= 1


def test_the_chosen_patches_are_the_dominant_ones_of_the_eval_forward(images: Tensor, backbone: FaceViT) -> None:
    _, draw, chosen = DPAP(4, 1.0, scoring_precision=None).perturb(images, backbone, generator=seeded())
    importance = backbone.eval()(images).patch_importance[draw.images]
    assert torch.equal(chosen, dominant_patches(importance, 4))


def test_scoring_leaves_no_trace_and_sees_only_the_drawn_images(images: Tensor, backbone: FaceViT) -> None:
    backbone.train()
    backbone.blocks[0].eval()  # a frozen part
    flags = [module.training for module in backbone.modules()]
    state = {key: value.clone() for key, value in backbone.state_dict().items()}
    seen: list[int] = []
    backbone.patch_embed.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    backbone.neck.register_forward_hook(lambda *_: pytest.fail("the neck ran"))
    rng = torch.get_rng_state()
    result, draw, _ = DPAP(3, 0.5).perturb(images, backbone, generator=seeded(2))
    assert seen == [len(draw.images)]
    assert torch.equal(torch.get_rng_state(), rng)
    assert [module.training for module in backbone.modules()] == flags
    assert not result.requires_grad
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())


def test_flags_come_back_even_if_scoring_fails(images: Tensor, backbone: FaceViT) -> None:
    backbone.norm.register_forward_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("stop")))
    with pytest.raises(RuntimeError, match="stop"):
        DPAP(3, 1.0)(images, backbone)
    assert all(module.training for module in backbone.modules())


def test_equal_generators_give_equal_images_and_other_ones_others(images: Tensor, backbone: FaceViT) -> None:
    dpap = DPAP(3, 0.5)
    one, two, three = (dpap(images, backbone, generator=seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_probability_zero_scores_nothing_and_alpha_zero_changes_nothing(images: Tensor, backbone: FaceViT) -> None:
    torch.testing.assert_close(DPAP(3, 1.0, alpha=0.0)(images, backbone), images, rtol=0, atol=1e-5)
    backbone.patch_embed.register_forward_hook(lambda *_: pytest.fail("scored"))
    assert torch.equal(DPAP(3, 0.0)(images, backbone), images)


@pytest.mark.parametrize("count", [1, 16])
def test_one_patch_and_all_patches_and_a_batch_of_one(images: Tensor, backbone: FaceViT, count: int) -> None:
    result = DPAP(count, 1.0)(images[:1], backbone, generator=seeded())
    changed = (result != images[:1]).any(1)
    assert changed[:, :36, :36].float().mean() > 0.9 * count / 16
    assert not changed[:, 36:].any()
    assert not changed[:, :, 36:].any()


def test_references_are_read_from_the_unchanged_batch(images: Tensor) -> None:
    draw = draw_perturbation(2, 16, num_patches=16, probability=1.0, alpha=1.0, generator=seeded())
    chosen = torch.arange(16).expand(2, 16)
    both = apply_perturbation(images[:2], draw, chosen, patch_size=9, grid_size=(4, 4))
    for index in range(2):
        alone = draw._replace(**{key: value[index : index + 1] for key, value in draw._asdict().items()})
        single = apply_perturbation(images[:2], alone, chosen[:1], patch_size=9, grid_size=(4, 4))
        torch.testing.assert_close(both[index], single[index], rtol=0, atol=1e-6)


def test_images_that_are_no_floats_are_refused(images: Tensor, backbone: FaceViT) -> None:
    with pytest.raises(ValueError, match=r"floats in \[-1, 1\], got torch.uint8"):
        DPAP(3, 1.0)(((images + 1) * 127).to(torch.uint8), backbone)


def test_bfloat16_images_stay_bfloat16(images: Tensor, backbone: FaceViT) -> None:
    result = DPAP(3, 1.0)(images.bfloat16(), backbone.bfloat16(), generator=seeded())
    assert result.dtype == torch.bfloat16
    assert result.isfinite().all()


def test_scoring_in_bf16_narrows_the_scoring_alone(images: Tensor, backbone: FaceViT) -> None:
    seen: list[torch.dtype] = []
    backbone.blocks[0].mlp.fc1.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    result, draw, chosen = DPAP(4, 1.0, scoring_precision="bf16").perturb(images, backbone, generator=seeded())
    assert seen == [torch.bfloat16]
    assert result.dtype == torch.float32
    importance = backbone.eval()(images).patch_importance
    worst, fourth = importance.gather(1, chosen).amin(1), importance.sort(descending=True).values[:, 3]
    assert (fourth - worst).max() < 0.05 * (
        importance.amax() - importance.amin()
    )  # only nearly equal patches change places
    assert seen[1:] == [torch.float32]
    assert torch.equal(draw.ratios, DPAP(4, 1.0).perturb(images, backbone, generator=seeded()).perturbation.ratios)


@pytest.mark.parametrize(
    ("images_dtype", "autocast", "hardware", "expected"),
    [
        (torch.float32, None, True, torch.bfloat16),
        (torch.float32, None, False, torch.float32),
        (torch.float64, None, True, torch.float64),
        (torch.float32, torch.float16, True, torch.float16),
    ],
)
def test_auto_narrows_the_scoring_of_float32_runs_where_the_hardware_gains(
    images: Tensor,
    backbone: FaceViT,
    monkeypatch: pytest.MonkeyPatch,
    images_dtype: torch.dtype,
    autocast: torch.dtype | None,
    hardware: bool,
    expected: torch.dtype,
) -> None:
    monkeypatch.setattr("transface.systems.recognition.dpap.multiplies_bfloat16", lambda device: hardware)
    seen: list[torch.dtype] = []
    backbone.to(images_dtype).blocks[0].mlp.fc1.register_forward_hook(
        lambda module, inputs, output: seen.append(output.dtype)
    )
    with torch.autocast("cpu", autocast) if autocast else contextlib.nullcontext():
        result = DPAP(4, 1.0)(images.to(images_dtype), backbone, generator=seeded())
    assert seen == [expected]
    assert result.dtype == images_dtype


@pytest.mark.parametrize("precision", [None, "bf16"])
def test_every_weight_learns_under_autocast(images: Tensor, precision: Any) -> None:
    """Autocast keeps the narrow weights it made: made without gradient for scoring, they must not serve the training
    pass.
    """
    backbone = FaceViT(40, 9, embed_dim=16, depth=2, num_heads=4, embedding_size=8)
    with torch.autocast("cpu", torch.bfloat16):
        perturbed = DPAP(3, 1.0, scoring_precision=precision)(images, backbone)
        backbone(perturbed).embedding.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in backbone.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_patches": 0}, "num_patches"),
        ({"probability": 1.5}, "probability"),
        ({"alpha": -0.1}, "alpha"),
        ({"scoring_precision": "fp8"}, "scoring_precision must be none or one of auto, bf16, got 'fp8'"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        DPAP(**settings)


def test_k_beyond_the_grid_is_refused_at_the_backbone(images: Tensor, backbone: FaceViT) -> None:
    with pytest.raises(ValueError, match="16, got 17"):
        DPAP(17, 0.0)(images, backbone)


def test_a_backbone_without_gate_or_patches_is_refused(images: Tensor, backbone: FaceViT) -> None:
    plain = FaceViT(40, 9, embed_dim=16, depth=1, num_heads=4, gate="none")
    with pytest.raises(ValueError, match="no gate"):
        DPAP(3, 1.0)(images, plain)

    class Convolutional(nn.Module):
        image_size, patch_size, grid_size, embedding_size = (40, 40), 0, (0, 0), 8

    with pytest.raises(ValueError, match="has none"):
        DPAP(3).check_backbone(Convolutional())


def test_images_of_another_size_are_refused(backbone: FaceViT) -> None:
    with pytest.raises(ValueError, match="images must be"):
        DPAP(3)(torch.zeros(2, 3, 36, 36), backbone)
