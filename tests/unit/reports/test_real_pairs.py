"""A report of real photographs: an untrained network and raw pixels on LFW, with its faces, in a real browser."""

from dataclasses import replace
from pathlib import Path

import pytest

from transface.backbones.face_vit import FaceViT
from transface.data.pairs import read_pair_set
from transface.evaluation.embed import Embedder
from transface.evaluation.pair_sets import PairSets
from transface.evaluation.pixel_baseline import PixelBackbone
from transface.evaluation.results import Provenance, write_result
from transface.reports.hard_pairs import galleries
from transface.reports.run_report import write_run_report
from transface.reports.runs import read_run


@pytest.fixture
def run(tmp_path: Path, shared: Path) -> Path:
    file = shared / "data" / "real" / "lfw_view1_test.bin"
    protocol = PairSets([file], num_bootstraps=50)
    network = FaceViT(patch_size=28, embed_dim=16, depth=1, num_heads=2, embedding_size=32).eval()
    for label, backbone in (("network", network), ("raw pixels", PixelBackbone())):
        (result,) = protocol.evaluate(Embedder(backbone, device="cpu", progress=False, num_workers=1))
        named = replace(result, provenance=Provenance(label=label, config={"protocol": {"files": [str(file)]}}))
        write_result(named, tmp_path / "run" / "results" / label)
    return tmp_path / "run"


def test_a_report_of_real_faces(run: Path, shared: Path, browser) -> None:
    text = write_run_report(run).read_text()
    assert "lfw_view1_test" in text
    assert "| lfw_view1_test, raw pixels, cosine *(baseline)* |" in text
    assert "published" not in text.split("## lfw_view1_test")[0]
    seen = browser.seen(run / "report" / "report.html")
    assert seen == "3 tables, 3 plots, 32 pictures, as wide as the window"
    images = read_pair_set(shared / "data" / "real" / "lfw_view1_test.bin").images
    result = next(r for r in read_run(run).results if r.provenance.label == "network")
    (genuine, _) = galleries(replace(result, scores_path=None), label="a", stem="s", images=images, limit=1)
    pair = result.hardest_genuine[0].pair
    assert genuine.pairs[0].images == (bytes(images[2 * pair]), bytes(images[2 * pair + 1]))
