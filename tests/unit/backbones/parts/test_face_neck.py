"""The face neck against NumPy, in training and in evaluation."""

import numpy as np
import torch

from transface.backbones.parts.face_neck import FaceNeck


def numpy_neck(neck: FaceNeck, tokens: np.ndarray) -> np.ndarray:
    x = tokens.reshape(len(tokens), -1)
    for linear, norm in ((neck.project, neck.project_norm), (neck.embed, neck.embed_norm)):
        x = x @ linear.weight.detach().numpy().T
        mean, variance = (
            (x.mean(0), x.var(0)) if neck.training else (norm.running_mean.numpy(), norm.running_var.numpy())
        )
        x = (x - mean) / np.sqrt(variance + 2e-5) * norm.weight.detach().numpy() + norm.bias.detach().numpy()
    return x


def test_neck_equals_numpy_in_training_and_evaluation() -> None:
    neck, tokens = FaceNeck(5, 3, 7).double(), torch.randn(6, 5, 3, dtype=torch.float64)
    np.testing.assert_allclose(neck(tokens).detach(), numpy_neck(neck, tokens.numpy()), atol=1e-10)
    neck.eval()
    np.testing.assert_allclose(neck(tokens).detach(), numpy_neck(neck, tokens.numpy()), atol=1e-10)


def test_neck_stays_exact_under_autocast_and_works_for_one_face_in_eval() -> None:
    neck, tokens = FaceNeck(5, 3, 7).eval(), torch.randn(1, 5, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = neck(tokens)
    assert torch.equal(inside, neck(tokens))
