"""embed, compare, search and export from the command line: what they write and print, and one line for a mistake."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import transface
from transface.__main__ import main
from transface.artifacts import hash_file
from transface.backbones.face_vit import FaceViT
from transface.cli.search import title_of
from transface.data.benchmarks.pairs import write_pair_set
from transface.evaluation.results import Measure, Provenance, Result, read_result, write_result
from transface.images.alignment import template_points
from transface.inference.face_model import FaceModel
from transface.inference.folders.embeddings_file import read_embeddings, write_embeddings
from transface.inference.publishing import publish


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a published model, pictures, a pair set and a result."""
    root = tmp_path_factory.mktemp("room")
    torch.manual_seed(8)
    backbone = FaceViT(embed_dim=16, depth=1, num_heads=2, embedding_size=8)
    with torch.no_grad():
        for _ in range(10):
            backbone(torch.rand(16, 3, 112, 112) * 2 - 1)
    publish(FaceModel(backbone), root / "model")
    rng = np.random.default_rng(0)
    encoded = []
    for index in range(40):
        path = root / "faces" / "a b" / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)).save(path)
        encoded.append(path.read_bytes())
    same = [encoded[index // 2 if index % 4 < 2 else index] for index in range(40)]
    write_pair_set(root / "made_up.bin", same, [index % 2 == 0 for index in range(20)])
    is_same = np.arange(4000) % 2 == 0
    scores = np.random.default_rng(1).normal(is_same * 0.6, 0.1).clip(-1, 1)
    write_result(
        Result(
            "pair_sets", "made_up", "F1", (Measure("accuracy", 0.9),), arrays={"scores": scores, "is_same": is_same}
        ),
        root / "results",
    )
    return root


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def test_embed_writes_the_embeddings_of_a_folder(room: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert (
        main(["embed", f"checkpoint={room}/model", f"images={room}/faces", "output=out/faces.npz", "batch_size=7"]) == 0
    )
    assert (
        main(["embed", f"checkpoint={room}/model", f"images={room}/faces", "output=out/faces.npz", "flip=sum"]) == 2
    ), "embeddings are refused, for they may have taken hours"
    assert "40 embeddings of 8 numbers" in capsys.readouterr().out
    found = read_embeddings("out/faces.npz")
    wanted = transface.load(room / "model").embed([room / "faces" / name for name in found.names])
    np.testing.assert_allclose(found.vectors, wanted.numpy(), atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("ending", ["json", "parquet"])
def test_answers_of_other_pictures_or_another_model_are_told_where_they_are_replaced(
    room: Path, tmp_path: Path, capsys: pytest.CaptureFixture, ending: str
) -> None:
    for folder, names in (("a", ("00.png", "01.png")), ("b", ("02.png", "03.png"))):
        (tmp_path / folder).mkdir()
        for place, name in enumerate(names):  # of the same names
            (tmp_path / folder / f"{place}.png").write_bytes((room / "faces" / "a b" / name).read_bytes())
    publish(FaceModel(FaceViT(embed_dim=16, depth=1, num_heads=2, embedding_size=8)), "other")
    told = "note: x.{} held something else, written"
    for folder, model, is_told in (
        ("a", f"{room}/model", False),
        ("a", f"{room}/model", False),
        ("b", f"{room}/model", True),
        ("b", "other", True),
    ):
        assert main(["predict", folder, f"checkpoint={model}", f"output=x.{ending}"]) == 0
        assert (told.format(ending) in capsys.readouterr().out) == is_told, (folder, model)


def test_compare_takes_two_words_and_gives_a_verdict(room: Path, capsys: pytest.CaptureFixture) -> None:
    first, second = (str(room / "faces" / "a b" / name) for name in ("00.png", "01.png"))
    assert main(["compare", first, second, f"checkpoint={room}/model"]) == 0
    printed = capsys.readouterr().out
    vectors = transface.load(room / "model").embed([first, second], flip="sum")
    assert f"similarity {float(transface.similarity(vectors[0], vectors[1])):.4f}" in printed
    result = next((room / "results").glob("*.json"))
    assert main(["compare", first, first, f"checkpoint={room}/model", f"result={result}", "far=0.01"]) == 0
    limit = transface.threshold(result, 0.01).cosine
    assert f"same person: the threshold is {limit:.4f}" in capsys.readouterr().out


def test_a_threshold_of_another_model_is_warned_about(room: Path, capsys: pytest.CaptureFixture) -> None:
    face, result = str(room / "faces" / "a b" / "00.png"), read_result(next((room / "results").glob("*.json")))
    is_same = np.arange(40) % 2 == 0
    for digest, warned in ((hash_file(room / "model" / "model.safetensors"), 0), ("ab" * 32, 1)):
        made = replace(
            result,
            provenance=Provenance(checkpoint_hash=digest),
            arrays={"scores": np.where(is_same, 0.9, 0.1), "is_same": is_same},
        )
        path = write_result(made, f"results-{warned}")
        for words in (["compare", face, face], ["search", face, f"gallery={room}/faces"]):
            assert main([*words, f"checkpoint={room}/model", f"result={path}", "far=0.5"]) == 0
            assert capsys.readouterr().out.count("measured with another file than") == warned


@pytest.mark.parametrize("verb", ["compare", "search"])
def test_a_threshold_of_another_flip_or_model_is_refused(room: Path, capsys: pytest.CaptureFixture, verb: str) -> None:
    face, result = str(room / "faces" / "a b" / "00.png"), read_result(next((room / "results").glob("*.json")))
    is_same = np.arange(40) % 2 == 0
    made = replace(
        result,
        provenance=Provenance(model_fingerprint="cd" * 32, checkpoint="runs/other"),
        arrays={"scores": np.where(is_same, 0.9, 0.1), "is_same": is_same},
    )
    path = write_result(made, "results")
    words = ["compare", face, face] if verb == "compare" else ["search", face, f"gallery={room}/faces"]
    words += [f"checkpoint={room}/model", f"result={path}", "far=0.5"]
    assert main([*words, "flip=none"]) == 2
    assert "was measured with flip=sum, the embeddings are of flip=none" in capsys.readouterr().err
    assert main(words) == 2
    assert "was measured with another model (runs/other)" in capsys.readouterr().err


def test_a_threshold_holds_for_the_mode_of_a_stored_gallery(
    room: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    face, result = str(room / "faces" / "a b" / "00.png"), read_result(next((room / "results").glob("*.json")))
    scores = {"scores": np.where(np.arange(40) % 2 == 0, 0.9, 0.1), "is_same": np.arange(40) % 2 == 0}
    path = write_result(replace(result, provenance=Provenance(), arrays=scores), "results")
    for flip, code in (("sum", 0), ("none", 2)):
        assert main(["embed", f"{room}/faces", f"checkpoint={room}/model", f"output={flip}.npz", f"flip={flip}"]) == 0
        words = ["search", face, f"gallery={flip}.npz", f"checkpoint={room}/model", f"result={path}", "far=0.5"]
        assert main(words) == code
    assert "was measured with flip=sum, the embeddings are of flip=none" in capsys.readouterr().err
    path = write_result(replace(result, mode="F0", provenance=Provenance(), arrays=scores), "results")
    assert main([*words[:4], f"result={path}", "far=0.5"]) == 0, "the flip is the stored gallery's"
    assert main(["search", "sum.npz", "gallery=none.npz"]) == 2
    assert "none.npz was embedded with flip=none and sum.npz with flip=sum" in capsys.readouterr().err
    for first, second in (("none.npz", "none.npz"), ("sum.npz", "sum.npz")):
        code = 0 if first == "none.npz" else 2
        assert main(["compare", first, second, f"result={path}", "far=0.5"]) == code
    stated = replace(result.provenance, config={"protocol": {"detector": "mtcnn", "fit": "refuse"}})
    path = write_result(replace(result, mode="F0", provenance=stated, arrays=scores), "stated")
    capsys.readouterr()
    assert main(["compare", "none.npz", "none.npz", f"result={path}", "far=0.5"]) == 0
    assert "was measured with detector=mtcnn, this uses no detector" in capsys.readouterr().out
    moved = read_embeddings("none.npz")
    write_embeddings("moved.npz", moved._replace(about={**moved.about, "translated_from": "x"}))
    assert main(["search", "moved.npz", "gallery=moved.npz", f"result={path}", "far=0.5"]) == 0
    assert "moved.npz was carried over from another model" in capsys.readouterr().out
    page = SimpleNamespace(launch=lambda **_: (None, "here", None), block_thread=lambda: None)
    monkeypatch.setattr("transface.inference.demo.page.build_page", lambda *_, **__: page)
    words = [f"checkpoint={room}/model", "gallery=moved.npz", "flip=none", f"result={path}", "far=0.5"]
    assert main(["demo", *words]) == 0
    assert "moved.npz was carried over from another model" in capsys.readouterr().out


def test_queries_that_cannot_be_read_are_left_out_where_that_is_asked_for(
    room: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "q").mkdir()
    for name in ("00.png", "01.png"):
        (tmp_path / "q" / name).write_bytes((room / "faces" / "a b" / name).read_bytes())
    (tmp_path / "q" / "broken.png").write_bytes(b"\x89PNG")
    words = ["search", "q", f"gallery={room}/faces", f"checkpoint={room}/model", "top_k=1"]
    assert main(words) == 2
    capsys.readouterr()
    assert main([*words, "unreadable=skip"]) == 0
    said = capsys.readouterr().out
    assert "not searched for: image q/broken.png cannot be decoded" in said
    assert said.count("  1.0000  a b/0") == 2


def test_a_quality_of_one_kind_is_not_held_against_another(room: Path, capsys: pytest.CaptureFixture) -> None:
    words = [f"{room}/faces", f"checkpoint={room}/model"]
    assert main(["embed", *words, "output=n.npz", "quality=norm"]) == 0
    face = str(room / "faces" / "a b" / "00.png")
    asked = ["search", face, "gallery=n.npz", words[1], "min_quality=0.001"]
    assert main([*asked, "quality=norm"]) == 0
    rated = read_embeddings("n.npz")
    write_embeddings("n.npz", rated._replace(about={**rated.about, "quality": "tokens"}))
    assert main([*asked, "quality=norm"]) == 2
    assert "the gallery was rated by tokens, the query by norm" in capsys.readouterr().err


def test_settings_of_pictures_are_refused_where_files_of_embeddings_are_searched(
    room: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["embed", f"{room}/faces", f"checkpoint={room}/model", "output=a.npz"]) == 0
    face = str(room / "faces" / "a b" / "00.png")
    Path("p.csv").touch()
    both = (["search", "a.npz", "gallery=a.npz", f"pictures={room}/faces"], ["compare", "a.npz", "a.npz"])
    for words in both:
        assert main(words) == 0
        assert main([*words, f"checkpoint={room}/model"]) == 0, "the file's model is the one that is named"
        for word in ("points=p.csv", "detector=mtcnn", "flip=none", "fit=resize", "faces=central"):
            capsys.readouterr()
            assert main([*words, word]) == 2
            assert f"{word.split('=')[0]}= is not read" in capsys.readouterr().err
    one = ["search", face, "gallery=a.npz", f"checkpoint={room}/model", f"pictures={room}/faces"]
    assert main([*one, "fit=resize"]) == 0
    for word in ("index=i.npz", "flip=sum"):
        assert main([*one, word]) == 2
        assert "gallery is a file of embeddings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "{face}", "gallery={room}/faces", "top_k=few"], "top_k must be a whole number, got 'few'"),
        (["search", "{face}", "gallery={room}/faces", "far=low"], "far must be a number, got 'low'"),
        (["compare", "{face}", "{face}", "threshold=[1]x"], "threshold"),
        (["embed", "{room}/faces", "output=o.npz", "batch_size=1.5"], "batch_size must be a whole number, got 1.5"),
        (["embed", "{room}/faces", "output=o.npz", "averaged=2"], "averaged must be true or false, got 2"),
        (["predict", "{room}/faces", "exit=last"], "exit must be a whole number or null, got 'last'"),
        (["export", "opset=new"], "opset must be a whole number, got 'new'"),
        (["evaluate", "protocol.files=[]", "num_workers=null"], "num_workers must be a whole number, got None"),
        (["align", "{room}/faces", "output=o", "workers=all"], "workers must be a whole number or null, got 'all'"),
        (["synthesize", "root=o", "num_identities=many"], "num_identities must be a whole number or null, got 'many'"),
    ],
)
def test_a_word_where_a_number_is_wanted_is_a_line(
    room: Path, capsys: pytest.CaptureFixture, words: list[str], message: str
) -> None:
    face = room / "faces" / "a b" / "00.png"
    model = [f"checkpoint={room}/model"] if words[0] not in ("align", "synthesize") else []
    assert main([*(word.format(room=room, face=face) for word in words), *model]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


def test_pictures_of_any_size_are_taken_with_a_file_of_points(room: Path, capsys: pytest.CaptureFixture) -> None:
    face = Image.open(room / "faces" / "a b" / "05.png")
    large = Image.new("RGB", (300, 250))
    large.paste(face, (60, 20))
    Path("large").mkdir()
    large.save("large/x.png")
    line = ",".join(str(float(value)) for value in (template_points() + torch.tensor([60.0, 20.0])).flatten())
    Path("points.csv").write_text(f"x.png,{line}\n")
    assert main(["embed", f"checkpoint={room}/model", "images=large", "output=o.npz", "points=points.csv"]) == 0
    wanted = transface.load(room / "model").embed(face)
    np.testing.assert_allclose(read_embeddings("o.npz").vectors, wanted.numpy(), atol=2e-3)
    assert main(["compare", "large/x.png", "large/x.png", f"checkpoint={room}/model", "points=points.csv"]) == 0
    assert main(["compare", "large/x.png", "large/y.png", f"checkpoint={room}/model", "points=points.csv"]) == 2
    assert "no points for large/y.png" in capsys.readouterr().err


def test_search_finds_a_face_and_writes_a_page(room: Path, capsys: pytest.CaptureFixture) -> None:
    query = str(room / "faces" / "a b" / "07.png")
    words = [query, f"checkpoint={room}/model", f"gallery={room}/faces", "top_k=3", "threshold=0.9999", "engine=exact"]
    assert main(["search", *words]) == 0
    printed = capsys.readouterr().out
    assert "1.0000  a b/07.png  same" in printed
    assert len(re.findall(r"^  -?\d", printed, re.M)) == 3
    assert Path("search.html").read_text().count("data:image/jpeg") == 4
    Image.new("RGB", (112, 112)).save(room / "faces" / "a b" / "99.png")
    assert main(["search", *words]) == 0
    assert len(read_embeddings("search_index.npz").names) == 41
    (room / "faces" / "a b" / "99.png").unlink()


def test_export_writes_onnx_with_the_accuracy_before_and_after(room: Path, capsys: pytest.CaptureFixture) -> None:
    words = [f"checkpoint={room}/model", f"verify=[{room}/made_up.bin]", f"images={room}/faces"]
    assert main(["export", *words]) == 0
    printed = capsys.readouterr().out
    before, after = re.search(r"made_up_F1: accuracy ([\d.]+) % before, ([\d.]+) % after", printed).groups()
    assert before == after
    assert onnxruntime.InferenceSession("exports/model.onnx").get_inputs()[0].name == "input.1"
    for precision in ("float16", "int8"):
        assert main(["export", *words, f"precision={precision}", "min_cosine=0.5"]) == 0
        assert f"{precision}: largest difference" in capsys.readouterr().out
        assert Path(f"exports/model.{precision}.onnx").stat().st_size < Path("exports/model.onnx").stat().st_size


def test_export_removes_a_file_that_is_too_far_off(room: Path, capsys: pytest.CaptureFixture) -> None:
    words = [f"checkpoint={room}/model", f"images={room}/faces", "precision=int8", "min_cosine=0.9999999"]
    assert main(["export", *words]) == 2
    assert "below min_cosine" in capsys.readouterr().err
    assert not list(Path("exports").iterdir())


def test_export_writes_the_other_formats(room: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["export", f"checkpoint={room}/model", "format=torch_export"]) == 0
    assert (
        main(
            [
                "export",
                f"checkpoint={room}/model",
                "format=safetensors",
                f"card.results=[{room}/results]",
                "output=out/again",
            ]
        )
        == 0
    )
    assert "with 1 results" in capsys.readouterr().out
    faces = torch.rand(2, 3, 112, 112)
    model = transface.load(room / "model")
    assert torch.equal(transface.load("out/again").embed(faces), model.embed(faces))
    program = torch.export.load("exports/model.pt2").module()
    torch.testing.assert_close(torch.nn.functional.normalize(program(faces)), model.embed(faces))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["embed", "images=x", "output=o.npz"], "no value for checkpoint"),
        (["embed", "checkpoint=absent", "images=.", "output=o.npz"], "no images in"),
        (["embed", "checkpoint=absent", "images={room}/faces", "output=o.npz"], "no model at absent"),
        (["embed", "checkpoint={room}/model", "images={room}/faces", "output=o.csv"], "must end in .npz or .parquet"),
        (
            ["embed", "checkpoint={room}/model", "images={room}/faces", "output=o.npz", "device=nowhere"],
            "device 'nowhere'",
        ),
        (["compare", "a.png", "checkpoint={room}/model"], "two pictures, got 1"),
        (["compare", "a.png", "b.png", "checkpoint={room}/model"], "no image at a.png"),
        (["compare", "a.png", "b.png", "checkpoint={room}/model", "threshold=1", "result=r"], "not both"),
        (["search", "a", "b", "checkpoint={room}/model", "gallery=."], "one query"),
        (["export", "checkpoint={room}/model", "format=tensorflow"], "format must be onnx"),
        (["export", "checkpoint={room}/model", "precision=int4"], "precision must be"),
        (["export", "checkpoint={room}/model", "precision=int8"], "give images="),
        (["export", "checkpoint={room}/model", "precision=float16", "format=torch_export"], "is for format=onnx"),
        (["export", "checkpoint={room}/model.onnx"], "is an export already"),
        (["export", "checkpoint={room}/model", "output={room}/model", "format=safetensors"], "is there already"),
    ],
)
def test_a_mistake_is_one_line(room: Path, capsys: pytest.CaptureFixture, words: list[str], message: str) -> None:
    assert main([word.format(room=room) for word in words]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("word", "said"),
    [("top_k=0", "top_k must be at least 1"), ("engine=best", "engine must be"), ("output={room}", "is a folder")],
)
def test_a_search_that_cannot_be_is_refused_before_the_gallery_is_embedded(
    room: Path, tmp_path: Path, capsys: pytest.CaptureFixture, word: str, said: str
) -> None:
    index = tmp_path / "index.npz"
    words = [
        str(room / "faces" / "a b" / "07.png"),
        f"checkpoint={room}/model",
        f"gallery={room}/faces",
        f"index={index}",
        word.format(room=room),
    ]
    assert main(["search", *words]) == 2
    assert said in capsys.readouterr().err
    assert not index.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["num_calibration_images=0", "precision=int8", "images=x"], "num_calibration_images must be at least 1"),
        (["min_cosine=2", "precision=float16"], "min_cosine is in -1..1"),
        (["tolerance=nan"], "tolerance at least 0"),
        (["input_name=a", "output_name=a"], "input and outputs need names of their own, got 'a' and 'a'"),
        (["input_name=''"], "input and outputs need names of their own, got ''"),
        (["opset=99"], "take another opset, 18 works"),
    ],
)
def test_settings_of_an_export_that_cannot_be_are_one_line(
    room: Path, capsys: pytest.CaptureFixture, words: list[str], said: str
) -> None:
    assert main(["export", f"checkpoint={room}/model", "output=x.onnx", *words]) == 2
    assert said in capsys.readouterr().err
    assert not Path("x.onnx").exists()


def test_a_query_of_a_pack_is_called_by_its_name(room: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["search", f"{room}/made_up.bin", f"gallery={room}/made_up.bin", f"checkpoint={room}/model", "top_k=1"]
    assert main(words) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["0", "  1.0000  0"]
    assert not any("\\x" in line for line in said)


def test_queries_that_are_cut_out_otherwise_than_a_stored_gallery_are_warned_of(
    room: Path, capsys: pytest.CaptureFixture
) -> None:
    face = str(room / "faces" / "a b" / "00.png")
    assert main(["embed", f"{room}/faces", f"checkpoint={room}/model", "output=g.npz"]) == 0
    whole = read_embeddings("g.npz")
    words = ["search", face, "gallery=g.npz", f"checkpoint={room}/model", "top_k=1"]
    for about, fit, is_told in (
        ({"detector": "yunet (a)"}, "letterbox", True),
        ({"detector": "yunet (a)"}, "refuse", False),
        ({"fit": "center_crop"}, "letterbox", True),
        ({"fit": "letterbox"}, "letterbox", False),
        ({}, "letterbox", False),
    ):
        write_embeddings("g.npz", whole._replace(about={**whole.about, **about}))
        capsys.readouterr()
        assert main([*words, f"fit={fit}"]) == 0
        assert ("faces that are cut out otherwise reach other cosines" in capsys.readouterr().out) == is_told


def test_what_is_no_file_of_embeddings_is_not_called_an_output(room: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["cluster", f"{room}/faces"]) == 2
    assert "embeddings lie in files ending in .npz or .parquet, got" in capsys.readouterr().err


def test_the_title_of_a_search_says_what_was_searched_for_and_where() -> None:
    assert title_of(["a/1.jpg"], "a", "8 faces of photos") == "a/1.jpg, searched for among 8 faces of photos"
    assert title_of(["1.jpg", "2.jpg"], "a", "8 people of b") == "2 faces of a, searched for among 8 people of b"
