"""What does not fit in a released file is told by its name in that file, and every family opens at other sizes."""

import re
from collections.abc import Callable

import pytest
import torch
from tests.unit.backbones.test_released import made_up_ir, made_up_vit, prefixed, run_ir
from torch import Tensor

from transface.backbones.clip_vit import ClipViT, load_clip_tower
from transface.backbones.face_vit import FaceViT
from transface.backbones.iresnet import IResNet
from transface.backbones.mobilefacenet import MobileFaceNet
from transface.backbones.released import load_released
from transface.backbones.weights.released_families import read_released

MADE_UP: dict[str, Callable[[], dict[str, Tensor]]] = {
    "TransFace": lambda: made_up_vit(32, 2, 16, 3, gated=True),
    "CVLface ViT": lambda: prefixed(made_up_vit(32, 2, 16, 3), "net."),
    "arcface_torch ViT": lambda: made_up_vit(32, 2, 16, 4),
    "AdaFace IR": lambda: made_up_ir((1, 2, 1, 1)),
    "CVLface IR": lambda: prefixed(made_up_ir((1, 1, 1, 1)), "net."),
    "arcface_torch IResNet": lambda: IResNet((1, 1, 1, 1), embedding_size=8).state_dict(),
    "arcface_torch MobileFaceNet": lambda: MobileFaceNet((1, 1, 1, 1), width=1, embedding_size=8).state_dict(),
}
MAY_LACK = ("num_batches_tracked", "mask_token")


@pytest.mark.parametrize("family", list(MADE_UP))
def test_a_key_that_lacks_has_another_shape_or_is_too_many_is_named_as_in_the_file(family: str) -> None:
    state = MADE_UP[family]()
    prefix = "net." if family.startswith("CVLface") else ""
    for key in state:
        if key.endswith(MAY_LACK):
            continue
        without = {name: value for name, value in state.items() if name != key}
        reshaped = without | {key: torch.zeros(*state[key].shape, 2)}
        renamed = state | {f"{key}_copy": torch.zeros(1)}
        named = re.escape(key)
        lacking = re.escape(key.removeprefix(prefix))  # without it the family itself may not be known
        for wrong, told in ((without, lacking), (reshaped, named), (renamed, f"{named}_copy")):
            with pytest.raises(ValueError, match=told) as caught, torch.device("meta"):
                load_released(wrong)
            assert "\n" not in str(caught.value)


def test_the_nearest_family_says_what_it_lacks() -> None:
    state = made_up_vit(32, 1, 16, 4)
    del state["pos_embed"]
    with pytest.raises(ValueError, match=r"no known family .*; nearest is .* ViT, without pos_embed;"):
        load_released(state)


@pytest.mark.parametrize("prefix", ["net._orig_mod.", "_orig_mod.net.", "module.net.", "net.module."])
def test_a_wrapping_inside_the_prefix_of_a_family_hides_it_not(prefix: str) -> None:
    state = made_up_ir((1, 1, 1, 1))
    assert read_released(prefixed(state, prefix)).family.name == "CVLface IR"
    images = torch.rand(1, 3, 112, 112) * 2 - 1
    with torch.no_grad():
        found = load_released(prefixed(state, prefix))(images).embedding
    torch.testing.assert_close(found, run_ir(state, images, (1, 1, 1, 1)), rtol=1e-3, atol=1e-3)


def test_an_averaged_model_is_opened_without_its_counter() -> None:
    source = MobileFaceNet((1, 1, 1, 1), width=1, embedding_size=8)
    state = torch.optim.swa_utils.AveragedModel(source).state_dict()
    assert "n_averaged" in state
    opened = load_released(state)
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in opened.state_dict().items())


def test_quantised_weights_are_refused() -> None:
    state = made_up_vit(32, 1, 16, 4)
    key = "blocks.0.attn.qkv.weight"
    state[key] = (state[key] * 40).to(torch.int8)
    with pytest.raises(ValueError, match=re.escape(f"{key} is torch.int8 (96, 32), the model has torch.float32 (96,")):
        load_released(state)


def test_sparse_and_empty_tensors_are_refused_by_name() -> None:
    state = made_up_vit(32, 1, 16, 4)
    with pytest.raises(ValueError, match=r"norm\.weight is torch\.sparse_coo \(32,\), the model has torch\.strided"):
        load_released(state | {"norm.weight": state["norm.weight"].to_sparse()})
    with pytest.raises(ValueError, match=r"patch_embed\.proj\.weight must have 4 dimensions, got the shape \(0, 3, 16"):
        load_released({key: value[:0] if value.ndim else value for key, value in state.items()})


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module.visual.", "clip.visual."])
def test_a_clip_tower_opens_under_any_prefix_and_is_resized(prefix: str) -> None:
    sizes = {"patch_size": 16, "width": 32, "depth": 1, "num_heads": 4, "output_width": 8}
    source = ClipViT(position_size=112, **sizes)
    target = ClipViT(position_size=224, **sizes)
    load_clip_tower(target, {f"{prefix}{key}": value.half() for key, value in source.state_dict().items()})
    assert torch.equal(target.conv1.weight, source.conv1.weight.half().float())
    assert target.positional_embedding.shape == (1 + 14 * 14, 32)


@pytest.mark.parametrize("patch_size", [8, 9, 14, 16])
@pytest.mark.parametrize("image_size", [112, 224, (112, 96), 160])
def test_images_in_use_are_found_where_patches_leave_a_remainder(
    image_size: int | tuple[int, int], patch_size: int
) -> None:
    source = FaceViT(image_size, patch_size, embed_dim=32, depth=1, num_heads=4, embedding_size=8).eval()
    opened = load_released(source.state_dict())
    assert opened.image_size == source.image_size
    images = torch.rand(1, 3, *source.image_size)
    with torch.no_grad():
        torch.testing.assert_close(opened(images).embedding, source(images).embedding)
