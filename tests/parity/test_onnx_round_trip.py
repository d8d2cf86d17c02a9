"""Ours -> ONNX -> onnxruntime on real faces: the same numbers within 1e-4 and the same ten-fold accuracy."""

from pathlib import Path

import torch

import transface
from transface.backbones.face_vit import FaceViT
from transface.data.benchmarks.pairs import read_pair_set
from transface.export.to_onnx import export_onnx
from transface.inference.face_model import FaceModel
from transface.metrics.verification import verify_pairs


def test_a_round_trip_keeps_numbers_and_accuracy(shared: Path, tmp_path: Path) -> None:
    pairs = read_pair_set(shared / "data" / "real" / "lfw_view1_test.bin")
    chosen = [index for index in range(len(pairs.is_same)) if index % 5 == 0]
    images = [bytes(pairs.images[2 * index + side]) for index in chosen for side in (0, 1)]
    backbone = FaceViT(embed_dim=32, depth=2, num_heads=4, embedding_size=64)
    model = FaceModel(backbone)
    export_onnx(model.backbone, tmp_path / "face.onnx")
    before, after = (opened.embed(images, flip="sum") for opened in (model, transface.load(tmp_path / "face.onnx")))
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)
    results = [verify_pairs(vectors, pairs.is_same[chosen]) for vectors in (before, after)]
    assert results[0].accuracy_mean == results[1].accuracy_mean
    assert len(set(results[0].fold_accuracies.tolist())) > 1  # the vectors tell pairs apart at all
