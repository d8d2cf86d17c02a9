"""What sections say of results: warnings once, curves only where there is data, where numbers come from."""

from typing import get_args

from transface.evaluation.results import Kind, Measure
from transface.reports.page.document import Listing, Paragraph, Plot, Table, Warnings
from transface.reports.reading.runs import Run, SetKey
from transface.reports.recognition.pair_section import curve_plots
from transface.reports.sections.result_sections import (
    SetResults,
    provenance_section,
    table_section,
    warning_section,
)
from transface.reports.set_sections import SECTIONS, set_section, set_sections

FEW = "3 impostors stand behind this threshold"


def test_a_warning_is_said_once_of_all_it_is_about(make_result) -> None:
    runs = [
        Run("a", results=(make_result(warning=FEW),)),
        Run("b", results=(make_result(warning=FEW), make_result("hard"))),
    ]
    (section,) = warning_section(runs)
    assert section.blocks == (Warnings((f"a, easy; b, easy: TAR % at FAR 1e-3: {FEW}",)),)
    assert warning_section([Run("a", results=(make_result(),))]) == []


def test_a_warning_of_no_measure_is_said_too(make_result) -> None:
    (section,) = warning_section([Run("a", results=(make_result(warnings=("images were resized",)),))])
    assert section.blocks == (Warnings(("easy: images were resized",)),)


def test_one_run_has_one_table_over_sets_and_several_have_a_table_a_set(make_result) -> None:
    one = [Run("a", results=(make_result("x"), make_result("y")))]
    two = [*one, Run("b", results=(make_result("x", seed=2),))]
    assert [section.title for section in table_section(one)] == ["Results"]
    assert "x: figures" not in [b.caption for s in set_sections(one) for b in s.blocks if isinstance(b, Table)]
    assert "x: figures" in [b.caption for s in set_sections(two) for b in s.blocks if isinstance(b, Table)]


def test_a_result_without_curves_or_faces_has_a_table_alone(make_result) -> None:
    bare = make_result(
        roc=None, histogram=None, hardest_genuine=(), hardest_impostor=(), measures=(Measure("rank-1", 0.8),), counts={}
    )
    section = set_section(SetResults(SetKey("tinyface", "tinyface"), {"a": bare}))
    assert [type(block) for block in section.blocks] == [Table]


def test_every_kind_of_result_has_a_section() -> None:
    assert set(SECTIONS) == set(get_args(Kind))


def test_other_kinds_show_no_curves_or_pairs_of_faces(make_result) -> None:
    pairs = make_result()
    values = make_result(kind="values", measures=(Measure("mae", 4.5, 4.0, 5.0, unit="years", better="lower"),))
    shown = {result.kind: set_section(SetResults(SetKey("p", "easy"), {"a": result})) for result in (pairs, values)}
    assert [block.stem for block in shown["pairs"].blocks if isinstance(block, Plot)] == [
        "p_easy_roc",
        "p_easy_det",
        "p_easy_scores",
    ]
    assert not [block for block in shown["values"].blocks if not isinstance(block, Paragraph | Table)]
    (table,) = [block for block in shown["values"].blocks if isinstance(block, Table)]
    assert table.rows[0].cells[0].text == "4.50"


def test_plots_of_a_set_and_what_they_show_in_words(make_result) -> None:
    plots = curve_plots("easy", {"a": make_result(), "b": make_result(seed=2)}, stem="s")
    assert [plot.stem for plot in plots] == ["s_roc", "s_det", "s_scores", "s_scores1"]
    assert all(isinstance(plot, Plot) and "a: accuracy" in plot.alt and "b: accuracy" in plot.alt for plot in plots[:2])
    assert "a: accuracy" in plots[2].alt
    assert "b: accuracy" in plots[3].alt
    assert "band: 95 % interval" in plots[0].figure.axes[0].get_title("left")


def test_where_the_numbers_come_from(make_result) -> None:
    run = Run(
        "a",
        results=(make_result(), make_result("hard")),
        config={"seed": 1},
        environment={"commit": "c0ffee", "versions": {"torch": "2"}},
    )
    section = provenance_section([run])
    said = " ".join(block.text for block in section.blocks if isinstance(block, Paragraph))
    assert "commit c0ffee" in said
    assert "SHA-256 abababababab" in said
    assert "easy F1, hard F1 in 1.5 s" in said
    listings = {block.summary: block.text for block in section.blocks if isinstance(block, Listing)}
    assert listings["a: versions"] == "torch 2"
    assert '"seed": 1' in listings["a: resolved config"]
