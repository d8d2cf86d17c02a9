from typing import Any

import pytest
import torch
from torch import Tensor, nn

from transface.data.labels.attributes import AttributeTargets
from transface.losses.distillation import bernoulli_kl
from transface.systems.attributes.class_token_distillation import SelfDistillation, ZonePredictions

ZONES, LABELS, WIDTH = 3, 5, 8


def predictions_of(*, attention: bool = False) -> ZonePredictions:
    torch.manual_seed(0)
    logits = torch.randn(4, ZONES, LABELS, dtype=torch.float64, requires_grad=True)
    tokens = torch.randn(4, ZONES, WIDTH, dtype=torch.float64, requires_grad=True)
    looks = torch.rand(4, ZONES, 6, dtype=torch.float64, requires_grad=True) if attention else None
    return ZonePredictions(logits, tokens, looks)


def targets_of(known: float = 1.0) -> AttributeTargets:
    torch.manual_seed(1)
    return AttributeTargets((torch.rand(4, LABELS) < 0.5).to(torch.uint8), torch.rand(4, LABELS) <= known)


def losses_of(**settings: Any) -> SelfDistillation:
    torch.manual_seed(2)
    return SelfDistillation(WIDTH, **settings).double()


def test_terms_are_the_formulas_of_the_paper_page() -> None:
    predictions, targets = predictions_of(attention=True), targets_of(0.7)
    losses = losses_of(delta=0.2)
    found = losses(predictions, targets, progress=1.0).terms
    entries = nn.functional.binary_cross_entropy_with_logits(
        predictions.logits, targets.values[:, None].double().expand(-1, ZONES, -1), reduction="none"
    )
    by_zone = [entries[:, zone][targets.known].mean() for zone in range(ZONES)]
    torch.testing.assert_close(found["attributes"], by_zone[-1])
    torch.testing.assert_close(found["zones"], (by_zone[0] + by_zone[1]) / 2)
    kl = [bernoulli_kl(predictions.logits[:, -1], predictions.logits[:, zone], 2.0) for zone in (0, 1)]
    torch.testing.assert_close(found["logits"], (kl[0] + kl[1]) / 2)
    assert losses.projector is not None
    projected = losses.projector(predictions.tokens[:, :-1])
    cosines = nn.functional.cosine_similarity(projected, predictions.tokens[:, -1:], dim=-1)
    torch.testing.assert_close(found["tokens"], (1 - cosines).mean())
    assert predictions.attention is not None
    looks = predictions.attention / predictions.attention.sum(-1, keepdim=True)
    kl_looks = (looks[:, -1:] * (looks[:, -1:] / looks[:, :-1]).log()).sum(-1)
    torch.testing.assert_close(found["attention"], kl_looks.mean())


def gradient(total: Tensor, of: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(total, of, retain_graph=True)
    return found


def test_distillation_moves_the_students_and_never_the_teacher() -> None:
    predictions = predictions_of(attention=True)
    terms = losses_of(delta=1.0)(predictions, targets_of()).terms
    assert predictions.attention is not None
    for name, part in (
        ("logits", predictions.logits),
        ("tokens", predictions.tokens),
        ("attention", predictions.attention),
    ):
        moved = gradient(terms[name], part)
        assert not moved[:, -1].any(), name
        assert moved[:, :-1].abs().sum((0, 2)).min() > 0, name


def test_the_ablation_without_the_stop_moves_the_teacher_too() -> None:
    predictions = predictions_of()
    terms = losses_of(teacher_gradient="full")(predictions, targets_of()).terms
    assert gradient(terms["logits"], predictions.logits)[:, -1].any()


def test_distillation_rises_and_the_labels_of_the_students_do_not() -> None:
    losses, predictions, targets = losses_of(ramp_share=0.2), predictions_of(), targets_of()
    assert losses(predictions, targets, progress=0.0).weights == {"zones": 0.3, "logits": 0.0, "tokens": 0.0}
    half = losses(predictions, targets, progress=0.1).weights
    assert half == pytest.approx({"zones": 0.3, "logits": 0.25, "tokens": 0.05})


def test_the_ladder_weights_zones_by_the_progress_of_training() -> None:
    losses, predictions, targets = losses_of(zone_weights="ladder"), predictions_of(), targets_of()
    kl = [bernoulli_kl(predictions.logits[:, -1], predictions.logits[:, zone], 2.0) for zone in (0, 1)]
    early, late = (losses(predictions, targets, progress=p).terms["logits"] for p in (0.0, 1.0))
    near = torch.tensor(2.0).double().exp() / (torch.tensor(2.0).double().exp() + torch.tensor(1.0).double().exp())
    torch.testing.assert_close(early, (1 - near) * kl[0] + near * kl[1])
    torch.testing.assert_close(late, near * kl[0] + (1 - near) * kl[1])


def test_one_zone_has_its_labels_and_nothing_else() -> None:
    whole = predictions_of()
    alone = ZonePredictions(whole.logits[:, -1:], whole.tokens[:, -1:])
    losses = losses_of(gamma=0.0)
    found = losses(alone, targets_of())
    assert list(found.terms) == ["attributes"]
    torch.testing.assert_close(found.terms["attributes"], losses(whole, targets_of()).terms["attributes"])


def test_the_projector_is_built_only_where_it_is_trained() -> None:
    assert not list(losses_of(gamma=0.0).parameters())
    assert losses_of().projector is not None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": -0.1}, "at least 0"),
        ({"temperature": 0.0}, "temperature"),
        ({"ramp_share": 1.5}, "ramp"),
        ({"zone_weights": "steep"}, "'uniform' or 'ladder'"),
        ({"token_loss": "l2"}, "'cosine', 'mse_ln' or 'smooth_l1'"),
        ({"teacher_gradient": "half"}, "'none' or 'full'"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        losses_of(**settings)
