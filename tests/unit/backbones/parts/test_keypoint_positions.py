"""KP-RPE: the bias re-derived in loops, the mirror identity, zero weights, dropped tokens, registers, where points come
from.
"""

import math
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor

from transface.backbones.face_vit import FaceViT
from transface.backbones.parts.keypoint_positions import (
    MIRRORED_ORDER,
    NUM_BUCKETS,
    KeypointPositions,
    aligned_keypoints,
    bucket_ids,
    mirror_keypoints,
    move_keypoints,
    relative_keypoints,
)
from transface.export.agreement import random_faces
from transface.export.to_onnx import export_onnx
from transface.face_template import TEMPLATE


def free_positions(grid: tuple[int, int] = (4, 5), blocks: int = 2, heads: int = 3) -> KeypointPositions:
    positions = KeypointPositions(grid, blocks, heads).double()
    for parameter in positions.parameters():
        torch.nn.init.normal_(parameter)
    return positions


def small(**settings: object) -> FaceViT:
    sizes = {"image_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "embedding_size": 8}
    model = FaceViT(**(sizes | {"relative_positions": "keypoints"} | settings))
    if model.keypoint_positions is not None:
        for parameter in model.keypoint_positions.parameters():
            torch.nn.init.normal_(parameter)
    for parameter in model.blocks.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 32, 32) * 2 - 1


def test_the_bias_is_the_formula() -> None:
    positions, points = free_positions(), torch.rand(2, 5, 2, dtype=torch.float64)

    def f(d: int) -> int:
        if abs(d) <= 1.9:
            return d
        return int(math.copysign(int(min(round(1.9 + 1.9 * math.log(abs(d) / 1.9) / math.log(8)), 3.8)), d))

    weight = positions.linear.weight.view(2, 3, NUM_BUCKETS, 10)
    offset = positions.linear.bias.view(2, 3, NUM_BUCKETS)
    found = [positions.bias(encoding) for encoding in positions.encodings(points)]
    for i in range(20):
        token = torch.tensor([(i % 5 + 0.5) / 5, (i // 5 + 0.5) / 4], dtype=torch.float64)
        relative = (token - points).flatten(1)
        for j in range(20):
            bucket = 7 * (f(i // 5 - j // 5) + 3) + f(i % 5 - j % 5) + 3
            for block in range(2):
                expected = relative @ weight[block, :, bucket].T + offset[block, :, bucket]
                torch.testing.assert_close(found[block][:, :, i, j], expected, rtol=1e-10, atol=1e-10)


def test_mirrored_points_give_the_mirrored_bias_of_mirrored_weights() -> None:
    positions, points = free_positions((4, 4)), torch.rand(2, 5, 2, dtype=torch.float64)
    turned = free_positions((4, 4))
    columns = torch.arange(NUM_BUCKETS).view(7, 7).flip(1).flatten()
    with torch.no_grad():
        weight = positions.linear.weight.view(2, 3, NUM_BUCKETS, 5, 2)[:, :, columns][:, :, :, list(MIRRORED_ORDER)]
        signs = torch.tensor([-1.0, 1.0], dtype=torch.float64)
        turned.linear.weight.copy_((weight * signs).reshape(turned.linear.weight.shape))
        turned.linear.bias.copy_(positions.linear.bias.view(2, 3, NUM_BUCKETS)[:, :, columns].flatten())
    mirror = torch.arange(16).view(4, 4).flip(1).flatten()
    for one, two in zip(positions.encodings(mirror_keypoints(points)), turned.encodings(points), strict=True):
        expected = turned.bias(two)[:, :, mirror][:, :, :, mirror]
        torch.testing.assert_close(positions.bias(one), expected, rtol=1e-12, atol=1e-12)
        assert (positions.bias(one) - positions.bias(one)[:, :, mirror][:, :, :, mirror]).abs().max() > 0.1


def test_a_fresh_layer_is_plain_attention(images: Tensor) -> None:
    torch.manual_seed(1)
    plain = FaceViT(32, 8, embed_dim=16, depth=2, num_heads=2, embedding_size=8).eval()
    torch.manual_seed(1)
    fresh = FaceViT(32, 8, embed_dim=16, depth=2, num_heads=2, embedding_size=8, relative_positions="keypoints").eval()
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in plain.state_dict().items())
    torch.testing.assert_close(fresh(images, torch.rand(3, 5, 2)).embedding, plain(images).embedding)


def test_kept_patches_have_the_bias_of_their_places() -> None:
    positions = free_positions((3, 3))
    encoding = positions.encodings(torch.rand(2, 5, 2, dtype=torch.float64))[1]
    kept = torch.tensor([[7, 0, 4], [2, 8, 1]])
    whole, part = positions.bias(encoding), positions.bias(encoding, kept=kept)
    for face in range(2):
        assert torch.equal(part[face], whole[face][:, kept[face]][:, :, kept[face]])


def test_token_drop_of_nothing_and_of_some_keeps_tokens_with_their_bias(images: Tensor) -> None:
    model = small(token_drop_rate=0.4)
    caught: list[Tensor] = []
    model.blocks[0].register_forward_pre_hook(
        lambda module, inputs, words: caught.append(words["attn_mask"]), with_kwargs=True
    )
    torch.manual_seed(5)
    model(images)
    order = (torch.manual_seed(5), torch.rand(3, 16).argsort(1))[1][:, :9]
    assert model.keypoint_positions is not None
    encoding = model.keypoint_positions.encodings(model.aligned_keypoints.expand(3, -1, -1))[0]
    torch.testing.assert_close(caught[0], model.keypoint_positions.bias(encoding, kept=order))


def test_registers_have_no_bias() -> None:
    positions = free_positions((3, 3))
    encoding = positions.encodings(torch.rand(2, 5, 2, dtype=torch.float64))[0]
    found = positions.bias(encoding, num_registers=2)
    assert found.shape == (2, 3, 11, 11)
    assert torch.equal(found[:, :, :9, :9], positions.bias(encoding))
    assert found[:, :, 9:].abs().max() == found[:, :, :, 9:].abs().max() == 0


def test_points_come_from_the_call_or_the_predictor_or_the_template(images: Tensor) -> None:
    model, points = small(num_registers=1).eval(), torch.rand(3, 5, 2)
    template = torch.tensor(TEMPLATE, dtype=torch.float32)[None].expand(3, -1, -1) / 112
    told = model(images, points).embedding
    untold = model(images).embedding
    torch.testing.assert_close(untold, model(images, template).embedding)
    assert (told - untold).abs().max() > 1e-4
    model.use_keypoints(lambda seen: points[: len(seen)])
    torch.testing.assert_close(model(images).embedding, told)
    torch.testing.assert_close(model(images, template).embedding, untold)
    torch.testing.assert_close(model.patch_importance(images), model.patch_importance(images, points))
    assert not any("predictor" in name for name in model.state_dict())
    model.use_keypoints(None)
    torch.testing.assert_close(model(images).embedding, untold)


def test_points_of_another_shape_and_points_for_a_plain_model_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"keypoints must be \(3, 5, 2\)"):
        small()(images, torch.rand(3, 10))
    with pytest.raises(ValueError, match="relative_positions='keypoints'"):
        small(relative_positions="none")(images, torch.rand(3, 5, 2))
    with pytest.raises(ValueError, match="relative_positions must be"):
        small(relative_positions="near")


def test_aligned_points_are_the_template_of_any_size() -> None:
    torch.testing.assert_close(aligned_keypoints((112, 112)), torch.tensor(TEMPLATE) / 112)
    torch.testing.assert_close(aligned_keypoints((56, 56)), aligned_keypoints((112, 112)))
    narrow = (torch.tensor(TEMPLATE) - torch.tensor([8.0, 0.0])) / torch.tensor([96.0, 112.0])
    torch.testing.assert_close(aligned_keypoints((112, 96)), narrow)


def test_moving_points_by_a_mirror_is_mirroring_them() -> None:
    points = torch.rand(2, 5, 2, dtype=torch.float64)
    mirror = torch.tensor([[[-1.0, 0, 0], [0, 1, 0]]], dtype=torch.float64).expand(2, -1, -1)
    torch.testing.assert_close(move_keypoints(points, mirror), mirror_keypoints(points))


def test_gradient_checkpointing_and_autocast_change_little(images: Tensor) -> None:
    plain, recomputing = small(gate="none"), small(gate="none", gradient_checkpointing=True)
    recomputing.load_state_dict(plain.state_dict())
    for model in (plain, recomputing):
        model(images).embedding.square().mean().backward()
    for one, two in zip(plain.parameters(), recomputing.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, two.grad)
    assert plain.keypoint_positions.linear.weight.grad.abs().max() > 0
    exact = plain.eval()(images).tokens
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = plain(images).tokens
    assert (rounded - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("ratio", [1.0, 1.9, 2.5])
def test_buckets_turn_round_with_the_offset(ratio: float) -> None:
    ids = bucket_ids((3, 6), ratio)
    highest = int(ids.max()) + int(ids.min())
    assert torch.equal(ids, highest - ids.T)
    assert (ids.diagonal() == highest // 2).all()


def test_relative_points_are_token_centres_less_points() -> None:
    points = torch.rand(1, 5, 2)
    found = relative_keypoints(points, (2, 3))
    torch.testing.assert_close(found[0, 5, 4:6], torch.tensor([2.5 / 3, 1.5 / 2]) - points[0, 2])


class Told(torch.nn.Module):
    """A model that is given images and key points."""

    def __init__(self, model: FaceViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, keypoints: Tensor) -> Tensor:
        return self.model(images, keypoints).embedding


def test_the_onnx_file_is_right_with_the_template_and_with_points_as_an_input(tmp_path: Path, images: Tensor) -> None:
    model = small(num_registers=2).eval()
    export_onnx(model, tmp_path / "template.onnx", tolerance=1e-4)
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        torch.onnx.export(
            Told(model).eval(),
            (random_faces((32, 32), num_faces=2), torch.rand(2, 5, 2)),
            tmp_path / "told.onnx",
            dynamo=True,
            opset_version=18,
            dynamic_shapes=({0: batch}, {0: batch}),
            verbose=False,
        )
    points = torch.rand(3, 5, 2)
    session = onnxruntime.InferenceSession(str(tmp_path / "told.onnx"))
    given = dict(zip([one.name for one in session.get_inputs()], [images.numpy(), points.numpy()], strict=True))
    with torch.no_grad():
        expected = model(images, points).embedding
    torch.testing.assert_close(torch.from_numpy(session.run(None, given)[0]), expected, rtol=1e-4, atol=1e-5)
