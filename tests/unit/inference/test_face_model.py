"""What a user calls images becomes unit vectors, the same whichever way the pictures came."""

import copy
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from transface.backbones.face_vit import FaceViT
from transface.inference.face_model import Embeddings, FaceModel


@pytest.fixture(scope="module")
def model() -> FaceModel:
    torch.manual_seed(1)
    backbone = FaceViT(embed_dim=16, depth=1, num_heads=2, embedding_size=8)
    backbone.train()(torch.rand(4, 3, 112, 112) * 2 - 1)  # moves the batch norms off their start
    return FaceModel(backbone)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 112, 112, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(model: FaceModel, pictures: np.ndarray) -> torch.Tensor:
    inputs = torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float64) / 127.5 - 1).float()
    with torch.no_grad():
        rows = model.backbone(inputs).embedding.double().numpy()
    return torch.from_numpy(rows / np.sqrt((rows**2).sum(1, keepdims=True))).float()


def encoded(picture: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind)
    return stream.getvalue()


def test_one_array_gives_one_unit_vector(model: FaceModel, pictures: np.ndarray, expected: torch.Tensor) -> None:
    found = model.embed(pictures[0])
    assert found.shape == (1, 8)
    torch.testing.assert_close(found, expected[:1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_every_kind_of_input_gives_the_same(
    tmp_path: Path, model: FaceModel, pictures: np.ndarray, expected: torch.Tensor, batch_size: int
) -> None:
    paths = []
    for index, picture in enumerate(pictures):
        paths.append(tmp_path / f"{index}.png")
        paths[-1].write_bytes(encoded(picture))
    first = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())
    kinds = {
        "array": pictures,
        "array, channels first": first.numpy(),
        "tensor": first,
        "tensor, channels last": torch.from_numpy(pictures),
        "float tensor": first.float() / 127.5 - 1,
        "float64 array": first.numpy() / 127.5 - 1,
        "list of arrays": list(pictures),
        "tuple of tensors": tuple(first),
        "PIL": [Image.fromarray(picture) for picture in pictures],
        "PIL with alpha": [Image.fromarray(picture).convert("RGBA") for picture in pictures],
        "paths": paths,
        "names": [str(path) for path in paths],
        "bytes": [encoded(picture) for picture in pictures],
        "BMP bytes": [encoded(picture, "BMP") for picture in pictures],
        "generator": (picture for picture in pictures),
        "mixed": [paths[0], pictures[1], Image.fromarray(pictures[2]), first[3], first[4].float() / 127.5 - 1],
    }
    for name, images in kinds.items():
        found = model.embed(images, batch_size=batch_size)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_blue_first_arrays_are_turned(model: FaceModel, pictures: np.ndarray, expected: torch.Tensor) -> None:
    torch.testing.assert_close(model.embed(pictures[..., ::-1], colours="bgr"), expected, rtol=1e-5, atol=1e-5)


def test_norms_are_those_of_the_backbone(model: FaceModel, pictures: np.ndarray) -> None:
    found = model.embed(pictures, return_norms=True)
    assert isinstance(found, Embeddings)
    with torch.no_grad():
        rows = model.backbone(torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1).embedding
    torch.testing.assert_close(found.norms, rows.norm(dim=1))
    torch.testing.assert_close(found.vectors.norm(dim=1), torch.ones(5))


def test_flip_sum_adds_the_mirrored_face(model: FaceModel, pictures: np.ndarray) -> None:
    plain, mirrored = (model.embed(faces, return_norms=True) for faces in (pictures, pictures[:, :, ::-1]))
    both = plain.vectors * plain.norms[:, None] + mirrored.vectors * mirrored.norms[:, None]
    torch.testing.assert_close(
        model.embed(pictures, flip="sum"), torch.nn.functional.normalize(both), rtol=1e-5, atol=1e-5
    )


def test_grey_pictures_are_taken(model: FaceModel, pictures: np.ndarray) -> None:
    grey = pictures[0, :, :, 0]
    torch.testing.assert_close(model.embed(grey), model.embed(np.repeat(grey[..., None], 3, axis=2)))


def test_no_images_give_no_rows(model: FaceModel) -> None:
    assert model.embed([]).shape == (0, 8)


def test_the_mode_of_the_model_is_left_as_it_was(pictures: np.ndarray) -> None:
    model = FaceModel(FaceViT(embed_dim=16, depth=1, num_heads=2, embedding_size=8)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.embed(pictures)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_embeddings_may_be_used_in_further_training(model: FaceModel, pictures: np.ndarray) -> None:
    vectors = model.embed(pictures)
    weight = torch.ones(8, requires_grad=True)
    (vectors @ weight).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((250, 250, 3), np.uint8), r"250x250.*112x112.*points="),
        (np.zeros((112, 112, 4), np.uint8), r"\(H, W, 3\)"),
        (np.zeros((112, 112, 3), np.int64), r"uint8 in 0\.\.255 or float"),
        (torch.full((3, 112, 112), 255.0), r"\[-1, 1\], got 255"),
        (torch.full((3, 112, 112), float("nan")), r"\[-1, 1\]"),
        (7, "got int"),
        ([None], "got NoneType"),
        ([b"no image"], r"images\[0\] cannot be decoded: not JPEG"),
        ([np.zeros((2, 112, 112, 3), np.uint8)], r"must be one image"),
    ],
)
def test_what_is_no_face_is_refused_in_one_sentence(model: FaceModel, images: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.embed(images)


def test_the_first_bad_image_is_named(tmp_path: Path, model: FaceModel, pictures: np.ndarray) -> None:
    good, bad, small = tmp_path / "good.png", tmp_path / "bad.jpg", tmp_path / "small.png"
    good.write_bytes(encoded(pictures[0]))
    bad.write_bytes(b"\xff\xd8\xff not a picture")
    small.write_bytes(encoded(pictures[0][:50]))
    with pytest.raises(ValueError, match=r"bad\.jpg"):
        model.embed([good, bad])
    with pytest.raises(ValueError, match=r"small\.png is 50x112"):
        model.embed([good, small])
    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        model.embed([good, tmp_path / "absent.png"])
    with pytest.raises(ValueError, match="is a folder"):
        model.embed(tmp_path)


def test_crops_of_another_size_are_resized_on_request(model: FaceModel) -> None:
    smooth = np.broadcast_to(np.linspace(0, 255, 224)[:, None, None], (224, 224, 3)).astype(np.uint8)
    half = np.broadcast_to(np.linspace(0, 255, 112)[:, None, None], (112, 112, 3)).astype(np.uint8)
    assert float(model.embed(smooth, fit="resize")[0] @ model.embed(half)[0]) > 0.999


@pytest.mark.parametrize(
    "setting", [{"batch_size": 0}, {"flip": "twice"}, {"colours": "grb"}, {"fit": "crop"}, {"device": "nowhere"}]
)
def test_settings_out_of_range_are_refused(model: FaceModel, pictures: np.ndarray, setting: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        model.embed(pictures, **setting)


def test_a_saved_folder_is_the_same_model(
    tmp_path: Path, model: FaceModel, pictures: np.ndarray, expected: torch.Tensor
) -> None:
    model.save_pretrained(tmp_path)
    again = FaceModel.from_pretrained(tmp_path)
    assert torch.equal(again.embed(pictures), model.embed(pictures))
    assert again.fingerprint() == model.fingerprint()
    assert not again.training


def test_another_model_has_another_fingerprint(model: FaceModel) -> None:
    other = FaceModel(FaceViT(embed_dim=16, depth=1, num_heads=2, embedding_size=8))
    assert other.fingerprint() != model.fingerprint()


def test_bytes_and_arrays_of_any_make_are_taken(model: FaceModel, pictures: np.ndarray, expected: torch.Tensor) -> None:
    content = encoded(pictures[0])
    floats = pictures[0] / 127.5 - 1
    kinds = [
        bytearray(content),
        memoryview(content),
        np.frombuffer(content, np.uint8),
        torch.tensor(list(content), dtype=torch.uint8),
    ]
    kinds += [floats.astype(">f4"), floats.astype(np.longdouble), floats[::-1][::-1]]
    for kind in kinds:
        torch.testing.assert_close(model.embed(kind), expected[:1], rtol=1e-4, atol=1e-4)


def test_paths_may_be_any_path_like_or_an_array_of_strings(
    tmp_path: Path, model: FaceModel, pictures: np.ndarray, expected: torch.Tensor
) -> None:
    path = tmp_path / "with space é.png"
    path.write_bytes(encoded(pictures[0]))

    class Entry:
        def __fspath__(self) -> str:
            return str(path)

    for kind in (Entry(), [Entry()], np.array([str(path)]), np.str_(path)):
        torch.testing.assert_close(model.embed(kind), expected[:1], rtol=1e-4, atol=1e-4)


def test_grey_pictures_may_have_one_channel(model: FaceModel, pictures: np.ndarray) -> None:
    grey = pictures[0, ..., :1]
    expected = model.embed(np.repeat(grey, 3, axis=2))
    for kind in (grey, grey[..., 0], grey.transpose(2, 0, 1), torch.from_numpy(grey), grey[None], [grey]):
        torch.testing.assert_close(model.embed(kind), expected)


def test_grey_of_sixteen_bits_keeps_its_brightness(tmp_path: Path, model: FaceModel, pictures: np.ndarray) -> None:
    grey = pictures[0, ..., 0]
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    deep.save(tmp_path / "deep.tif")
    expected = model.embed(grey)
    for kind in (deep, tmp_path / "deep.tif", Image.fromarray(grey.astype(np.int32))):
        torch.testing.assert_close(model.embed(kind), expected)
    with pytest.raises(ValueError, match="range"):
        model.embed(Image.fromarray(grey.astype(np.float32)))


def test_points_may_be_any_tensor(model: FaceModel, pictures: np.ndarray) -> None:
    points = torch.tensor([[38.0, 51.0], [73.0, 51.0], [56.0, 71.0], [41.0, 92.0], [70.0, 92.0]])
    expected = model.embed(pictures[0], points=points.numpy())
    for kind in (points.clone().requires_grad_(), points.bfloat16()):
        torch.testing.assert_close(model.embed(pictures[0], points=kind), expected)
    assert model.embed([], points=[]).shape == (0, 8)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_a_model_of_another_precision_embeds(
    pictures: np.ndarray, model: FaceModel, expected: torch.Tensor, dtype: torch.dtype, tolerance: float
) -> None:
    found = copy.deepcopy(model).to(dtype).embed(pictures)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
