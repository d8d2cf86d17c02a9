"""Pictures of the method: one for each thing the model has, of a size that shows it."""

import numpy as np
import torch

from transface.systems.recognition.method_pictures import dominance, method_pictures
from transface.systems.recognition.method_view import MethodView
from transface.training.logging.pictures import as_pixels


def view(**parts: object) -> MethodView:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (6, 3, 36, 36), generator=generator, dtype=torch.uint8)
    whole = {
        "images": images,
        "entropy": torch.rand(6, 16, generator=generator),
        "gate": torch.rand(6, 16, generator=generator),
        "ranking": torch.randn(6, 16, generator=generator),
        "weights": torch.rand(6, generator=generator),
        "center_cosines": torch.rand(6, generator=generator),
        "norms": torch.rand(6, generator=generator),
        "perturbed": images / 127.5 - 1,
        "num_patches": 3,
        "grid_size": (4, 4),
        "patch_size": 9,
    }
    return MethodView(**(whole | parts))  # type: ignore[arg-type]


def test_each_part_of_the_method_has_its_picture() -> None:
    pictures = method_pictures(view())
    assert set(pictures) == {"distributions", "dominant_patches", "perturbed_faces"}
    for png in pictures.values():
        pixels = as_pixels(png)
        assert min(pixels.shape[:2]) > 150
        assert pixels.std() > 5


def test_a_model_without_gate_has_distributions_only() -> None:
    assert set(method_pictures(view(gate=None, ranking=None, perturbed=None, weights=None, num_patches=None))) == {
        "distributions"
    }


def test_without_dpap_the_most_important_patches_are_still_shown() -> None:
    assert set(method_pictures(view(perturbed=None, num_patches=None))) == {"distributions", "dominant_patches"}


def test_dominance_counts_faces() -> None:
    gate = torch.tensor([[0.9, 0.8, 0.1, 0.2], [0.9, 0.1, 0.8, 0.2], [0.1, 0.2, 0.3, 0.4]])
    np.testing.assert_allclose(dominance(gate, 2), [2 / 3, 1 / 3, 2 / 3, 1 / 3])
    np.testing.assert_allclose(dominance(gate, 9), [1, 1, 1, 1])
