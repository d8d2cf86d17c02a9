"""Tables say what the results say, no more: values, intervals, which is best, what is doubtful, what is published."""

from transface.evaluation.results import Measure
from transface.reports.reading.runs import Run, named_results, set_keys
from transface.reports.recognition.pair_section import pair_tables
from transface.reports.sections.result_tables import (
    counts_text,
    measures_table,
    sets_table,
    sets_tables,
    summary_table,
)


def rows_of(table) -> dict[str, list[str]]:
    return {row.header: [cell.text for cell in row.cells] for row in table.rows}


def test_the_summary_has_a_row_a_run_and_a_column_a_set(make_result) -> None:
    runs = [
        Run("a", results=(make_result("x", margin=4), make_result("y", margin=2))),
        Run("b", results=(make_result("x", margin=2),)),
    ]
    table = summary_table(runs, set_keys(r for run in runs for r in run.results))
    assert table.columns == ("Run", "x: Accuracy %", "y: Accuracy %")
    rows = rows_of(table)
    assert rows["b"][1] == ""
    accuracy = runs[0].results[0].measure("accuracy")
    assert rows["a"][0] == f"{100 * accuracy.value:.2f} +- {100 * accuracy.std:.2f}"
    assert [row.cells[0].best for row in table.rows] == [True, False]
    assert table.rows[0].cells[0].interval.startswith("[")


def test_a_single_run_of_a_single_set_needs_no_summary(make_result) -> None:
    runs = [Run("a", results=(make_result(),))]
    assert summary_table(runs, set_keys(runs[0].results)) is None


def test_tar_stands_in_one_table_with_both_rules_each_explained_once(make_result) -> None:
    figures, tar = pair_tables({"a": make_result()})
    assert figures.caption.endswith("figures")
    assert sorted(tar.columns[1:]) == [
        f"TAR % at FAR {far}, {rule}" for far in ("1e-2", "1e-3") for rule in ("nearest", "strict")
    ]
    for rule in ("nearest", "strict"):
        assert sum(note.startswith(f"rule {rule}: ") for note in tar.notes) == 1


def test_published_rows_are_marked_and_never_best(make_result) -> None:
    weak = make_result("lfw", pairs=600)
    table = pair_tables({"a": weak, "b": make_result("lfw", margin=2)})[0]
    published = [row for row in table.rows if row.kind == "published"]
    assert published[0].header == "TransFace-B, MS1MV2"
    assert published[0].cells[0].text == "99.82"
    assert not any(cell.best for row in published for cell in row.cells)
    assert any("not measured here" in note for note in table.notes)
    assert any("not the same set" in note for note in table.notes)


def test_published_rows_stay_where_all_figures_stand_in_one_table(make_result) -> None:
    assert pair_tables({"a": make_result("lfw")}, figures=False)[0].caption == "lfw: figures"
    assert "rule" in pair_tables({"a": make_result("easy")}, figures=False)[0].caption


def test_published_tar_is_of_the_rule_nearest_alone(make_result) -> None:
    measures = (Measure("tar@far=1e-04/nearest", 0.9), Measure("tar@far=1e-04/strict", 0.9))
    result = make_result("c", protocol="ijbc", mode="N1D1F1", measures=measures)
    (table,) = pair_tables({"a": result})
    assert rows_of(table)["TransFace-L, Glint360K"] == ["97.61", ""]


def test_a_doubtful_number_is_marked_and_its_reason_stands_below(make_result) -> None:
    table = measures_table(
        {"a": make_result(warning="3 impostors")}, ["tar@far=1e-03/strict", "tar@far=1e-02/strict"], caption="c"
    )
    assert [cell.doubtful for cell in table.rows[0].cells] == [True, False]
    assert "* TAR % at FAR 1e-3: 3 impostors" in table.notes


def test_one_table_for_the_sets_of_one_run(make_result) -> None:
    run = Run("a", results=(make_result("x"), make_result("y"), make_result("x", mode="pixels", label="")))
    table = sets_table({key: named_results([run], key) for key in set_keys(run.results)})
    assert [(row.header, row.kind) for row in table.rows] == [
        ("x", "run"),
        ("x, raw-pixel cosine", "baseline"),
        ("y", "run"),
    ]


def test_sets_of_other_measures_stand_in_a_table_of_their_own(make_result) -> None:
    searched = make_result(
        "ijbc", protocol="ijbc_identification", measures=(Measure("rank-1", 0.9), Measure("tpir@fpir=0.01", 0.8))
    )
    tar_alone = make_result("ijbc", protocol="ijbc", measures=(Measure("tar@far=1e-04/strict", 0.9),))
    run = Run("a", results=(make_result("x"), make_result("y"), searched, tar_alone))
    tables = sets_tables({key: named_results([run], key) for key in set_keys(run.results)})
    assert [table.caption for table in tables] == ["x, y", "ijbc"]
    assert [row.header for row in tables[0].rows] == ["x", "y"]
    assert tables[1].columns == ("Set", "Rank-1 %", "TPIR % at FPIR 0.01")
    assert all(cell.text for table in tables for row in table.rows for cell in row.cells)
    assert (
        sets_tables({key: named_results([Run("a", results=(tar_alone,))], key) for key in set_keys([tar_alone])}) == []
    )


def test_several_modes_of_one_set_are_told_apart(make_result) -> None:
    run = Run("a", results=(make_result(mode="F1"), make_result(mode="F0")))
    table = sets_table({key: named_results([run], key) for key in set_keys(run.results)})
    assert len({row.header for row in table.rows}) == 2


def test_counts_in_words(make_result) -> None:
    assert counts_text(make_result()) == "600 pairs (300 genuine, 300 impostor), 10 folds"
    assert counts_text(make_result(counts={"images": 12000})) == "12,000 images"
    assert counts_text(make_result(counts={})) == ""
