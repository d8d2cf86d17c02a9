"""Pair sets of every origin are read; pickles that name anything else are refused and never run."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from transface.data.benchmarks.pairs import UnsafePickleError, read_pair_set, write_pair_set

IMAGES = [b"\xff\xd8 one", b"two", b"", b"\x00\x80four", b"five", b"six"]
FLAGS = [True, False, True]


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["bytes", "arrays", "mixed", "numpy flags", "tuples"])
def test_every_protocol_and_kind_is_read(tmp_path: Path, protocol: int, kind: str) -> None:
    images: object = IMAGES
    flags: object = FLAGS
    if kind == "arrays":
        images = [np.frombuffer(image, dtype=np.uint8).copy() for image in IMAGES]
    if kind == "mixed":
        images, flags = [bytearray(IMAGES[0]), *IMAGES[1:]] if protocol == 5 else IMAGES, [np.bool_(True), 0, 1]
    if kind == "numpy flags":
        flags = np.array(FLAGS)
    if kind == "tuples":
        images, flags = tuple(IMAGES), tuple(FLAGS)
    pairs = read_pair_set(put(tmp_path / "lfw.bin", pickle.dumps((images, flags), protocol=protocol)))
    assert pairs.name == "lfw"
    assert [bytes(image) for image in pairs.images] == IMAGES
    assert pairs.is_same.dtype == np.bool_
    assert pairs.is_same.tolist() == FLAGS


def test_a_pickle_of_python_2_is_read(tmp_path: Path) -> None:
    # ([b'\xff\x00', 'ab'], [True]) as Python 2.7 writes it, protocols 0 and 2, and a NumPy array as its protocol 0 had
    # it.
    texts = [
        b"((lp0\nS'\\xff\\x00'\np1\naS'ab'\np2\na(lp3\nI01\natp4\n.",
        b"\x80\x02]q\x00(U\x02\xff\x00q\x01U\x02abq\x02e]q\x03\x88a\x86q\x04.",
        (
            b"((lp0\ncnumpy.core.multiarray\n_reconstruct\np1\n(cnumpy\nndarray\np2\n(I0\ntS'b'\ntRp3\n"
            b"(I1\n(I2\ntcnumpy\ndtype\np4\n"
            b"(S'u1'\nI0\nI1\ntRp5\n(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\xff\\x00'\ntbaS'ab'\np2\na(lp3\nI01\natp4\n."
        ),
    ]
    for text in texts:
        pairs = read_pair_set(put(tmp_path / "old.bin", text))
        assert [bytes(image) for image in pairs.images] == [b"\xff\x00", b"ab"]
        assert pairs.is_same.tolist() == [True]


class Calls:
    def __init__(self, function: object, *arguments: object) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.reduced


HOSTILE = {
    "posix.system": lambda: pickle.dumps(Calls(os.system, "touch hostile_ran")),
    "builtins.eval": lambda: pickle.dumps(([Calls(eval, "open('hostile_ran', 'w')")], [True])),
    "builtins.getattr": lambda: pickle.dumps(([Calls(getattr, "text", "upper")], [True])),
    "numpy.save": lambda: b"\x80\x04\x8c\x05numpy\x8c\x04save\x93\x8c\x0bhostile_ran\x85R.",
    "builtins.bytes with arguments": lambda: b"c__builtin__\nbytes\n(I1000000000000\ntR.",
    "_codecs.encode": lambda: b"c_codecs\nencode\n(Vabc\nVrot13\ntR.",
    "the dtype 'O8'": lambda: pickle.dumps(([np.array([None])], [True])),
    "numpy.ndarray itself": lambda: b"cnumpy\nndarray\n((I100000\nI100000\nI1000\nttR.",
    "registered extension 1": lambda: b"\x82\x01.",
    "persistent object": lambda: b"Pkey\n.",
    "subprocess.Popen": lambda: b"(S'touch hostile_ran'\nisubprocess\nPopen\n.",
    "sets '_function'": lambda: b"c_codecs\nencode\nN}V_function\nI1\ns\x86b.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused_by_name_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = put(tmp_path / "hostile.bin", HOSTILE[name]())
    with pytest.raises(UnsafePickleError, match=rf"hostile\.bin: it .*{name}.*refused"):
        read_pair_set(path)
    assert not (tmp_path / "hostile_ran").exists()


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "is empty"),
        (b"not a pickle", "its pickle is broken"),
        (pickle.dumps((IMAGES, FLAGS))[:-9], "its pickle is broken"),
        (b"r\xff\xff\xff\xff.", "broken"),
        (b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\x00\x00.", "broken"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\x00\x00.", "broken"),
        (pickle.dumps([1, 2, 3]), r"expected \(images, is_same\), got list of 3"),
        (pickle.dumps("text"), r"expected \(images, is_same\), got str of 4"),
        (pickle.dumps((IMAGES[:5], FLAGS)), "3 flags need 6 images, got 5"),
        (pickle.dumps((IMAGES, [*FLAGS, True])), "4 flags need 8 images, got 6"),
        (pickle.dumps((["text", b""], [True])), "image 0 must be encoded bytes or a 1-D uint8 array, got str"),
        (
            pickle.dumps(([np.zeros(3), b""], [True])),
            r"image 0 must be encoded bytes or a 1-D uint8 array, got float64",
        ),
        (pickle.dumps(([np.zeros((3, 3), np.uint8), b""], [True])), r"got uint8 of shape \(3, 3\)"),
        (pickle.dumps((IMAGES, [True, 2, False])), r"is_same\[1\] must be True or False, got int"),
        (pickle.dumps((IMAGES, [True, "x", False])), r"is_same\[1\] must be True or False, got str"),
        (pickle.dumps((IMAGES, 3)), "is_same must be a list of bools, got int"),
        (pickle.dumps((b"images", [True])), "images must be a list of encoded images, got bytes"),
    ],
)
def test_what_is_no_pair_set_is_refused(tmp_path: Path, data: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=rf"odd\.bin.*{complaint}"):
        read_pair_set(put(tmp_path / "odd.bin", data))


class Array(Calls):
    """Pickles as a NumPy array of any shape, type and bytes."""

    def __init__(self, shape: tuple[int, ...], dtype: str, data: bytes) -> None:
        rebuild = np.zeros(1).__reduce__()[0]
        self.reduced = (rebuild, (np.ndarray, (0,), b"b"), (1, shape, np.dtype(dtype), False, data))


WHOLE = np.frombuffer(b"abc", np.uint8)


@pytest.mark.parametrize(
    ("images", "flags"),
    [
        ([Array((4,), "u1", b"abc"), WHOLE], [True]),
        ([WHOLE, Array((10**200, 10**200), "u1", b"abc")], [True]),
        ([WHOLE, Array((0, 1 << 70), "u1", b"")], [True]),
        ([WHOLE, Array((1,) * 65, "u1", b"a")], [True]),
        ([WHOLE, WHOLE], Array((1,), "i8", b"abc")),
        ([WHOLE, WHOLE], [Array((), "i8", b"abc")]),
        ([WHOLE, WHOLE], [Array((10**200, 10**200), "u1", b"a")]),
    ],
)
def test_an_array_whose_bytes_do_not_fit_is_told_with_its_file(tmp_path: Path, images: object, flags: object) -> None:
    path = tmp_path / "broken.bin"
    path.write_bytes(pickle.dumps((images, flags), protocol=4))
    with pytest.raises(ValueError, match=r"broken\.bin(:| is no pair set: its array)"):
        read_pair_set(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no pair set .*absent\.bin"):
        read_pair_set(tmp_path / "absent.bin")


def test_what_is_written_is_read_and_plain_pickle_reads_it_too(tmp_path: Path) -> None:
    images = [*IMAGES[:5], np.frombuffer(IMAGES[5], dtype=np.uint8)]
    write_pair_set(tmp_path / "a.bin", images, np.array(FLAGS))
    pairs = read_pair_set(tmp_path / "a.bin")
    assert [bytes(image) for image in pairs.images] == IMAGES
    assert pickle.loads((tmp_path / "a.bin").read_bytes()) == (IMAGES, FLAGS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_an_odd_number_of_images_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 flags need 6 images, got 5"):
        write_pair_set(tmp_path / "a.bin", IMAGES[:5], FLAGS)
    assert not list(tmp_path.iterdir())


def test_the_real_pair_set_is_read(shared: Path) -> None:
    pairs = read_pair_set(shared / "data/real/lfw_view1_test.bin")
    assert len(pairs.images) == 1998
    assert all(image[:2] == b"\xff\xd8" for image in pairs.images)
    assert int(pairs.is_same.sum()) in (499, 500)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 3), np.uint8), np.array([255, 216, 255]), 5, "a.jpg"],
    ids=["pixels", "integers", "a number", "a name"],
)
def test_what_is_no_encoded_image_is_not_written(tmp_path: Path, image: object) -> None:
    with pytest.raises(ValueError, match="image 1 must be encoded bytes"):
        write_pair_set(tmp_path / "pairs.bin", [b"a", image], [True])  # type: ignore[list-item]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", [-1, 2, float("nan")])
def test_flags_that_say_neither_yes_nor_no_are_not_written(tmp_path: Path, flag: float) -> None:
    with pytest.raises(ValueError, match="True or False"):
        write_pair_set(tmp_path / "pairs.bin", [b"a", b"b"], [flag])  # type: ignore[list-item]


def test_arrays_and_tensors_of_bytes_are_written(tmp_path: Path) -> None:
    kinds = [b"abc", bytearray(b"abc"), np.frombuffer(b"abc", np.uint8), torch.tensor([97, 98, 99], dtype=torch.uint8)]
    write_pair_set(tmp_path / "pairs.bin", kinds, torch.tensor([1, 0]))  # type: ignore[arg-type]
    found = read_pair_set(tmp_path / "pairs.bin")
    assert found.images == [b"abc"] * 4
    assert found.is_same.tolist() == [True, False]
