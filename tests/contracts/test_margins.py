"""What every margin promises: two elementwise parts that join, finite gradients, chunks that do not matter, no state
moves in eval.
"""

import copy
import math

import pytest
import torch
from torch import nn

from transface.margins.adaface import AdaFace
from transface.margins.arcface import ArcFace
from transface.margins.combined import CombinedMargin
from transface.margins.cosface import CosFace
from transface.margins.curricularface import CurricularFace
from transface.margins.elasticface import ElasticFace
from transface.margins.magface import MagFace
from transface.margins.x2softmax import X2Softmax

MARGINS = {
    "arcface": lambda **k: ArcFace(**k),
    "arcface_released": lambda **k: ArcFace(gradient="straight_through", **k),
    "cosface_released": lambda **k: CosFace(gradient="straight_through", **k),
    "cosface": lambda **k: CosFace(**k),
    "combined": lambda **k: CombinedMargin(m1=1.35, m2=0.3, m3=0.2, **k),
    "adaface": lambda **k: AdaFace(**k),
    "magface": lambda **k: MagFace(**k),
    "magface_easy": lambda **k: MagFace(applies_to="positive_cosines", **k),
    "elasticface_arc": lambda **k: ElasticFace(**k),
    "elasticface_cos_plus": lambda **k: ElasticFace(kind="cos", margin=0.35, deviation=0.02, pairing="exact", **k),
    "x2softmax": lambda **k: X2Softmax(**k),
    "curricularface": lambda **k: CurricularFace(**k),
}
B, C = 12, 9


@pytest.fixture(params=sorted(MARGINS))
def margin(request: pytest.FixtureRequest) -> nn.Module:
    module = MARGINS[request.param]().double()
    if isinstance(module, CurricularFace):
        module.stage.fill_(0.3)
    return module


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    cosines = torch.rand(B, C, generator=generator, dtype=torch.float64) * 2 - 1
    return (
        cosines,
        torch.randint(C, (B,), generator=generator),
        torch.rand(B, generator=generator, dtype=torch.float64) * 60 + 5,
    )


def test_logits_join_the_two_parts(margin, inputs) -> None:
    cosines, labels, norms = inputs
    margin.eval()
    logits = margin(cosines, labels, norms)
    own = cosines[torch.arange(B), labels]
    targets, others = margin.target_logits(own, norms), margin.other_logits(cosines, own)
    for b in range(B):
        for c in range(C):
            assert logits[b, c] == (targets[b] if c == labels[b] else others[b, c])


def test_other_logits_do_not_depend_on_the_chunk_they_are_made_in(margin, inputs) -> None:
    cosines, labels, _ = inputs
    own = cosines[torch.arange(B), labels]
    whole = margin.other_logits(cosines, own)
    assert torch.equal(whole, torch.cat([margin.other_logits(part, own) for part in cosines.split(2, dim=1)], dim=1))


def test_the_margin_never_raises_the_target_above_its_cosine_at_an_average_norm(margin, inputs) -> None:
    cosines, labels, _ = inputs
    own = cosines[torch.arange(B), labels]
    assert (margin.target_logits(own, torch.full_like(own, 20.0)) <= margin.scale * own + 1e-9).all()


def test_gradients_are_finite_at_both_ends_of_the_cosine(margin) -> None:
    for dtype in (torch.float32, torch.float64):
        cosines = torch.tensor([-1.0, -1 + 1e-7, 0.0, 1 - 1e-7, 1.0], dtype=dtype, requires_grad=True)
        norms = torch.full((5,), 20.0, dtype=dtype, requires_grad=True)
        logits = margin.to(dtype).target_logits(cosines, norms)
        (gradient,) = torch.autograd.grad(logits.sum(), cosines)
        assert logits.isfinite().all()
        assert gradient.isfinite().all()


def test_gradients_are_the_numerical_ones(margin, inputs) -> None:
    if isinstance(margin, ArcFace) and margin.gradient != "exact":
        pytest.skip("straight-through is not the true derivative, by intent")
    cosines, labels, norms = inputs
    margin.eval()
    cosines = (cosines * 0.95).requires_grad_()
    own = cosines.detach()[torch.arange(B), labels]
    assert torch.autograd.gradcheck(lambda x: margin.other_logits(x, own), cosines)
    if isinstance(margin, AdaFace):
        assert torch.autograd.gradcheck(lambda x: margin.target_logits(x, norms), own.clone().requires_grad_())
    else:
        norms = norms.clamp(11, 100).requires_grad_()
        assert torch.autograd.gradcheck(margin.target_logits, (own.clone().requires_grad_(), norms))


def test_an_evaluated_margin_keeps_its_state(margin, inputs) -> None:
    before = copy.deepcopy(margin.state_dict())
    margin.eval()(*inputs)
    assert all(torch.equal(before[name], value) for name, value in margin.state_dict().items())


@pytest.mark.parametrize("name", sorted(MARGINS))
def test_filtered_classes_get_a_logit_of_zero_and_no_gradient(name, inputs) -> None:
    cosines, labels, norms = inputs
    margin = MARGINS[name](filter_threshold=0.4).double().eval()
    cosines.requires_grad_()
    logits = margin(cosines, labels, norms)
    (gradient,) = torch.autograd.grad(logits.sum(), cosines)
    filtered = (cosines > 0.4) & ~nn.functional.one_hot(labels, C).bool()
    assert filtered.any()
    assert (logits[filtered] == 0).all()
    assert (gradient[filtered] == 0).all()
    plain = MARGINS[name]().double().eval()(cosines, labels, norms)
    assert torch.equal(logits[~filtered], plain[~filtered])


@pytest.mark.parametrize("name", sorted(MARGINS))
@pytest.mark.parametrize(
    ("setting", "value"),
    [("scale", 0.0), ("scale", math.inf), ("scale", math.nan), ("filter_threshold", 1.5), ("filter_threshold", 0.0)],
)
def test_a_setting_out_of_range_is_refused_by_name(name, setting, value) -> None:
    with pytest.raises(ValueError, match=f"{setting} must .*{value}"):
        MARGINS[name](**{setting: value})


@pytest.mark.parametrize("name", ["arcface", "arcface_released", "cosface", "combined", "curricularface", "x2softmax"])
def test_the_target_logit_falls_with_the_angle_within_pi(name) -> None:
    angles = torch.linspace(0.01, math.pi - 0.6, 200, dtype=torch.float64)
    if name == "combined":
        angles = angles[1.35 * angles + 0.3 < math.pi]
    logits = MARGINS[name]().target_logits(angles.cos(), None)
    assert (logits.diff() < 0).all()
