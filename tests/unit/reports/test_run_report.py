"""The report of a run lies in its folder: Markdown, PNGs and one HTML file; it grows no worse when made again."""

import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from transface.plots import to_png
from transface.reports.page.document import Table
from transface.reports.reading.runs import read_run
from transface.reports.recognition.pair_section import all_sets_section
from transface.reports.run_report import write_comparison, write_run_report
from transface.training.logging.pictures import save_run_picture


@pytest.fixture
def run(tmp_path: Path, make_run, make_result) -> Path:
    pixels = make_result("easy", mode="pixels", label="raw-pixel cosine", margin=0.5)
    return make_run(tmp_path / "demo", [make_result("easy", margin=4), make_result("hard", margin=2), pixels])


def test_the_report_of_a_run(run: Path) -> None:
    path = write_run_report(run, pictures={"dominant_patches": Figure(figsize=(1, 1))})
    assert path == run / "report" / "report.md"
    text = path.read_text()
    sections = ("# Run demo", "## Training", "## Dominant patches")
    for words in (*sections, "raw-pixel cosine *(baseline)*", "Threshold (cosine)", "AUC", "+-", "commit abc"):
        assert words in text
    linked = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert {"roc.png", "training_loss.png", "dominant_patches.png", "pair_sets_easy_det.png"} <= set(linked)
    assert all((path.parent / name).stat().st_size > 100 for name in linked)
    assert (path.parent / "report.html").is_file()


def test_pictures_that_a_run_left_are_shown_with_their_captions(run: Path) -> None:
    png = to_png(Figure(figsize=(1, 1)))
    save_run_picture(run / "pictures", "zones", png, title="Where zones look", caption="A map each.")
    (run / "pictures" / "of_mine.png").write_bytes(png)
    text = write_run_report(run).read_text()
    assert "## Where zones look" in text
    assert "A map each." in text
    assert "## Of mine" in text
    assert (run / "report" / "zones.png").read_bytes() == png
    assert "Where zones look</h2>" in (run / "report" / "report.html").read_text()


def test_results_given_stand_in_for_those_of_the_folder(run: Path, make_result) -> None:
    text = write_run_report(run, [make_result("other")], formats=["md"]).read_text()
    assert "other" in text
    assert "hard" not in text


def test_a_run_that_was_only_trained_has_a_report_too(tmp_path: Path, make_run) -> None:
    text = write_run_report(make_run(tmp_path / "demo", []), formats=["md"]).read_text()
    assert "training_loss.png" in text
    assert "Verification" not in text


def test_nothing_to_report_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="nothing to report"):
        write_run_report(tmp_path / "empty")
    assert not (tmp_path / "empty" / "report").exists()
    with pytest.raises(FileNotFoundError, match="no run folder"):
        write_run_report(tmp_path / "absent")


@pytest.mark.parametrize("formats", [[], ["pdf"], ["md", "word"]])
def test_an_unknown_format_is_refused(run: Path, formats: list[str]) -> None:
    with pytest.raises(ValueError, match="format must be html, md or html,md"):
        write_run_report(run, formats=formats)
    assert not (run / "report").exists()


def test_several_runs_side_by_side(run: Path, tmp_path: Path, make_run, make_result) -> None:
    other = make_run(tmp_path / "other", [make_result("easy", seed=9)])
    path = write_comparison([read_run(run), read_run(other)], tmp_path / "both", formats=["html"])
    assert path.name == "report.html"
    text = path.read_text()
    for words in ("demo minus other", "McNemar&#x27;s, exact", "demo / other", "2 runs"):
        assert words in text
    trained = [read_run(make_run(tmp_path / name, [])) for name in ("x", "y")]
    assert "Training</h2>" in write_comparison(trained, tmp_path / "trained", formats=["html"]).read_text()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="nothing to compare"):
        write_comparison([read_run(tmp_path / "empty")], tmp_path / "none")


def test_every_mode_of_a_set_has_its_own_roc_curve(tmp_path: Path, make_run, make_result) -> None:
    results = [
        make_result("lfw", mode="F1"),
        make_result("ijbc", mode="N1D1F1", margin=4),
        make_result("ijbc", mode="N0D0F0", margin=1),
    ]
    (section,) = all_sets_section(read_run(make_run(tmp_path / "demo", results)))
    table, plot, _ = section.blocks
    assert [row.header for row in table.rows] == ["ijbc (N0D0F0)", "ijbc (N1D1F1)", "lfw"]
    labels = [text.get_text() for text in plot.figure.axes[0].get_legend().get_texts()]
    assert sorted(labels) == ["ijbc (N0D0F0)", "ijbc (N1D1F1)", "lfw"]
    (of_one,) = all_sets_section(read_run(make_run(tmp_path / "one", results[1:])))
    assert [type(block) for block in of_one.blocks] == [Table], "the section of the set shows its curves"


def test_results_are_named_where_another_run_of_the_report_has_none(run: Path, tmp_path: Path, make_run) -> None:
    bare = make_run(tmp_path / "bare", [])
    text = write_comparison([read_run(run), read_run(bare)], tmp_path / "both", formats=("md",)).read_text()
    assert "bare: no results: it was not validated" in text
    rows = [line for line in text.splitlines() if line.startswith(f"| {run.name} ")]
    assert any("." in line for line in rows), "a table without the run's name would be of both"
