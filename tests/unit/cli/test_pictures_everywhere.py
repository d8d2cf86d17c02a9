"""A pack and a pair set are sources of pictures for every verb; points may be a list; pairs.txt is read as it is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import transface
from transface.__main__ import main
from transface.backbones.face_vit import FaceViT
from transface.data.sources.identity_pack import IdentityPack
from transface.data.sources.picture_list import open_pictures
from transface.evaluation.recognition.own_protocols import PairsCsv
from transface.images.alignment import template_points
from transface.inference.face_model import FaceModel
from transface.inference.folders.embeddings_file import read_embeddings
from transface.inference.publishing import publish
from transface.synthetic.datasets import write_identity_pack, write_pair_sets


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("room")
    torch.manual_seed(0)
    backbone = FaceViT(embed_dim=16, depth=1, num_heads=2, embedding_size=8)
    with torch.no_grad():
        backbone(torch.rand(16, 3, 112, 112) * 2 - 1)
    publish(FaceModel(backbone), root / "model")
    write_identity_pack(root / "pack", 3, images_per_identity=4)
    write_pair_sets(root, 20, num_identities=4)
    return root


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("TRANSFACE_TRACEBACK", raising=False)


@pytest.mark.parametrize("source", ["pack", "pack/train.rec", "easy.bin"])
def test_embed_takes_a_pack_and_a_pair_set(room: Path, source: str) -> None:
    assert main(["embed", f"checkpoint={room}/model", f"images={room}/{source}", "output=o.npz"]) == 0
    found = read_embeddings("o.npz")
    listed = open_pictures(room / source)
    assert found.names.tolist() == listed.names
    wanted = transface.load(room / "model").embed([listed.picture(name) for name in listed.names])
    np.testing.assert_allclose(found.vectors, wanted.numpy(), atol=1e-4)


def test_search_finds_a_face_of_a_pack(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = IdentityPack(room / "pack")
    Path("query.jpg").write_bytes(bytes(pack.encoded(5)))
    words = [f"checkpoint={room}/model", f"gallery={room}/pack", "top_k=2", "engine=exact"]
    assert main(["search", "query.jpg", *words]) == 0
    assert f"1.0000  {pack.key(5)}" in capsys.readouterr().out
    assert Path("search.html").read_text().count("data:image/jpeg") == 3


def test_a_pair_set_is_searched_for(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"gallery={room}/easy.bin", f"query={room}/easy.bin", "top_k=1", "engine=exact"]
    assert main(["search", f"checkpoint={room}/model", *words]) == 0
    count = len(open_pictures(room / "easy.bin").names)
    assert capsys.readouterr().out.count("  1.0000  ") == count
    model = ["search", f"checkpoint={room}/model", *words, "quality=norm"]
    for lowest, left_out in (("0", 0), ("1e9", count)):
        assert main([*model, f"min_quality={lowest}"]) == (2 if left_out else 0)
        said = capsys.readouterr()
        assert said.out.count("not searched for: ") == 0 if not left_out else "quality" in said.out + said.err


def test_export_is_checked_on_the_faces_of_a_pack(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"checkpoint={room}/model", "format=onnx", f"images={room}/pack", "output=m.onnx"]
    assert main(["export", *words]) == 0
    assert "m.onnx" in capsys.readouterr().out


def test_search_finds_the_points_of_both_folders_in_one_file(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = open_pictures(room / "easy.bin")
    five = ",".join(str(float(value)) for value in template_points().flatten())
    for folder, names in (("gallery/ann", listed.names[:2]), ("queries", listed.names[2:3])):
        Path(folder).mkdir(parents=True)
        for name in names:
            Path(folder, f"{name}.png").write_bytes(listed.picture(name))
    words = ["search", f"checkpoint={room}/model", "gallery=gallery", "query=queries", "engine=exact", "top_k=1"]
    lines = [f"ann/{listed.names[0]}.png,{five}", f"{listed.names[1]}.png,{five}"]
    Path("points.csv").write_text("\n".join(lines))
    assert main([*words, "points=points.csv"]) == 2
    assert f"there are no points for {listed.names[2]}.png" in capsys.readouterr().err
    Path("points.csv").write_text("\n".join([*lines, f"{listed.names[2]}.png,{five}"]))
    assert main([*words, "points=points.csv"]) == 0
    points = f"points={[template_points().tolist()]}".replace(" ", "")
    assert main([*words, points]) == 2
    assert "gallery and query are two: give points=FILE.csv" in capsys.readouterr().err
    assert main(["embed", "images=gallery", f"checkpoint={room}/model", "output=g.npz"]) == 0
    assert (
        main(["search", f"checkpoint={room}/model", "gallery=g.npz", "pictures=gallery", "query=queries", points]) == 0
    )


def test_compare_takes_points_as_a_list(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = IdentityPack(room / "pack")
    for number in (0, 1):
        Path(f"{number}.jpg").write_bytes(bytes(pack.encoded(number)))
    five = template_points().round(decimals=2).tolist()
    for points in ([five, five],):
        words = ["compare", "0.jpg", "1.jpg", f"checkpoint={room}/model", f"points={points}".replace(" ", "")]
        assert main(words) == 0
        vectors = transface.load(room / "model").embed(["0.jpg", "1.jpg"], points=points, flip="sum")
        assert f"similarity {float(vectors[0] @ vectors[1]):.4f}" in capsys.readouterr().out
    assert main(["compare", "0.jpg", "1.jpg", f"checkpoint={room}/model", f"points={[five]}".replace(" ", "")]) == 2
    assert "points are of 1 faces, there are 2 pictures" in capsys.readouterr().err


def people(root: Path) -> None:
    rng = np.random.default_rng(0)
    for person in ("Anna_Lee", "Bo"):
        (root / person).mkdir(parents=True)
        for number in range(1, 8):
            picture = Image.fromarray(rng.integers(0, 255, (112, 112, 3), dtype=np.uint8))
            picture.save(root / person / f"{person}_{number:04d}.png")


PAIRS = [f"Anna_Lee\t{n}\t{n + 1}" for n in range(1, 6)] + [f"Anna_Lee\t{n}\tBo\t{n}" for n in range(1, 6)]


@pytest.mark.parametrize("header", [[], ["5"], ["10\t300"]])
def test_pairs_txt_is_read_as_it_is(header: list[str]) -> None:
    people(Path("lfw"))
    Path("lfw/pairs.txt").write_text("\n".join([*header, *PAIRS]) + "\n")
    protocol = PairsCsv("lfw/pairs.txt")
    protocol.prepare()
    listed = protocol._read()
    assert listed.is_same.tolist() == [True] * 5 + [False] * 5
    first, second = (listed.names[place] for place in listed.indices[6])
    assert (first, second) == ("Anna_Lee/Anna_Lee_0002.png", "Bo/Bo_0002.png")
    assert (listed.subjects[:5, 0] == listed.subjects[:5, 1]).all()


def test_images_that_lie_elsewhere_name_the_setting(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people(Path("lfw"))
    Path("lists").mkdir()
    Path("lists/pairs.txt").write_text("\n".join(PAIRS))
    rows = [f"Anna_Lee/Anna_Lee_000{n}.png,Bo/Bo_000{n}.png,{n % 2}" for n in (1, 2)] * 6
    Path("lists/pairs.csv").write_text("\n".join(["image1,image2,is_same", *rows]))
    for name in ("pairs.txt", "pairs.csv"):
        words = ["evaluate", f"checkpoint={room}/model", "protocol=pairs_csv", f"protocol.file=lists/{name}"]
        assert main(words) == 2
        assert "protocol.root=FOLDER names another" in capsys.readouterr().err
        assert main([*words, "protocol.root=lfw", "protocol.num_bootstraps=0"]) == 0


@pytest.mark.parametrize("verb", ["compare", "embed", "evaluate", "search", "predict", "export"])
def test_help_shows_the_keys_of_the_verb_and_no_others(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    said = capsys.readouterr().out
    assert "checkpoint=" in said
    assert "averaged" in said
    for foreign in ("Hydra", "perturbation", "classifier:", "margin"):
        assert foreign not in said
    assert ("protocol=..., one of:" in said) is (verb == "evaluate")


def test_a_missing_file_is_told_without_importing_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from transface.__main__ import main; code = main(sys.argv[1:]);"
        " print(code, 'torch' in sys.modules)"
    )
    Image.new("RGB", (112, 112)).save("a.jpg")
    for words in (
        ["evaluate", "checkpoint=nowhere", "protocol.files=[a.bin]"],
        ["embed", "checkpoint=nowhere", "images=.", "output=o.npz"],
        ["compare", "a.jpg", "a.jpg", "checkpoint=nowhere"],
        ["search", "nowhere", "gallery=."],
        ["align", "nowhere", "output=o"],
        ["align", ".", "output=o", "detector=yunet:nowhere"],
        ["report", "nowhere"],
        ["report", "sweep=nowhere"],
        ["pack", "check", "nowhere"],
    ):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["2", "False"]
        assert "nowhere" in done.stderr
        assert len(done.stderr.splitlines()) == 1
