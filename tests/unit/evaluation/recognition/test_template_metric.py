"""The metric of templates gives what pooling, scoring and TAR give one after the other, whatever the order of the
faces.
"""

import numpy as np
import pytest
import torch

from transface.evaluation.recognition.template_metric import TemplateVerification
from transface.evaluation.recognition.template_pooling import ALL_MODES, pool_templates, score_pairs
from transface.metrics.tar_at_far import operating_points

FARS = (0.01, 0.1)


def test_faces_may_come_in_any_order_and_twice() -> None:
    random = np.random.default_rng(0)
    faces, flipped = random.normal(size=(2, 60, 8)).astype(np.float32)
    templates, media, detector = random.integers(0, 15, 60) * 3, random.integers(0, 20, 60), random.random(60)
    pairs = np.unique(templates)[random.integers(0, len(np.unique(templates)), (80, 2))]
    same = np.arange(80) % 4 == 0
    metric = TemplateVerification(templates, media, pairs, same, detector_scores=detector, modes="all", fars=FARS)
    order = torch.cat([torch.randperm(60), torch.tensor([5, 5])])
    for chosen in order.split(17):
        metric.update(torch.from_numpy(faces)[chosen], torch.from_numpy(flipped)[chosen], chosen)
    found = metric.compute()
    assert list(found) == [str(mode) for mode in ALL_MODES]
    for mode in ALL_MODES:
        scores = score_pairs(
            pool_templates(faces, templates, media, flipped=flipped, detector_scores=detector, mode=mode), pairs
        )
        assert found[str(mode)] == operating_points(scores[same], scores[~same], FARS)


def test_a_face_that_was_not_fed_is_missed() -> None:
    metric = TemplateVerification([1, 1, 2], [1, 2, 3], [[1, 2]], [True], modes=["N1D0F1"])
    metric.update(torch.ones(2, 4), torch.ones(2, 4), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="1 of 3 images were not embedded"):
        metric.compute()
    with pytest.raises(ValueError, match="want embeddings"):
        metric.update(torch.ones(2, 4), torch.ones(1, 4), torch.tensor([0, 2]))
