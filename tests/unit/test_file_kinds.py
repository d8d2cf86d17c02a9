"""A wrong file is told by its name: what it is, and what to do."""

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save as safetensors_bytes

import transface
from transface.data.benchmarks.pairs import read_pair_set
from transface.data.recordio.index import read_index
from transface.evaluation.results import read_result
from transface.file_kinds import described_file
from transface.images.detectors.opening import open_detector
from transface.inference.folders.embeddings_file import read_embeddings

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca"
    b"24d17e2393\nsize 12345\n"
)


def zipped(names: list[str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return out.getvalue()


def saved(value: object) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def scripted() -> bytes:
    out = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), out)
    return out.getvalue()


def npz() -> bytes:
    out = io.BytesIO()
    np.savez(out, a=np.zeros(2))
    return out.getvalue()


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"))
    return out.getvalue()


KINDS = {
    "Git LFS": (POINTER, "git lfs pull"),
    "web page": (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "a web page"),
    "error of a store": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
    "gzip": (gzip.compress(b"x" * 100), "gzip"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "NumPy array": (b"\x93NUMPY\x01\x00" + bytes(100), "NumPy"),
    "NumPy archive": (npz(), "NumPy"),
    "MXNet": (struct.pack("<QQ", 0x112, 0) + bytes(64), "MXNet"),
    "RecordIO": (struct.pack("<II", 0xCED7230A, 24) + bytes(64), "RecordIO"),
    "zip of files": (zipped(["readme.txt", "model.pth"]), "unpack"),
    "half a download": (saved({"a": torch.zeros(1000)})[:900], "stopped early"),
    "TorchScript": (scripted(), "TorchScript"),
    "image": (b"\xff\xd8\xff\xe0" + bytes(100), "JPEG"),
    "nothing": (b"", "empty"),
    "text": (b"path,label\na.jpg,1\n", "text that begins 'path,label'"),
    "tar": (tarred(), "a tar archive: unpack it first"),
    "TensorFlow Lite": (b"\x1c\x00\x00\x00TFL3" + bytes(100), "TensorFlow Lite"),
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize(
    "name", ["weights.pt", "weights.pth", "trainer.ckpt", "weights.safetensors", "weights.onnx", "program.pt2"]
)
def test_what_is_given_as_weights_by_mistake_is_told(tmp_path: Path, kind: str, name: str) -> None:
    content, words = KINDS[kind]
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        transface.load(file)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["weights.pt", "weights.bin"])
def test_weights_under_a_wrong_ending_are_told_their_right_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(safetensors_bytes({"a": torch.zeros(3)}))
    with pytest.raises(ValueError, match=r"name it \.safetensors"):
        transface.load(tmp_path / name)
    (tmp_path / name).write_bytes(b"\x08\x07\x12\x07pytorch\x1a\x032.1" + bytes(40))
    with pytest.raises(ValueError, match=r"name it \.onnx"):
        transface.load(tmp_path / name)


def test_the_weights_of_an_exported_folder_may_be_a_pointer_too(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(POINTER)
    (tmp_path / "config.json").write_text('{"architectures": ["X"]}')
    with pytest.raises(ValueError, match="git lfs pull"):
        transface.load(tmp_path)


def test_a_pair_set_that_is_a_pointer_is_told(tmp_path: Path) -> None:
    (tmp_path / "lfw.bin").write_bytes(POINTER)
    with pytest.raises(ValueError, match="git lfs pull"):
        read_pair_set(tmp_path / "lfw.bin")


def test_a_file_of_torch_save_and_bytes_that_say_nothing_are_left_to_their_reader(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(saved({"a": 1}))
    (tmp_path / "b").write_bytes(bytes(range(128, 256)) * 8)
    assert described_file(tmp_path / "a") == described_file(tmp_path / "b") == ""


def test_a_pointer_is_told_by_every_reader(tmp_path: Path) -> None:
    for name in ("a.idx", "a.npz", "a.parquet", "a.json", "a.onnx"):
        (tmp_path / name).write_bytes(POINTER)
    readers = [
        lambda: read_index(tmp_path / "a.idx"),
        lambda: read_embeddings(tmp_path / "a.npz"),
        lambda: read_embeddings(tmp_path / "a.parquet"),
        lambda: read_result(tmp_path / "a.json"),
        lambda: open_detector(f"yunet:{tmp_path}/a.onnx"),
        lambda: open_detector(f"scrfd:{tmp_path}/a.onnx"),
    ]
    for read in readers:
        with pytest.raises(ValueError, match=r"a\.[a-z]+.*a Git LFS pointer, not the file itself: 'git lfs pull'"):
            read()
