"""Embeddings of one model are carried over to another, and what that costs is measured on unseen people."""

from pathlib import Path

import numpy as np
import pytest

from transface.__main__ import main
from transface.evaluation.results import read_results
from transface.inference.folders.embeddings_file import NamedEmbeddings, read_embeddings, write_embeddings
from transface.inference.translation import carried_over, fit_translation, unit_rows
from transface.inference.translation_cost import Sides, outcome, seen_half, translation_cost


def two_models(
    *, people: int = 40, each: int = 4, size: int = 24, noise: float = 0.1, seed: int = 0
) -> tuple[NamedEmbeddings, NamedEmbeddings, dict[str, str]]:
    """Embeddings of the same pictures by two models that differ by a rotation and noise."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), each)
    base = unit_rows(unit_rows(rng.normal(size=(people, size)))[labels] + noise * rng.normal(size=(len(labels), size)))
    turn = np.linalg.qr(rng.normal(size=(size, size)))[0]
    names = np.array([f"p{label:02d}/{place}.jpg" for place, label in enumerate(labels)])

    def made(vectors: np.ndarray, model: str) -> NamedEmbeddings:
        return NamedEmbeddings(
            names,
            vectors.astype(np.float32),
            np.ones(len(names), np.float32),
            np.array([], np.str_),
            {"model": model, "source": f"runs/{model}"},
        )

    other = unit_rows(base @ turn + 0.02 * rng.normal(size=base.shape))
    return made(base, "a" * 64), made(other, "b" * 64), {name: name[:3] for name in names}


def test_a_rotation_costs_nothing_and_no_map_costs_everything() -> None:
    old, new, people = two_models()
    cost = translation_cost(old, new, people, num_bootstraps=100)
    rows = cost.tables["What it costs"].rows
    assert rows["old carried over with new"][0].value == pytest.approx(rows["new with new"][0].value, abs=0.03)
    assert rows["old with new, as they are"][0].value < 0.2
    assert cost.measures[0] == rows["old carried over with new"][0]
    assert cost.measures[0].low <= cost.measures[0].value <= cost.measures[0].high
    difference = rows["old with new, as they are, less new with new"][0]
    assert difference.high < -0.5
    (curve,) = cost.curves.values()
    assert curve.x == [40.0, 80.0]


def test_nobody_is_on_both_sides() -> None:
    numbers = np.repeat(np.arange(11), 3)
    seen = seen_half(numbers, seed=3)
    assert not set(numbers[seen]) & set(numbers[~seen])
    assert 15 <= seen.sum() <= 18


def test_the_outcome_equals_a_naive_loop() -> None:
    rng = np.random.default_rng(2)
    people = np.array([0, 0, 1, 1, 1, 2, 3, 3])
    a, b = (unit_rows(rng.normal(size=(8, 5))) for _ in range(2))
    found = outcome(Sides(a, b), people, [0.1])
    hits, genuine, impostor = [], [], []
    for probe in range(8):
        others = [place for place in range(8) if place != probe]
        scores = {place: float(a[probe] @ b[place]) for place in others}
        if (people == people[probe]).sum() > 1:
            hits.append(people[max(scores, key=scores.get)] == people[probe])
        genuine += [score for place, score in scores.items() if people[place] == people[probe]]
        impostor += [score for place, score in scores.items() if people[place] != people[probe]]
    assert found.found.tolist() == [float(hit) for hit in hits]
    allowed = int(0.1 * len(impostor))
    limit = sorted(impostor, reverse=True)[allowed]
    assert found.missed[0.1].tolist() == [float(score <= limit) for score in genuine]


def test_the_verb_fits_measures_and_carries_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    old, new, _ = two_models()
    write_embeddings("old.npz", old)
    write_embeddings("new.parquet", new)
    words = ["translate", "old.npz", "new.parquet", "output=map.npz", "results=out", "num_bootstraps=50"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "map.npz: procrustes, fitted on 160 pictures" in told
    assert "on 20 people the map has not seen" in told
    assert read_results(["out"])[0].protocol == "translation"
    assert main(["translate", "old.npz", "map=map.npz", "output=carried.npz"]) == 0
    moved = read_embeddings("carried.npz")
    assert (moved.about["model"], moved.about["translated_from"]) == ("b" * 64, "a" * 64)
    assert float((moved.vectors * new.vectors).sum(1).mean()) > 0.95
    capsys.readouterr()
    assert main(["search", "gallery=carried.npz", "query=new.parquet", "top_k=2"]) == 0
    assert main(["search", "gallery=old.npz", "query=new.parquet"]) == 2
    assert "old.npz and new.parquet hold embeddings of two models (runs/aaaa" in capsys.readouterr().err


def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    old, new, people = two_models(people=6)
    write_embeddings("old.npz", old)
    write_embeddings("new.npz", new)
    for words, said in (
        (["old.npz"], "give the new model's embeddings"),
        (["old.npz", "old.npz"], "of one model: there is nothing to translate"),
        (["old.npz", "map=none.npz"], "no map at none.npz"),
        (["old.npz", "map=old.npz"], "is no map of"),
        (["old.npz", "new.npz", "output=x.csv"], "must end in .npz"),
    ):
        assert main(["translate", *words]) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(ValueError, match="two models"):
        carried_over(new, fit_translation(old, new))
    with pytest.raises(ValueError, match="at least four people"):
        translation_cost(old, new, dict.fromkeys(people, "one"))
