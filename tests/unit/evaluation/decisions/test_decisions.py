"""Error versus discard and rates by group, against naive loops; their results read back, printed and reported."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from transface.backbones.face_vit import FaceViT
from transface.cli.config.compose import compose
from transface.cli.screen import measure_tables
from transface.data.benchmarks.pairs import write_pair_set
from transface.evaluation.decisions.error_discard import CURVE, ErrorDiscard
from transface.evaluation.decisions.people_groups import (
    ACROSS,
    COMMON,
    GAPS,
    OWN,
    Comparisons,
    PeopleGroups,
    counts_of,
    gap_measures,
    gaps,
)
from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.recognition.own_protocols import PeopleFolder
from transface.evaluation.results import apart_from_tables, format_measure, read_result, write_result
from transface.inference.face_model import FaceModel
from transface.inference.quality import rate_faces
from transface.metrics.error_discard import error_discard_curve, threshold_at_false_match_rate
from transface.metrics.group_gaps import fairness_discrepancy_rate, garbe, gini, max_over_geometric_mean, max_over_min
from transface.reports.reading.runs import SetKey
from transface.reports.sections.result_sections import SetResults
from transface.reports.sections.result_tables import counts_text, sets_tables
from transface.reports.set_sections import set_section

SIZE = 112


def vit() -> FaceViT:
    torch.manual_seed(1)
    backbone = FaceViT(embed_dim=16, depth=3, num_heads=2, embedding_size=8)
    with torch.no_grad():
        backbone.train()(torch.rand(16, 3, SIZE, SIZE) * 2 - 1)
    return backbone.eval()


def embedder_of(backbone: nn.Module) -> Embedder:
    return Embedder(backbone, batch_size=7, num_workers=0, progress=False)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight people with five noisy pictures each, and a table of who is in which group."""
    root = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    for person in range(8):
        base = rng.integers(0, 256, (7, 7, 3))
        for number in range(5):
            small = np.clip(base + rng.normal(0, 25 + 20 * number, base.shape), 0, 255).astype(np.uint8)
            path = root / "in" / f"p{person}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(small).resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(path)
    rows = "".join(f"p{person},{'xy'[person % 2]},{'old' if person < 3 else 'young'}\n" for person in range(8))
    (root / "table.csv").write_text("person,letter,age\n" + rows)
    return root


@pytest.mark.parametrize("quality", ["tokens", "norm"])
def test_error_versus_discard_equals_a_naive_loop(people: Path, quality: str, tmp_path: Path) -> None:
    backbone = vit()
    protocol = ErrorDiscard(root=people / "in", quality=quality, fmr=0.05, num_bootstraps=20)
    (result,) = protocol.evaluate(embedder_of(backbone))
    paths = sorted((people / "in").rglob("*.png"))
    rated = rate_faces(FaceModel(backbone), paths, quality=quality)
    vectors = FaceModel(backbone).embed(paths, flip="sum").double().numpy()
    genuine, lowest, impostor = [], [], []
    for a, b in itertools.combinations(range(len(paths)), 2):
        score = float(vectors[a] @ vectors[b])
        if paths[a].parent == paths[b].parent:
            genuine.append(score)
            lowest.append(min(float(rated.quality[a]), float(rated.quality[b])))
        else:
            impostor.append(score)
    threshold = threshold_at_false_match_rate(np.array(impostor), 0.05)
    assert result.measure("threshold_cosine").value == pytest.approx(threshold, abs=1e-5)
    errors = np.array(genuine) < threshold
    assert result.measure("fnmr").value == pytest.approx(errors.mean(), abs=0.02)
    curve = error_discard_curve(errors, np.array(lowest), fewest_left=30)
    np.testing.assert_allclose(result.curves[CURVE].y, curve.error, atol=0.04)
    back = read_result(write_result(result, tmp_path))
    section = set_section(SetResults(SetKey("error_discard", result.name), {"m": back}))
    assert any("Error versus discard" in getattr(block, "alt", "") for block in section.blocks)


def test_quality_that_knows_the_errors_leaves_none(people: Path, tmp_path: Path) -> None:
    (result,) = ErrorDiscard(root=people / "in", fmr=0.05, num_bootstraps=0).evaluate(embedder_of(vit()))
    assert all(measure.low is None for measure in result.measures)
    pictures = [path.read_bytes() for path in sorted((people / "in").rglob("*.png"))]
    write_pair_set(tmp_path / "a.bin", pictures, [index % 2 == 0 for index in range(20)])
    (found,) = ErrorDiscard([tmp_path / "a.bin"], fmr=0.1, num_bootstraps=10).evaluate(embedder_of(vit()))
    assert (found.name, found.counts["genuine"]) == ("a", 10)


def test_mistakes_of_error_discard_are_named(tmp_path: Path, people: Path) -> None:
    for words, said in (
        ({}, "protocol.files"),
        ({"files": ["none.bin"]}, "no pair set none.bin"),
        ({"root": ".", "quality": "x"}, "tokens or norm"),
        ({"root": ".", "limits": [2]}, "shares"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=said):
            ErrorDiscard(**words)

    class Plain(nn.Module):
        image_size, embedding_size = (SIZE, SIZE), 4

    with pytest.raises(ValueError, match="is no vision transformer"):
        ErrorDiscard(root=people / "in").evaluate(embedder_of(Plain()))


def test_rates_by_group_equal_a_naive_loop(people: Path, tmp_path: Path) -> None:
    backbone = vit()
    protocol = PeopleGroups(
        people / "in", table=people / "table.csv", by="letter", fmr=0.05, num_permutations=50, num_bootstraps=20
    )
    (result,) = protocol.evaluate(embedder_of(backbone))
    paths = sorted((people / "in").rglob("*.png"))
    vectors = FaceModel(backbone).embed(paths, flip="sum").double().numpy()
    letters = ["xy"[int(path.parent.name[1:]) % 2] for path in paths]
    scores = {"x": ([], []), "y": ([], [])}
    across = []
    for a, b in itertools.combinations(range(len(paths)), 2):
        score = float(vectors[a] @ vectors[b])
        if letters[a] != letters[b]:
            across.append(score)
        else:
            scores[letters[a]][paths[a].parent != paths[b].parent].append(score)
    threshold = threshold_at_false_match_rate(np.array(scores["x"][1] + scores["y"][1]), 0.05)
    assert result.measure("threshold_cosine").value == pytest.approx(threshold, abs=1e-5)
    for name, (genuine, impostor) in scores.items():
        row = result.tables[COMMON].rows[name]
        assert row[0].value == pytest.approx(np.mean(np.array(impostor) >= threshold), abs=0.01)
        assert row[1].value == pytest.approx(np.mean(np.array(genuine) < threshold), abs=0.03)
        assert (row[3].value, row[5].value) == (len(impostor), len(genuine))
        own = threshold_at_false_match_rate(np.array(impostor), 0.05)
        assert result.tables[OWN].rows[name][0].value == pytest.approx(own, abs=1e-5)
    cell = result.tables[ACROSS].rows["x"][1]
    assert cell.value == pytest.approx(np.mean(np.array(across) >= threshold), abs=0.01)
    assert any("fewer than 30 people" in said for said in result.warnings)
    assert 0 < result.measure("fnmr_gini/p").value <= 1
    shown = [measure.name for measure in apart_from_tables(result)]
    assert shown == ["fmr", "fnmr", "threshold_cosine"], "the gaps stand in a table of theirs, not in thirty columns"
    gaps_shown = result.tables[GAPS].rows["fnmr_gini"]
    assert [one.value for one in gaps_shown] == [
        result.measure(f"fnmr_gini{ending}").value for ending in ("", "/by_lot", "/p")
    ]
    (table,) = measure_tables([result])
    assert len(table.columns) == 2 + len(shown)
    assert format_measure(row[3]) == f"{int(row[3].value):,}"
    (summary,) = sets_tables({SetKey("groups", result.name): {"m": result}})
    assert summary.columns == ("Set", "FMR %", "FNMR %", "Threshold (cosine)")
    assert counts_text(result).endswith(" impostor pairs, 2 groups, 8 subjects, 40 images")
    assert read_result(write_result(result, tmp_path)).tables == result.tables


def test_groups_by_lot_are_counted_as_a_naive_loop_counts_them() -> None:
    rng = np.random.default_rng(3)
    owner = np.repeat(np.arange(12), 3)
    pairs = np.array(list(itertools.combinations(range(36), 2)))
    group_of_person = np.arange(12) % 3
    compared = Comparisons(rng.normal(size=len(pairs)), owner[pairs], group_of_person[owner[pairs]])
    told = gaps(counts_of(compared, np.full(12, 3), 0.5), group_of_person, 3)
    fmr, fnmr = [], []
    for group in range(3):
        inside = (compared.groups == group).all(1)
        fnmr.append((compared.scores[inside & compared.is_same] < 0.5).mean())
        fmr.append((compared.scores[inside & ~compared.is_same] >= 0.5).mean())
    assert told["fnmr_gini"] == pytest.approx(gini(fnmr))
    assert told["fmr_max_over_min"] == pytest.approx(max(fmr) / min(fmr))
    assert told["garbe"] == pytest.approx(garbe(fmr, fnmr))
    measures = {
        m.name: m for m in gap_measures(compared, owner, group_of_person[owner], 0.5, num_permutations=200, seed=0)
    }
    assert measures["garbe/p"].value > 0.01
    assert measures["garbe/by_lot"].low < measures["garbe/by_lot"].value < measures["garbe/by_lot"].high


def test_a_person_in_no_drawn_pair_counts_in_its_own_group() -> None:
    owner = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 5])  # 4 and 5 have one image each and are in no pair
    group_of = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    pairs = np.array(list(itertools.combinations(range(8), 2)))
    scores = np.random.default_rng(0).normal(size=len(pairs))
    compared = Comparisons(scores, owner[pairs], group_of[pairs])
    told = {
        measure.name: measure.value
        for measure in gap_measures(compared, owner, group_of, 0.0, num_permutations=0, seed=0)
    }
    matched = scores[~compared.is_same & compared.within] >= 0
    groups = compared.groups[~compared.is_same & compared.within, 0]
    # of 4 and 13 impostor pairs within the groups
    rates = np.bincount(groups[matched], minlength=2) / np.array([4, 13])
    assert told["fmr_max_over_min"] == pytest.approx(rates.max() / rates.min())


def test_measures_of_gaps_at_their_ends() -> None:
    assert max_over_geometric_mean([0.1, 0.1]) == pytest.approx(1)
    assert max_over_geometric_mean([0.4, 0.1]) == pytest.approx(2)
    assert max_over_min([0.4, 0.1]) == pytest.approx(4)
    assert np.isnan(max_over_min([0.4, 0.0]))
    assert gini([0.2, 0.2, 0.2]) == pytest.approx(0)
    assert gini([0, 0, 0.3]) == pytest.approx(1)
    assert np.isnan(gini([0, 0]))
    assert fairness_discrepancy_rate([0.1, 0.1], [0.2, 0.2]) == pytest.approx(1)
    assert fairness_discrepancy_rate([0.1, 0.2], [0.2, 0.4]) == pytest.approx(1 - 0.5 * 0.1 - 0.5 * 0.2)


def test_mistakes_of_groups_are_named(people: Path, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("person,letter\np0,x\n")
    (tmp_path / "one.csv").write_text("person,letter\n" + "".join(f"p{n},x\n" for n in range(8)))
    for table, by, said in (
        ("few.csv", "letter", r"says no letter of p1 \(7 such persons\)"),
        ("few.csv", "shade", "must have the columns person"),
        ("one.csv", "letter", "holds one group, x"),
    ):
        with pytest.raises(ValueError, match=said):
            PeopleGroups(people / "in", table=tmp_path / table, by=by).prepare()


def test_a_set_for_low_rates_takes_so_many_images_a_person_and_lists_more_impostors(people: Path) -> None:
    protocol = PeopleFolder(people / "in", images_per_person=3, num_hardest=20, fars=[1e-2], num_bootstraps=0)
    (result,) = protocol.evaluate(embedder_of(vit()))
    assert result.counts["images"] == 24
    assert (len(result.hardest_impostor), len(result.hardest_genuine)) == (20, 20)
    assert compose("evaluate", ["protocol=low_far", "checkpoint=x", "protocol.root=y"]).protocol.fars[0] == 1e-6


def test_intervals_are_withheld_where_the_threshold_lies_beyond_what_was_measured(people: Path) -> None:
    embedder = embedder_of(vit())
    for fmr, known in ((1e-5, False), (0.05, True)):
        (groups,) = PeopleGroups(people / "in", table=people / "table.csv", by="letter", fmr=fmr).evaluate(embedder)
        rates = [row[1] for row in groups.tables[COMMON].rows.values() if row[1] is not None]
        assert [rate.low is not None for rate in rates] == [known] * len(rates)
        (discard,) = ErrorDiscard(root=people / "in", fmr=fmr, quality="norm").evaluate(embedder)
        areas = [measure for measure in discard.measures if measure.name.startswith("area")]
        assert areas
        assert all((area.low is not None) == known for area in areas)


def test_the_warning_counts_the_impostors_that_the_threshold_was_set_on(people: Path) -> None:
    embedder, counts = embedder_of(vit()), {}
    for impostors in ("within", "all"):
        protocol = PeopleGroups(people / "in", table=people / "table.csv", by="letter", fmr=0.05, impostors=impostors)
        (found,) = protocol.evaluate(embedder)
        counts[impostors] = [line for line in found.warnings if "stand behind the common threshold" in line]
    assert counts["within"] == ["only 15 false matches stand behind the common threshold at FMR 0.05"]
    assert counts["all"] == []
