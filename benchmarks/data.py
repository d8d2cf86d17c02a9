"""How fast data comes: decoding, readers beside the usual way, memory, the start of workers on a huge index, randomness
of block shuffling.

    python benchmarks/data.py [speed memory index shuffle pack] [--images 12800] [--rounds 7] [--reads 200000]
    [--records 17451890] [--pack-images 100000]

One core, one thread. In `speed` the ways take turns, so that a busy machine slows all alike; the median of the rounds
is told, by the clock and by processor time (which other people's work does not touch).
"""

import argparse
import gc
import io
import multiprocessing
import os
import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

from transface.data.loaders import close_loader, make_loader
from transface.data.recordio.headers import RecordHeader
from transface.data.recordio.reader import RecordWriter
from transface.data.sampling.orders import BlockOrder, SequentialOrder, ShuffledOrder, measure_shuffle
from transface.data.sampling.rank_batches import RankBatches
from transface.data.sources.identity_pack import IdentityPack
from transface.data.sources.image_files import open_folder
from transface.packs.check import check_pack
from transface.packs.operations import unpack_to_folder
from transface.packs.writer import plan_by_identity, write_pack
from transface.synthetic.datasets import make_faces

BATCH = 128
QUALITY = 90
LIMIT_SPEED = 7000


def write_quality_90(root: Path, num_images: int) -> Path:
    """Write a pack of made-up faces as JPEGs of quality 90."""
    drawn = [encode_jpeg(image.contiguous(), quality=QUALITY).numpy().tobytes() for image in make_faces(40, 10).images]
    with RecordWriter(root / "train.rec") as writer:
        for key in range(num_images):
            writer.write(key, RecordHeader(0, float(key % 40)), drawn[key % len(drawn)])
    (root / "property").write_text("40,112,112\n")
    return root


class UsualFaces(torch.utils.data.Dataset):
    """The usual way: one image a call, PIL, ToTensor, Normalize."""

    def __init__(self, pack: IdentityPack) -> None:
        self.pack = pack
        self.change = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)])

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.change(Image.open(io.BytesIO(self.pack.encoded(index))).convert("RGB"))


def time_ways(ways: dict[str, Callable[[], None]], *, count: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Return images/s by the clock and by processor time for each way, medians of rounds in turn."""
    clock: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            before = time.perf_counter(), time.process_time()
            way()
            clock[name].append(count / (time.perf_counter() - before[0]))
            processor[name].append(count / (time.process_time() - before[1]))
    return {name: (statistics.median(clock[name]), statistics.median(processor[name])) for name in ways}


def speed(root: Path, options: argparse.Namespace) -> bool:
    """Tell images/s of the decoder alone, of this package and of the usual way."""
    pack = IdentityPack(write_quality_90(root, options.images))
    batches = [list(range(start, start + BATCH)) for start in range(0, len(pack) - BATCH + 1, BATCH)]
    tensors = [[torch.frombuffer(bytearray(pack.encoded(i)), dtype=torch.uint8) for i in batch] for batch in batches]
    usual = UsualFaces(pack)

    def decoder() -> None:
        for batch in tensors:
            decode_jpeg(batch, ImageReadMode.RGB)

    def ours() -> None:
        for batch in batches:
            pack.__getitems__(batch)

    def usual_way() -> None:
        for batch in batches[::4]:
            torch.stack([usual[i] for i in batch])

    count = len(batches) * BATCH
    size = sum(len(pack.encoded(i)) for i in range(1000)) / 1000
    print(
        f"speed: {count} JPEGs of quality {QUALITY}, 112x112, {size:.0f} bytes, batches of {BATCH}, one process, one"
        " thread"
    )
    found = time_ways({"decoder alone": decoder, ".rec to uint8 batch": ours}, count=count, rounds=options.rounds)
    found |= time_ways(
        {"PIL, ToTensor, Normalize": usual_way}, count=len(batches[::4]) * BATCH, rounds=max(options.rounds // 2, 1)
    )
    for name, (by_clock, by_processor) in found.items():
        print(f"  {name:28s} {by_clock:8.0f} images/s by the clock, {by_processor:8.0f} by processor time")
    loader = make_loader(
        pack, RankBatches(SequentialOrder(len(pack)), BATCH), num_workers=1, pin_memory=False, prefetch_factor=8
    )
    rates = []
    for _ in range(3):
        arrived, started = 0, 0.0
        for batch in loader:
            arrived += len(batch.images)
            started = started or time.perf_counter()  # the first batch starts the clock: the worker runs
        rates.append((arrived - BATCH) / (time.perf_counter() - started))
    close_loader(loader)
    print(f"  {'through one worker':28s} {statistics.median(rates):8.0f} images/s by the clock")
    reached = found[".rec to uint8 batch"][1] >= LIMIT_SPEED
    print(f"  at least {LIMIT_SPEED} images/s on one core: {'yes' if reached else 'NO'}")
    return reached


def resident() -> float:
    """Return this process's resident memory in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def own_memory(pid: int) -> float:
    """Return the memory that belongs to a process alone, in MiB: its private pages."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty"))) / 2**10


def memory(root: Path, options: argparse.Namespace) -> bool:
    """Tell the resident memory over many reads."""
    pack = IdentityPack(write_quality_90(root, 6400))
    order = ShuffledOrder(len(pack))
    seen, reads, epoch = [], 0, 0
    while reads < options.reads:
        for batch in RankBatches(order, BATCH):
            pack.__getitems__(batch)
            reads += BATCH
            if reads % (BATCH * 100) == 0:
                gc.collect()
                seen.append(resident())
        epoch += 1
    grown = seen[-1] - seen[len(seen) // 4]
    print(
        f"memory: {reads} reads; resident after a quarter {seen[len(seen) // 4]:.0f} MiB, at the end {seen[-1]:.0f}"
        f" MiB: {grown:+.1f} MiB"
    )
    return grown < 20


def start_worker(pickled: bytes, place: int, answers: "multiprocessing.Queue[tuple[float, float, float]]") -> None:
    """A worker's first act: get the pack, read one image; then tell seconds by clock and processor, and MiB of its own
    that took.
    """
    before, clock, processor = own_memory(os.getpid()), time.perf_counter(), time.process_time()
    pack: IdentityPack = pickle.loads(pickled)
    pack.encoded(place)
    answers.put((time.perf_counter() - clock, time.process_time() - processor, own_memory(os.getpid()) - before))


def index(root: Path, options: argparse.Namespace) -> bool:
    """Tell how long a pack and its workers take to start on an index of many records, and the memory they need."""
    path = write_huge_index(root, options.records)
    os.environ["TRANSFACE_CACHE"] = str(root / "cache")
    ok = True
    for name in ("first opening, the text is read", "second opening, the kept index is mapped"):
        before, clock, processor = resident(), time.perf_counter(), time.process_time()
        opened = IdentityPack(path.parent)
        opened.encoded(options.records // 2)
        spent = (
            f"{time.perf_counter() - clock:.2f} s by the clock, {time.process_time() - processor:.2f} s of processor"
            " time"
        )
        print(f"  {name}: {spent}, {resident() - before:+.0f} MiB resident")
        ok = ok and resident() - before < 300
    pickled = pickle.dumps(opened)
    print(f"  a worker is sent {len(pickled)} bytes")
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        answers = context.Queue()
        worker = context.Process(target=start_worker, args=(pickled, options.records // 3, answers))
        worker.start()
        clock, processor, own = answers.get()
        worker.join()
        print(
            f"  worker by {method}, from start of its work to its first record: {clock:.3f} s ({processor:.3f} of"
            f" processor), {own:+.1f} MiB of its own"
        )
        ok = ok and own < 300 and processor < 2
    return ok


def write_huge_index(root: Path, records: int) -> Path:
    """Write an .idx of so many records, a sparse .rec in which a few of them stand, and the property file of a pack."""
    draw = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(draw.integers(1000, 1500, records - 1) * 4)])
    path = root / "train.rec"
    (root / "property").write_text("360232,112,112\n")
    with RecordWriter(root / "one.rec") as writer:
        writer.write(0, RecordHeader(0, 0.0), b"x" * 100)
    record = (root / "one.rec").read_bytes()
    with path.open("wb") as file:
        for place in (0, records // 3, records // 2, records - 1):
            file.seek(int(offsets[place]))
            file.write(record)
    with path.with_suffix(".idx").open("w") as file:
        for start in range(0, records, 1 << 18):
            part = offsets[start : start + (1 << 18)].tolist()
            file.write("".join(f"{key}\t{offset}\n" for key, offset in enumerate(part, start)))
    print(f"index: {records} records, {path.with_suffix('.idx').stat().st_size / 2**20:.0f} MiB of text")
    return path


def shuffle(_: Path, __: argparse.Namespace) -> bool:
    """Tell how random block shuffling is, beside a perfect shuffle."""
    people, images = 20_000, 50
    labels = np.repeat(np.arange(people), images)
    print(f"shuffle: {len(labels)} images of {people} people lying together, batch {BATCH}, neighbours within 1024")
    print(
        "  block x blocks in the buffer   displacement (1/3)   pairs of neighbours (perfect)   distinct people"
        " (perfect)"
    )
    for block, blocks in ((1024, 1), (1024, 8), (1024, 64), (1024, 256), (256, 256), (64, 1024)):
        order = BlockOrder(len(labels), block_size=block, buffer_blocks=blocks)(0)
        q = measure_shuffle(order, labels, batch_size=BATCH)
        print(
            f"  {block:5d} x {blocks:<5d}                 {q.displacement:.3f}               {q.neighbour_share:.4f}"
            f" ({q.neighbour_share_perfect:.4f})                 {q.identities:.3f} ({q.identities_perfect:.3f})"
        )
    return True


def pack(root: Path, options: argparse.Namespace) -> bool:
    """Tell images/s of `pack from-folder` and `pack check`."""
    source = IdentityPack(write_quality_90(root, options.pack_images))
    unpack_to_folder(source, root / "folder")
    for threads in (1, os.cpu_count() or 1):
        started = time.perf_counter()
        plan = plan_by_identity(open_folder(root / "folder"))
        summary = write_pack(root / f"pack{threads}", plan, num_threads=threads)
        print(
            f"pack: from-folder, {threads} threads: {summary.num_images / (time.perf_counter() - started):.0f} images/s"
        )
        report = check_pack(root / f"pack{threads}", num_threads=threads)
        print(f"      check, {threads} threads: {report.num_images / report.seconds:.0f} images/s")
    return True


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sections = {"speed": speed, "memory": memory, "index": index, "shuffle": shuffle, "pack": pack}
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(sections)}; all but pack if none is named")
    parser.add_argument("--images", type=int, default=12_800)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--reads", type=int, default=200_000)
    parser.add_argument("--records", type=int, default=17_451_890)
    parser.add_argument("--pack-images", type=int, default=100_000)
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - sections.keys():
        parser.error(f"sections must be of {', '.join(sections)}, got {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    passed = True
    for name in options.sections or ["speed", "memory", "index", "shuffle"]:
        with tempfile.TemporaryDirectory() as folder:
            passed = sections[name](Path(folder), options) and passed
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
