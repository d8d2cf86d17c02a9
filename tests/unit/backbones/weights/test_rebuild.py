"""A checkpoint's config builds a backbone of this package and can do nothing else."""

import json

import pytest
import torch
from torch import nn

from transface.backbones.face_vit import FaceViT, face_vit_t
from transface.backbones.weights.rebuild import build_backbone, config_of

SMALL = {
    "_target_": "transface.backbones.face_vit.FaceViT",
    "embed_dim": 16,
    "depth": 2,
    "num_heads": 2,
    "embedding_size": 24,
}


def test_a_config_builds_its_backbone() -> None:
    backbone = build_backbone(SMALL)
    assert isinstance(backbone, FaceViT)
    assert backbone.embedding_size == 24
    assert len(backbone.blocks) == 2


def test_the_same_config_takes_the_same_weights() -> None:
    first, second = build_backbone(SMALL).eval(), build_backbone(SMALL).eval()
    second.load_state_dict(first.state_dict())
    images = torch.rand(2, 3, 112, 112)
    assert torch.equal(first(images).embedding, second(images).embedding)


def test_composition_keys_are_left_out() -> None:
    assert isinstance(build_backbone(SMALL | {"_convert_": "all"}), FaceViT)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "transface.training.checkpoints.writer.read_checkpoint",
        "transface.backbones.face_vit.torch",
        "transface.backbones.face_vit.torch.load",
        "transface.backbones.face_vit.nn.Linear",
        "transface.backbones.face_vit.checkpoint",
        "transface.backbones.face_vit.INIT_STD",
        "transface.backbones.no_such_file.FaceViT",
        "transface.backbones.face_vit.NoSuchNet",
        "transface.backbonesX.face_vit.FaceViT",
        "",
        None,
        7,
    ],
)
def test_anything_but_a_backbone_is_refused(target: object) -> None:
    with pytest.raises(ValueError, match="is not one of transface"):
        build_backbone({"_target_": target})


def test_a_function_of_the_package_that_is_no_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a backbone"):
        build_backbone({"_target_": "transface.backbones.features.image_sides", "image_size": 4})


def test_unknown_keywords_are_named() -> None:
    with pytest.raises(ValueError, match="widht"):
        build_backbone(SMALL | {"widht": 3})


def test_positional_arguments_and_partials_are_refused() -> None:
    with pytest.raises(ValueError, match="_args_"):
        build_backbone(SMALL | {"_args_": [1]})


def test_a_backbone_gives_the_config_it_was_built_with() -> None:
    built = FaceViT(112, 14, embed_dim=16, depth=3, num_heads=2, gate="none", layer_token_blocks=(0, 2))
    again = build_backbone(json.loads(json.dumps(config_of(built))))
    shapes, wanted = ({key: value.shape for key, value in model.state_dict().items()} for model in (again, built))
    assert shapes == wanted
    assert again.layer_token_blocks == (0, 2)
    assert again.patch_size == 14


def test_a_preset_gives_the_config_of_its_class() -> None:
    config = config_of(face_vit_t(embed_dim=16, depth=1, num_heads=2))
    assert config["_target_"] == "transface.backbones.face_vit.FaceViT"
    assert config["token_drop_rate"] == 0.1


def test_a_module_that_keeps_no_arguments_is_refused() -> None:
    with pytest.raises(ValueError, match="rebuildable"):
        config_of(nn.Linear(2, 2))
