"""KP-RPE against numbers recorded from the program its authors released (CVLface)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from transface.backbones.face_vit import FaceViT
from transface.backbones.parts.keypoint_positions import (
    RATIO,
    KeypointPositions,
    bucket_ids,
    bucket_index,
    mirror_keypoints,
    move_keypoints,
    relative_keypoints,
)
from transface.backbones.released import build_vit, load_released
from transface.backbones.weights.released_families import Channels, read_released, vit_to_ours
from transface.backbones.weights.state_dicts import find_misfits

Pack = dict[str, np.ndarray]


def opened(shared: Path, name: str) -> Pack:
    return dict(np.load(shared / "parity/kprpe" / f"{name}.npz", allow_pickle=False))


@pytest.fixture(scope="module")
def pack(shared: Path) -> Pack:
    return opened(shared, "model")


def tensor(pack: Pack, key: str) -> Tensor:
    return torch.from_numpy(pack[key]).double()


def settings(pack: Pack) -> dict[str, Any]:
    return json.loads(str(pack["cfg_json"]))


def released(pack: Pack, replaced: Mapping[str, Tensor] | None = None, channels: Channels = "rgb") -> FaceViT:
    state = {key.removeprefix("sd/"): torch.from_numpy(pack[key]) for key in pack if key.startswith("sd/")}
    model = load_released(state | dict(replaced or {}), image_size=settings(pack)["img_size"], channels=channels)
    assert isinstance(model, FaceViT)
    return model.double()


def assert_near(ours: Tensor, theirs: Tensor, tolerance: float = 2e-5) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


def test_embedding_tokens_encodings_and_biases_are_the_released_ones(pack: Pack) -> None:
    model, points = released(pack), tensor(pack, "in/keypoints")
    assert model.keypoint_positions is not None
    assert model.keypoint_positions.num_heads == settings(pack)["num_heads"], "read from the shapes"
    caught: list[Tensor] = []
    for block in model.blocks:
        block.register_forward_hook(lambda module, inputs, output: caught.append(output))
    features = model(tensor(pack, "in/image"), points)
    assert_near(features.embedding, tensor(pack, "out/embedding"))
    assert_near(features.tokens, tensor(pack, "out/tokens_after_norm"))
    assert_near(relative_keypoints(points, model.grid_size), tensor(pack, "out/rel_keypoints"))
    encodings = model.keypoint_positions.encodings(points)
    for key in pack:
        block = int(key.rsplit("_", 1)[1]) if "_block_" in key else -1
        if key.startswith("out/tokens_block_"):
            assert_near(caught[block], tensor(pack, key))
        elif key.startswith("out/encoding_block_"):
            assert_near(encodings[block][: len(pack[key])], tensor(pack, key))
        elif key.startswith("out/bias_block_"):
            assert_near(model.keypoint_positions.bias(encodings[block])[: len(pack[key])], tensor(pack, key))


def test_mirrored_images_and_points_give_the_released_embeddings(pack: Pack) -> None:
    model, images, points = released(pack), tensor(pack, "in/image"), tensor(pack, "in/keypoints")
    mirrored = mirror_keypoints(points)
    assert_near(mirrored, tensor(pack, "in/keypoints_mirrored_and_swapped"))
    turned = images.flip(-1)
    of_both = model(turned, mirrored).embedding
    assert_near(model(turned, points).embedding, tensor(pack, "out/flip/image_flipped__points_original"))
    not_swapped = torch.stack([1 - points[..., 0], points[..., 1]], dim=-1)
    assert_near(
        model(turned, not_swapped).embedding, tensor(pack, "out/flip/image_flipped__points_mirrored_not_swapped")
    )
    assert_near(of_both, tensor(pack, "out/flip/image_flipped__points_mirrored_and_swapped"))
    assert_near(model(images, mirrored).embedding, tensor(pack, "out/flip/image_original__points_mirrored_and_swapped"))
    assert_near(model(images, points).embedding + of_both, tensor(pack, "out/flip/sum_of_embeddings"))


def test_weights_of_bgr_give_the_released_embedding_of_rgb(pack: Pack) -> None:
    found = released(pack, channels="bgr")(tensor(pack, "in/image"), tensor(pack, "in/keypoints")).embedding
    assert_near(found, tensor(pack, "out/embedding_color_space_BGR"))


def test_zero_weights_are_the_plain_transformer(pack: Pack) -> None:
    names = [key.removeprefix("sd/") for key in pack if key.startswith("sd/net.keypoint_linear.")]
    zero = released(pack, {name: torch.zeros(pack[f"sd/{name}"].shape) for name in names})
    found = zero(tensor(pack, "in/image"), tensor(pack, "in/keypoints")).embedding
    assert_near(found, tensor(pack, "out/embedding_with_zero_keypoint_linear"))


def test_gradients_are_the_released_ones_and_points_get_none(pack: Pack) -> None:
    model, points = released(pack), tensor(pack, "in/keypoints").requires_grad_()
    embedding = model(tensor(pack, "in/image"), points).embedding
    (embedding * tensor(pack, "in/grad_weight_of_embedding")).sum().backward()
    assert points.grad is None
    own = dict(model.named_parameters())
    grads = vit_to_ours({key.removeprefix("grad/net."): tensor(pack, key) for key in pack if key.startswith("grad/")})
    assert grads
    for name, gradient in grads.items():
        assert_near(own[name].grad, gradient, 1e-4)


def test_buckets_are_the_released_ones(shared: Path) -> None:
    pack = opened(shared, "buckets")
    for key in pack:
        if key.startswith("bucket_ids_grid_"):
            side = int(key.rsplit("_", 1)[1])
            assert (bucket_ids((side, side)).numpy() == pack[key]).all()
    offsets = pack["offset"].tolist()
    for start in [key.removesuffix("index_of_offset") for key in pack if key.endswith("index_of_offset")]:
        ratio = float(start.removeprefix("ratio_").rstrip("/")) if start else RATIO
        assert [bucket_index(offset, ratio) for offset in offsets] == pack[f"{start}index_of_offset"].tolist()
        many = 8 * int(2 * ratio) + 16  # so far apart that every bucket is met
        assert int(bucket_ids((many, many), ratio).max()) + 1 == int(pack[f"{start}num_buckets"])
    for start in {key.split("/")[0] for key in pack if key.startswith("grid")}:
        grid = (int(start.removeprefix("grid")),) * 2
        encoding, points = tensor(pack, f"{start}/in_encoding"), tensor(pack, f"{start}/in_keypoints")
        assert_near(KeypointPositions(grid, 1, encoding.shape[1]).bias(encoding), tensor(pack, f"{start}/out_bias"))
        assert_near(relative_keypoints(points, grid), tensor(pack, f"{start}/out_rel_keypoints"))


def test_points_move_with_the_image_as_in_the_released_augmentation(shared: Path) -> None:
    pack = opened(shared, "landmark_transform")
    for case in [key.removesuffix("/in_points") for key in pack if key.endswith("/in_points")]:
        moved = move_keypoints(tensor(pack, f"{case}/in_points"), tensor(pack, f"{case}/in_theta"))
        assert_near(moved, tensor(pack, f"{case}/out_points"))


def test_every_recorded_list_of_names_builds_its_model(shared: Path) -> None:
    for name, told in json.loads((shared / "parity/kprpe/names.json").read_text(encoding="utf-8")).items():
        with torch.device("meta"):
            state, family = read_released({key: torch.empty(shape) for key, (shape, _) in told["state_dict"].items()})
            model = build_vit(state)
        assert set(find_misfits(model, state).missing) <= {"mask_token"}, name
        assert not any(find_misfits(model, state)[1:]), name
        sizes = told["constructor"]
        assert (len(model.blocks), model.blocks[0].attn.num_heads) == (sizes["depth"], sizes["num_heads"]), name
        assert sum(p.numel() for p in model.parameters() if p is not model.mask_token) == told["parameters"], name
        assert ("KP-RPE" in family.name) == ("kprpe" in name)


def test_encodings_shared_by_heads_or_blocks_are_refused(shared: Path, pack: Pack) -> None:
    variants = opened(shared, "variants")
    for variant in {key.split("/sd/")[0] for key in variants if "/sd/" in key}:
        rest = {key.removeprefix("sd/"): torch.from_numpy(pack[key]) for key in pack if key.startswith("sd/")}
        rest = {key: value for key, value in rest.items() if "keypoint_linear" not in key}
        start = f"{variant}/sd/"
        own = {key.removeprefix(start): torch.from_numpy(variants[key]) for key in variants if key.startswith(start)}
        with pytest.raises(ValueError, match=r"relative positions by key points|do not fit|known family"):
            load_released(rest | own, image_size=settings(pack)["img_size"])
