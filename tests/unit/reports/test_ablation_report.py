"""The report of an ablation: variants against the baseline, over seeds and over pairs."""

from pathlib import Path

import pytest

from transface.reports.ablation_report import ablation_document, baseline_of, write_ablation_report
from transface.reports.page.document import Table
from transface.reports.reading.trials import read_trials
from transface.reports.statistics.settings import Setting
from transface.reports.sweep_report import write_sweep_report

VARIANTS = {"plain": 2.4, "dpap": 2.6, "dpap_ehsm": 3.6}


@pytest.fixture
def ablation(tmp_path: Path, make_run, make_result) -> Path:
    for number, (variant, margin) in enumerate(VARIANTS.items()):
        for seed in (0, 1, 2):
            results = [make_result(margin=margin + 0.05 * seed, seed=100 * number + seed, thumbnails=False)]
            make_run(tmp_path / "ablation" / variant / f"seed={seed}", results, config={"seed": seed})
    return tmp_path / "ablation"


def table_of(document) -> Table:
    return next(block for section in document.sections for block in section.blocks if isinstance(block, Table))


def test_every_variant_is_tested_against_the_baseline(ablation: Path) -> None:
    table = table_of(ablation_document(read_trials(ablation), ablation))
    assert [(row.header, row.kind) for row in table.rows] == [
        ("plain", "baseline"),
        ("dpap", "run"),
        ("dpap_ehsm", "run"),
    ]
    assert table.columns == ("Variant", "Accuracy %", "Seeds", "Minus baseline, points", "p over seeds", "p over pairs")
    plain, _, best = table.rows
    assert [cell.text for cell in plain.cells[2:]] == ["", "", ""]
    assert best.cells[2].text.startswith("+")
    assert best.cells[2].interval.startswith("[")
    assert float(best.cells[3].text.strip("< ")) < 0.2
    assert best.cells[4].text == "< 0.0001"
    assert all(row.cells[1].text == "3" for row in table.rows)
    assert any("p values are adjusted for 2 comparisons (Holm)" in note for note in table.notes)


def test_the_report_is_written_and_shows_intervals(ablation: Path) -> None:
    path = write_ablation_report(ablation)
    text = path.read_text()
    assert "baseline: plain" in text
    assert "95 % interval over seeds" in text
    assert (path.parent / "ablation.png").is_file()
    assert "Beware" not in text


def test_the_baseline_may_be_chosen(ablation: Path) -> None:
    table = table_of(ablation_document(read_trials(ablation), ablation, baseline="dpap"))
    assert table.rows[0].header == "dpap"
    with pytest.raises(ValueError, match="no variant 'x' for baseline=: there are dpap, dpap_ehsm, plain"):
        write_ablation_report(ablation, baseline="x")


def test_a_config_may_name_its_variant(tmp_path: Path, make_run, make_result) -> None:
    for number, variant in enumerate(("a", "b")):
        make_run(
            tmp_path / str(number), [make_result(thumbnails=False, seed=number)], config={"seed": 0, "variant": variant}
        )
    document = ablation_document(read_trials(tmp_path), tmp_path)
    assert [row.header for row in table_of(document).rows] == ["a", "b"]
    assert any("One seed a variant" in s for s in document.sections[0].blocks[0].sentences)


def test_a_sweep_over_variants_is_reported_as_an_ablation(tmp_path: Path, make_run, make_result) -> None:
    for variant in ("plain", "dpap"):
        make_run(tmp_path / f"seed=0,variant={variant}", [make_result(thumbnails=False)], config={"seed": 0})
    assert "| plain *(baseline)* |" in write_sweep_report(tmp_path, formats=["md"]).read_text()


def test_the_plain_variant_is_found_by_its_settings() -> None:
    full = Setting("weighting=ehsm", {"weighting": "ehsm"}, [], None)
    bare = Setting("weighting=none", {"weighting": "none"}, [], None)
    assert baseline_of([full, bare], None) is bare
    assert baseline_of([full], None) is full


def test_one_variant_is_no_ablation(tmp_path: Path, make_run, make_result) -> None:
    make_run(tmp_path / "a", [make_result(thumbnails=False)])
    with pytest.raises(ValueError, match="two variants or more"):
        write_ablation_report(tmp_path)
