"""TinyFace searches probes among matches and distractors; RFW puts four groups beside each other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision.io import encode_png

from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.recognition.rfw import Rfw, group_measures
from transface.evaluation.recognition.tinyface import TinyFace
from transface.evaluation.results import Measure


def write_tinyface(root: Path, faces: Any) -> Path:
    people = faces(10, 3)
    for name, chosen, image in (
        ("Probe", range(6), 0),
        ("Gallery_Match", range(6), 1),
        ("Gallery_Distractor", range(6, 10), 2),
    ):
        (root / "Testing_Set" / name).mkdir(parents=True)
        for person in chosen:
            small = people[person, image][:, ::4, ::4].contiguous()
            (root / "Testing_Set" / name / f"{person}_{image}.png").write_bytes(encode_png(small).numpy().tobytes())
    return root


def test_probes_find_their_mates(tmp_path: Path, backbone: Any, faces: Any) -> None:
    root = write_tinyface(tmp_path, faces)
    embedder = Embedder(backbone, progress=False)
    (result,) = TinyFace(root, num_bootstraps=30).evaluate(embedder)
    assert [m.name for m in result.measures] == ["rank-1", "rank-5", "rank-20"]
    assert result.counts == {"probes": 6, "gallery": 6, "distractors": 4, "images": 16}
    assert (
        0.3 < result.measure("rank-1").value <= result.measure("rank-5").value <= result.measure("rank-20").value == 1
    )
    (brief,) = TinyFace(root).evaluate(embedder, detailed=False)
    assert [m.value for m in brief.measures] == [m.value for m in result.measures]
    probe = root / "Testing_Set" / "Probe" / "0_0.png"
    probe.rename(probe.with_name("nobody.png"))
    with pytest.raises(ValueError, match="should begin with the person's number"):
        TinyFace(root).evaluate(embedder)
    with pytest.raises(FileNotFoundError, match="no folder"):
        TinyFace(tmp_path / "absent").evaluate(embedder)


def test_groups_stand_beside_their_mean(backbone: Any, pair_file: Any) -> None:
    root = pair_file("African").parent
    pair_file("Asian", num_pairs=40)
    results = Rfw(root, groups=["African", "Asian"], num_bootstraps=50).evaluate(Embedder(backbone, progress=False))
    assert [r.name for r in results] == ["rfw", "African", "Asian"]
    own = [r.measure("accuracy").value for r in results[1:]]
    assert results[0].measure("accuracy").value == pytest.approx(np.mean(own))
    assert results[0].measure("accuracy").std == pytest.approx(np.std(own))
    assert results[0].measure("accuracy/Asian").value == own[1]
    assert results[0].measure("skewed_error_ratio").value == pytest.approx(
        max(1 - own[0], 1 - own[1]) / min(1 - own[0], 1 - own[1])
    )
    with pytest.raises(FileNotFoundError, match=r"no pair set .*Caucasian\.bin"):
        Rfw(root).evaluate(Embedder(backbone, progress=False))
    with pytest.raises(ValueError, match="at least two"):
        Rfw(root, groups=["African"])


def test_the_error_ratio_has_an_interval_and_bears_a_perfect_group() -> None:
    sizes = np.array([6000, 6000])
    mean, ratio, *_ = group_measures(
        [Measure("accuracy", 0.98), Measure("accuracy", 0.96)], ["a", "b"], sizes, num_bootstraps=500, seed=0
    )
    assert ratio.value == pytest.approx(2)
    assert ratio.low is not None
    assert ratio.high is not None
    assert 1.4 < ratio.low < 2 < ratio.high < 2.8
    assert mean.low is not None
    assert 0.965 < mean.low < 0.97
    perfect = group_measures(
        [Measure("accuracy", 1.0), Measure("accuracy", 0.96)], ["a", "b"], sizes, num_bootstraps=0, seed=0
    )[1]
    assert perfect.value == pytest.approx(0.04 / (0.5 / 6000))
