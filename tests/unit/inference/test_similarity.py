"""Cosines, and thresholds found by counting impostors."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import transface
from transface.evaluation.results import Measure, Result, RocCurve, write_result


def result_of(scores: np.ndarray, is_same: np.ndarray) -> Result:
    return Result(
        "pair_sets", "made_up", "F1", (Measure("accuracy", 0.5),), arrays={"scores": scores, "is_same": is_same}
    )


def test_similarity_is_the_cosine_of_each_with_each() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 7)), rng.normal(size=(4, 7))
    naive = [[float(x @ y) / math.sqrt(float(x @ x) * float(y @ y)) for y in b] for x in a]
    torch.testing.assert_close(transface.similarity(a, b), torch.tensor(naive, dtype=torch.float64))
    rows = transface.similarity(a, b[:3], between="rows")
    torch.testing.assert_close(rows, torch.tensor(naive, dtype=torch.float64)[:, :3].diagonal())


def test_two_vectors_give_one_number() -> None:
    assert float(transface.similarity([3.0, 4.0], [3.0, 4.0])) == pytest.approx(1)
    assert transface.similarity(np.float32([1, 0]), torch.tensor([[1.0, 0], [0, 1.0]])).tolist() == [1, 0]
    assert transface.similarity(torch.tensor([[1.0, 0], [0, 1.0]]), np.float32([1, 0])).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("a", "b"), [([0.0, 0.0], [1.0, 0.0]), ([1.0], [1.0, 2.0]), ([float("nan"), 1.0], [1.0, 0.0]), ([[[1.0]]], [1.0])]
)
def test_what_has_no_cosine_is_refused(a: list, b: list) -> None:
    with pytest.raises(ValueError, match="embedding"):
        transface.similarity(a, b)


@pytest.mark.parametrize("far", [1e-3, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("decimals", [1, 2, 8])
def test_a_threshold_is_the_lowest_that_keeps_the_rate(far: float, decimals: int) -> None:
    rng = np.random.default_rng(1)
    is_same = rng.random(4000) < 0.4
    scores = np.round(rng.normal(is_same * 0.5, 0.2), decimals).clip(-1, 1).astype(np.float32)
    found = transface.threshold(result_of(scores, is_same), far)
    impostors, genuine = scores[~is_same].astype(np.float64), scores[is_same].astype(np.float64)
    assert found.far == (impostors >= found.cosine).mean() <= far
    assert found.tar == (genuine >= found.cosine).mean()
    lower = [score for score in np.unique(scores.astype(np.float64)) if score < found.cosine]
    if lower:  # accepting one more score would break the rate
        assert (impostors >= lower[-1]).mean() > far or lower[-1] not in impostors
    assert found.num_impostors == len(impostors)


def test_few_impostors_are_warned_of_and_too_few_refused() -> None:
    scores, is_same = np.linspace(-1, 1, 400), np.arange(400) % 2 == 0
    assert "2 impostor pairs" in transface.threshold(result_of(scores, is_same), 0.01).warning
    assert transface.threshold(result_of(scores, is_same), 0.1).warning == ""
    with pytest.raises(ValueError, match=r"has 200: take far=0\.005 or more"):
        transface.threshold(result_of(scores, is_same), 1e-3)


def test_a_threshold_is_read_from_the_json_alone(tmp_path: Path) -> None:
    roc = RocCurve([0.0, 0.01, 0.02, 1.0], [0.1, 0.5, 0.6, 1.0], [0.9, 0.5, 0.4, -1.0])
    written = write_result(
        Result("pair_sets", "lfw", "F1", (Measure("accuracy", 0.5),), counts={"impostor": 3000}, roc=roc), tmp_path
    )
    found = transface.threshold(written, far=0.015)
    assert found[:5] == (0.5, 0.01, 0.5, 3000, "")
    with pytest.raises(FileNotFoundError, match="no result"):
        transface.threshold(tmp_path / "absent.json")


def test_a_result_without_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="neither scores nor a ROC"):
        transface.threshold(Result("tinyface", "tinyface", "", (Measure("rank-1", 0.5),)))


@pytest.mark.parametrize("kind", ["float64", ">f4", "reversed", "list of tensors", "read-only"])
def test_any_array_and_any_pair_of_precisions_can_be_compared(kind: str) -> None:
    rows = torch.nn.functional.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)))
    array = rows.numpy()
    frozen = array.copy()
    frozen.flags.writeable = False
    odd = {
        "float64": rows.double(),
        ">f4": array.astype(">f4"),
        "reversed": array[::-1],
        "list of tensors": list(rows),
        "read-only": frozen,
    }[kind]
    expected = (rows @ rows.T).flip(0) if kind == "reversed" else rows @ rows.T
    torch.testing.assert_close(transface.similarity(odd, rows), expected, check_dtype=False, rtol=0, atol=1e-6)
    torch.testing.assert_close(transface.similarity(rows, odd), expected.T, check_dtype=False, rtol=0, atol=1e-6)


def test_what_holds_no_numbers_is_refused_as_a_value_error() -> None:
    with pytest.raises(ValueError, match="b must be an embedding"):
        transface.similarity([1.0, 0.0], ["a", "b"])
