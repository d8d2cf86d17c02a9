"""Combined students: unit embeddings side by side, read by a machine and by a small network."""

import numpy as np
import pytest

from transface.systems.occlusion.combined_students import Split, fit_classes, fit_network, fit_numbers, joined


def made(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return two students' embeddings, each of which sees one of two cues, and the class that needs both."""
    generator = np.random.default_rng(seed)
    cues = generator.integers(0, 2, (count, 2))
    parts = []
    for k in range(2):
        part = generator.normal(size=(count, 6))
        part[:, 0] += 4 * cues[:, k]
        parts.append((part / np.linalg.norm(part, axis=1, keepdims=True)).astype(np.float32))
    return parts[0], parts[1], cues.sum(1)


def test_what_neither_student_sees_alone_both_see_together() -> None:
    data = [made(count, seed) for seed, count in enumerate((600, 200, 400))]
    single = [Split(one[0], one[2]) for one in data]
    both = [Split(joined(one[:2]), one[2]) for one in data]
    for fit in (fit_classes, lambda *parts: fit_network(*parts, num_classes=3, width=32)):
        alone = float((fit(single[0], single[1], single[2].embeddings) == single[2].labels).mean())
        together = float((fit(both[0], both[1], both[2].embeddings) == both[2].labels).mean())  # type: ignore[operator]
        assert together > alone + 0.1
        assert together > 0.6


def test_numbers_are_answered_in_their_own_unit() -> None:
    data = [made(count, seed) for seed, count in enumerate((600, 200, 400))]
    both = [Split(joined(one[:2]), 40.0 + 10 * one[2]) for one in data]
    line = fit_numbers(both[0], both[1], both[2].embeddings)
    small = fit_network(both[0], both[1], both[2].embeddings, num_classes=None, width=32)
    for answers in (line, small):
        assert np.abs(answers - both[2].labels).mean() < 4


def test_the_small_network_answers_alike_for_one_seed() -> None:
    one = made(200, 0)
    split = Split(one[0], one[2])
    first, second = (fit_network(split, split, one[1], num_classes=3, width=8, max_epochs=3) for _ in range(2))
    assert (first == second).all()


def test_students_of_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="same images"):
        joined([np.zeros((3, 2), dtype=np.float32), np.zeros((4, 2), dtype=np.float32)])
