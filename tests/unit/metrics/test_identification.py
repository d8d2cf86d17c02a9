"""Searches rank mates as a naive loop over sorted scores does; open-set rates are those of a loop over thresholds."""

import numpy as np
import pytest
import torch

from transface.metrics import identification
from transface.metrics.identification import NO_MATE, Identification, rank_rate, search, tpir_at_fpir


def some_search(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    people = random.normal(size=(12, 5))
    own, theirs = (
        random.integers(0, 12, 50),
        random.choice(np.arange(-1, 9), 30),
    )  # people 9..11 are in no gallery, -1 is a distractor
    probes = people[own] + random.normal(size=(50, 5))
    gallery = np.where(theirs[:, None] >= 0, people[theirs], random.normal(size=(30, 5))) + 0.5 * random.normal(
        size=(30, 5)
    )
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (probes, gallery)]
    return unit[0].astype(np.float32), own, unit[1].astype(np.float32), theirs


@pytest.mark.parametrize("seed", range(5))
def test_searches_equal_a_naive_loop(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identification, "PROBE_BLOCK", 7)
    probes, own, gallery, theirs = some_search(seed)
    found = search(probes, own, gallery, theirs)
    for index in range(len(probes)):
        scores = gallery @ probes[index]
        order = [theirs[entry] for entry in np.argsort(-scores)]
        rank = 1 + order.index(own[index]) if own[index] in order else NO_MATE
        assert found.mate_ranks[index] == rank
        assert found.other_scores[index] == pytest.approx(scores[theirs != own[index]].max(), abs=1e-6)
        if rank:
            assert found.mate_scores[index] == pytest.approx(scores[theirs == own[index]].max(), abs=1e-6)
    mated = np.isin(own, theirs)
    for rank in (1, 3, 30):
        expected = np.mean([1 <= r <= rank for r in found.mate_ranks[mated]])
        assert rank_rate(found, rank) == expected
    assert rank_rate(found, 30) == 1


@pytest.mark.parametrize("seed", range(5))
def test_open_set_rates_equal_a_loop_over_thresholds(seed: int) -> None:
    found = search(*some_search(seed))
    mated = found.is_mated
    for fpir, point in zip((0.0, 0.1, 0.3), tpir_at_fpir(found, (0.0, 0.1, 0.3)), strict=True):
        best = 0.0
        for threshold in np.concatenate([found.mate_scores[mated], found.other_scores, [np.inf]]):
            if np.mean(found.other_scores[~mated] >= threshold) <= fpir:
                hits = (found.mate_ranks[mated] == 1) & (found.mate_scores[mated] >= threshold)
                best = max(best, float(np.mean(hits)))
        assert point.tar == best
        assert point.far <= fpir


def test_an_impostor_as_good_as_the_mate_comes_before_it() -> None:
    found = search(torch.eye(2), [0, 1], torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), [0, 5, 1])
    assert found.mate_ranks.tolist() == [2, 1]


def test_a_distractor_is_nobodys_mate() -> None:
    assert search(np.eye(2), [-1, 0], np.eye(2), [-1, 0]).mate_ranks.tolist() == [NO_MATE, 1]


def test_bad_input_is_refused() -> None:
    probes, own, gallery, theirs = some_search(0)
    with pytest.raises(ValueError, match="a subject for each"):
        search(probes, own[:-1], gallery, theirs)
    with pytest.raises(ValueError, match="of one embedding size"):
        search(probes[:, :4], own, gallery, theirs)
    with pytest.raises(ValueError, match="gallery hold NaN or infinity in 30 of 30"):
        search(probes, own, gallery * np.nan, theirs)
    with pytest.raises(ValueError, match="probes must be a non-empty"):
        search(probes[:0], own[:0], gallery, theirs)
    with pytest.raises(ValueError, match="no probe has a mate"):
        rank_rate(search(probes, own + 100, gallery, theirs), 1)
    with pytest.raises(ValueError, match="needs both kinds"):
        tpir_at_fpir(search(probes, own + 100, gallery, theirs), [0.1])


def test_the_metric_takes_probes_in_any_order_and_repeats() -> None:
    probes, own, gallery, theirs = some_search(1)
    expected = search(probes, own, gallery, theirs)
    metric = Identification(gallery, theirs, ranks=(1, 5), fpirs=(0.1,))
    order = torch.cat([torch.randperm(50), torch.tensor([3, 3, 7])])
    for chosen in order.split(16):
        metric.update(torch.from_numpy(probes)[chosen], torch.from_numpy(own)[chosen], chosen)
    result = metric.compute()
    for found, wanted in zip(result.searches, expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert result.rank_rates == {1: rank_rate(expected, 1), 5: rank_rate(expected, 5)}
    assert [point.tar for point in result.points] == [point.tar for point in tpir_at_fpir(expected, [0.1])]
    closed = Identification(torch.from_numpy(gallery), theirs.tolist(), ranks=[1], fpirs=[])
    closed.update(torch.from_numpy(probes), torch.from_numpy(own), torch.arange(50))
    assert closed.compute().points == []
    with pytest.raises(ValueError, match="want probes"):
        metric.update(torch.from_numpy(probes), torch.from_numpy(own), torch.arange(3))
