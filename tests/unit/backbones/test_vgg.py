"""VGG-f and VGG-face: the layers of the papers, filled from files that users have; files that are none are refused."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch import nn
from torch.nn import functional as F

from transface.backbones.vgg import FACE_MEAN, KINDS, VGG_FACE_STEPS, Vgg
from transface.backbones.weights.layer_lists import read_layers
from transface.backbones.weights.rebuild import build_backbone, config_of

SMALL = {"width_share": 0.05, "input_size": 64, "embedding_size": 12}


def layers_of(network: Vgg) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Return filters (H, W, I, O) and biases of a network's layers, fully connected ones as convolutions."""
    found = []
    for part in network.convolutions.values():
        assert isinstance(part, nn.Conv2d)
        assert part.bias is not None
        found.append((part.weight.detach().numpy().transpose(2, 3, 1, 0), part.bias.detach().numpy()))
    last = found[-1][0].shape[3]
    side = int((network.fc6.in_features // last) ** 0.5)
    six = network.fc6.weight.detach().numpy().reshape(-1, last, side, side)
    found.append((six.transpose(2, 3, 1, 0), network.fc6.bias.detach().numpy()))
    seven = network.fc7.weight.detach().numpy()
    found.append((seven.T[None, None], network.fc7.bias.detach().numpy()))
    return found


def write_matconvnet(path: Path, network: Vgg, *, older: bool = False, version: str = "5") -> None:
    layers = []
    for number, (filters, biases) in enumerate(layers_of(network)):
        cell = np.empty(2, dtype=object)
        cell[0], cell[1] = filters, biases
        own = {"filters": filters, "biases": biases} if older else {"weights": cell}
        layers += [{"type": "conv", "name": f"layer{number}", **own}, {"type": "relu", "name": "relu"}]
    cells = np.empty(len(layers), dtype=object)
    for place, layer in enumerate(layers):
        cells[place] = layer
    mean = np.broadcast_to(np.float32([100, 110, 120]), (8, 8, 3))
    holder = {"normalization": {"averageImage": mean}}
    savemat(path, {"layers": cells, **(holder if older else {"meta": holder})}, format=version)


class Torch7Writer:
    """Writes the few kinds of object that networks are made of."""

    def __init__(self) -> None:
        self.bytes, self.place = b"", 0

    def text(self, text: str) -> None:
        self.bytes += struct.pack("<i", len(text)) + text.encode("latin-1")

    def start(self, kind: int) -> None:
        self.place += 1
        self.bytes += struct.pack("<ii", kind, self.place)

    def value(self, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            self.tensor(value)
        elif isinstance(value, tuple):
            self.start(4)
            self.text("V 1")
            self.text(value[0])
            self.value(value[1])
        elif isinstance(value, dict):
            self.start(3)
            self.bytes += struct.pack("<i", len(value))
            for key, inner in value.items():
                self.value(key)
                self.value(inner)
        elif isinstance(value, str):
            self.bytes += struct.pack("<i", 2)
            self.text(value)
        elif isinstance(value, bool):
            self.bytes += struct.pack("<ii", 5, int(value))
        else:
            self.bytes += struct.pack("<id", 1, float(value))

    def tensor(self, tensor: torch.Tensor) -> None:
        self.start(4)
        self.text("V 1")
        self.text("torch.FloatTensor")
        self.bytes += struct.pack("<i", tensor.ndim)
        self.bytes += struct.pack(f"<{2 * tensor.ndim}q", *tensor.shape, *tensor.contiguous().stride())
        self.bytes += struct.pack("<q", 1)
        self.start(4)
        self.text("V 1")
        self.text("torch.FloatStorage")
        self.bytes += struct.pack("<q", tensor.numel()) + tensor.contiguous().numpy().tobytes()


def torch7_of(network: Vgg) -> dict[float, Any]:
    """Return the tree of modules of a network, its first convolution for BGR."""
    modules: list[Any] = []
    for place, part in enumerate([*network.convolutions.values(), network.fc6, network.fc7]):
        weight = part.weight.detach()
        weight = weight.flip(1) if place == 0 else weight
        if weight.ndim == 4:
            out, inside, height, width = weight.shape
            sizes = {"nOutputPlane": out, "nInputPlane": inside, "kH": height, "kW": width}
            own = {"weight": weight.reshape(out, -1) if place % 2 else weight, "bias": part.bias.detach(), **sizes}
            modules.append(("nn.SpatialConvolutionMM" if place % 2 else "nn.SpatialConvolution", own))
        else:
            modules.append(("nn.Linear", {"weight": weight, "bias": part.bias.detach()}))
        modules.append(("nn.ReLU", {"inplace": True, "threshold": 0}))
    return {float(place + 1): module for place, module in enumerate(modules)}


def write_torch7(path: Path, network: Vgg) -> None:
    writer = Torch7Writer()
    writer.value(("nn.Sequential", {"modules": torch7_of(network), "train": False}))
    path.write_bytes(writer.bytes)


@pytest.fixture
def images() -> torch.Tensor:
    return 2 * torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)) - 1


def test_the_layers_are_those_of_the_papers_and_released_weights_would_fit() -> None:
    with torch.device("meta"):
        small, large = Vgg("f"), Vgg("face")
    assert [tuple(part.weight.shape) for part in small.convolutions.values()] == [
        (64, 3, 11, 11), (256, 64, 5, 5), (256, 256, 3, 3), (256, 256, 3, 3), (256, 256, 3, 3),
    ]  # fmt: skip
    assert tuple(small.fc6.weight.shape) == (4096, 6 * 6 * 256)
    assert len(large.convolutions) == 13
    assert tuple(large.fc6.weight.shape) == (4096, 7 * 7 * 512)
    assert [step.name for step in VGG_FACE_STEPS if step.pool] == [f"conv{k}_{2 if k < 3 else 3}" for k in range(1, 6)]
    assert sum(part.numel() for part in large.parameters()) == 134_260_544, "VGG-16 without its classifier"


def test_the_embedding_of_vgg_f_is_the_network_written_out(images: torch.Tensor) -> None:
    network = Vgg("f", **SMALL).double().eval()
    x = F.interpolate(images.double(), (64, 64), mode="bilinear", antialias=True)
    x = 127.5 * (x + 1) - network.mean
    for name, norm, pool in (("conv1", 1, 1), ("conv2", 1, 1), ("conv3", 0, 0), ("conv4", 0, 0), ("conv5", 0, 1)):
        x = network.convolutions[name](x).relu()
        if norm:
            squares = F.pad(x.square(), (0, 0, 0, 0, 2, 2))
            around = torch.stack([squares[:, k : k + x.shape[1]] for k in range(5)]).sum(0)
            x = x / (2 + 1e-4 * around) ** 0.75
        if pool:
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
    expected = network.neck(network.fc7(network.fc6(x.flatten(1)).relu()).relu())
    torch.testing.assert_close(network(images.double()).embedding, expected)


@pytest.mark.parametrize("kind", ["f", "face"])
@pytest.mark.parametrize("older", [False, True])
def test_a_file_of_matconvnet_fills_every_layer_and_the_mean(
    kind: Any, older: bool, tmp_path: Path, images: torch.Tensor
) -> None:
    torch.manual_seed(0)
    source = Vgg(kind, **SMALL)
    write_matconvnet(tmp_path / "net.mat", source, older=older)
    filled = Vgg(kind, weights=tmp_path / "net.mat", **SMALL).eval()
    assert filled.mean.flatten().tolist() == [100, 110, 120]
    filled.neck.load_state_dict(source.neck.state_dict())
    source.mean.copy_(filled.mean)
    torch.testing.assert_close(filled(images).embedding, source.eval()(images).embedding)


def test_a_file_of_torch7_fills_every_layer_and_its_blue_comes_first(tmp_path: Path, images: torch.Tensor) -> None:
    torch.manual_seed(0)
    source = Vgg("face", **SMALL)
    write_torch7(tmp_path / "net.t7", source)
    filled = Vgg("face", weights=tmp_path / "net.t7", **SMALL).eval()
    filled.neck.load_state_dict(source.neck.state_dict())
    assert filled.mean.flatten().tolist() == pytest.approx(FACE_MEAN)
    torch.testing.assert_close(filled(images).embedding, source.eval()(images).embedding)
    as_rgb = read_layers(tmp_path / "net.t7", channels="rgb").layers[0][0]
    torch.testing.assert_close(as_rgb.flip(1), filled.convolutions["conv1_1"].weight)


def test_files_that_are_none_or_of_another_network_are_refused_in_a_line(tmp_path: Path) -> None:
    source = Vgg("f", **SMALL)
    write_torch7(tmp_path / "net.t7", source)
    whole = (tmp_path / "net.t7").read_bytes()
    (tmp_path / "short.t7").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "other.t7").write_bytes(b"\x08\x00\x00\x00 function")
    (tmp_path / "other.mat").write_bytes(b"no matlab file" * 20)
    savemat(tmp_path / "table.mat", {"x": np.ones(3)})
    write_matconvnet(tmp_path / "net.mat", source)
    for file, words in (
        ("short.t7", "ends too early"),
        ("other.t7", "no Torch7 file"),
        ("other.mat", "cannot be read as a .mat file"),
        ("table.mat", "it has no layers"),
        ("nothing.mat", "no weights at"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            Vgg("f", weights=tmp_path / file, **SMALL)
    with pytest.raises(ValueError, match="has 7 layers with weights, VGG-face needs 15"):
        Vgg("face", weights=tmp_path / "net.mat", **SMALL)
    with pytest.raises(ValueError, match="is it another network, or input_size not 224"):
        Vgg("f", weights=tmp_path / "net.mat", width_share=0.06, input_size=64)


def test_settings_that_cannot_be_are_refused() -> None:
    for settings, words in (
        ({"kind": "g"}, "kind must be 'f' or 'face', got 'g'"),
        ({"kind": "f", "width_share": 0.0}, "width_share must be in"),
        ({"kind": "face", "input_size": 8, "width_share": 0.1, "channels": "rgb"}, "give weights, or leave it out"),
        ({"kind": "f", "input_size": 16}, "leaves nothing after the pools of VGG-f"),
    ):
        with pytest.raises(ValueError, match=words):
            Vgg(**settings)  # type: ignore[arg-type]


def test_it_is_rebuilt_from_its_config_and_counts_its_layers() -> None:
    network = Vgg("face", **SMALL)
    again = build_backbone(config_of(network))
    again.load_state_dict(network.state_dict())
    assert network.layer_index("convolutions.conv1_1.weight") == 0
    assert network.layer_index("fc6.weight") == 13
    assert network.layer_index("neck.weight") == 15
    assert set(KINDS) == {"f", "face"}
