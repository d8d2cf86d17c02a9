"""The table of a chain: means over seeds, the best row, tests against baseline and control."""

from pathlib import Path

import numpy as np
import pytest

from transface.reports.occlusion.chain import Answers, chain_runs, table_of
from transface.reports.occlusion.chain import tests_of as comparisons_of


def answers(kind: str = "classes") -> Answers:
    generator = np.random.default_rng(0)
    rows: dict[str, dict[int, np.ndarray]] = {}
    for title, rate in (
        ("teacher, whole faces", 0.95),
        ("occluded baseline", 0.6),
        ("baseline, equal compute (control)", 0.61),
        ("combined, svm", 0.9),
    ):
        own = {seed: generator.random(400) < rate for seed in (0, 1)}
        rows[title] = own if kind == "classes" else {seed: np.where(right, 1.0, 9.0) for seed, right in own.items()}
    return Answers("gender" if kind == "classes" else "age", kind, rows)


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_the_best_occluded_row_is_marked_and_whole_faces_do_not_count(kind: str) -> None:
    table = table_of(answers(kind))
    assert [row.header for row in table.rows if row.cells[0].best] == ["combined, svm"]
    assert "±" in table.rows[0].cells[0].interval


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_every_row_is_tested_seed_by_seed_and_a_large_gain_is_significant(kind: str) -> None:
    table = comparisons_of(answers(kind))
    headers = [row.header for row in table.rows]
    assert len(headers) == len(set(headers)) == 6
    for row in table.rows:
        if row.header.startswith("combined"):
            assert float(row.cells[3].text) < 0.05
        assert float(row.cells[3].text) >= float(row.cells[2].text)


def test_a_folder_without_stages_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished stage"):
        chain_runs(tmp_path)
    with pytest.raises(FileNotFoundError):
        chain_runs(tmp_path / "none")
