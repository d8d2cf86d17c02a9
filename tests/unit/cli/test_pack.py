"""`transface pack`: each verb from its command line, exit codes, one line for a mistake."""

from pathlib import Path

import pytest
import torch

from transface.cli.pack import main
from transface.cli.packs import clean as clean_verb
from transface.data.sources.identity_pack import IdentityPack
from transface.synthetic.datasets import write_identity_pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_identity_pack(tmp_path_factory.mktemp("packs") / "pack", 6, images_per_identity=4)


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_every_verb_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    said = capsys.readouterr().out
    for verb in ("from-folder", "from-list", "to-folder", "index", "shuffle", "split", "merge", "check"):
        assert verb in said
        assert run(verb, "--help") == 0


def test_a_round_through_all_verbs(pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("to-folder", pack, tmp_path / "folder") == 0
    assert run("from-folder", tmp_path / "folder", tmp_path / "again") == 0
    assert f"{tmp_path / 'again'}: 24 images of 6 identities" in capsys.readouterr().out
    assert (tmp_path / "again" / "train.rec").read_bytes() == (pack / "train.rec").read_bytes()
    files = sorted((tmp_path / "folder").rglob("*.jpg"))
    (tmp_path / "list.csv").write_text("path,label\n" + "".join(f"{path},{path.parent.name}\n" for path in files))
    assert (
        run("from-list", tmp_path / "list.csv", tmp_path / "listed", "--root", tmp_path / "folder", "--threads", 2) == 0
    )
    assert (tmp_path / "listed" / "train.rec").read_bytes() == (pack / "train.rec").read_bytes()
    assert run("split", pack, tmp_path / "a", tmp_path / "b", "--shares", 0.5, 0.5) == 0
    assert run("merge", tmp_path / "a", tmp_path / "b", "--output", tmp_path / "merged") == 0
    assert run("shuffle", tmp_path / "merged", tmp_path / "shuffled", "--seed", 1) == 0
    (tmp_path / "shuffled" / "train.idx").unlink()
    assert run("index", tmp_path / "shuffled") == 0
    assert len(IdentityPack(tmp_path / "shuffled")) == 24
    assert run("check", tmp_path / "shuffled") == 0
    assert "nothing wrong was found" in capsys.readouterr().out


def test_bad_images_are_skipped_on_request(tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("to-folder", pack, tmp_path / "folder")
    bad = next((tmp_path / "folder").rglob("*.jpg"))
    bad.write_bytes(b"no image")
    capsys.readouterr()
    assert run("from-folder", tmp_path / "folder", tmp_path / "again") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert run("from-folder", tmp_path / "folder", tmp_path / "again", "--skip-bad") == 0
    said = capsys.readouterr()
    assert bad.name in said.err
    assert "23 images of 6 identities" in said.out


def test_a_person_without_a_good_image_is_told_of(
    tmp_path: Path, pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("to-folder", pack, tmp_path / "folder")
    person = min(path for path in (tmp_path / "folder").iterdir() if path.is_dir())
    for image in person.iterdir():
        image.write_bytes(b"no image")
    assert run("from-folder", tmp_path / "folder", tmp_path / "again", "--skip-bad") == 0
    assert "1 identities all of whose images were skipped" in capsys.readouterr().err
    assert run("check", tmp_path / "again") == 1  # the gap is found there too


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "required"),
        (["dance"], "dance"),
        (["check", "nowhere"], "no data folder nowhere"),
        (["check", "{pack}", "--size", "0"], "--size"),
        (["check", "{pack}", "--threads", "x"], "--threads"),
        (["check", "{pack}", "--allow", "everything"], "--allow everything: no such kind; there are file"),
        (["check", "{pack}", "--against", "a.bin"], "--against needs --checkpoint"),
        (["from-folder", "nowhere", "{tmp}/out"], "nowhere"),
        (["from-list", "nowhere.csv", "{tmp}/out"], "no list nowhere.csv"),
        (["to-folder", "{pack}", "{pack}"], "exists already"),
        (["split", "{pack}", "{tmp}/a", "{tmp}/b", "--shares", "1", "1"], "sum to 1"),
        (["merge", "{pack}", "--output", "{pack}"], "holds a pack already"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    assert run(*(word.format(pack=pack, tmp=tmp_path) for word in words)) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["from-folder", "folder", "out", "--faces", "central"], "--faces is not read"),
        (["from-folder", "folder", "out", "--detector", "mtcnn", "--fit", "resize"], "--fit is not read"),
        (["from-folder", "folder", "out", "--points", "p.csv", "--fit", "refuse"], "--fit is not read"),
        (["check", "PACK", "--alike", "0.3"], "--alike needs --checkpoint"),
        (["check", "PACK", "--device", "cpu"], "--device needs --checkpoint"),
        (["check", "PACK", "--alike", "nan", "--checkpoint", "model"], "--alike is a cosine in -1..1, got nan"),
        (["clean", "PACK", "out", "--strangers", "0"], "--strangers needs --checkpoint"),
        (["clean", "PACK", "out", "--merge", "0"], "--merge needs --checkpoint"),
        (["clean", "PACK", "out", "--merge", "2", "--checkpoint", "model"], "--merge is a cosine in -1..1, got 2"),
        (
            ["clean", "PACK", "out", "--merge", "0.1", "--against", "a.bin", "--checkpoint", "model"],
            "--merge 0.1 is below --alike 0.6",
        ),
    ],
)
def test_options_that_nothing_reads_and_cosines_that_are_none_are_refused(
    pack: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    run("to-folder", pack, "folder")
    Path("p.csv").touch()
    capsys.readouterr()
    assert run(*[pack if word == "PACK" else word for word in words]) == 2
    assert said in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_cosine_of_zero_is_one_and_people_are_joined_from_the_cosine_asked_for(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def direction(images: torch.Tensor) -> torch.Tensor:
        """Return unit vectors of two entries: of cosines that any two images have, all above 0.5."""
        angles = images.float().mean((1, 2, 3)) / 255
        return torch.stack([angles.cos(), angles.sin()], 1)

    monkeypatch.setattr(clean_verb, "embedder_of", lambda *_: direction)
    model = ["--checkpoint", "model"]
    assert run("clean", pack, tmp_path / "joined", "--merge", "0.5", "--alike", "0.9999", *model) == 0
    assert "24 of 24 images, 1 of 6 identities" in capsys.readouterr().out
    seen: list[float] = []
    monkeypatch.setattr(clean_verb, "strangers_of", lambda pack, embed, options: seen.append(options.strangers) or [])
    assert run("clean", pack, tmp_path / "strangers", "--strangers", "0", *model) == 0
    assert seen == [0.0]
