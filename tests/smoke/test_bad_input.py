"""What a user may get wrong at the command line: one clear line, exit code 2, nothing lost or half-written."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from transface.__main__ import main
from transface.backbones.face_vit import FaceViT
from transface.cli.runs.child_processes import TELL_OF_OTHER_MACHINES, refuse_machine_alone
from transface.data.benchmarks.pairs import read_pair_set, write_pair_set
from transface.data.recordio.reader import RecordHeader, RecordReader, RecordWriter
from transface.inference.face_model import FaceModel
from transface.inference.publishing import publish
from transface.synthetic.datasets import write_identity_pack, write_ijbc_folder, write_pair_sets

SMALL = [
    "backbone.depth=1",
    "backbone.embed_dim=16",
    "backbone.num_heads=2",
    "embedding_size=16",
    "schedule.warmup_epochs=0",
]
SHORT = [
    "experiment=demo",
    *SMALL,
    "data.total_batch_size=4",
    "data.num_workers=0",
    "trainer.max_epochs=-1",
    "trainer.max_steps=2",
    "protocol.files=[]",
]


class Outcome(NamedTuple):
    code: int
    line: str


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people with four images each."""
    return write_identity_pack(tmp_path_factory.mktemp("pack") / "faces", 3, images_per_identity=4)


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a verb in an empty folder and return its exit code and the last line it said on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRANSFACE_TRACEBACK", raising=False)

    def run(*words: str) -> Outcome:
        code = main(list(words))
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("transface: ")]
        assert len(said) == (1 if code == 2 else 0), said
        return Outcome(code, said[0] if said else "")

    return run


def copied(pack: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pack, tmp_path / "copy"))


def rewritten(pack: Path, tmp_path: Path, *, label: float | None = None, payload: bytes | None = None) -> Path:
    """Return a copy of the pack whose image of key 5 has another label or payload."""
    target = copied(pack, tmp_path)
    reader = RecordReader(pack / "train.rec")
    with RecordWriter(target / "train.rec", target / "train.idx") as writer:
        for key in reader.keys():  # noqa: SIM118 - a reader is no dict
            record = reader[key]
            header = RecordHeader(0, label, key) if key == 5 and label is not None else record.header
            writer.write(key, header, payload if key == 5 and payload is not None else record.payload)
    return target


def test_a_data_folder_that_is_not_there(call: Callable[..., Outcome]) -> None:
    code, line = call("train", *SHORT, "data.root=nowhere")
    assert code == 2
    assert "nowhere" in line


def test_an_empty_data_folder(call: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, line = call("train", *SHORT, "data.root=empty")
    assert code == 2
    assert "empty" in line
    assert ".rec" in line


def test_a_truncated_rec(call: Callable[..., Outcome], pack: Path, tmp_path: Path) -> None:
    broken = copied(pack, tmp_path)
    content = (broken / "train.rec").read_bytes()
    (broken / "train.rec").write_bytes(content[: len(content) // 2])
    code, line = call("train", *SHORT, f"data.root={broken}")
    assert code == 2
    assert "train.rec" in line


def test_a_single_person(call: Callable[..., Outcome], tmp_path: Path) -> None:
    alone = write_identity_pack(tmp_path / "alone", 1, images_per_identity=4)
    code, line = call("train", *SHORT, f"data.root={alone}")
    assert code == 2
    assert "the data has 1 person" in line, "its loss is 0 from the first step on"


def test_a_wrong_magic(call: Callable[..., Outcome], pack: Path, tmp_path: Path) -> None:
    broken = copied(pack, tmp_path)
    content = bytearray((broken / "train.rec").read_bytes())
    content[:4] = b"JUNK"
    (broken / "train.rec").write_bytes(bytes(content))
    code, line = call("train", *SHORT, f"data.root={broken}")
    assert code == 2
    assert "magic" in line


def test_a_label_out_of_range(call: Callable[..., Outcome], pack: Path, tmp_path: Path) -> None:
    code, line = call("train", *SHORT, f"data.root={rewritten(pack, tmp_path, label=7.0)}")
    assert code == 2
    assert "label 7" in line
    assert "0..2" in line


@pytest.mark.parametrize("payload", [b"this is no image", b""])
def test_an_image_that_cannot_be_decoded(
    call: Callable[..., Outcome], pack: Path, tmp_path: Path, payload: bytes
) -> None:
    code, line = call("train", *SHORT, "trainer.max_steps=4", f"data.root={rewritten(pack, tmp_path, payload=payload)}")
    assert code == 2
    assert "5" in line
    assert "on_bad_record=skip" in line


def test_an_image_of_another_size(call: Callable[..., Outcome], pack: Path, tmp_path: Path) -> None:
    from torchvision.io import encode_jpeg

    jpeg = encode_jpeg(torch.zeros(3, 100, 112, dtype=torch.uint8)).numpy().tobytes()
    code, line = call("train", *SHORT, "trainer.max_steps=4", f"data.root={rewritten(pack, tmp_path, payload=jpeg)}")
    assert code == 2
    assert "100" in line
    assert "112" in line


def test_a_bad_image_is_skipped_when_asked(
    call: Callable[..., Outcome], pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = rewritten(pack, tmp_path, payload=b"no image")
    words = (
        "train",
        *SHORT,
        "trainer.max_steps=3",
        f"data.root={broken}",
        "data.on_bad_record=skip",
        "data.max_bad_share=0.5",
    )
    assert main(list(words)) == 0
    assert "1 of the 12 records read in this epoch were bad and skipped" in capsys.readouterr().out
    assert call(*words[:-1], "data.max_bad_share=0.0").code == 2


def test_a_bin_that_is_no_pair_set(call: Callable[..., Outcome], pack: Path, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"not a pickle at all")
    code, line = call("evaluate", "checkpoint=pixels", "protocol.files=[a.bin]")
    assert code == 2
    assert "a.bin" in line
    assert not (tmp_path / "results").exists() or not any((tmp_path / "results").iterdir())


def test_a_hostile_pickle_is_never_run(call: Callable[..., Outcome], tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(tmp_path / "exploded"),))

    (tmp_path / "a.bin").write_bytes(pickle.dumps(([Bomb()], [True])))
    code, line = call("evaluate", "checkpoint=pixels", "protocol.files=[a.bin]")
    assert code == 2
    assert "mkdir" in line
    assert not (tmp_path / "exploded").exists()


def test_an_unknown_config_key(call: Callable[..., Outcome], pack: Path) -> None:
    code, line = call("train", *SHORT, f"data.root={pack}", "perturbation.num_patchs=3")
    assert code == 2
    assert "perturbation.num_patches" in line


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("margin=arkface", "no margin=arkface: there are adaface, arcface"),
        ("callbacks=[default,methd]", "no callbacks=methd: there are averaged, default"),
        ("logger=[csv,wandbb]", "no logger=wandbb: there are csv"),
        ("+sweep=dpap_k", "no sweep=dpap_k: there are learning_rate"),
        ("debug=nann", "no debug=nann: there are learning_rate, nan"),
        ("checkpoint.every_n_step=3", "did you mean checkpoint.every_n_steps"),
        ("+seeed=1", "no setting 'seeed', nothing reads it: did you mean seed"),
        ("seed=abc", "transface: seed must be a whole number, got 'abc'"),
        ("seed=-1", "seed must be a whole number, at least 0, got -1"),
        ("devices=two", "devices must be a number, a list of them, or auto, got 'two'"),
        ("gradient_accumulation=0", "gradient_accumulation must be a whole number, at least 1, got 0"),
        ("time_budget=1h", "time_budget must be days:hours:minutes:seconds"),
        ("schedule_by=time", "schedule_by must be steps or time_budget"),
        ("schedule_by=time_budget", "needs time_budget"),
        ("+trainer.max_epoch=3", "no setting trainer.max_epoch: Trainer takes none of that name"),
        ("+optimizer.weigth_decay=3", "no setting system.weigth_decay: AdamW takes none of that name"),
        ("margin.scale=abc", "margin.scale must be a number, got 'abc'"),
        ("trainer.max_epochs=2.5", "trainer.max_epochs must be a whole number or null, got 2.5"),
        ("trainer.compile=maybe", "trainer.compile must be true or false, got 'maybe'"),
        ("classifier.num_identities=many", "classifier.num_identities must be a whole number"),
        ("data.num_workers=2.5", "data.num_workers must be a whole number, got 2.5"),
        ("data.total_batch_size=abc", "data.total_batch_size must be a whole number, got 'abc'"),
        ("data.sources=faces", "data.sources must be a list, [a,b], got 'faces'"),
        ("optimizer.betas=0.9", "optimizer.betas must be a list, [a,b], got 0.9"),
        (
            "validation.every_n_steps=abc",
            "transface: validation.every_n_steps must be a whole number or null, got 'abc'",
        ),
        ("name=''", "the run's folder would be 'runs/', which holds all runs: give name=..."),
        ("name=..", "the run's folder would be 'runs/..', which holds all runs"),
        ("system.flip_probability=2", "system.flip_probability must be in 0..1, got 2"),
        ("system.layer_decay=0", "system.layer_decay must be above 0 and at most 1"),
        ("backbone.depth=0", "depth must be at least 1 and mlp_ratio"),
        ("optimizer.lr=inf", "Invalid learning rate: inf"),
        ("optimizer=sgd optimizer.momentum=2", "momentum must be at least 0 and below 1, got 2"),
        ("schedule.power=-1", "schedule.power must be finite and at least 0, got -1"),
        ("checkpoint.every_n_minutes=-1", "checkpoint.every_n_minutes must be above 0 or null, got -1"),
        ("resume=maybe", "no checkpoint at maybe"),
        ("embedding_size=8 backbone.embedding_size=16", "embeddings of 16 numbers and the classifier takes 8"),
        ("protocol=null", "protocol=null: one of its options is needed"),
        ("+trainer.check_val_every_n_epoch=2", "validation.every_n_steps and validation.every_n_epochs say when"),
        (
            "data.total_batch_size=5 gradient_accumulation=3",
            "data.total_batch_size=5 cannot be dealt to 1 devices x 3 accumulated batches: take 3",
        ),
    ],
)
def test_a_misspelt_or_impossible_setting_costs_one_line_and_the_earlier_run_nothing(
    call: Callable[..., Outcome], pack: Path, tmp_path: Path, word: str, said: str
) -> None:
    kept = tmp_path / "runs" / "demo" / "checkpoints" / "step-000000002" / "trainer.ckpt"
    kept.parent.mkdir(parents=True)
    kept.touch()
    code, line = call("train", *SHORT, f"data.root={pack}", *word.split())
    assert code == 2
    assert said in line
    assert kept.is_file()


def test_several_machines_of_which_nothing_tells(
    call: Callable[..., Outcome], pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in TELL_OF_OTHER_MACHINES:
        monkeypatch.delenv(name, raising=False)
    code, line = call("train", *SHORT, f"data.root={pack}", "num_nodes=2")
    assert code == 2
    assert "num_nodes=2" in line
    assert "MASTER_ADDR" in line
    monkeypatch.setenv("NODE_RANK", "1")
    refuse_machine_alone(2)


def test_a_value_left_unset(call: Callable[..., Outcome]) -> None:
    code, line = call("train", "experiment=transface/vit_t_pack")
    assert code == 2
    assert "data.root" in line


def test_more_dominant_patches_than_patches(call: Callable[..., Outcome], pack: Path) -> None:
    code, line = call("train", *SHORT, f"data.root={pack}", "perturbation.num_patches=65")
    assert code == 2
    assert "65" in line
    assert "64" in line


def test_a_checkpoint_of_another_architecture(call: Callable[..., Outcome], pack: Path, tmp_path: Path) -> None:
    assert call("train", *SHORT, f"data.root={pack}").code == 0
    before = sorted(path.name for path in (tmp_path / "runs/demo/checkpoints").iterdir())
    code, line = call("train", *SHORT, f"data.root={pack}", "resume=true", "backbone.depth=2", "trainer.max_steps=3")
    assert code == 2
    assert "another architecture" in line
    assert sorted(path.name for path in (tmp_path / "runs/demo/checkpoints").iterdir()) == before


@pytest.mark.parametrize(("word", "part"), [("classifier=partial_fc", "classifier"), ("optimizer=sgd", "optimizer")])
def test_a_checkpoint_of_another_classifier_or_optimizer(
    call: Callable[..., Outcome], pack: Path, word: str, part: str
) -> None:
    assert call("train", *SHORT, f"data.root={pack}").code == 0
    code, line = call("train", *SHORT, f"data.root={pack}", "resume=true", "trainer.max_steps=3", word)
    assert code == 2
    assert f"was trained with another {part}: resume with the one it was trained with" in line


def test_resuming_a_run_that_has_ended_does_nothing_and_says_so(
    pack: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SHORT, f"data.root={pack}"]) == 0
    folder = tmp_path / "runs/demo"
    before = {
        path: path.read_bytes()
        for path in [folder / "metrics.csv", *(folder / "checkpoints").rglob("*.*")]
        if path.is_file()
    }
    assert main(["train", *SHORT, f"data.root={pack}", "resume=true"]) == 0
    assert "training had ended at step 2 already: nothing was done" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before
    assert main(["train", *SHORT, f"data.root={pack}", "resume=true", "trainer.max_steps=3"]) == 0
    assert "already" not in capsys.readouterr().out
    assert (folder / "checkpoints/last").resolve().name == "step-000000003"
    assert not [warning for warning in recwarn if "not resumable" in str(warning.message)]


def test_an_ended_run_keeps_what_it_recorded_whatever_a_resume_says(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its weights were trained with seed 0: a config, a result or a number of seconds of seed 1 would be of nothing."""
    monkeypatch.chdir(tmp_path)
    words = ["train", *SHORT, f"data.root={pack}", "trainer.max_steps=-1", "trainer.max_epochs=1"]
    assert main(words) == 0
    folder = tmp_path / "runs/demo"
    (folder / "finished.json").write_text('{"monitor": "val/mean/accuracy", "value": 0.75}\n')
    kept = ("config.yaml", "environment.json", "trained.json", "finished.json")
    before = {name: (folder / name).read_bytes() for name in kept}
    capsys.readouterr()
    assert main([*words, "resume=true", "seed=1"]) == 0
    said = capsys.readouterr().out
    assert "training had ended at step 3 already" in said
    assert "nothing was trained, so these settings change nothing: seed 0 -> 1" in said
    assert {name: (folder / name).read_bytes() for name in kept} == before
    assert main([*words[:-1], "resume=true", "trainer.max_steps=1"]) == 0
    assert "ends before it" in capsys.readouterr().out
    assert (folder / "finished.json").read_bytes() == before["finished.json"]


def test_what_else_differs_is_told_where_a_checkpoint_does_not_fit(
    call: Callable[..., Outcome], pack: Path, tmp_path: Path
) -> None:
    assert call("train", *SHORT, f"data.root={pack}").code == 0
    more = write_identity_pack(tmp_path / "more", 4, images_per_identity=4)
    code, line = call("train", *SHORT, f"data.root={more}", "resume=true", "trainer.max_steps=3")
    assert code == 2
    assert "changed since the checkpoint: classifier.num_identities 3 -> 4" in line
    file = tmp_path / "runs/demo/checkpoints/last/trainer.ckpt"
    content = torch.load(file, weights_only=True)
    content["transface"]["config"]["system"]["_target_"] = "transface.systems.occlusion.module.OcclusionModule"
    torch.save(content, file)
    code, line = call("train", *SHORT, f"data.root={pack}", "resume=true", "trainer.max_steps=3")
    assert code == 2
    assert "is of a run of occlusion, and this one is of recognition" in line


def test_a_file_that_is_no_checkpoint_to_go_on_from(call: Callable[..., Outcome], pack: Path, tmp_path: Path) -> None:
    kept = tmp_path / "runs" / "demo" / "checkpoints" / "step-000000002" / "trainer.ckpt"
    kept.parent.mkdir(parents=True)
    kept.touch()
    for word in (f"resume={pack}/train.rec", "resume=true"):
        code, line = call("train", *SHORT, f"data.root={pack}", word)
        assert code == 2
        assert "is not a checkpoint that can be opened safely" in line
        assert kept.is_file(), "nothing is moved for a command that is refused"


def test_no_permission_to_write(call: Callable[..., Outcome], pack: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "runs").write_text("a file where a folder is wanted")
    else:
        (tmp_path / "runs").mkdir(mode=0o500)
    code, line = call("train", *SHORT, f"data.root={pack}")
    assert code == 2
    assert "runs" in line


def test_nothing_to_resume(call: Callable[..., Outcome], pack: Path) -> None:
    code, line = call("train", *SHORT, f"data.root={pack}", "resume=true")
    assert code == 2
    assert "no whole checkpoint" in line


def test_a_verb_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trane"]) == 2
    assert "train" in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there(call: Callable[..., Outcome], tmp_path: Path) -> None:
    paths = write_pair_sets(tmp_path, 20, num_identities=4)
    code, line = call("evaluate", "checkpoint=nowhere", f"protocol.files=[{paths['easy']}]")
    assert code == 2
    assert "nowhere" in line


def test_a_pair_set_of_one_class(call: Callable[..., Outcome], tmp_path: Path) -> None:
    paths = write_pair_sets(tmp_path, 20, num_identities=4)
    pairs = read_pair_set(paths["easy"])
    write_pair_set(tmp_path / "one.bin", pairs.images, [True] * 20)
    code, line = call("evaluate", "checkpoint=pixels", "protocol.files=[one.bin]")
    assert code == 2
    assert "one" in line


def small_model(folder: Path, *, broken: bool = False) -> Path:
    backbone = FaceViT(patch_size=28, embed_dim=8, depth=1, num_heads=2, embedding_size=8)
    if broken:
        torch.nn.init.constant_(backbone.neck.embed.weight, float("nan"))
    return publish(FaceModel(backbone), folder)


@pytest.fixture(scope="module")
def ijbc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people with two templates each."""
    return write_ijbc_folder(tmp_path_factory.mktemp("ijbc"), 4, templates_per_identity=2, image_size=120)


def changed(ijbc: Path, tmp_path: Path, kind: str, lines: Callable[[list[str]], list[str]]) -> Path:
    """Return a copy of the IJB-C folder in which the lines of one list are others."""
    copy = Path(shutil.copytree(ijbc, tmp_path / "copy"))
    path = copy / "meta" / f"ijbc_{kind}.txt"
    path.write_text("".join(f"{line}\n" for line in lines(path.read_text().splitlines())))
    return copy


def test_an_image_of_the_lists_that_is_not_there(call: Callable[..., Outcome], ijbc: Path, tmp_path: Path) -> None:
    copy = changed(ijbc, tmp_path, "face_tid_mid", lambda lines: lines)
    (copy / "loose_crop" / "3.jpg").unlink()
    code, line = call("evaluate", "checkpoint=pixels", "protocol=ijbc", f"protocol.root={copy}")
    assert code == 2
    assert "the first is 3.jpg" in line


def test_an_image_of_a_template_that_has_no_landmarks(call: Callable[..., Outcome], ijbc: Path, tmp_path: Path) -> None:
    copy = changed(ijbc, tmp_path, "name_5pts_score", lambda lines: lines[:-1])
    code, line = call("evaluate", "checkpoint=pixels", "protocol=ijbc", f"protocol.root={copy}")
    assert code == 2
    assert "1 images have a template but no landmarks" in line


def test_a_pair_of_a_template_that_has_no_images(call: Callable[..., Outcome], ijbc: Path, tmp_path: Path) -> None:
    copy = changed(ijbc, tmp_path, "template_pair_label", lambda lines: [*lines, "1 4711 0"])
    code, line = call("evaluate", "checkpoint=pixels", "protocol=ijbc", f"protocol.root={copy}")
    assert code == 2
    assert "4711" in line


def test_template_pairs_of_one_class(call: Callable[..., Outcome], ijbc: Path, tmp_path: Path) -> None:
    copy = changed(ijbc, tmp_path, "template_pair_label", lambda lines: [line for line in lines if line.endswith("1")])
    code, line = call("evaluate", "checkpoint=pixels", "protocol=ijbc", f"protocol.root={copy}")
    assert code == 2
    assert "one class only" in line


@pytest.mark.parametrize("protocol", ["ijbc", "pair_sets"])
def test_scores_that_are_no_numbers(call: Callable[..., Outcome], ijbc: Path, tmp_path: Path, protocol: str) -> None:
    model = small_model(tmp_path / "model", broken=True)
    source = (
        f"protocol.root={ijbc}"
        if protocol == "ijbc"
        else f"protocol.files=[{write_pair_sets(tmp_path, 20, num_identities=4)['easy']}]"
    )
    code, line = call("evaluate", f"checkpoint={model}", f"protocol={protocol}", source)
    assert code == 2
    assert "NaN" in line


def test_an_image_list_that_is_not_that_of_the_cache(call: Callable[..., Outcome], ijbc: Path, tmp_path: Path) -> None:
    words = [
        "evaluate",
        f"checkpoint={small_model(tmp_path / 'model')}",
        "protocol=ijbc",
        "cache=embeddings",
        "protocol.num_bootstraps=10",
    ]
    assert call(*words, f"protocol.root={ijbc}").code == 0
    copy = changed(ijbc, tmp_path, "face_tid_mid", lambda lines: lines[::-1])
    code, line = call(*words, f"protocol.root={copy}")
    assert code == 2
    assert "was made of another image list" in line
    code, line = call(*words, f"protocol.root={ijbc}", "averaged=false")
    assert code == 2
    assert "was made of other settings" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["protocol=ijbc", "protocol.root=nowhere"], "no data at nowhere, which protocol.root names"),
        (["protocol=ijbc", "protocol.root={empty}"], "empty should hold meta/"),
        (["protocol=ijbc", "protocol.root={ijbc}", "protocol.modes=[N2D1F1]"], "mode must be one of"),
        (["protocol=ijbc", "protocol.root={ijbc}", "cache=embeddings"], "cache= is not read, because raw pixels"),
        (["protocol=tinyface", "protocol.root={empty}"], "no folder"),
        (["protocol=rfw", "protocol.root={empty}"], "African.bin"),
        (["protocol=folder", "protocol.root=nowhere"], "no data at nowhere"),
        (["protocol=pairs_csv", "protocol.file=nowhere.csv"], "nowhere.csv"),
        (["protocol=pair_sets"], "protocol.files"),
        (["protocol=lfw"], "pairs_csv"),
    ],
)
def test_a_protocol_that_cannot_run_says_why(
    call: Callable[..., Outcome], ijbc: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"ijbc": ijbc, "empty": tmp_path / "empty"}
    code, line = call("evaluate", "checkpoint=pixels", *(word.format(**places) for word in words))
    assert code == 2
    assert message in line


def test_the_complete_protocol_wants_the_lists_of_searching(
    call: Callable[..., Outcome], ijbc: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(ijbc, tmp_path / "copy"))
    (copy / "meta" / "ijbc_1N_gallery_G1.csv").unlink()
    code, line = call("evaluate", "checkpoint=pixels", "protocol=ijbc_complete", f"protocol.root={copy}")
    assert code == 2
    assert "the 1:N protocol needs it" in line


def test_a_validation_protocol_that_cannot_run_is_refused_before_the_first_step(
    call: Callable[..., Outcome], pack: Path, tmp_path: Path
) -> None:
    words = [word for word in SHORT if not word.startswith("protocol")]
    (tmp_path / "empty").mkdir()
    code, line = call("train", *words, f"data.root={pack}", "protocol=ijbc", f"protocol.root={tmp_path / 'empty'}")
    assert code == 2
    assert "empty should hold meta/" in line
    assert not (tmp_path / "runs/demo/config.yaml").exists(), "an earlier run would still lie there"


def test_training_validates_on_any_protocol(
    call: Callable[..., Outcome], pack: Path, ijbc: Path, tmp_path: Path
) -> None:
    words = [word for word in SHORT if not word.startswith("protocol")]
    assert (
        call(
            "train", *words, f"data.root={pack}", "protocol=ijbc", f"protocol.root={ijbc}", "validation.every_n_steps=2"
        ).code
        == 0
    )
    assert "val/ijbc/tar@far=1e-04/strict" in (tmp_path / "runs/demo/metrics.csv").read_text()
