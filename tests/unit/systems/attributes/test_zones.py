import math

import pytest

from transface.systems.attributes.zones import ramp, student_weights, zone_sizes


def test_zones_of_one_size_and_uneven_ones_hold_all_blocks() -> None:
    assert zone_sizes(12, 3) == (4, 4, 4)
    assert zone_sizes(12, [1, 5, 6]) == (1, 5, 6)
    assert zone_sizes(7, 1) == (7,)


@pytest.mark.parametrize("zones", [5, 0, 13, [3, 3, 3], [12, 0], [], [13, -1]])
def test_zones_that_do_not_add_up_are_refused(zones: int | list[int]) -> None:
    with pytest.raises(ValueError, match="12 blocks"):
        zone_sizes(12, zones)


@pytest.mark.parametrize("kind", ["uniform", "ladder"])
@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_weights_of_the_students_sum_to_one(kind: str, progress: float) -> None:
    weights = student_weights(6, kind, progress=progress)  # type: ignore[arg-type]
    assert len(weights) == 5
    assert sum(weights) == pytest.approx(1)


def test_the_ladder_moves_from_the_zone_nearest_to_the_teacher_to_the_shallowest() -> None:
    first, middle, last = (student_weights(4, "ladder", progress=progress) for progress in (0.0, 0.5, 1.0))
    assert list(first) == sorted(first)
    assert middle == pytest.approx([1 / 3] * 3)
    assert last == pytest.approx(first[::-1])
    assert first[1] / first[0] == pytest.approx(math.exp(2 / 3))


def test_distillation_rises_over_its_share_of_the_training() -> None:
    assert [ramp(x, 0.5) for x in (0.0, 0.25, 0.5, 1.0)] == [0.0, 0.5, 1.0, 1.0]
    assert ramp(0.0, 0.0) == 1.0


def test_words_and_shares_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="'uniform' or 'ladder'"):
        student_weights(3, "steep")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"0\.\.1"):
        student_weights(3, progress=1.5)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        ramp(0.1, 2.0)
