"""Writes the images of a pack as tar shards in WebDataset's form, with an index of where each one lies; resumes where
it was stopped.

A sample is `<label>/<record>.jpg` (its bytes unchanged) and `<label>/<record>.cls`. Shards appear when they are whole,
the index last. Shapes: n images.
"""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from transface.artifacts import write_whole, writing_path
from transface.data.recordio.index import IntArray
from transface.data.sources.source import IdentitySource
from transface.data.sources.tar_shards import INDEX, ShardIndex, index_bytes, members
from transface.images.headers import PNG
from transface.packs.writer import Progress, no_progress


class ShardsSummary(NamedTuple):
    """What was written: the folder, its shards and images, and the shards found written already."""

    root: Path
    num_shards: int
    num_images: int
    num_resumed: int


def write_shards(
    pack: IdentitySource, output: str | Path, *, images_per_shard: int = 10_000, on_progress: Progress = no_progress
) -> ShardsSummary:
    """Write the images of a pack, in its order, into `000000.tar`, `000001.tar`, ... of the folder `output`.

    Raises:
        FileExistsError: if whole shards stand there already.
        ValueError: for less than one image a shard, or a shard that holds other images.
    """
    if images_per_shard < 1:
        raise ValueError(f"images_per_shard must be at least 1, got {images_per_shard}")
    output = Path(output)
    if (output / INDEX).exists():
        raise FileExistsError(f"{output} holds whole shards already; choose another name or remove it")
    output.mkdir(parents=True, exist_ok=True)
    labels = pack.labels
    starts = range(0, len(pack), images_per_shard)
    names = [f"{number:06d}.tar" for number in range(len(starts))]
    resumed = 0
    columns: list[tuple[int, int, int]] = []
    digests: list[bytes] = []
    for number, start in enumerate(starts):
        indices = np.arange(start, min(start + images_per_shard, len(pack)))
        path = output / names[number]
        if path.exists():
            resumed += 1
        else:
            with writing_path(path) as partial:
                _write_shard(partial, pack, indices, labels)
        images = [member for member in members(str(path)) if member.field != "cls"]
        if [member.key for member in images] != [_key(index, labels) for index in indices.tolist()]:
            raise ValueError(f"{path} holds images of another pack, or another number of them: remove {output}")
        columns += [(number, member.offset, member.size) for member in images]
        digests += [hashlib.sha256(pack.encoded(int(index))).digest() for index in indices]
        on_progress(len(indices))
    table = np.array(columns, dtype=np.int64).reshape(-1, 3)
    index = ShardIndex(names, table[:, 0], table[:, 1], table[:, 2], labels, pack.num_identities)
    write_whole(output / INDEX, index_bytes(index, digests=digests))
    return ShardsSummary(output, len(names), len(pack), resumed)


def _write_shard(path: Path, pack: IdentitySource, indices: IntArray, labels: IntArray) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for index in indices.tolist():
            data = pack.encoded(index)
            stem = _key(index, labels)
            image = f"{stem}.{'png' if data[:8] == PNG else 'jpg'}"
            for name, content in ((image, data), (f"{stem}.cls", str(int(labels[index])).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _key(index: int, labels: IntArray) -> str:
    return f"{int(labels[index])}/{index:09d}"
