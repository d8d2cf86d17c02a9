"""The pairs a model gets most wrong, as pictures: from the result's own file, from images given, or from the pair set
it names.

Pair i of a pair set is its images 2i and 2i + 1.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transface.data.benchmarks.pairs import read_pair_set
from transface.evaluation.results import HardPair, Result, read_arrays
from transface.reports.page.document import FacePair, Gallery
from transface.reports.reading.runs import listed_files

ImageSource = Sequence[Any] | Callable[[int], Any]


def galleries(
    result: Result, *, label: str, stem: str, images: ImageSource | None = None, limit: int = 12
) -> list[Gallery]:
    """Return the galleries of the hardest genuine and impostor pairs of a result; those without any picture are left
    out.

    Args:
        result: holds the pairs, and perhaps their thumbnails.
        label: the run's name, for the caption.
        stem: begins the names of picture files.
        images: images by position (encoded bytes or uint8 arrays) for pairs without thumbnails; None looks for the pair
            set's file.
        limit: pairs shown of each kind.
    """
    found = []
    arrays = read_arrays(result)
    source = images if images is not None else PairSetImages(result)
    kinds = (
        ("genuine", "Hardest genuine pairs: the same person, the lowest scores", result.hardest_genuine),
        ("impostor", "Hardest impostor pairs: two people, the highest scores", result.hardest_impostor),
    )
    for kind, caption, hardest in kinds:
        pairs = tuple(FacePair(pictures(pair, arrays, source), pair_caption(pair)) for pair in hardest[:limit])
        if any(image for pair in pairs for image in pair.images):
            found.append(Gallery(f"{caption} ({label})", f"{stem}_{kind}", pairs))
    return found


def pictures(pair: HardPair, arrays: dict[str, Any], source: ImageSource) -> tuple[bytes, ...]:
    """Return the two encoded images of a pair, b"" for one that is nowhere to be had."""
    if pair.thumbnails and all(key in arrays for key in pair.thumbnails):
        return tuple(arrays[key].tobytes() for key in pair.thumbnails)
    return tuple(encoded(image_at(source, position)) for position in (2 * pair.pair, 2 * pair.pair + 1))


def image_at(source: ImageSource, position: int) -> Any:
    """Return an image of a source, or None."""
    if callable(source):
        return source(position)
    return source[position] if position < len(source) else None


def encoded(image: Any) -> bytes:
    """Return an image as encoded bytes: as it is if it is encoded, a uint8 (H, W, 3) array as PNG, None as b""."""
    if image is None:
        return b""
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    array = np.asarray(image)
    if array.ndim == 1:
        return array.astype(np.uint8).tobytes()
    stream = io.BytesIO()
    Image.fromarray(array.astype(np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


class PairSetImages:
    """The images of the pair set a result's config names, by position; None where its file is gone or holds other pairs
    by now.

    The file is read when first asked.
    """

    def __init__(self, result: Result) -> None:
        self.path = pair_set_path(result)
        self.is_same = read_arrays(result).get("is_same")
        self._images: Sequence[Any] | None = None

    def __call__(self, position: int) -> Any:
        """Return the image at a position, or None."""
        if self.path is None:
            return None
        if self._images is None:
            pairs = read_pair_set(self.path)
            self._images = pairs.images if self.is_same is None or np.array_equal(pairs.is_same, self.is_same) else []
        return image_at(self._images, position)


def pair_set_path(result: Result) -> Path | None:
    """Return the .bin of a pair-set result: the file of that name in its config's protocol.files, if it is still
    there.
    """
    paths = [Path(file) for file in listed_files(result)]
    return next((path for path in paths if path.stem == result.name and path.is_file()), None)


def pair_caption(pair: HardPair) -> str:
    """Return the line below a pair."""
    return f"{pair.score:.3f}, pair {pair.pair}"
