"""What every backbone promises, whatever it is made of."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from transface.backbones.face_vit import FaceViT
from transface.backbones.features import Backbone, Encoder, FaceFeatures
from transface.backbones.iresnet import IResNet
from transface.backbones.mobilefacenet import MobileFaceNet
from transface.backbones.timm_face import TimmFace
from transface.backbones.weights.rebuild import build_backbone

BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "face_vit": lambda: FaceViT(
        embed_dim=16, depth=2, num_heads=4, embedding_size=24, drop_path_rate=0.3, token_drop_rate=0.3
    ),
    "face_vit_without_gate": lambda: FaceViT(embed_dim=16, depth=2, num_heads=4, embedding_size=24, gate="none"),
    "face_vit_with_registers": lambda: FaceViT(
        embed_dim=16, depth=2, num_heads=4, embedding_size=24, num_registers=3, token_drop_rate=0.3
    ),
    "iresnet": lambda: IResNet((1, 1, 1, 1), embedding_size=24, dropout=0.4),
    "mobilefacenet": lambda: MobileFaceNet((1, 1, 1, 1), width=1, embedding_size=24),
    "timm_vit": lambda: TimmFace("test_vit", embedding_size=24),
    "timm_vit_at_another_size": lambda: TimmFace("test_vit", input_size=64, embedding_size=24),
    "timm_vit_with_registers": lambda: TimmFace("test_vit", num_registers=2, embedding_size=24),
    "timm_resnet": lambda: TimmFace("test_resnet", embedding_size=24, neck_width=8),
}
TIED = {"mask_token"}  # used only when tokens are dropped


@pytest.fixture(params=BACKBONES)
def backbone(request: pytest.FixtureRequest) -> nn.Module:
    return BACKBONES[request.param]()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 112, 112) * 2 - 1


def compare(one: FaceFeatures, two: FaceFeatures) -> None:
    for first, second in zip(one[:3], two[:3], strict=True):
        assert (first is None) == (second is None)
        if first is not None:
            torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [0, -1])
@pytest.mark.parametrize("build", [FaceViT, IResNet, MobileFaceNet, TimmFace])
def test_an_embedding_of_no_size_is_refused_by_name(build: Callable[..., nn.Module], size: int) -> None:
    first = {IResNet: ((1, 1, 1, 1),), TimmFace: ("test_vit",)}.get(build, ())  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=f"embedding_size must be at least 1, got {size}"):
        build(*first, embedding_size=size)


def test_it_is_a_backbone_with_features_of_the_promised_shapes(backbone: nn.Module, images: Tensor) -> None:
    assert isinstance(backbone, Backbone)
    assert backbone.image_size == (112, 112)
    features = backbone(images)
    assert features.embedding.shape == (3, backbone.embedding_size) == (3, 24)
    assert features.embedding.dtype == torch.float32
    rows, columns = backbone.grid_size
    assert (features.tokens is None) == (rows * columns == 0) == (backbone.patch_size == 0)
    if features.tokens is not None:
        assert features.tokens.shape[:2] == (3, rows * columns)
        assert rows * backbone.patch_size <= 112
        assert columns * backbone.patch_size <= 112
    if features.patch_importance is not None:
        assert features.patch_importance.shape == (3, rows * columns)


def test_evaluation_is_deterministic_and_independent_of_the_batch(backbone: nn.Module, images: Tensor) -> None:
    backbone.eval()
    with torch.no_grad():
        whole = backbone(images)
        compare(whole, backbone(images))
        alone = backbone(images[1:2])
    torch.testing.assert_close(alone.embedding, whole.embedding[1:2], rtol=1e-4, atol=1e-4)


def test_importance_without_the_neck_is_that_of_the_forward(backbone: nn.Module, images: Tensor) -> None:
    backbone.eval()
    importance, expected = backbone.patch_importance(images), backbone(images).patch_importance
    assert (importance is None) == (expected is None)
    if importance is not None:
        torch.testing.assert_close(importance.sigmoid(), expected)
        assert (expected > 0).all()
        assert (expected < 1).all()


def test_gradients_reach_every_parameter_that_learns(backbone: nn.Module, images: Tensor) -> None:
    backbone.train()
    (backbone(images).embedding * torch.rand(3, 24)).sum().backward()
    for name, parameter in backbone.named_parameters():
        if parameter.requires_grad and not (name in TIED and getattr(backbone, "token_drop_rate", 0) == 0):
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_state_dict_goes_round(request: pytest.FixtureRequest, backbone: nn.Module, images: Tensor) -> None:
    other = BACKBONES[request.node.callspec.params["backbone"]]()
    backbone(images)  # moves the statistics of the batch norms
    other.load_state_dict(backbone.state_dict())
    compare(other.eval()(images), backbone.eval()(images))


def test_layer_index_grows_from_the_image_to_the_embedding(backbone: nn.Module) -> None:
    found = {name: backbone.layer_index(name) for name, _ in backbone.named_parameters()}
    first, last = next(iter(found.values())), list(found.values())[-1]
    assert min(found.values()) == first == 0
    assert max(found.values()) == last > 1


FOLDER = Path(__file__).parents[2] / "conf" / "backbone"
CONFIGS = sorted(path for path in FOLDER.glob("*.yaml") if "defaults:" not in path.read_text(encoding="utf-8"))


ENCODERS = [path for path in CONFIGS if "embedding_size" not in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", ENCODERS, ids=lambda path: path.stem)
def test_every_encoder_config_builds_an_encoder(path: Path) -> None:
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    with torch.device("meta"):
        encoder = build_backbone(config | ({"name": "test_vit"} if "name" in config else {}) | {"image_size": 112})
    assert isinstance(encoder, Encoder)
    assert "weights" in config, "so that backbone.weights=FILE needs no plus sign"


@pytest.mark.parametrize("path", [path for path in CONFIGS if path not in ENCODERS], ids=lambda path: path.stem)
def test_every_backbone_config_builds_a_backbone(path: Path) -> None:
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    # A system without an embedding of its own leaves the size to the network.
    assert re.fullmatch(r"\$\{embedding_size\}|\$\{oc.select:embedding_size,\d+\}", config["embedding_size"])
    missing: dict = {"name": "test_vit"} if config.get("name") == "???" else {}
    if str(config.get("image_size", "")).startswith("${"):
        missing["image_size"] = 112
    with torch.device("meta"):
        backbone = build_backbone(config | missing | {"embedding_size": 512})
    assert isinstance(backbone, Backbone)
    assert backbone.embedding_size == 512
    assert "weights" in config, "so that backbone.weights=FILE needs no plus sign"


def test_there_is_a_config_for_every_backbone() -> None:
    stems = {path.stem for path in CONFIGS}
    sizes = {f"iresnet{depth}" for depth in (18, 34, 50, 100, 200)} | {f"face_vit_{size}" for size in "tsbl"}
    assert sizes | {"mobilefacenet", "timm"} <= stems


@pytest.mark.parametrize(("name", "kind"), [("mobilefacenet", MobileFaceNet), ("iresnet50", IResNet)])
def test_every_size_of_a_backbone_is_a_key_of_its_config(name: str, kind: type[nn.Module]) -> None:
    keys = set(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))
    fixed = {"depths"} if kind is IResNet else set()  # an IResNet-50 is one by its depths
    assert set(inspect.signature(kind).parameters) - fixed <= keys
