"""EHSM: entropies and weights re-derived in NumPy, which gradient flows, both ends."""

import math

import numpy as np
import pytest
import torch

from transface.systems.recognition.ehsm import EHSM, hardness_weights, token_entropy


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randn(5, 7, 11, dtype=torch.float64) * torch.rand(5, 7, 1, dtype=torch.float64)


def test_entropies_equal_numpy(tokens: torch.Tensor) -> None:
    for face in range(5):
        for i in range(7):
            values = tokens[face, i].numpy()
            variance = ((values - values.mean()) ** 2).sum() / 10
            expected = 0.5 * math.log(2 * math.pi * math.e * variance)
            assert token_entropy(tokens, "gaussian")[face, i].item() == pytest.approx(expected, rel=1e-12)
            assert token_entropy(tokens, "std")[face, i].item() == pytest.approx(math.sqrt(variance), rel=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.0])
def test_weights_equal_numpy(gamma: float) -> None:
    entropy = torch.randn(4, 6, dtype=torch.float64)
    expected = [1 + math.exp(-gamma * np.mean(row)) for row in entropy.numpy()]
    np.testing.assert_allclose(hardness_weights(entropy, gamma).numpy(), expected, rtol=1e-12)


def test_informative_faces_weigh_less() -> None:
    noise = torch.randn(1, 7, 11)
    weights = EHSM()(torch.cat([noise * scale for scale in (0.1, 1.0, 10.0)]))
    assert weights[0] > weights[1] > weights[2] > 1


def test_gaussian_lets_the_gradient_raise_the_entropy_and_std_lets_none_through(tokens: torch.Tensor) -> None:
    tokens.requires_grad_()
    weights = EHSM("gaussian")(tokens)
    (gradient,) = torch.autograd.grad(weights.sum(), tokens)
    lowered = EHSM("gaussian")(tokens - 1e-3 * gradient).sum()
    assert lowered < weights.sum()
    assert token_entropy(tokens - 1e-3 * gradient).mean() > token_entropy(tokens).mean()
    assert not EHSM("std")(tokens).requires_grad


def test_the_gradient_is_that_of_finite_differences(tokens: torch.Tensor) -> None:
    assert torch.autograd.gradcheck(
        lambda x: EHSM("gaussian", 0.7, normalize="mean_one")(x), (tokens[:2, :2].clone().requires_grad_(),)
    )


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-4, 1e8])
@pytest.mark.parametrize("gamma", [1.0, 100.0])
def test_constant_and_huge_tokens_give_finite_weights_and_gradients(scale: float, gamma: float) -> None:
    tokens = (torch.randn(3, 4, 8) * scale).requires_grad_()
    weights = EHSM("gaussian", gamma)(tokens)
    weights.sum().backward()
    assert weights.isfinite().all()
    assert tokens.grad.isfinite().all()
    assert EHSM("std", gamma)(tokens).isfinite().all()


def test_constant_tokens_have_the_entropy_of_the_least_variance() -> None:
    assert token_entropy(torch.ones(1, 1, 4)).item() == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 1e-8))


@pytest.mark.parametrize("kind", ["gaussian", "std"])
def test_constant_tokens_have_gradient_zero_and_leave_that_of_the_others(kind: str) -> None:
    tokens = torch.randn(2, 3, 5, dtype=torch.float64)
    tokens[0, 1] = 0.25
    tokens.requires_grad_()
    entropy = token_entropy(tokens, kind)
    (gradient,) = torch.autograd.grad(entropy.sum(), tokens)
    assert gradient[0, 1].eq(0).all()
    alone = tokens.detach()[1:].requires_grad_()
    (expected,) = torch.autograd.grad(token_entropy(alone, kind).sum(), alone)
    torch.testing.assert_close(gradient[1:], expected)
    assert kind == "gaussian" or entropy[0, 1] == 0


def test_mean_one_keeps_the_order_and_has_mean_one(tokens: torch.Tensor) -> None:
    plain, normalised = EHSM()(tokens), EHSM(normalize="mean_one")(tokens)
    assert normalised.mean().item() == pytest.approx(1.0)
    torch.testing.assert_close(normalised * plain.mean(), plain)


def test_fresh_gated_tokens_weigh_what_the_released_code_gives_them() -> None:
    tokens = torch.nn.functional.layer_norm(torch.randn(8, 144, 512), (512,)) * 0.5
    assert EHSM("std")(tokens).sub(1.6065).abs().max() < 2e-3


def test_half_precision_tokens_are_widened() -> None:
    tokens = torch.randn(3, 4, 64)
    weights = EHSM()(tokens.bfloat16())
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights, EHSM()(tokens), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"entropy": "shannon"}, "gaussian, std"),
        ({"normalize": "sum"}, "mean_one"),
        ({"gamma": -1.0}, "gamma"),
        ({"gamma": math.nan}, "gamma"),
    ],
)
def test_unknown_words_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EHSM(**settings)


def test_an_unknown_entropy_and_a_single_channel_are_refused() -> None:
    with pytest.raises(ValueError, match="gaussian, std"):
        token_entropy(torch.zeros(1, 2, 3), "renyi")
    with pytest.raises(ValueError, match="channels"):
        token_entropy(torch.zeros(1, 2, 1))
