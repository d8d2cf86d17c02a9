"""`transface evaluate`: where results go, what is cached, what the table says."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from transface.__main__ import main
from transface.backbones.face_vit import FaceViT
from transface.backbones.headed import HeadedNetwork
from transface.backbones.timm_encoder import TimmEncoder
from transface.evaluation.results import read_result
from transface.inference.face_model import FaceModel
from transface.inference.publishing import publish
from transface.reports.reading.runs import results_of
from transface.synthetic.datasets import write_ijbc_folder, write_pair_sets


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two published models, a pair set and an IJB-C folder."""
    root = tmp_path_factory.mktemp("room")
    for name in ("one", "two"):
        publish(FaceModel(FaceViT(patch_size=28, embed_dim=8, depth=1, num_heads=2, embedding_size=8)), root / name)
    write_pair_sets(root, 20, num_identities=4)
    write_ijbc_folder(root / "ijbc", 4, templates_per_identity=2, image_size=120)
    return root


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def evaluate(room: Path, model: str, *words: str) -> int:
    return main(
        ["evaluate", f"checkpoint={room / model if model != 'pixels' else model}", "protocol.num_bootstraps=10", *words]
    )


def test_results_of_a_second_model_do_not_write_over_those_of_the_first(room: Path) -> None:
    pairs = f"protocol.files=[{room}/easy.bin]"
    for model in ("one", "two", "pixels", "one", "two"):
        assert evaluate(room, model, pairs) == 0
    found = {
        str(path.relative_to("results").parent).split("-")[0]: read_result(path)
        for path in Path("results").rglob("*.json")
    }
    assert {folder: result.provenance.label for folder, result in found.items()} == {
        ".": "one",
        "two": "two",
        "raw": "raw pixels",
    }
    for model in ("two", "one", "two"):
        assert evaluate(room, model, pairs, "output=here") == 0
    labels = {str(path.parent): read_result(path).provenance.label for path in Path("here").rglob("*.json")}
    assert len(labels) == 2
    assert labels["here"] == "two"


def test_results_of_other_pairs_of_one_name_stand_beside_each_other(room: Path, tmp_path: Path) -> None:
    for folder, source in (("A", "easy"), ("B", "hard")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "lfw.bin").write_bytes((room / f"{source}.bin").read_bytes())
    for folder in ("A", "B", "A", "B"):
        assert evaluate(room, "one", f"protocol.files=[{folder}/lfw.bin]", "output=out") == 0
    found = [read_result(path) for path in sorted(Path("out").glob("*.json"))]
    assert len(found) == 2
    assert len({result.samples_hash for result in found}) == 2
    assert read_result(Path("out/pair_sets_lfw_F1.json")).provenance.config["protocol"]["files"] == ["A/lfw.bin"]


def test_results_of_other_settings_stand_beside_each_other(room: Path) -> None:
    pairs = f"protocol.files=[{room}/easy.bin]"
    words: list[tuple[str, ...]] = [(), ("protocol.num_folds=5",), ("protocol.fars=[0.1]",), ("precision=bf16",)]
    for settings in [*words, *words]:
        assert evaluate(room, "one", pairs, *settings) == 0
    found = {path.stem: read_result(path) for path in Path("results").rglob("*.json")}
    assert len(found) == 4
    assert found["pair_sets_easy_F1"].counts["folds"] == 10
    assert sorted(result.counts["folds"] for result in found.values()) == [5, 10, 10, 10]
    assert all(path.with_suffix(".npz").is_file() for path in Path("results").rglob("*.json"))
    assert evaluate(room, "one", pairs, "batch_size=3", "num_workers=0", "name=again") == 0
    assert len(list(Path("results").rglob("*.json"))) == 4, "what does not decide on the numbers makes no other result"


def test_results_of_another_checkpoint_of_a_run_go_into_a_folder_of_their_own(room: Path) -> None:
    first, second = (load_file(room / name / "model.safetensors") for name in ("one", "two"))
    config = json.loads((room / "one" / "config.json").read_text())["backbone"]
    for step, state in ((10, first), (20, second)):
        folder = Path(f"runs/mine/checkpoints/step-{step:09d}")
        folder.mkdir(parents=True)
        weights = {f"network.{name.removeprefix('backbone.')}": value for name, value in state.items()}
        torch.save(
            {"state_dict": weights, "transface": {"network": config}, "global_step": step}, folder / "trainer.ckpt"
        )
    Path("runs/mine/config.yaml").write_text("name: mine\n")
    words = [f"protocol.files=[{room}/easy.bin]", "protocol.num_bootstraps=10"]
    for step in (20, 10, 20, 10):
        assert main(["evaluate", f"checkpoint=runs/mine/checkpoints/step-{step:09d}", *words]) == 0
        assert (
            main(["evaluate", f"checkpoint=runs/mine/checkpoints/step-{step:09d}", *words, "output=runs/mine/results"])
            == 0
        )
    found = {path.parent.name: read_result(path) for path in Path("runs/mine/results").rglob("*.json")}
    assert len(found) == 2
    assert found["results"].provenance.checkpoint.endswith("step-000000020")
    (other,) = (name for name in found if name != "results")
    assert other.startswith("step-000000010-")
    assert main(["evaluate", "checkpoint=pixels", *words, "output=runs/mine/results/pixels"]) == 0
    of_run = results_of(Path("runs/mine"))
    assert [result.provenance.checkpoint[-2:] for result in of_run] == ["20", ""], "its own, and the baseline"


def test_a_result_says_all_that_made_it(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(room, "one", f"protocol.files=[{room}/easy.bin,{room}/hard.bin]") == 0
    printed = capsys.readouterr().out
    assert "easy" in printed
    assert "note: " in printed, "twenty pairs are few"
    content = json.loads(Path("results/pair_sets_easy_F1.json").read_text())
    assert content["counts"] | {"pairs": 20, "folds": 10} == content["counts"]
    made = content["provenance"]
    assert len(made["checkpoint_hash"]) == 64
    assert made["config"]["protocol"]["files"] == [f"{room}/easy.bin", f"{room}/hard.bin"]
    assert made["device"] == "cpu"
    assert (
        made["versions"]["torch"] == torch.__version__.split("+")[0] or made["versions"]["torch"] == torch.__version__
    )
    assert made["seconds"] > 0
    accuracy = content["measures"][0]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]


def test_modes_and_protocols_come_out_of_one_cached_pass(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"protocol.root={room}/ijbc", "cache=cached", "protocol.modes=all"]
    assert evaluate(room, "one", "protocol=ijbc", *words) == 0
    assert len(list(Path("results").glob("ijbc_ijbc_*.json"))) == 8
    (cached,) = Path("cached").glob("*.npy")
    written = cached.stat().st_mtime_ns
    assert evaluate(room, "one", "protocol=ijbc", *words[:2]) == 0
    assert cached.stat().st_mtime_ns == written
    assert "N1D1F1" in capsys.readouterr().out


def test_a_stopped_evaluation_says_how_it_goes_on(
    room: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("transface.evaluation.recognition.ijb_verification.score_pairs", stop)
    assert evaluate(room, "one", "protocol=ijbc", f"protocol.root={room}/ijbc", "cache=cached") == 130
    assert "cache=FOLDER" in capsys.readouterr().err
    assert list(Path("cached").glob("*.npy")), "what was embedded is kept"


def test_both_rules_and_open_set_rates_are_printed(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transface.cli.screen import print_results
    from transface.evaluation.results import Measure, Result

    rates = [(far, rule, rate) for far in ("1e-04", "1e-03") for rule, rate in (("nearest", 0.9), ("strict", 0.8))]
    tar = tuple(Measure(f"tar@far={far}/{rule}", rate, rate - 0.01, rate + 0.01) for far, rule, rate in rates)
    found = (Measure("rank-1", 0.7), Measure("tpir@fpir=0.01", 0.6, 0.5, 0.65))
    print_results(
        [
            Result("ijbc", "ijbc", "N1D1F1", tar, warnings=("only 16 impostors",)),
            Result("ijbc_identification", "ijbc_identification", "N1D1F1", found, warnings=("only 16 impostors",)),
        ]
    )
    printed = capsys.readouterr().out
    assert "│ ijbc_identification │ N1D1F1 │ 70.00    │ 60.00 [50.00, 65.00] │" in printed
    assert "│ ijbc │ N1D1F1 │ 1e-04 │ 90.00 [89.00, 91.00] │ 80.00 [79.00, 81.00] │" in printed
    assert "│      │        │ 1e-03 │ 90.00 [89.00, 91.00] │ 80.00 [79.00, 81.00] │" in printed
    assert printed.count("note: only 16 impostors") == 1


def test_pixels_on_a_device_that_is_not_there_are_refused_in_a_line(
    room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(room, "pixels", f"protocol.files=[{room}/easy.bin]", "device=bogus") == 2
    assert "device 'bogus' cannot be used here" in capsys.readouterr().err


def test_a_network_without_an_embedding_is_told_which_protocols_it_may_not_have(
    room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = HeadedNetwork(
        TimmEncoder("test_vit", image_size=48), {"smiling": {"kind": "one_of", "names": ["no", "yes"]}}
    )
    publish(FaceModel(network), "smiles")
    for protocol in (["protocol=ijbc", f"protocol.root={room}/ijbc"], [f"protocol.files=[{room}/easy.bin]"]):
        assert main(["evaluate", "checkpoint=smiles", *protocol]) == 2
        said = capsys.readouterr().err
        assert "the network answers smiling, and embedding is wanted: choose another protocol" in said
        assert len(said.splitlines()) == 1
    assert main(["evaluate", "checkpoint=smiles"]) == 2
    assert (
        "smiles answers smiling and gives no embedding of faces: give protocol=photographs" in capsys.readouterr().err
    )
