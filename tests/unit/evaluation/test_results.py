"""A result comes back from disk as it was, is written whole or not at all, and refuses what is not a result."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from transface.evaluation.results import (
    HardPair,
    Measure,
    Provenance,
    Result,
    RocCurve,
    ScoreHistogram,
    hash_samples,
    read_arrays,
    read_result,
    read_results,
    write_result,
)


def example() -> Result:
    return Result(
        protocol="pair_sets",
        name="made up/1",
        mode="F1",
        measures=(
            Measure("accuracy", 0.9, 0.88, 0.92, std=0.01),
            Measure("tar@far=1e-04/strict", 0.5, warning="3 impostors"),
        ),
        counts={"pairs": 3},
        warnings=("3 impostors",),
        roc=RocCurve([0.0, 1.0], [0.5, 1.0], [2.0, -1.0], [0.4, 1.0], [0.6, 1.0]),
        histogram=ScoreHistogram([0.0, 0.5, 1.0], [0, 2], [1, 0]),
        hardest_genuine=(HardPair(0, 0.1, ["0", "1"], ["thumbnail_0", "thumbnail_1"]),),
        samples_hash="ab",
        provenance=Provenance(label="run", config={"a": {"b": [1, 2.5, None]}}, seed=3),
        arrays={"scores": np.array([0.1, 0.9, 0.3], np.float32), "thumbnail_0": np.arange(4, dtype=np.uint8)},
    )


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    path = write_result(example(), tmp_path / "results")
    again = read_result(path)
    assert again == example()
    arrays = read_arrays(again)
    assert set(arrays) == {"scores", "thumbnail_0"}
    np.testing.assert_array_equal(arrays["scores"], example().arrays["scores"])
    assert path.name == "pair_sets_made-up-1-111064_F1.json"


def test_results_of_a_folder_are_found_and_other_json_is_left(tmp_path: Path) -> None:
    write_result(example(), tmp_path / "a")
    write_result(replace(example(), name="other"), tmp_path / "b")
    (tmp_path / "b" / "config.json").write_text("{}")
    assert [r.name for r in read_results([tmp_path])] == ["made up/1", "other"]


def test_a_nan_is_not_written_and_no_half_file_is_left(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_result(replace(example(), measures=(Measure("accuracy", float("nan")),)), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[1]", "{}", json.dumps({"schema": "transface.result/1"}), "\x00"])
def test_what_is_not_a_result_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ValueError, match="not a"):
        read_result(tmp_path / "r.json")
    with pytest.raises(FileNotFoundError, match="no result file"):
        read_result(tmp_path / "absent.json")


def test_a_measure_is_found_by_name() -> None:
    assert example().measure("accuracy").std == 0.01
    with pytest.raises(KeyError, match="there are"):
        example().measure("rank-1")


def test_the_hash_of_pairs_sees_order_and_labels() -> None:
    labels = np.array([True, False])
    assert hash_samples(labels) != hash_samples(labels[::-1])
    assert hash_samples(labels, names=["a", "b"]) != hash_samples(labels, names=["ab"])


def test_a_broken_file_of_scores_is_named(tmp_path: Path) -> None:
    path = write_result(example(), tmp_path)
    scores = path.with_suffix(".npz")
    whole = scores.read_bytes()
    for content in (whole[:100], b"", b"no zip", whole[:-200] + bytes(200)):
        scores.write_bytes(content)
        with pytest.raises(ValueError, match="remove it, or evaluate again"):
            read_arrays(read_result(path))
