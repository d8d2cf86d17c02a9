"""From a real pack to a report in a real browser: a checkpoint trained on CFP, verified on LFW beside raw pixels, with
its faces.
"""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from transface.__main__ import main
from transface.data.benchmarks.pairs import read_pair_set
from transface.reports.reading.runs import read_run
from transface.reports.recognition.hard_pairs import galleries

SMALL = [
    "backbone=face_vit",
    "backbone.patch_size=28",
    "backbone.embed_dim=16",
    "backbone.depth=1",
    "backbone.num_heads=2",
]
SHORT = [
    "trainer=cpu",
    "trainer.max_epochs=-1",
    "trainer.max_steps=20",
    "schedule.warmup_epochs=0",
    "data.total_batch_size=32",
    "data.num_workers=0",
]


@pytest.fixture
def run(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run of twenty steps on the real pack, with results of its checkpoint and of raw pixels."""
    monkeypatch.chdir(tmp_path)
    pairs = f"protocol.files=[{shared / 'data/real/lfw_view1_test.bin'}]"
    pack = f"data.root={shared / 'data/real/cfp500'}"
    small = [*SMALL, *SHORT, "embedding_size=32", "perturbation.num_patches=3", "logger=csv", "~callbacks.validation"]
    assert main(["train", "experiment=transface/vit_t_pack", pack, pairs, *small, "name=real"]) == 0
    evaluation = [pairs, "protocol.num_bootstraps=50"]
    assert main(["evaluate", "checkpoint=runs/real", *evaluation]) == 0
    assert main(["evaluate", "checkpoint=pixels", *evaluation, "output=runs/real/results/pixels"]) == 0
    assert main(["report", "runs/real"]) == 0
    return tmp_path / "runs" / "real"


def test_a_report_of_real_faces(run: Path, shared: Path, browser) -> None:
    text = (run / "report" / "report.md").read_text()
    assert "| lfw_view1_test, raw pixels, cosine *(baseline)* |" in text
    assert "*(published)*" not in text.split("## lfw_view1_test")[0]
    tables, plots, pictures = map(int, re.findall(r"(\d+) ", browser.seen(run / "report" / "report.html")))
    assert tables == 3
    assert plots >= 5  # all sets' ROC, training; ROC, DET, scores of the set
    assert pictures >= 32  # 2 x 8 hardest pairs
    images = read_pair_set(shared / "data" / "real" / "lfw_view1_test.bin").images
    result = next(r for r in read_run(run).results if r.provenance.label == "real")
    assert result.counts["pairs"] == 999
    (genuine, _) = galleries(replace(result, scores_path=None), label="a", stem="s", images=images, limit=1)
    pair = result.hardest_genuine[0].pair
    assert genuine.pairs[0].images == (bytes(images[2 * pair]), bytes(images[2 * pair + 1]))
