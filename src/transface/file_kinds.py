"""Says what a file is that is not what was expected, by how it begins, and what to do: Git LFS pointers, web pages,
archives, broken downloads, files of other frameworks.
"""

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

BEGIN = 512
NEVER_WANTED = ("a Git LFS", "a web page", "an XML", "an empty file", "a gzip")
UNPACKED_TIMES, UNPACKED_BYTES = 4, 200 << 20  # what an archive may unpack to
TEXT = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: 'git lfs pull' fetches it"),
    (b"<!doctype", "a web page: the download gave a page (a login, a warning, an error); download the file itself"),
    (b"<html", "a web page: the download gave a page (a login, a warning, an error); download the file itself"),
    (b"<?xml", "an XML text (an error of a storage service, or an OpenVINO graph): give the file of weights"),
    (b"7767517", "a graph of ncnn (.param): give the weights of PyTorch or an .onnx file"),
)
MAGIC = (
    (b"\x1f\x8b", "a gzip archive: unpack it first (tar xzf, gunzip)"),
    (b"BZh", "a bzip2 archive: unpack it first"),
    (b"\xfd7zXZ", "an xz archive: unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (b"\x89HDF", "an HDF5 file (Keras, MATLAB 7.3): convert the weights to PyTorch or ONNX first"),
    (b"\x93NUMPY", "a NumPy array (.npy): a state dict has names; save it with torch.save or safetensors"),
    (b"%PDF", "a PDF"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"PAR1", "a Parquet table"),
    (struct.pack("<Q", 0x112), "parameters of MXNet (.params): export them with their symbol file as ONNX first"),
    (struct.pack("<I", 0xCED7230A), "RecordIO, images of a data set: weights are in another file"),
    (b"\x7fELF", "a program of Linux"),
    (b"MZ", "a program of Windows"),
)


def described_file(path: str | Path) -> str:
    """Return what a file seems to be and what to do about it, or "" where nothing can be told.

    Nothing in it is run, and no more than its first bytes and an archive's list of names are read.
    """
    path = Path(path)
    size = path.stat().st_size
    if size == 0:
        return "an empty file: download or copy it again"
    with path.open("rb") as stream:
        begin = stream.read(BEGIN)
    for start, words in TEXT:
        if begin.lstrip().lower().startswith(start):
            return words
    for start, words in MAGIC:
        if begin.startswith(start):
            return words
    if begin.startswith(b"PK\x03\x04"):
        return _described_zip(path)
    if begin[257:262] == b"ustar":
        return "a tar archive: unpack it first (tar xf), or save it anew if a PyTorch before 0.2 wrote it"
    if begin[4:8] == b"TFL3":
        return "a TensorFlow Lite model: convert it to ONNX first"
    if _is_safetensors(begin, size):
        return "a safetensors file: name it .safetensors"
    if _is_onnx(begin):
        return "an ONNX graph: name it .onnx"
    if begin.startswith(b"\x80") and len(begin) > 1 and begin[1] <= 5:
        return ""  # a pickle: the reader of pickles says what is in it
    return _described_text(begin)


def kind_or(reason: object, path: str | Path) -> str:
    """Return what a file is where no reader wants such (a pointer, a web page, nothing), else the first line of the
    reader's reason.
    """
    said = described_file(path)
    return said if said.startswith(NEVER_WANTED) else next(iter(str(reason).strip().splitlines()), "")


def refuse_zip_bomb(path: str | Path) -> None:
    """Refuse an archive that would unpack to more than four times its size and 200 MB; nothing is unpacked.

    Raises:
        ValueError: with both sizes. What is no zip archive passes: its reader says what is wrong with it.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return
    if unpacked > UNPACKED_TIMES * path.stat().st_size + UNPACKED_BYTES:
        raise ValueError(
            f"{path} is {path.stat().st_size:,} bytes and would unpack to {unpacked:,}: refused, as it would fill the"
            " memory (a zip bomb?)"
        )


def open_npz(path: str | Path) -> Any:
    """Open the arrays of an .npz file (a context manager, by name); no pickle in it is read, no bomb unpacked.

    Raises:
        ValueError, zipfile.BadZipFile, EOFError: if it is none.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(described_file(path) or "it is no .npz archive")
    refuse_zip_bomb(path)
    return np.load(path, allow_pickle=False)


def _described_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "a zip archive whose end is missing: the download or the copy stopped early; get it again"
    words = [name.split("/", maxsplit=1)[-1] for name in names]
    if "constants.pkl" in words and any(word.startswith("code/") for word in words):
        return (
            "a TorchScript program: take its weights out with"
            " torch.save(torch.jit.load(path).state_dict(), 'weights.pt')"
        )
    if any(name.endswith("archive_format") for name in names) or "models/model.json" in words:
        return "a torch.export program: run it with torch.export.load(path).module()"
    if "data.pkl" in words:
        return ""  # of torch.save: its reader says what is in it
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive (.npz): save the arrays as a state dict with torch.save or safetensors"
    return f"a zip archive of {len(names)} files ({', '.join(names[:3])}): unpack it first"


def _is_safetensors(begin: bytes, size: int) -> bool:
    return len(begin) > 10 and struct.unpack("<Q", begin[:8])[0] < size and begin[8:10] in (b'{"', b"{}")


def _is_onnx(begin: bytes) -> bool:
    """Field 1 (the version of the format, a small number), then field 2, the name of what wrote it."""
    return len(begin) > 4 and begin[0] == 0x08 and begin[1] < 32 and begin[2] == 0x12


def _described_text(begin: bytes) -> str:
    try:
        text = begin.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(begin) - 4:
            return ""
        text = begin[: error.start].decode("utf-8")
    if any(ord(letter) < 32 and letter not in "\t\r\n\f" for letter in text):
        return ""
    first = text.strip().splitlines()[0][:60] if text.strip() else ""
    return f"a text that begins {first!r}"
