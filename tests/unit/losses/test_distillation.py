import math

import pytest
import torch

from transface.losses.distillation import attention_kl, bernoulli_divergence, bernoulli_kl, token_distance

torch.manual_seed(0)


def naive_kl(teacher: torch.Tensor, student: torch.Tensor, temperature: float) -> float:
    total = 0.0
    for t, s in zip(teacher.flatten().tolist(), student.flatten().tolist(), strict=True):
        p, q = 1 / (1 + math.exp(-t / temperature)), 1 / (1 + math.exp(-s / temperature))
        total += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    return temperature**2 * total / teacher.numel()


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.0, 4.0])
def test_bernoulli_kl_is_the_formula_entry_by_entry(temperature: float) -> None:
    teacher, student = (3 * torch.randn(4, 5, dtype=torch.float64) for _ in range(2))
    assert float(bernoulli_kl(teacher, student, temperature)) == pytest.approx(
        naive_kl(teacher, student, temperature), rel=1e-10
    )


def test_bernoulli_kl_is_never_negative_and_zero_at_equality() -> None:
    teacher, student = (8 * torch.randn(1000, dtype=torch.float64) for _ in range(2))
    assert bernoulli_divergence(teacher, student, 2.0).min() >= -1e-12
    assert float(bernoulli_kl(teacher, teacher.clone(), 2.0)) == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bernoulli_kl_and_its_gradient_are_finite_for_logits_of_any_size(dtype: torch.dtype) -> None:
    ends = torch.tensor([-200.0, -50.0, 0.0, 50.0, 200.0], dtype=dtype)
    teacher, student = torch.meshgrid(ends, ends, indexing="ij")
    student = student.clone().requires_grad_()
    loss = bernoulli_divergence(teacher, student, 1.0)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert float(loss[0, 4]) == pytest.approx(200.0)


def test_bernoulli_kl_of_a_hot_temperature_is_an_eighth_of_the_squared_difference() -> None:
    teacher, student = (torch.randn(50, dtype=torch.float64) for _ in range(2))
    limit = (teacher - student).square().mean() / 8
    assert float(bernoulli_kl(teacher, student, 1e3)) == pytest.approx(float(limit), rel=1e-4)


def test_gradient_of_the_student_is_the_difference_of_probabilities_and_the_teacher_s_is_zero() -> None:
    teacher = torch.randn(6, dtype=torch.float64, requires_grad=True)
    student = torch.randn(6, dtype=torch.float64, requires_grad=True)
    bernoulli_divergence(teacher, student, 2.0).sum().backward()
    assert teacher.grad is None
    expected = 2.0 * ((student / 2).sigmoid() - (teacher / 2).sigmoid())
    torch.testing.assert_close(student.grad, expected.detach())


def test_the_ablation_lets_students_move_the_teacher() -> None:
    teacher = torch.randn(6, dtype=torch.float64, requires_grad=True)
    bernoulli_kl(teacher, torch.zeros(6, dtype=torch.float64), 2.0, teacher_gradient="full").backward()
    assert teacher.grad is not None
    assert teacher.grad.abs().max() > 0
    assert torch.autograd.gradcheck(
        lambda t: bernoulli_divergence(t, torch.ones(6).double(), 3.0, teacher_gradient="full"), teacher
    )


def test_token_distances_equal_naive_ones() -> None:
    teacher, student = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    for row in range(3):
        t, s = teacher[row], student[row]
        cosine = float((t * s).sum() / (t.norm() * s.norm()))
        assert float(token_distance(teacher, student)[row]) == pytest.approx(1 - cosine)
        normed = [(x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt() for x in (t, s)]
        assert float(token_distance(teacher, student, "mse_ln")[row]) == pytest.approx(
            float((normed[0] - normed[1]).square().mean())
        )
        gaps = (t - s).abs()
        huber = torch.where(gaps < 1, 0.5 * gaps**2, gaps - 0.5).mean()
        assert float(token_distance(teacher, student, "smooth_l1")[row]) == pytest.approx(float(huber))


def test_attention_kl_does_not_depend_on_the_scale_and_allows_patches_nobody_looks_at() -> None:
    teacher = torch.tensor([[0.2, 0.0, 0.8]], dtype=torch.float64)
    student = torch.tensor([[0.25, 0.5, 0.25]], dtype=torch.float64)
    expected = 0.2 * math.log(0.2 / 0.25) + 0.8 * math.log(0.8 / 0.25)
    assert float(attention_kl(7 * teacher, 3 * student)) == pytest.approx(expected)
    assert float(attention_kl(teacher, teacher)) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_that_is_no_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be positive"):
        bernoulli_kl(torch.zeros(2), torch.zeros(2), temperature)


def test_other_shapes_and_words_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        bernoulli_kl(torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ValueError, match="one shape"):
        attention_kl(torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ValueError, match="'cosine', 'mse_ln' or 'smooth_l1'"):
        token_distance(torch.zeros(2), torch.zeros(2), "l2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'none' or 'full'"):
        bernoulli_kl(torch.zeros(2), torch.zeros(2), teacher_gradient="half")  # type: ignore[arg-type]
