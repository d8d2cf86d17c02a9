"""Regions of an answer in the picture they are of: where they lie, and in which colours."""

import numpy as np

from transface.inference.predictions_file import region_colours, regions_of_picture


def test_a_name_has_one_colour_in_every_model_and_the_background_is_black() -> None:
    first, second = region_colours(["background", "skin", "hair"]), region_colours(["background", "skin", "nose"])
    assert first[0].tolist() == [0, 0, 0]
    assert first[1].tolist() == second[1].tolist()
    assert len({tuple(colour) for colour in first.tolist()}) == 3


def test_regions_of_a_turned_crop_lie_where_the_crop_was_cut() -> None:
    regions = np.zeros((20, 20), dtype=np.uint8)
    regions[5:10, 5:10] = 1
    # Twice as large, turned by a quarter, moved: x of the picture is 60 - 2 y of the crop.
    back = [[0.0, -2.0, 60.0], [2.0, 0.0, 10.0]]
    shown = regions_of_picture(regions, back, (60, 80))
    rows, columns = np.nonzero(shown)
    assert (rows.min(), rows.max()) == (20, 28)
    assert (columns.min(), columns.max()) == (42, 50)
    assert not regions_of_picture(regions, back, (60, 80))[:, :40].any()


def test_without_a_way_back_the_regions_fill_the_picture() -> None:
    regions = np.array([[0, 1], [2, 0]], dtype=np.uint8)
    assert regions_of_picture(regions, None, (2, 4)).tolist() == [[0, 0, 1, 1], [2, 2, 0, 0]]
