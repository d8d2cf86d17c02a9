"""Opens whatever holds faces with labels, and joins several such sources into one set.

Shapes: n images, B faces.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from transface.data.batches import FaceBatch
from transface.data.file_faces import open_folder, open_list
from transface.data.identities import IdentityPack
from transface.data.record_index import IntArray
from transface.data.record_lists import RecordList


class FaceSource(Protocol):
    """Faces with labels, read by batches.

    Attributes:
        num_identities: labels are 0..num_identities-1.
        image_size: (height, width) of every image.
    """

    num_identities: int
    image_size: tuple[int, int]

    @property
    def labels(self) -> IntArray:
        """The label of every image (n,)."""
        ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return what an error calls the image at `index`."""
        ...

    def encoded(self, index: int) -> bytes:
        """Return the JPEG or PNG bytes of the image at `index`."""
        ...

    def __getitems__(self, indices: Sequence[int]) -> FaceBatch:
        """Return the images at `indices`, decoded, with their labels."""
        ...


def open_source(path: str | Path, *, image_size: tuple[int, int] = (112, 112)) -> FaceSource:
    """Return the source at `path`, told by what lies there.

    A folder with train.rec: an InsightFace pack. Another folder: one folder a person. A .rec file with a .lst of its name beside it: its
    list's labels; without: a pack. A .csv or .parquet file: a list of images.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: what is there is none of these.
    """
    path = Path(path)
    if path.is_dir():
        if (path / "train.rec").is_file():
            return IdentityPack(path, image_size=image_size)
        return open_folder(path, image_size=image_size)
    if not path.exists():
        raise FileNotFoundError(f"no data at {path}")
    ending = path.suffix.lower()
    if ending == ".rec":
        return RecordList(path, image_size=image_size) if path.with_suffix(".lst").is_file() else IdentityPack(path, image_size=image_size)
    if ending in (".csv", ".parquet"):
        return open_list(path, image_size=image_size)
    raise ValueError(f"{path} is no data that can be read: expected a folder, .rec, .csv or .parquet")


class SourceMix:
    """Several sources as one set: images lie one source after the other, labels are moved so that people stay apart.

    Args:
        sources: at least one, of one image size.
        label_offsets: what is added to each source's labels; by default the number of identities before it. Sources that name the
            same people alike share an offset.

    Raises:
        ValueError: for no source, other image sizes, or offsets that are not one a source and 0 or more.
    """

    def __init__(self, sources: Sequence[FaceSource], *, label_offsets: Sequence[int] | None = None) -> None:
        if not sources:
            raise ValueError("a mix needs at least one source")
        people = [source.num_identities for source in sources]
        offsets = [sum(people[:place]) for place in range(len(sources))] if label_offsets is None else list(label_offsets)
        if len(offsets) != len(sources) or min(offsets) < 0:
            raise ValueError(f"label_offsets must be one number of 0 or more for each of the {len(sources)} sources, got {offsets}")
        if len(sizes := {source.image_size for source in sources}) > 1:
            raise ValueError(f"the images of all sources must have one size, got {sorted(sizes)}")
        self.sources = list(sources)
        self.label_offsets = offsets
        self.num_identities = max(offset + number for offset, number in zip(offsets, people, strict=True))
        self.image_size = sources[0].image_size
        self.sizes = [len(source) for source in sources]
        self._ends = np.cumsum(self.sizes)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def labels(self) -> IntArray:
        """The label of every image (n,), moved."""
        return np.concatenate([source.labels + offset for source, offset in zip(self.sources, self.label_offsets, strict=True)])

    def _find(self, index: int) -> tuple[FaceSource, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"no image {index} among {len(self)}")
        place = int(np.searchsorted(self._ends, index, side="right"))
        return self.sources[place], index - int(self._ends[place]) + self.sizes[place]

    def name(self, index: int) -> str:
        """Return what an error calls the image at `index`."""
        source, own = self._find(index)
        return source.name(own)

    def encoded(self, index: int) -> bytes:
        """Return the JPEG or PNG bytes of the image at `index`."""
        source, own = self._find(index)
        return source.encoded(own)

    def __getitems__(self, indices: Sequence[int]) -> FaceBatch:
        """Return the images at `indices`, one read a source; keys count through the whole mix."""
        asked = np.asarray(indices, dtype=np.int64)
        places = np.searchsorted(self._ends, asked, side="right")
        if len(asked) and not (asked.min() >= 0 and asked.max() < len(self)):
            raise IndexError(f"no image {int(asked.min())} or {int(asked.max())} among {len(self)}")
        parts, rows = [], []
        for place in np.unique(places).tolist():
            own = np.flatnonzero(places == place)
            start = int(self._ends[place]) - self.sizes[place]
            batch = self.sources[place].__getitems__((asked[own] - start).tolist())
            parts.append(batch._replace(labels=batch.labels + self.label_offsets[place]))
            rows.append(own)
        back = torch.from_numpy(np.argsort(np.concatenate(rows), kind="stable"))
        images, labels = (torch.cat(column)[back] for column in ([part.images for part in parts], [part.labels for part in parts]))
        return FaceBatch(images, labels, torch.from_numpy(asked))
