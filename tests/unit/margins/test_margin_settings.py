"""Margins out of range are refused by name when they are made, not found in the loss."""

from typing import Any

import pytest
import torch

from transface.margins.adaface import AdaFace
from transface.margins.arcface import ArcFace
from transface.margins.combined import CombinedMargin
from transface.margins.cosface import CosFace
from transface.margins.curricularface import CurricularFace
from transface.margins.magface import MagFace


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (ArcFace, "margin_radians", -1.0),
        (ArcFace, "margin_radians", 4.0),
        (ArcFace, "margin_radians", float("nan")),
        (CurricularFace, "margin_radians", -0.1),
        (CosFace, "margin", -0.35),
        (CosFace, "margin", 2.0),
        (AdaFace, "margin", -0.4),
        (CombinedMargin, "m2", -0.1),
        (CombinedMargin, "m3", -0.1),
        (MagFace, "lowest_margin_radians", -0.1),
        (MagFace, "highest_margin_radians", 3.2),
    ],
)
def test_a_margin_out_of_range_is_named(kind: Any, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be at least 0 and below .*, got {value}$"):
        kind(**{name: value})


@pytest.mark.parametrize(
    "settings", [{"lowest_margin_radians": 0.8, "highest_margin_radians": 0.45}, {"regulariser_weight": -1.0}]
)
def test_magface_grows_with_the_norm(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="margins must grow with the norm"):
        MagFace(**settings)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ArcFace, "scale"),
        (MagFace, "scale"),
        (CombinedMargin, "m1"),
        (MagFace, "regulariser_weight"),
        (MagFace, "highest_norm"),
        (AdaFace, "concentration"),
    ],
)
@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0])
def test_what_makes_every_loss_infinite_or_nan_is_refused(kind: Any, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}.* got .*{value}"):
        kind(**{name: value})


@pytest.mark.parametrize("kind", [ArcFace, CurricularFace, CosFace, AdaFace, CombinedMargin, MagFace])
def test_the_defaults_are_in_range(kind: Any) -> None:
    assert kind().scale > 0


def test_no_margin_at_all_is_allowed() -> None:
    assert ArcFace(margin_radians=0.0).margin_radians == 0
    assert CosFace(margin=0.0).margin == 0


@pytest.mark.parametrize("kind", [AdaFace, CurricularFace])
def test_a_batch_without_faces_moves_no_statistics(kind: Any) -> None:
    margin = kind().train()
    before = {name: buffer.clone() for name, buffer in margin.named_buffers()}
    margin.update(torch.empty(0), torch.empty(0))
    assert before == dict(margin.named_buffers())
