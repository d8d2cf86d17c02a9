import math

import pytest
import torch

from transface.losses.attributes import Asymmetric, BinaryCrossEntropy, Focal, known_mean


def test_cross_entropy_is_the_formula_with_its_weight_on_yes_alone() -> None:
    logits = torch.tensor([[0.3, -1.2]], dtype=torch.float64)
    p = [1 / (1 + math.exp(-x)) for x in logits[0].tolist()]
    loss = BinaryCrossEntropy([3.0, 1.0]).double()(logits, torch.tensor([[1, 0]], dtype=torch.uint8))
    assert loss[0].tolist() == pytest.approx([-3 * math.log(p[0]), -math.log(1 - p[1])])


def test_focal_is_the_formula_and_without_gamma_the_cross_entropy() -> None:
    logits = torch.randn(5, 4, dtype=torch.float64)
    values = (torch.rand(5, 4) < 0.5).to(torch.uint8)
    right = torch.where(values.bool(), logits.sigmoid(), 1 - logits.sigmoid())
    torch.testing.assert_close(Focal(2.0)(logits, values), (1 - right) ** 2 * -right.log())
    torch.testing.assert_close(Focal(0.0)(logits, values), BinaryCrossEntropy()(logits, values))


def test_asymmetric_is_the_formula_and_without_powers_and_clip_the_cross_entropy() -> None:
    logits = torch.randn(5, 4, dtype=torch.float64)
    values = (torch.rand(5, 4) < 0.5).to(torch.uint8)
    p = logits.sigmoid()
    wrong = (p - 0.05).clamp_min(0)
    expected = torch.where(values.bool(), (1 - p) * -p.log(), wrong**4 * -(1 - wrong).log())
    torch.testing.assert_close(Asymmetric(1.0, 4.0, 0.05)(logits, values), expected)
    torch.testing.assert_close(Asymmetric(0.0, 0.0, 0.0)(logits, values), BinaryCrossEntropy()(logits, values))


@pytest.mark.parametrize("loss", [BinaryCrossEntropy(), Focal(), Asymmetric(), Asymmetric(clip=0.0)])
def test_losses_and_gradients_are_finite_for_logits_of_any_size(loss: torch.nn.Module) -> None:
    logits = torch.tensor([-300.0, -50.0, 0.0, 50.0, 300.0]).repeat(2, 1).requires_grad_()
    entries = loss(logits, torch.tensor([[1], [0]]).expand(2, 5))
    entries.sum().backward()
    assert entries.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_unknown_labels_count_nothing_neither_in_the_mean_nor_in_the_gradient() -> None:
    entries = torch.tensor([[1.0, 100.0], [3.0, 5.0]], requires_grad=True)
    known = torch.tensor([[True, False], [True, True]])
    mean = known_mean(entries, known)
    mean.backward()
    assert mean.item() == pytest.approx(3.0)
    torch.testing.assert_close(entries.grad, known / 3)


def test_the_mean_keeps_the_axes_between_images_and_labels() -> None:
    entries = torch.randn(4, 3, 2, dtype=torch.float64)
    known = torch.rand(4, 2) < 0.7
    expected = [float(entries[:, zone][known].mean()) for zone in range(3)]
    assert known_mean(entries, known).tolist() == pytest.approx(expected)


def test_a_batch_without_any_known_label_has_a_loss_and_gradient_of_zero() -> None:
    entries = torch.full((2, 2), math.inf, requires_grad=True)
    mean = known_mean(entries, torch.zeros(2, 2, dtype=torch.bool))
    mean.backward()
    assert mean.item() == 0.0
    assert entries.grad is not None
    assert not entries.grad.any()


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="pos_weight must be positive"):
        BinaryCrossEntropy([1.0, 0.0])
    with pytest.raises(ValueError, match="gamma must be at least 0"):
        Focal(-1.0)
    with pytest.raises(ValueError, match=r"clip in 0\.\.1"):
        Asymmetric(clip=1.0)
