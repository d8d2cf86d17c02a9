"""A state dict is found under whatever one key it was saved, and sizes follow from its shapes."""

from pathlib import Path
from typing import Any

import pytest
import torch

import transface
from transface.backbones.face_vit import FaceViT
from transface.backbones.iresnet import IResNet
from transface.backbones.mobilefacenet import MobileFaceNet
from transface.backbones.released import image_sides_of, load_released
from transface.backbones.weights.state_dicts import read_state_dict

OPTIMIZER = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


def wrappings(state: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        "net_state_dict": {"epoch": 3, "net_state_dict": state},
        "anything": {"anything": state, "optimizer": OPTIMIZER, "loss": 0.5, "name": "run"},
        "two deep": {"checkpoint": {"ema": state, "step": 4}, "args": {"lr": 0.1}},
        "under a usual key": {"payload": {"state_dict": state}},
        "DataParallel": {"net_state_dict": {f"module.{key}": value for key, value in state.items()}},
    }


@pytest.mark.parametrize("kind", list(wrappings({})))
def test_the_only_state_dict_in_a_file_is_taken_whatever_its_key(tmp_path: Path, kind: str) -> None:
    source = MobileFaceNet((1, 1, 1, 1), width=1, embedding_size=8).eval()
    torch.save(wrappings(source.state_dict())[kind], tmp_path / "weights.pt")
    faces = torch.rand(2, 3, 112, 112) * 2 - 1
    with torch.no_grad():
        wanted = torch.nn.functional.normalize(source(faces).embedding)
    torch.testing.assert_close(transface.load(tmp_path / "weights.pt").embed(faces), wanted, rtol=1e-4, atol=1e-4)


def test_several_state_dicts_are_refused_with_what_to_do(tmp_path: Path) -> None:
    torch.save({"generator": {"a": torch.zeros(1)}, "critic": {"b": torch.zeros(1)}}, tmp_path / "gan.pt")
    with pytest.raises(ValueError, match=r"several state dicts, under generator, critic: save the one"):
        read_state_dict(tmp_path / "gan.pt")


def test_names_of_no_known_family_say_how_to_go_on(tmp_path: Path) -> None:
    torch.save({"stem.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"no known family .*transface\.load\(path, backbone=network\)"):
        transface.load(tmp_path / "other.pt")


@pytest.mark.parametrize("size", [(112, 96), (112, 112), (96, 96), (128, 128), (112, 80)])
@pytest.mark.parametrize("kind", ["mobilefacenet", "iresnet", "face_vit"])
def test_the_size_of_the_images_follows_from_the_weights(size: tuple[int, int], kind: str) -> None:
    build = {
        "mobilefacenet": lambda: MobileFaceNet((1, 1, 1, 1), width=1, embedding_size=8, image_size=size),
        "iresnet": lambda: IResNet((1, 1, 1, 1), embedding_size=8, image_size=size),
        "face_vit": lambda: FaceViT(size, 16, embed_dim=16, depth=1, num_heads=4, embedding_size=8),
    }[kind]
    found = load_released(build().state_dict())
    assert tuple(found.image_size) == size
    assert found(torch.zeros(1, 3, *size)).embedding.shape == (1, 8)


def test_a_map_of_cells_is_a_square_or_an_upright_face() -> None:
    assert [image_sides_of(number, cell=16) for number in (49, 42, 36, 48)] == [
        (112, 112),
        (112, 96),
        (96, 96),
        (128, 96),
    ]
    assert image_sides_of(144, cell=9) == (112, 112)
    assert image_sides_of(3, cell=120) == (360, 120)
