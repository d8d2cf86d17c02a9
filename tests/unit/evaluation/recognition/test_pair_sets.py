"""A pair set becomes a result whose numbers are those of the metrics, with intervals, curves and thumbnails."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from transface.data.benchmarks.pairs import read_pair_set
from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.protocol import BenchmarkProtocol, stamped
from transface.evaluation.recognition.pair_sets import PairSets
from transface.evaluation.results import read_arrays, read_result, write_result
from transface.images.sources import EncodedImages
from transface.metrics.tar_at_far import tar_at_far
from transface.metrics.verification import verify_pairs


def test_a_result_holds_the_numbers_of_the_metrics(backbone: Any, pair_file: Any) -> None:
    path = pair_file()
    embedder = Embedder(backbone, progress=False)
    protocol = PairSets([path], fars=[0.1], num_bootstraps=50)
    assert isinstance(protocol, BenchmarkProtocol)
    (result,) = protocol.evaluate(embedder)
    pair_set = read_pair_set(path)
    unit = embedder.embed(EncodedImages("made", pair_set.images)).unit()
    expected = verify_pairs(unit, pair_set.is_same)
    accuracy = result.measure("accuracy")
    assert (accuracy.value, accuracy.std) == (expected.accuracy_mean, expected.accuracy_std)
    assert accuracy.low is not None
    assert accuracy.high is not None
    assert accuracy.low < accuracy.value < accuracy.high
    assert 0.6 < accuracy.value < 1, "the made-up pairs should be neither trivial nor hopeless"
    scores = result.arrays["scores"]
    np.testing.assert_allclose(scores, (unit[0::2] * unit[1::2]).sum(1), atol=1e-6)
    assert result.measure("auc").value == pytest.approx(roc_auc_score(pair_set.is_same, scores))
    strict = result.measure("tar@far=1e-01/strict")
    assert strict.value == tar_at_far(scores[pair_set.is_same], scores[~pair_set.is_same], 0.1, rule="strict")
    assert "only 3 impostors" in strict.warning
    assert result.warnings == (strict.warning,)
    assert result.counts == {"pairs": 60, "genuine": 30, "impostor": 30, "folds": 10, "images": 120}
    assert result.mode == "F1"
    assert result.arrays["correct"].mean() == pytest.approx(expected.accuracy_mean)


def test_curve_histogram_and_hardest_pairs_are_right(backbone: Any, pair_file: Any) -> None:
    path = pair_file()
    (result,) = PairSets([path], num_bootstraps=50).evaluate(Embedder(backbone, progress=False))
    scores, same = result.arrays["scores"], result.arrays["is_same"]
    assert result.roc is not None
    for far, tar, threshold, low, high in zip(
        result.roc.far, result.roc.tar, result.roc.threshold, result.roc.tar_low, result.roc.tar_high, strict=True
    ):
        assert far == pytest.approx(np.mean(scores[~same] >= threshold))
        assert tar == pytest.approx(np.mean(scores[same] >= threshold))
        assert low <= tar <= high
    assert result.roc.far[0] == 0
    assert result.roc.far[-1] == 1
    assert result.roc.far == sorted(set(result.roc.far))
    assert result.histogram is not None
    assert sum(result.histogram.genuine) == sum(result.histogram.impostor) == 30
    worst = result.hardest_genuine[0]
    assert worst.score == scores[same].min()
    assert worst.names == [str(2 * worst.pair), str(2 * worst.pair + 1)]
    assert [pair.score for pair in result.hardest_impostor] == sorted(scores[~same])[::-1][:8]
    image = read_pair_set(path).images[2 * worst.pair + 1]
    assert result.arrays[worst.thumbnails[1]].tobytes() == image


def test_a_result_survives_the_disk_with_its_stamp(backbone: Any, pair_file: Any, tmp_path: Path) -> None:
    results = PairSets([pair_file()], num_bootstraps=20).evaluate(Embedder(backbone, progress=False))
    (stamp,) = stamped(results, label="run", checkpoint="a.ckpt", config={"seed": 1}, commit="abc")
    again = read_result(write_result(stamp, tmp_path / "results"))
    assert again == stamp
    assert again.provenance.label == "run"
    np.testing.assert_array_equal(read_arrays(again)["scores"], stamp.arrays["scores"])


def test_inside_training_only_the_numbers_are_made(backbone: Any, pair_file: Any) -> None:
    protocol = PairSets([pair_file("a"), pair_file("b")])
    embedder = Embedder(backbone, progress=False)
    brief = protocol.evaluate(embedder, detailed=False)
    full = protocol.evaluate(embedder)
    assert [r.name for r in brief] == protocol.names == ["a", "b"]
    assert [m.value for m in brief[0].measures] == [m.value for m in full[0].measures]
    assert brief[0].arrays == {}
    assert brief[0].roc is None
    assert brief[0].measure("accuracy").low is None


def test_the_flip_and_seeds_have_their_effect(backbone: Any, pair_file: Any) -> None:
    path = pair_file()
    embedder = Embedder(backbone, progress=False)
    (flipped,) = PairSets([path], num_bootstraps=20).evaluate(embedder)
    (plain,) = PairSets([path], flip=False, num_bootstraps=20).evaluate(embedder)
    assert plain.mode == "F0"
    assert not np.array_equal(plain.arrays["scores"], flipped.arrays["scores"])
    assert plain.samples_hash == flipped.samples_hash
    (again,) = PairSets([path], num_bootstraps=20).evaluate(embedder)
    (other,) = PairSets([path], num_bootstraps=20, seed=1).evaluate(embedder)
    assert again.measures == flipped.measures
    assert other.measures != flipped.measures


def test_bad_input_is_refused(backbone: Any, pair_file: Any, tmp_path: Path) -> None:
    embedder = Embedder(backbone, progress=False)
    with pytest.raises(ValueError, match=r"give protocol.files"):
        PairSets([]).evaluate(embedder)
    with pytest.raises(FileNotFoundError, match=r"no pair set .*absent.bin"):
        PairSets([tmp_path / "absent.bin"])
    with pytest.raises(ValueError, match="two pair sets are named made"):
        PairSets([pair_file(), pair_file()])
    with pytest.raises(ValueError, match="one class only"):
        PairSets([pair_file(is_same=np.ones(60, bool))]).evaluate(embedder)
