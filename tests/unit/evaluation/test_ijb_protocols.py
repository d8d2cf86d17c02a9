"""IJB protocols from a folder on disk: the numbers are those of aligning, embedding, pooling and scoring by hand."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transface.data.benchmarks.templates import read_template_set
from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.recognition.ijb_identification import IjbComplete, IjbIdentification, mean_measure
from transface.evaluation.recognition.ijb_verification import IjbVerification, connected_people, faces_of, prepare_pairs
from transface.evaluation.recognition.template_pooling import pool_templates, score_pairs
from transface.evaluation.results import Measure, read_arrays, read_result, write_result
from transface.metrics.tar_at_far import tar_at_far
from transface.synthetic.datasets import write_ijbc_folder


@pytest.fixture(scope="module")
def ijbc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_ijbc_folder(tmp_path_factory.mktemp("ijbc"), 6, templates_per_identity=3)
    protocol = read_template_set(root)
    people = prepare_pairs(protocol)
    ids = np.unique(protocol.template_ids)
    person = {
        int(t): int(p)
        for pair, two in zip(protocol.pair_templates, people.subjects, strict=True)
        for t, p in zip(pair, two, strict=True)
    }
    firsts = [min(t for t in person if person[t] == p) for p in range(6)]
    lines = dict.fromkeys(("gallery_G1", "gallery_G2", "probe_mixed"), "TEMPLATE_ID,SUBJECT_ID\n")
    for template in ids.tolist():
        name = "probe_mixed" if template not in firsts else ("gallery_G1" if person[template] < 3 else "gallery_G2")
        lines[name] += f"{template},{person[template]}\n"
    for name, text in lines.items():
        (root / "meta" / f"ijbc_1N_{name}.csv").write_text(text)
    return root


def test_each_mode_is_what_the_steps_give_one_by_one(ijbc: Path, backbone: Any, tmp_path: Path) -> None:
    embedder = Embedder(backbone, progress=False, cache=tmp_path, checkpoint_hash="ab")
    results = IjbVerification(ijbc, modes="all", fars=[0.01, 0.1], num_bootstraps=20).evaluate(embedder)
    assert [r.mode for r in results] == ["N1D1F1", "N1D1F0", "N1D0F1", "N1D0F0", "N0D1F1", "N0D1F0", "N0D0F1", "N0D0F0"]
    protocol = read_template_set(ijbc)
    assert backbone.num_images == 2 * len(protocol.images), "eight modes come out of one pass"
    found = embedder.embed(faces_of(protocol))
    same = protocol.pair_is_same
    for result in (results[0], results[7]):
        mode = result.mode
        pooled = pool_templates(
            found.original,
            protocol.template_ids,
            protocol.media_ids,
            flipped=found.mirrored,
            detector_scores=protocol.detector_scores,
            mode=mode,
        )
        scores = score_pairs(pooled, protocol.pair_templates)
        np.testing.assert_array_equal(result.arrays["scores"], scores)
        for rule in ("nearest", "strict"):
            assert result.measure(f"tar@far=1e-01/{rule}").value == tar_at_far(
                scores[same], scores[~same], 0.1, rule=rule
            )
    assert not np.array_equal(results[0].arrays["scores"], results[7].arrays["scores"])
    assert results[0].counts["subjects"] == 6
    assert results[0].counts["templates"] == 18
    assert results[0].samples_hash == results[7].samples_hash != ""


def test_a_result_of_templates_survives_the_disk(ijbc: Path, backbone: Any, tmp_path: Path) -> None:
    (result,) = IjbVerification(ijbc, fars=[0.1], num_bootstraps=20).evaluate(Embedder(backbone, progress=False))
    again = read_result(write_result(result, tmp_path))
    assert again == result
    arrays = read_arrays(again)
    assert arrays["subjects"].shape == (result.counts["pairs"], 2)
    assert (arrays["subjects"][:, 0] == arrays["subjects"][:, 1]).tolist() == arrays["is_same"].tolist()
    assert arrays[result.hardest_impostor[0].thumbnails[0]].tobytes()[:2] == b"\xff\xd8"
    brief = IjbVerification(ijbc, fars=[0.1]).evaluate(Embedder(backbone, progress=False), detailed=False)[0]
    assert [m.value for m in brief.measures] == [m.value for m in result.measures]
    assert brief.arrays == {}


def test_people_are_the_components_of_genuine_pairs() -> None:
    people = connected_people(np.array([[0, 3], [3, 1], [4, 5]]), 7)
    assert people[0] == people[1] == people[3]
    assert people[4] == people[5]
    assert len({int(people[i]) for i in (0, 2, 4, 6)}) == 4


def test_identification_finds_mates_in_the_right_gallery(ijbc: Path, backbone: Any) -> None:
    (result,) = IjbIdentification(ijbc, num_bootstraps=50).evaluate(Embedder(backbone, progress=False))
    names = [measure.name for measure in result.measures]
    assert names == ["rank-1", "rank-5", "rank-10", "tpir@fpir=0.01", "tpir@fpir=0.1"]
    rates = [measure.value for measure in result.measures]
    assert rates[0] <= rates[1] == rates[2] == 1, "three people are in each gallery"
    assert rates[3] <= rates[4] <= rates[0]
    assert result.measure("rank-1").low is not None
    assert any("FPIR" in warning for warning in result.warnings)
    brief = IjbIdentification(ijbc).evaluate(Embedder(backbone, progress=False), detailed=False)[0]
    assert [m.value for m in brief.measures] == rates
    assert brief.measure("rank-1").low is None


def test_both_protocols_come_out_of_one_embedding_pass(ijbc: Path, backbone: Any) -> None:
    embedder = Embedder(backbone, progress=False)
    settings = {"modes": ["N1D1F1", "N0D0F0"], "num_bootstraps": 20}
    alone = IjbVerification(ijbc, fars=[0.1], **settings).evaluate(embedder) + IjbIdentification(
        ijbc, **settings
    ).evaluate(embedder)
    num_images = backbone.num_images
    together = IjbComplete(ijbc, fars=[0.1], **settings).evaluate(embedder)
    assert backbone.num_images - num_images == num_images // 2
    assert [(r.protocol, r.mode, r.measures) for r in together] == [(r.protocol, r.mode, r.measures) for r in alone]
    again = embedder.embed(faces_of(read_template_set(ijbc)))
    assert backbone.num_images - num_images == num_images
    assert len(again.original) == together[0].counts["images"], "nothing is remembered afterwards: weights may change"


def test_galleries_of_ijbb_have_names_of_their_own(ijbc: Path, backbone: Any, tmp_path: Path) -> None:
    (tmp_path / "loose_crop").symlink_to(ijbc / "loose_crop")
    (tmp_path / "meta").mkdir()
    for path in (ijbc / "meta").iterdir():
        name = path.name.replace("ijbc", "ijbb").replace("gallery_G", "gallery_S")
        (tmp_path / "meta" / name).write_bytes(path.read_bytes())
    embedder = Embedder(backbone, progress=False)
    (found,) = IjbIdentification(tmp_path, name="ijbb", num_bootstraps=0).evaluate(embedder)
    (expected,) = IjbIdentification(ijbc, num_bootstraps=0).evaluate(embedder)
    assert found.measures == expected.measures
    assert found.protocol == "ijbb_identification"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "ijbc_1N_gallery_G1.csv",
            "T,S\n1,0\n999,5\n",
            r"G1\.csv: 1 templates have no images, the first is template 999",
        ),
        ("ijbc_1N_probe_mixed.csv", "T,S\n1,77\n", r"0 of 1 probes have a mate in .*G1\.csv: rank-k needs some"),
        (
            "ijbc_1N_gallery_G2.csv",
            "T,S\n1,0\n2,1\n3,2\n4,3\n5,4\n6,5\n",
            r"have a mate in .*G2\.csv: open-set search needs some that have none",
        ),
        (
            "ijbc_template_pair_label.txt",
            "1 2 1\n1 3 1\n",
            r"pairs of ijbc in .* are of one class only, 2 genuine of 2",
        ),
        (
            "ijbc_template_pair_label.txt",
            "1 2 1\n1 999 0\n",
            r"1 pairs name a template without images, the first is line 2: \[1, 999\]",
        ),
    ],
)
def test_lists_that_do_not_fit_are_refused_before_anything_is_embedded(
    ijbc: Path, backbone: Any, tmp_path: Path, file: str, text: str, message: str
) -> None:
    (tmp_path / "loose_crop").symlink_to(ijbc / "loose_crop")
    shutil.copytree(ijbc / "meta", tmp_path / "meta")
    (tmp_path / "meta" / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        IjbComplete(tmp_path).evaluate(Embedder(backbone, progress=False))
    assert backbone.num_images == 0


def test_the_mean_of_two_galleries_is_surer_than_either() -> None:
    found = mean_measure([Measure("rank-1", 0.8, 0.7, 0.9), Measure("rank-1", 0.6, 0.5, 0.7)])
    assert found.value == pytest.approx(0.7)
    assert found.low == pytest.approx(0.7 - 0.1 * 2**0.5 / 2)
    assert mean_measure([Measure("rank-1", 0.8), Measure("rank-1", 0.6, 0.5, 0.7)]).low is None


def test_bad_input_is_refused(ijbc: Path, backbone: Any, tmp_path: Path) -> None:
    embedder = Embedder(backbone, progress=False)
    with pytest.raises(ValueError, match="mode must be one of"):
        IjbVerification(ijbc, modes=["N3D1F1"])
    with pytest.raises(ValueError, match="no modes"):
        IjbVerification(ijbc, modes=[])
    with pytest.raises(FileNotFoundError, match="should hold meta"):
        IjbVerification(tmp_path).evaluate(embedder)
    with pytest.raises(FileNotFoundError, match="ijbb_face_tid_mid"):
        IjbVerification(ijbc, name="ijbb").evaluate(embedder)
    copy = tmp_path / "copy"
    (copy / "meta").mkdir(parents=True)
    for path in (ijbc / "meta").iterdir():
        (copy / "meta" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(FileNotFoundError, match="no image folder"):
        IjbVerification(copy).evaluate(embedder)
    (copy / "loose_crop").mkdir()
    with pytest.raises(FileNotFoundError, match=r"images are not in .*, the first is 1\.jpg"):
        IjbVerification(copy).evaluate(embedder)
    for path in (ijbc / "loose_crop").iterdir():
        (copy / "loose_crop" / path.name).write_bytes(path.read_bytes())
    (copy / "loose_crop" / "2.jpg").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"2\.jpg cannot be decoded"):
        IjbVerification(copy).evaluate(embedder)
    (copy / "meta" / "ijbc_1N_gallery_G2.csv").unlink()
    with pytest.raises(FileNotFoundError, match="1:N protocol needs it"):
        IjbIdentification(copy).evaluate(embedder)


def test_a_made_up_folder_has_the_lists_of_the_search_too(tmp_path: Path, backbone: Any) -> None:
    folder = write_ijbc_folder(tmp_path / "made", 4, templates_per_identity=2, image_size=120)
    results = IjbIdentification(folder, num_bootstraps=0).evaluate(Embedder(backbone, progress=False))
    assert results[0].measure("rank-1").value >= 0
    assert sorted(path.name for path in (folder / "meta").glob("*1N*")) == [
        "ijbc_1N_gallery_G1.csv",
        "ijbc_1N_gallery_G2.csv",
        "ijbc_1N_probe_mixed.csv",
    ]
