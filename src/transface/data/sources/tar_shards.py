"""Faces in tar shards, as WebDataset writes them, on any disk or URL: read at random by an index of where each image
lies.

A sample is consecutive members of one name up to the first dot of their file's name; `.cls` is its label in ASCII,
`.jpg`, `.jpeg`, `.png` or `.webp` its image. `index.parquet` beside the shards says where every image is (`pack
to-shards` writes it); tars of other origin are scanned once, and what was found is kept.
Shapes: n images, B faces.
"""

import hashlib
import logging
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transface.artifacts import cache_folder, write_whole
from transface.data.batches import EncodedFaces, FaceBatch
from transface.data.loaders import face_batch
from transface.data.recordio.index import IntArray
from transface.images.fit import Fit, check_fit

log = logging.getLogger(__name__)
INDEX = "index.parquet"
IMAGE_FIELDS = ("jpg", "jpeg", "png", "webp")
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
NUM_NAMED = 3


class ShardIndex(NamedTuple):
    """Where every image of some shards lies.

    Attributes:
        shards: file names, beside the index or as URLs.
        shard: (n,) which of them.
        offset, size: (n,) bytes.
        labels: (n,)
        num_identities: labels are 0..num_identities-1.
    """

    shards: list[str]
    shard: IntArray
    offset: IntArray
    size: IntArray
    labels: IntArray
    num_identities: int


class TarMember(NamedTuple):
    """One file of a tar: its key (name up to the first dot), field (what follows), and where its bytes are."""

    key: str
    field: str
    offset: int
    size: int


def is_shards(root: str | Path) -> bool:
    """Return whether this is a URL, a tar, a pattern of tars, or a folder of them."""
    text = str(root)
    if "://" in text or text.endswith(".tar"):
        return True
    folder = Path(root)
    return folder.is_dir() and ((folder / INDEX).is_file() or any(folder.glob("*.tar")))


class TarShards:
    """The images of tar shards with their labels; a map-style data set that reads and decodes a batch in one call.

    Args:
        root: a folder or URL of shards, one .tar, or a pattern as `faces-{000000..000099}.tar`; any URL fsspec knows.
        image_size: the (height, width) of every image.
        fit: what happens to images of another size.
        on_bad_record: "raise", or "skip": samples without a label or image, twice the same key, and shards cut short
            are left out, and told with their number.

    Raises:
        FileNotFoundError: if no shards are there.
        ValueError: naming what is wrong with a sample or a shard, or for shards without images.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        image_size: tuple[int, int] = (112, 112),
        fit: Fit = "refuse",
        on_bad_record: Literal["raise", "skip"] = "raise",
    ) -> None:
        self.root = str(root).rstrip("/")
        self.image_size = image_size
        self.fit = check_fit(fit)
        self.index = _index_of(self.root, skip=on_bad_record == "skip")
        if not len(self.index.labels):
            raise ValueError(f"{self.root} holds no samples with an image ({', '.join(IMAGE_FIELDS)}) and a .cls label")
        self.labels = self.index.labels
        self.num_identities = self.index.num_identities
        self._opened: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_opened": None}

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """Return what an error calls the image at `index`."""
        return f"at byte {self.index.offset[index]} of {self._url(index)}"

    def _url(self, index: int) -> str:
        return self.index.shards[int(self.index.shard[index])]

    def _files(self) -> Any:
        """Return the file system of the shards, one for each process: its connections do not survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            protocol = fsspec.utils.get_protocol(self._url(0))
            self._opened = (os.getpid(), fsspec.filesystem(protocol, skip_instance_cache=True))
        return self._opened[1]

    def encoded(self, index: int) -> bytes:
        """Return the image bytes at `index`."""
        return self.read_encoded([index]).payloads[0]

    def read_encoded(self, indices: Sequence[int]) -> EncodedFaces:
        """Return the images at `indices`, undecoded, with their labels: ranged reads, of remote shards at once.

        Raises:
            ValueError: naming an image whose bytes cannot be read.
        """
        places = np.asarray(indices, dtype=np.int64)
        starts = self.index.offset[places]
        ends = starts + self.index.size[places]
        urls = [self._url(int(place)) for place in places]
        try:
            payloads = self._files().cat_ranges(urls, starts.tolist(), ends.tolist(), on_error="return")
        except OSError as error:
            raise ValueError(f"{self.root} cannot be read: {error}") from error
        for place, payload, size in zip(places.tolist(), payloads, (ends - starts).tolist(), strict=True):
            if not isinstance(payload, bytes) or len(payload) != size:
                reason = f"{len(payload)} of {size} bytes" if isinstance(payload, bytes) else str(payload)
                raise ValueError(f"the image {self.name(place)} cannot be read: {reason}")
        return EncodedFaces(payloads, self.labels[places])

    def __getitems__(self, indices: Sequence[int]) -> FaceBatch:
        """Return the images at `indices`, decoded, with their labels."""
        return face_batch(self.read_encoded(indices), indices=indices, source=self)


def _index_of(root: str, *, skip: bool) -> ShardIndex:
    """Return the index beside the shards, or one kept of an earlier scan, or that of a scan."""
    files, base = fsspec.core.url_to_fs(root if not root.endswith(".tar") else os.path.dirname(root) or ".")
    whole = not root.endswith(".tar")
    if whole and files.isfile(f"{base}/{INDEX}"):
        with files.open(f"{base}/{INDEX}") as file:
            return read_index(file.read(), beside=root)
    shards = expand(root)
    digest = hashlib.sha256(repr([(shard, *_state(shard)) for shard in shards]).encode()).hexdigest()[:24]
    kept = cache_folder() / "shards" / f"{digest}{'-skip' if skip else ''}.parquet"
    if kept.is_file():
        return read_index(kept.read_bytes(), beside="")
    found = scan(shards, skip=skip)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_whole(kept, index_bytes(found))
    return found


def _size(url: str) -> int:
    files, path = fsspec.core.url_to_fs(url)
    return int(files.size(path))


def _state(url: str) -> tuple[str, ...]:
    """Return what changes with the content of a file, as far as its file system tells."""
    files, path = fsspec.core.url_to_fs(url)
    told = files.info(path)
    return tuple(str(told.get(word)) for word in ("size", "mtime", "created", "ETag", "etag", "LastModified"))


def expand(root: str) -> list[str]:
    """Return the shards of a folder or URL, of one .tar, or of a pattern, in order.

    Raises:
        FileNotFoundError: naming the first that is not there.

    Example:
        >>> expand_braces("a-{08..10}.tar")
        ['a-08.tar', 'a-09.tar', 'a-10.tar']
    """
    if root.endswith(".tar"):
        shards = expand_braces(root)
        for shard in shards:
            files, path = fsspec.core.url_to_fs(shard)
            if not files.isfile(path):
                raise FileNotFoundError(f"no shard {shard}")
        return shards
    files, base = fsspec.core.url_to_fs(root)
    if not files.isdir(base):
        raise FileNotFoundError(f"no folder of shards {root}")
    names = sorted(os.path.basename(path.rstrip("/")) for path in files.ls(base, detail=False))
    shards = [f"{root}/{name}" for name in names if name.endswith(".tar")]
    if not shards:
        raise FileNotFoundError(f"{root} holds no .tar shards")
    return shards


def expand_braces(pattern: str) -> list[str]:
    """Return the names of a pattern with one range of numbers, `{000..099}`; without one, the name itself."""
    found = BRACES.search(pattern)
    if found is None:
        return [pattern]
    first, last = found.groups()
    numbers = range(int(first), int(last) + 1)
    return [f"{pattern[: found.start()]}{number:0{len(first)}}{pattern[found.end() :]}" for number in numbers]


def members(url: str) -> Iterator[TarMember]:
    """Yield the files of a tar in order; only headers are read.

    Raises:
        ValueError: if the tar is cut short or none, after the members before.
    """
    size = _size(url)
    with fsspec.open(url, "rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    if not member.isfile():
                        continue
                    if member.offset_data + member.size > size:
                        raise ValueError(f"shard {url} is cut short in {member.name}")
                    folder, _, name = member.name.rpartition("/")
                    key, _, field = name.partition(".")
                    yield TarMember(f"{folder}/{key}", field.lower(), member.offset_data, member.size)
        except tarfile.TarError as error:
            raise ValueError(f"shard {url} is no whole tar: {error}") from error


def scan(shards: Sequence[str], *, skip: bool = False) -> ShardIndex:
    """Return the index of tars that have none, from one pass over their headers and labels.

    Raises:
        ValueError: naming the first sample or shard that is wrong, unless they are skipped; then their number is told.
    """
    rows: list[tuple[int, int, int, int]] = []
    wrong: list[str] = []
    seen: set[str] = set()
    for number, url in enumerate(shards):
        for found in _samples(number, url, seen):
            if isinstance(found, str):
                if not skip:
                    raise ValueError(found)
                wrong.append(found)
            else:
                rows.append(found)
    if wrong:
        log.warning("%d samples or shards are left out: %s", len(wrong), "; ".join(wrong[:NUM_NAMED]))
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    labels = np.ascontiguousarray(table[:, 3])
    count = int(labels.max()) + 1 if len(labels) else 0
    return ShardIndex(list(shards), table[:, 0], table[:, 1], table[:, 2], labels, count)


def _samples(number: int, url: str, seen: set[str]) -> Iterator[tuple[int, int, int, int] | str]:
    """Yield (shard, offset, size, label) of each sample of a shard, or what is wrong with one."""
    together: list[TarMember] = []
    try:
        for member in members(url):
            if together and member.key != together[0].key:
                yield _sample(number, url, together, seen)
                together = []
            together.append(member)
    except ValueError as error:
        yield str(error)
        return
    if together:
        yield _sample(number, url, together, seen)


def _sample(number: int, url: str, fields: list[TarMember], seen: set[str]) -> tuple[int, int, int, int] | str:
    key = fields[0].key.lstrip("/")
    where = f"sample {key} of shard {url}"
    if key in seen:
        return f"{where}: its key came before"
    seen.add(key)
    label = next((member for member in fields if member.field == "cls"), None)
    image = next((member for member in fields if member.field in IMAGE_FIELDS), None)
    if label is None or image is None:
        return f"{where} has no {'.cls label' if label is None else 'image'}"
    files, path = fsspec.core.url_to_fs(url)
    text = files.cat_file(path, start=label.offset, end=label.offset + label.size).strip()
    if not text.isdigit():
        return f"{where}: its label must be a whole number, got {text[:20]!r}"
    return number, image.offset, image.size, int(text)


def index_bytes(index: ShardIndex, *, digests: Sequence[bytes] | None = None) -> bytes:
    """Return an index as a Parquet file; `digests` are the SHA-256 of the images."""
    shards = pa.DictionaryArray.from_arrays(pa.array(index.shard, pa.int32()), pa.array(index.shards, pa.string()))
    columns = {
        "shard": shards,
        "offset": pa.array(index.offset, pa.int64()),
        "size": pa.array(index.size, pa.int64()),
        "label": pa.array(index.labels, pa.int64()),
    }
    if digests is not None:
        columns["sha256"] = pa.array(digests, pa.binary(32))
    table = pa.table(columns).replace_schema_metadata({"num_identities": str(index.num_identities)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def read_index(content: bytes, *, beside: str) -> ShardIndex:
    """Return the index that Parquet bytes hold; names of shards are taken to lie in `beside`, if that is given.

    Raises:
        ValueError: if it is no such index.
    """
    try:
        table = pq.read_table(pa.BufferReader(content))
        column = table.column("shard").combine_chunks()
        encoded = column if isinstance(column, pa.DictionaryArray) else column.dictionary_encode()
        names = [str(name) for name in encoded.dictionary.to_pylist()]
        shard = np.asarray(encoded.indices, dtype=np.int64)
        offset, size, labels = (table.column(name).to_numpy().astype(np.int64) for name in ("offset", "size", "label"))
    except (pa.ArrowException, KeyError, OSError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{beside or 'the kept index'}: {INDEX} must have the columns shard, offset, size, label: {error}"
        ) from error
    stated = (table.schema.metadata or {}).get(b"num_identities")
    if stated is not None and not stated.isdigit():
        raise ValueError(f"{beside or 'the kept index'}: {INDEX} must state its number of people, got {stated[:20]!r}")
    count = int(stated) if stated is not None else int(labels.max()) + 1 if len(labels) else 0
    if len(labels) and (labels.min() < 0 or labels.max() >= count):
        raise ValueError(f"{beside}: labels must be in 0..{count - 1}, got {labels.min()}..{labels.max()}")
    return ShardIndex([f"{beside}/{name}" if beside else name for name in names], shard, offset, size, labels, count)
