"""Opens whatever holds faces with labels, and joins several such sources into one set.

Shapes: n images, B faces.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from transface.data.batches import EncodedFaces, FaceBatch
from transface.data.loaders import face_batch, fit_of
from transface.data.recordio.index import IntArray
from transface.data.sources.identity_pack import IdentityPack, listed
from transface.data.sources.image_files import open_folder, open_list
from transface.data.sources.record_list import RecordList
from transface.data.sources.tar_shards import TarShards, is_shards
from transface.images.fit import Fit


class IdentitySource(Protocol):
    """Faces with labels, read by batches.

    Attributes:
        num_identities: labels are 0..num_identities-1.
        image_size: (height, width) of every image.
        fit: what happens to images of another size.
    """

    num_identities: int
    image_size: tuple[int, int]
    fit: Fit

    @property
    def labels(self) -> IntArray:
        """The label of every image (n,), -1 for one that is to be skipped."""
        ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return what an error calls the image at `index`."""
        ...

    def encoded(self, index: int) -> bytes:
        """Return the JPEG or PNG bytes of the image at `index`."""
        ...

    def read_encoded(self, indices: Sequence[int]) -> EncodedFaces:
        """Return the images at `indices`, undecoded, with their labels."""
        ...

    def __getitems__(self, indices: Sequence[int]) -> FaceBatch:
        """Return the images at `indices`, decoded, with their labels."""
        ...


def open_source(
    path: str | Path,
    *,
    image_size: tuple[int, int] = (112, 112),
    fit: Fit = "refuse",
    on_bad_record: Literal["raise", "skip"] = "raise",
) -> IdentitySource:
    """Return the source at `path`, told by what lies there; `fit` and `on_bad_record` as IdentityPack takes them.

    A folder with train.rec: an InsightFace pack. Another folder: one folder a person. A .rec file with a .lst of its
    name beside it: its list's labels; without: a pack. A .tar, a pattern of tars, a folder or URL of them: tar shards,
    as WebDataset writes them. A .csv or .parquet file: a list of images.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: what is there is none of these.
    """
    if is_shards(path):
        return TarShards(path, image_size=image_size, fit=fit, on_bad_record=on_bad_record)
    path = Path(path)
    ending = path.suffix.lower()
    if not path.exists():
        raise FileNotFoundError(f"no data at {path}")
    if (path / "train.rec").is_file() or (ending == ".rec" and not path.with_suffix(".lst").is_file()):
        return IdentityPack(path, image_size=image_size, fit=fit, on_bad_record=on_bad_record)
    if path.is_dir():
        return _people_of(path, image_size=image_size, fit=fit)
    if ending == ".rec":
        return RecordList(path, image_size=image_size, fit=fit)
    if ending in (".csv", ".parquet"):
        return open_list(path, image_size=image_size, fit=fit)
    raise ValueError(
        f"{path} is no data that can be read: expected a folder, .rec, .tar, .csv or .parquet, or a URL of tar shards"
    )


def _people_of(folder: Path, *, image_size: tuple[int, int], fit: Fit) -> IdentitySource:
    if not any(entry.is_dir() for entry in folder.iterdir()):
        raise FileNotFoundError(
            f"{folder} holds neither a train.rec nor folders of people's images, but {listed(folder)}"
        )
    return open_folder(folder, image_size=image_size, fit=fit)


class SourceEntry(NamedTuple):
    """One of several sources, as a config names it.

    Attributes:
        path: as `open_source` takes it.
        weight: how often its images are seen, beside those of a source of weight 1.
        label_offset: what is added to its labels; None: the people before it.
    """

    path: str | Path
    weight: float = 1.0
    label_offset: int | None = None


def read_entry(entry: str | Path | Mapping[str, Any]) -> SourceEntry:
    """Return the entry a config gives: a path, or a mapping of path, weight and label_offset.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(entry, str | Path):
        return SourceEntry(entry)
    known = ", ".join(SourceEntry._fields)
    if not isinstance(entry, Mapping) or "path" not in entry or set(entry) - set(SourceEntry._fields):
        raise ValueError(f"a source is a path or {{{known}}}, got {entry!r}")
    return SourceEntry(**{str(key): value for key, value in entry.items()})


class OpenedSources(NamedTuple):
    """Sources joined, and their weights, None where these are all alike."""

    faces: IdentitySource
    weights: list[float] | None


def open_sources(
    entries: Sequence[str | Path | Mapping[str, Any]],
    *,
    image_size: tuple[int, int] = (112, 112),
    fit: Fit = "refuse",
    on_bad_record: Literal["raise", "skip"] = "raise",
) -> OpenedSources:
    """Return the sources of a config as one set.

    Raises:
        FileNotFoundError, ValueError: as `open_source`, `read_entry` and `SourceMix` say.
    """
    read = [read_entry(entry) for entry in entries]
    sources = [open_source(entry.path, image_size=image_size, fit=fit, on_bad_record=on_bad_record) for entry in read]
    offsets: list[int] = []
    for number, entry in enumerate(read):
        ends = [offset + source.num_identities for offset, source in zip(offsets, sources[:number], strict=True)]
        offsets.append(max(ends, default=0) if entry.label_offset is None else int(entry.label_offset))
    weights = [float(entry.weight) for entry in read]
    return OpenedSources(SourceMix(sources, label_offsets=offsets), weights if set(weights) != {1.0} else None)


class SourceMix:
    """Several sources as one set: images lie one source after the other, labels are moved so that people stay apart.

    Args:
        sources: at least one, of one image size.
        label_offsets: what is added to each source's labels; by default the number of identities before it. Sources
            that name the same people alike share an offset.

    Raises:
        ValueError: for no source, other image sizes, or offsets that are not one a source and 0 or more.
    """

    def __init__(self, sources: Sequence[IdentitySource], *, label_offsets: Sequence[int] | None = None) -> None:
        if not sources:
            raise ValueError("a mix needs at least one source")
        people = [source.num_identities for source in sources]
        offsets = (
            [sum(people[:place]) for place in range(len(sources))] if label_offsets is None else list(label_offsets)
        )
        if len(offsets) != len(sources) or min(offsets) < 0:
            raise ValueError(
                f"label_offsets must be one number of 0 or more for each of the {len(sources)} sources, got {offsets}"
            )
        if len(sizes := {(source.image_size, fit_of(source)) for source in sources}) > 1:
            raise ValueError(f"the images of all sources must have one size and fit, got {sorted(sizes)}")
        self.sources = list(sources)
        self.label_offsets = offsets
        self.num_identities = max(offset + number for offset, number in zip(offsets, people, strict=True))
        self.image_size = sources[0].image_size
        self.fit = fit_of(sources[0])
        self.sizes = [len(source) for source in sources]
        self._ends = np.cumsum(self.sizes)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def labels(self) -> IntArray:
        """The label of every image (n,), moved; -1 for one that is to be skipped."""
        parts = [(source.labels, offset) for source, offset in zip(self.sources, self.label_offsets, strict=True)]
        return np.concatenate([np.where(labels < 0, -1, labels + offset) for labels, offset in parts])

    def _find(self, index: int) -> tuple[IdentitySource, int]:
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

    def read_encoded(self, indices: Sequence[int]) -> EncodedFaces:
        """Return the images at `indices`, undecoded, one read a source, with their moved labels."""
        asked = np.asarray(indices, dtype=np.int64)
        if len(asked) and not (asked.min() >= 0 and asked.max() < len(self)):
            raise IndexError(f"no image {int(asked.min())} or {int(asked.max())} among {len(self)}")
        places = np.searchsorted(self._ends, asked, side="right")
        payloads: list[bytes] = [b""] * len(asked)
        labels = np.empty(len(asked), dtype=np.int64)
        for place in np.unique(places).tolist():
            rows = np.flatnonzero(places == place)
            start = int(self._ends[place]) - self.sizes[place]
            part = self.sources[place].read_encoded((asked[rows] - start).tolist())
            labels[rows] = part.labels + self.label_offsets[place]
            for row, payload in zip(rows.tolist(), part.payloads, strict=True):
                payloads[row] = payload
        return EncodedFaces(payloads, labels)

    def __getitems__(self, indices: Sequence[int]) -> FaceBatch:
        """Return the images at `indices`, decoded in one call; keys count through the whole mix."""
        return face_batch(self.read_encoded(indices), indices=indices, source=self)
