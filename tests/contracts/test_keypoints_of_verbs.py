"""Released KP-RPE weights through every verb that uses a model: key points of the template, a file, a predictor; what
an exported file holds; and what is refused.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import transface
from transface.__main__ import main
from transface.backbones.face_vit import FaceViT
from transface.backbones.parts.keypoint_positions import aligned_keypoints, mirror_keypoints
from transface.backbones.weights.released_families import VIT_NAMES
from transface.images.fit import fit_image
from transface.images.user_images import content_mark
from transface.inference.folders.embeddings_file import read_embeddings
from transface.inference.keypoints import PictureKeypoints, moved_points
from transface.synthetic.datasets import write_pair_sets

SIZE = (112, 112)


def released_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights of ours as CVLface names them."""
    found = {}
    for key, value in state.items():
        theirs = next((new + key.removeprefix(own) for new, own in VIT_NAMES.items() if key.startswith(own)), key)
        found[f"net.{theirs}"] = value
    return {key: value for key, value in found.items() if not key.endswith("mask_token")}


class Constant(nn.Module):
    """A predictor that sees the same five points everywhere."""

    def __init__(self, points: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("points", points)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.points.expand(images.shape[0], -1, -1) + 0 * images.mean((1, 2, 3))[:, None, None]


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("keypoints")
    torch.manual_seed(0)
    model = FaceViT(SIZE, 16, embed_dim=32, depth=2, num_heads=4, mlp_ratio=3, embedding_size=16,
                    relative_positions="keypoints")  # fmt: skip
    with torch.no_grad():
        for value in model.keypoint_positions.parameters():
            value.normal_(std=1.0)
    torch.save(released_names(model.state_dict()), root / "released.pt")
    (root / "faces").mkdir()
    draw = np.random.default_rng(0)
    lines = ["image,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5"]
    for number in range(3):
        pixels = draw.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "faces" / f"{number}.png")
        points = (112 * aligned_keypoints(SIZE) + torch.from_numpy(draw.normal(0, 12, (5, 2)))).flatten().tolist()
        lines += [",".join([f"{number}.png", *(f"{value:.4f}" for value in points)])] if number < 2 else []
    (root / "faces" / "points.csv").write_text("\n".join(lines))
    other = aligned_keypoints(SIZE) * 0.8 + 0.05
    program = torch.export.export(
        Constant(other), (torch.zeros(2, 3, *SIZE),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(program, root / "predictor.pt2")
    write_pair_sets(root / "pairs", 20, num_identities=4)
    return root


@pytest.fixture
def call(room: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.chdir(room)
    return lambda *words: main([*words, *([] if any(w.startswith("checkpoint=") for w in words) else RELEASED)])


RELEASED = ("checkpoint=released.pt", "num_heads=4")


def pictures(room: Path) -> torch.Tensor:
    paths = sorted((room / "faces").glob("*.png"))
    faces = [torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) for path in paths]
    return torch.stack(faces).float() / 127.5 - 1


def given_points(room: Path) -> torch.Tensor:
    rows = [line.split(",")[1:] for line in (room / "faces" / "points.csv").read_text().splitlines()[1:]]
    known = torch.tensor([[float(word) for word in row] for row in rows]).unflatten(1, (5, 2)) / 112
    return torch.cat([known, aligned_keypoints(SIZE)[None]])  # the third picture has no line


def unit(vectors: torch.Tensor) -> torch.Tensor:
    return nn.functional.normalize(vectors)


@pytest.mark.parametrize("flip", ["none", "sum"])
def test_embed_takes_the_points_of_a_file_and_mirrors_them(flip: str, room: Path, call: Callable[..., int]) -> None:
    output = f"file_{flip}.npz"
    assert call("embed", "faces", f"output={output}", "keypoints_from=faces/points.csv", f"flip={flip}") == 0
    backbone = transface.load(room / "released.pt", num_heads=4).backbone
    faces, points = pictures(room), given_points(room)
    with torch.no_grad():
        wanted = backbone(faces, points).embedding
        if flip == "sum":
            mirrored = mirror_keypoints(points)
            mirrored[2] = points[2]  # the template's, for the mirrored picture too
            wanted = wanted + backbone(faces.flip(-1), mirrored).embedding
        plain = backbone(faces).embedding
    found = torch.from_numpy(read_embeddings(room / output).vectors)
    assert torch.allclose(found, unit(wanted), atol=1e-5)
    assert not torch.allclose(found[:2], unit(plain)[:2], atol=1e-3)


def test_a_file_opened_twice_is_one_model(room: Path) -> None:
    first, second = (transface.load(room / "released.pt", num_heads=4) for _ in range(2))
    assert first.fingerprint() == second.fingerprint()


def test_embed_refuses_to_go_on_with_embeddings_of_other_key_points(
    room: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("embed", "faces", "output=twice.npz", "keypoints_from=template") == 0
    assert call("embed", "faces", "output=twice.npz") == 0
    assert call("embed", "faces", "output=twice.npz", "keypoints_from=predictor.pt2") == 2
    assert "other settings" in capsys.readouterr().err


def test_predict_compare_and_evaluate_take_a_predictor(
    room: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = transface.load(room / "released.pt", num_heads=4).backbone
    faces, points = pictures(room), (aligned_keypoints(SIZE) * 0.8 + 0.05).expand(3, -1, -1)
    with torch.no_grad():
        vectors = unit(backbone(faces, points).embedding)
    words = ("faces/0.png", "faces/1.png", "keypoints_from=predictor.pt2", "flip=none")
    assert call("compare", *words) == 0
    assert f"similarity {float(vectors[0] @ vectors[1]):.4f}" in capsys.readouterr().out
    assert call("predict", "faces", "keypoints_from=predictor.pt2", "output=answers.json") == 0
    values = {}
    for name, more in (("template", ()), ("predictor", ("keypoints_from=predictor.pt2",))):
        words = ("protocol.files=[pairs/easy.bin]", f"output=results_{name}", *more)
        assert call("evaluate", *words, f"cache=cache_{name}") == 0
        (file,) = (room / f"results_{name}").glob("*.json")
        values[name] = transface.evaluation.results.read_result(file).measures
    assert values["template"] != values["predictor"]
    assert call("evaluate", *words, "cache=cache_template") == 2
    assert "made of other settings" in capsys.readouterr().err


def test_an_exported_file_has_the_template(
    room: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert call("export", "output=kprpe.onnx", "keypoints_from=template", "overwrite=true") == 0
    mine, theirs = (transface.load(path, **more).embed(pictures(room)) for path, more in (
        (room / "released.pt", {"num_heads": 4}), (room / "kprpe.onnx", {})))  # fmt: skip
    assert torch.allclose(mine, theirs, atol=1e-4)
    capsys.readouterr()
    assert call("export", "output=other.onnx", "keypoints_from=predictor.pt2") == 2
    assert "no exported file holds it" in capsys.readouterr().err
    assert not (room / "other.onnx").exists()


def test_what_cannot_be_is_one_line(room: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    plain = FaceViT(SIZE, 16, embed_dim=32, depth=1, num_heads=4, mlp_ratio=3, embedding_size=16)
    torch.save(released_names(plain.state_dict()), room / "plain.pt")
    for words, line in (
        (("checkpoint=plain.pt", "num_heads=4", "keypoints_from=mtcnn"), "is for models with KP-RPE"),
        (("keypoints_from=nowhere.csv",), "no file of key points nowhere.csv"),
        (("keypoints_from=faces/points.csv", "points=faces/points.csv"), "leave one out"),
        (("keypoints_from=eyes",), "eyes"),
    ):
        assert call("embed", "faces", "output=refused.npz", *words) == 2
        said = capsys.readouterr().err.strip().splitlines()
        assert line in said[-1], said
    assert not (room / "refused.npz").exists()


@pytest.mark.parametrize(("found", "fit"), [((60, 80), "letterbox"), ((60, 80), "center_crop"), ((60, 80), "stretch")])
def test_points_move_with_their_picture(found: tuple[int, int], fit: str) -> None:
    points = torch.tensor([[40.0, 30.0], [30.0, 20.0], [52.0, 41.0]], dtype=torch.float64)
    moved = moved_points(points, found, SIZE, fit=fit) * 112  # type: ignore[arg-type]
    line = [torch.arange(side, dtype=torch.float64) for side in found]
    for point, wanted in zip(points, moved, strict=True):
        dot = torch.exp(-((line[1] - point[0]) ** 2 + (line[0][:, None] - point[1]) ** 2) / 18)
        seen = fit_image((2 * dot - 1).expand(1, 3, -1, -1), SIZE, fit=fit)[0, 0] + 1  # type: ignore[arg-type]
        across = torch.arange(112, dtype=torch.float64)
        centre = torch.stack([(seen.sum(0) * across).sum(), (seen.sum(1) * across).sum()]) / seen.sum()
        assert float((centre - wanted).abs().max()) < 0.2


def test_two_pictures_of_the_same_pixels_with_other_points_are_refused(room: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes((room / "faces" / "0.png").read_bytes())
    (tmp_path / "points.csv").write_text("a.png,38,51,73,51,56,71,41,92,70,92\nb.png,30,51,73,51,56,71,41,92,70,92\n")
    with pytest.raises(ValueError, match=r"b\.png has the pixels of another picture"):
        PictureKeypoints(tmp_path / "points.csv", image_size=SIZE)


def test_search_takes_key_points_from_where_its_gallery_has_them(
    call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["search", "faces/0.png", f"output={tmp_path}/s.html", f"index={tmp_path}/i.npz", "flip=none", "top_k=1"]
    assert call(*words, "gallery=faces", "keypoints_from=faces/points.csv") == 0
    assert "  1.0000  0.png" in capsys.readouterr().out
    by_points = read_embeddings(tmp_path / "i.npz")
    assert call("embed", "faces", f"output={tmp_path}/g.npz", "keypoints_from=faces/points.csv") == 0
    np.testing.assert_array_equal(by_points.vectors, read_embeddings(tmp_path / "g.npz").vectors)
    stored = [*words[:3], "top_k=1", f"gallery={tmp_path}/g.npz", "pictures=faces"]
    assert call(*stored) == 2
    assert "was embedded with keypoints=a .csv file and" in capsys.readouterr().err
    assert call(*stored, "keypoints_from=faces/points.csv") == 0
    assert "  1.0000  0.png" in capsys.readouterr().out


def test_key_points_of_what_lay_there_before_are_refused(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    mark = content_mark((tmp_path / "a.png").read_bytes())
    names = [f"{axis}{place}" for place in range(1, 6) for axis in "xy"]
    row = f"a.png,38,51,73,51,56,71,41,92,70,92,{mark.num_bytes},{mark.crc32}"
    (tmp_path / "points.csv").write_text("\n".join([",".join(["image", *names, "bytes", "crc32"]), row, ""]))
    assert PictureKeypoints(tmp_path / "points.csv", image_size=SIZE).num_missing == 0
    Image.fromarray(255 - pixels).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"has points of another picture than a\.png"):
        PictureKeypoints(tmp_path / "points.csv", image_size=SIZE)
