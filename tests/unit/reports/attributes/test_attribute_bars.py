"""Bars of attributes: what the result says, beside published rows that say where they come from."""

import numpy as np
import pytest

from transface.data.labels.attributes import CELEBA_NAMES
from transface.evaluation.results import Measure, Result, ResultTable
from transface.reports.attributes.attribute_bars import (
    attribute_rows,
    attribute_section,
    attribute_sections,
    bars_figure,
    far_off,
    published_accuracies,
)
from transface.reports.page.document import Document, Paragraph, Table
from transface.reports.page.html import render_html
from transface.reports.reading.runs import Run

NAMES = ("Smiling", "Bald", "Wearing_Crown")


def result_of(values: dict[str, float], *, images: int = 19_962) -> Result:
    rows: dict[str, list[Measure | None]] = {
        name: [Measure("accuracy", value, value - 0.01, value + 0.02), None, Measure("majority", 0.5, better=None)]
        for name, value in values.items()
    }
    return Result(
        protocol="attributes",
        name="faces_test",
        mode="test",
        kind="classes",
        measures=(Measure("accuracy", float(np.mean(list(values.values())))),),
        counts={"images": images, "attributes": len(values)},
        tables={"Attributes": ResultTable(["accuracy", "balanced accuracy", "majority"], rows)},
    )


def test_the_published_rows_have_the_means_that_were_published() -> None:
    published = published_accuracies()
    means = {name: round(100 * float(np.mean(list(row.values()))), 2) for name, row in published.items()}
    assert means == {"MCNN-AUX": 91.29, "DMM-CNN": 91.70, "SwinFace": 91.32}
    assert all(tuple(row) == CELEBA_NAMES for row in published.values())
    assert published["DMM-CNN"]["Young"] == pytest.approx(0.8898)
    assert published["SwinFace"]["5_o_Clock_Shadow"] == pytest.approx(0.9460)


def test_rows_are_sorted_and_published_only_where_the_name_is_celeba_s() -> None:
    rows = attribute_rows(result_of(dict(zip(NAMES, (0.8, 0.99, 0.9), strict=True))))
    assert [row.name for row in rows] == ["Bald", "Wearing_Crown", "Smiling"]
    assert rows[0].published == pytest.approx({"MCNN-AUX": 0.989, "DMM-CNN": 0.9903, "SwinFace": 0.9899})
    assert rows[1].published == {}


def test_an_accuracy_two_points_outside_of_all_published_ones_is_named_on_celeba_s_test_images_only() -> None:
    result = result_of({"Smiling": 0.80, "Bald": 0.985})
    smiling = next(row for row in attribute_rows(result) if row.name == "Smiling")
    assert far_off(smiling)
    said = next(block.text for block in attribute_section(result).blocks if isinstance(block, Paragraph))
    assert "Smiling" in said
    assert "Bald" not in said
    other = attribute_section(result_of({"Smiling": 0.80}, images=891)).blocks
    said = next(block.text for block in other if isinstance(block, Paragraph))
    assert "not comparable" in said
    assert "891 images of faces_test" in said


def test_the_section_has_every_attribute_with_its_interval_in_words_and_the_page_renders() -> None:
    section = attribute_section(result_of({"Smiling": 0.8, "Bald": 0.985}))
    table = next(block for block in section.blocks if isinstance(block, Table))
    assert [row.header for row in table.rows] == ["Bald", "Smiling"]
    assert table.rows[1].cells[0].text == "80.00"
    assert table.rows[1].cells[0].interval == "[79.00, 82.00]"
    page = render_html(Document("Run", "", (section,)))
    assert "DMM-CNN" in page
    assert "Smiling" in page


def test_bars_without_intervals_majority_or_published_values_are_drawn_too() -> None:
    rows: dict[str, list[Measure | None]] = {"A": [Measure("accuracy", 0.7)]}
    result = Result(
        protocol="attributes", name="x", mode="test", kind="classes", measures=(), counts={"images": 3},
        tables={"Attributes": ResultTable(["accuracy"], rows)},
    )  # fmt: skip
    assert bars_figure(attribute_rows(result)).axes
    assert len(attribute_section(result).blocks) == 2


@pytest.mark.parametrize("protocol", ["pair_sets", "attributes"])
def test_results_without_a_table_of_attributes_give_no_section(protocol: str) -> None:
    result = Result(protocol=protocol, name="x", mode="test", kind="classes", measures=(), counts={})
    assert attribute_sections(Run("run", results=(result,))) == []
