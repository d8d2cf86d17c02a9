"""Reads and writes pair sets (.bin: a pickle of encoded images and same/different flags) without running what the
pickle says.

The unpickler knows lists, tuples, bytes, strings, numbers and NumPy arrays; the arrays are rebuilt by hand from
stand-ins, so that nothing named in the file is ever imported or called. Pickles of Python 2 and 3, of any protocol, are
read.
"""

import io
import math
import pickle
import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.artifacts import writing_file
from transface.file_kinds import described_file

PLAIN_DTYPE = re.compile(r"[|<>=]?(b1|\?|[ui][1248]|f[48]|bool|u?int(8|16|32|64)|float(32|64))")


class UnsafePickleError(ValueError):
    """A pickle names something other than plain data; it was not called."""


class PairSet(NamedTuple):
    """N pairs of faces: images 2i and 2i+1 are pair i.

    Attributes:
        name: the file's name without .bin.
        images: 2N encoded images (JPEG or PNG), each bytes or a 1-D uint8 array.
        is_same: (N,) bool, whether the two are one person.
    """

    name: str
    images: list[bytes | NDArray[np.uint8]]
    is_same: NDArray[np.bool_]


def read_pair_set(path: str | Path) -> PairSet:
    """Return the pair set that lies in the .bin file `path`.

    Raises:
        FileNotFoundError: no such file.
        UnsafePickleError: the pickle names a function or class that is not plain data; it is not called.
        ValueError: the file is no pickle, or holds something other than 2N images and N flags.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no pair set {path}")
    content = _unpickle(path)
    if not isinstance(content, tuple | list) or len(content) != 2:
        raise ValueError(f"{path} is no pair set: expected (images, is_same), got {_describe(content)}")
    images, flags = content
    try:
        images, is_same = _images(images, path), _flags(flags, path)
    except _BrokenArrayError as error:
        raise ValueError(f"{path} is no pair set: {error}") from None
    if len(images) != 2 * len(is_same):
        raise ValueError(f"{path}: {len(is_same)} flags need {2 * len(is_same)} images, got {len(images)}")
    return PairSet(path.stem, images, is_same)


def write_pair_set(
    path: str | Path, images: Sequence[bytes | NDArray[np.uint8]], is_same: Sequence[bool] | NDArray[np.bool_]
) -> None:
    """Write 2N encoded images and N flags as a .bin file that other readers of this field open; it appears only when
    whole.

    Raises:
        ValueError: for a number of images that is not twice the number of flags, pixels instead of an encoded image, or
            a flag that is neither yes nor no.
    """
    path = Path(path)
    flags = [bool(flag) for flag in is_same]
    odd = [flag for flag, value in zip(is_same, flags, strict=True) if flag != value]
    if odd:
        raise ValueError(f"is_same must be True or False (1 or 0), got {odd[0]!s}")
    if len(images) != 2 * len(flags):
        raise ValueError(f"{len(flags)} flags need {2 * len(flags)} images, got {len(images)}")
    content = ([_to_write(image, number) for number, image in enumerate(images)], flags)
    with writing_file(path) as file:
        pickle.dump(content, file, protocol=4)


def _to_write(image: object, number: int) -> bytes:
    """Return the bytes of an image given as bytes or a 1-D buffer of them (an array, a tensor); numbers and pixels are
    refused.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 1:
        raise ValueError(
            f"image {number} must be encoded bytes or a 1-D uint8 array, got {array.dtype} of shape {array.shape}"
        )
    return array.tobytes()


def _images(images: object, path: Path) -> list[bytes | NDArray[np.uint8]]:
    if not isinstance(images, list | tuple):
        raise ValueError(f"{path}: images must be a list of encoded images, got {_describe(images)}")
    return [_image(image, f"{path}: image {number}") for number, image in enumerate(images)]


def _image(image: object, where: str) -> bytes | NDArray[np.uint8]:
    if isinstance(image, _Array):
        image = image.value()
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 1:
            raise ValueError(
                f"{where} must be encoded bytes or a 1-D uint8 array, got {image.dtype} of shape {image.shape}"
            )
        return image
    if not isinstance(image, bytes | bytearray):
        raise ValueError(f"{where} must be encoded bytes or a 1-D uint8 array, got {_describe(image)}")
    return bytes(image)


def _flags(flags: object, path: Path) -> NDArray[np.bool_]:
    if isinstance(flags, _Array):
        flags = flags.value().tolist()
    if not isinstance(flags, list | tuple):
        raise ValueError(f"{path}: is_same must be a list of bools, got {_describe(flags)}")
    values = [flag.value().item() if isinstance(flag, _Array) and flag.size == 1 else flag for flag in flags]
    for number, value in enumerate(values):
        if not isinstance(value, bool | int) or value not in (0, 1):
            raise ValueError(f"{path}: is_same[{number}] must be True or False, got {_describe(value)}")
    return np.array(values, dtype=bool).reshape(-1)


def _describe(value: object) -> str:
    size = f" of {len(value)}" if isinstance(value, list | tuple | dict | bytes | str) else ""
    return f"{type(value).__name__.strip('_').lower()}{size}"


def _unpickle(path: Path) -> object:
    data = path.read_bytes()
    if not data:
        raise ValueError(f"{path} is empty, not a pair set")
    try:
        return _PlainUnpickler(io.BytesIO(data), encoding="bytes").load()
    except UnsafePickleError as error:
        raise UnsafePickleError(f"{path}: {error}") from None
    except (Exception, RecursionError) as error:
        said = described_file(path) or f"{type(error).__name__}: {str(error)[:120]}"
        raise ValueError(f"{path} is no pair set: its pickle is broken ({said})") from None


class _BrokenArrayError(ValueError):
    """The bytes of an array are not as many as its shape and type say, or the shape is none."""


class _Dtype:
    """Stands in for numpy.dtype while a pickle is read: a name and a byte order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.order = ""

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise ValueError("arrays with fields are not read")
        self.order = _text(state[1])

    def value(self) -> np.dtype[Any]:
        dtype = np.dtype(self.name)
        return dtype.newbyteorder(self.order) if self.order in ("<", ">") else dtype  # type: ignore[arg-type]


class _Array:
    """Stands in for a NumPy array or scalar while a pickle is read: shape, dtype, bytes; made real by `value`."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.dtype = _Dtype("u1")
        self.data = b""
        self.fortran = False

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("the state of an array must be (version, shape, dtype, order, bytes)")
        self.fill(state[1], state[2], state[4], fortran=bool(state[3]))

    def fill(self, shape: object, dtype: object, data: object, *, fortran: bool) -> "_Array":
        shape = (shape,) if isinstance(shape, int) else shape
        if not isinstance(shape, tuple) or not all(isinstance(side, int) and side >= 0 for side in shape):
            raise ValueError("the shape of an array must be whole numbers")
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
            raise ValueError("an array must hold plain numbers as bytes")
        self.shape, self.dtype, self.data, self.fortran = shape, dtype, bytes(data), fortran
        return self

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def value(self) -> NDArray[Any]:
        dtype = self.dtype.value()
        if len(self.data) != self.size * dtype.itemsize:
            raise _BrokenArrayError(f"its array of shape {self.shape} and type {dtype} is given {len(self.data)} bytes")
        flat = np.frombuffer(self.data, dtype=dtype)
        try:
            return flat.reshape(self.shape, order="F" if self.fortran else "C")
        except (ValueError, OverflowError) as error:  # more dimensions, or longer ones, than NumPy has
            raise _BrokenArrayError(f"its array has an impossible shape ({error})") from None


class _Callable:
    """What the name of a known function stands for: has no attributes a pickle could set."""

    __slots__ = ("_function",)
    _function: Callable[..., object]

    def __init__(self, function: Callable[..., object]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: object) -> None:
        raise UnsafePickleError(f"it sets {name!r}: refused")


def _text(value: object) -> str:
    text = value.decode("latin1") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        raise ValueError("expected a string")
    return text


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if _text(encoding) not in ("latin1", "latin-1") or not isinstance(text, str):
        raise UnsafePickleError("it calls _codecs.encode for something other than bytes: refused")
    return text.encode("latin1")


def _no_bytes(*arguments: object) -> bytes:
    if arguments:
        raise UnsafePickleError("it calls builtins.bytes with arguments: refused")
    return b""


def _dtype(name: object, *_: object) -> _Dtype:
    if not PLAIN_DTYPE.fullmatch(_text(name)):
        raise UnsafePickleError(
            f"it names the dtype {_text(name)!r}, and only bool, integers and floats are read: refused"
        )
    return _Dtype(_text(name))


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _scalar(dtype: object, data: object) -> _Array:
    return _Array().fill((), dtype, data, fortran=False)


def _from_buffer(data: object, dtype: object, shape: object, order: object = "C", *_: object) -> _Array:
    return _Array().fill(shape, dtype, data, fortran=_text(order) == "F")


def _not_to_be_called(*_: object) -> object:
    raise UnsafePickleError("it calls numpy.ndarray itself: refused")


KNOWN: dict[tuple[str, str], Callable[..., object]] = {
    ("_codecs", "encode"): _encode,
    ("builtins", "bytes"): _no_bytes,
    ("__builtin__", "bytes"): _no_bytes,
    ("numpy", "ndarray"): _not_to_be_called,
    ("numpy", "dtype"): _dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


# The unpickler written in Python, not the one in C: its memo is a dictionary, so that a forged memo index takes no
# memory.
class _PlainUnpickler(pickle._Unpickler):  # type: ignore[name-defined, misc]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(
        pickle._Unpickler.dispatch  # type: ignore[attr-defined]
    )
    read: Callable[[int], bytes]
    append: Callable[[object], None]

    def find_class(self, module: object, name: object) -> _Callable:
        known = KNOWN.get((_text(module), _text(name)))
        if known is None:
            raise UnsafePickleError(
                f"it names {_text(module)}.{_text(name)}, which is not plain data: refused, nothing was run"
            )
        return _Callable(known)

    def get_extension(self, code: int) -> None:
        raise UnsafePickleError(f"it names the registered extension {code}: refused")

    def persistent_load(self, pid: object) -> None:
        raise UnsafePickleError(f"it names the persistent object {pid!r:.60}: refused")

    def load_bytearray8(self) -> None:
        """As the parent does, but the memory taken is that of the bytes which are there."""
        (length,) = struct.unpack("<Q", self.read(8))
        if length > len(data := self.read(min(length, 1 << 40))):
            raise pickle.UnpicklingError("pickle data was truncated")
        self.append(bytearray(data))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
