"""Sizes of a convolutional backbone follow from the weights it starts from, but for what the command line says."""

from pathlib import Path

import pytest
import torch

from transface.backbones.iresnet import IResNet
from transface.backbones.mobilefacenet import MobileFaceNet
from transface.cli.config.compose import compose, instantiate
from transface.cli.runs.sizes_from_weights import take_sizes_from_weights


def composed(*overrides: str) -> tuple:
    words = ["data.root=nowhere", *overrides]
    return compose("train", words), words


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "small.pt"
    torch.save(MobileFaceNet((1, 2, 3, 1), width=1, image_size=(112, 96), embedding_size=128).state_dict(), path)
    return path


def test_a_narrow_mobilefacenet_of_112_by_96_is_built_as_its_weights_are(small: Path) -> None:
    cfg, words = composed("backbone=mobilefacenet", f"backbone.weights={small}")
    drawn = torch.get_rng_state()
    told = take_sizes_from_weights(cfg, words)
    assert torch.equal(torch.get_rng_state(), drawn), "a run's random numbers are those of its seed"
    assert told == ["depths [1, 2, 3, 1]", "width 1", "image_size [112, 96]", "embedding_size 128"]
    assert cfg.data.image_size == [112, 96]
    assert instantiate(cfg.backbone).image_size == (112, 96)
    assert take_sizes_from_weights(cfg, words) == [], "there is nothing left to change"


def test_what_the_command_line_says_stays_and_the_backbone_says_what_does_not_fit(small: Path) -> None:
    cfg, words = composed("backbone=mobilefacenet", f"backbone.weights={small}", "backbone.image_size=112")
    assert "image_size [112, 96]" not in take_sizes_from_weights(cfg, words)
    with pytest.raises(Exception, match=r"features\.layers\.0|of another shape"):
        instantiate(cfg.backbone)


def test_an_iresnet_without_a_first_convolution_in_its_shortcut_is_built_so(tmp_path: Path) -> None:
    weights = IResNet((2, 2, 2, 2), image_size=(112, 96), first_shortcut="subsample", embedding_size=64).state_dict()
    torch.save(weights, tmp_path / "ada.pt")
    cfg, words = composed("backbone=iresnet18", f"backbone.weights={tmp_path / 'ada.pt'}")
    assert {"image_size [112, 96]", "embedding_size 64", "first_shortcut subsample"} == set(
        take_sizes_from_weights(cfg, words)
    )
    assert instantiate(cfg.backbone).image_size == (112, 96)


@pytest.mark.parametrize("backbone", ["face_vit_t", "iresnet18"])
def test_weights_of_another_kind_are_left_to_the_backbone(backbone: str, small: Path) -> None:
    cfg, words = composed(f"backbone={backbone}", f"backbone.weights={small}")
    assert take_sizes_from_weights(cfg, words) == []
