"""transface.shapes: what a written shape accepts and how it refuses."""

import pytest
import torch

from transface.shapes import check_shape


def test_letters_are_bound_to_sizes() -> None:
    assert check_shape(torch.zeros(2, 3, 8, 8), "B 3 H H") == {"B": 2, "H": 8}


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (3, 8, 8), (2, 3, 8, 9)])
def test_another_shape_is_refused_with_both_shapes_in_the_message(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images must be \(B, 3, H, H\), got \(" + ", ".join(map(str, shape))):
        check_shape(torch.zeros(shape), "B 3 H H", name="images")
