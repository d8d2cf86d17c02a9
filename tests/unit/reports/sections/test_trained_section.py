"""A report says at its top what was trained."""

from transface.reports.reading.runs import Run
from transface.reports.sections.trained_section import trained_cells, trained_section

TRAINED = {
    "network": "FaceViT",
    "parameters": 1234567,
    "trainable_parameters": 1000,
    "image_size": [112, 96],
    "images": 7000,
    "identities": 500,
    "steps": 3270,
    "epochs": 30,
    "devices": 2,
    "seconds": 1410.2,
    "resumed": True,
}


def test_network_data_steps_and_time_are_told() -> None:
    runs = [Run("a", trained=TRAINED, config={"data": {"total_batch_size": 64}}), Run("b")]
    (section,) = trained_section(runs)
    (table,) = section.blocks
    (row,) = table.rows
    assert [cell.text for cell in row.cells] == [
        "FaceViT",
        "1,234,567 (1,000 of them trained)",
        "112 x 96",
        "7,000 images, 500 people",
        "3,270, each of 64 images, 30 epochs",
        "24 min on 2 devices since it was resumed",
    ]


def test_what_is_not_told_is_empty_and_without_anything_there_is_no_section() -> None:
    assert trained_section([Run("a")]) == []
    (section,) = trained_section([Run("a", trained={"network": "X", "seconds": 12})])
    assert [cell.text for cell in section.blocks[0].rows[0].cells] == ["X", "", "", "", "", "12 s"]


def test_the_images_of_a_step_are_those_that_were_taken_and_not_those_of_the_recipe() -> None:
    config = {"data": {"total_batch_size": 128, "batch_size": 3}}
    cells = trained_cells({"steps": 9, "images_per_step": 9}, config)
    assert "9, each of 9 images" in cells
    assert "9, each of 128 images" in trained_cells({"steps": 9}, config), "of a run before this was told"
