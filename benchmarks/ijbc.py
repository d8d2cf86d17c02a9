"""IJB-C at full size on made-up embeddings: seconds and memory of reading, pooling, scoring, TAR by both rules, and
1,000 bootstraps.

python benchmarks/ijbc.py [--scale 1.0] [--reference] [--bootstraps 1000]

Full size: 469,375 embeddings of 512 numbers, 23,124 templates (3,531 in galleries), 3,531 people, 15,658,489 pairs,
19,557 genuine. --reference also runs the plain way (a float64 loop over templates, a gather of both sides of every
pair, scikit-learn's roc_curve). Targets on 2 cores: reading 3 s; pooling + scores + TAR 6 s and 4 GB beyond the
embeddings; intervals 20 s more.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

NUM_IMAGES, NUM_TEMPLATES, NUM_PEOPLE, NUM_PAIRS, NUM_GENUINE, SIZE = 469_375, 23_124, 3_531, 15_658_489, 19_557, 512


class Sizes(NamedTuple):
    images: int
    templates: int
    people: int
    pairs: int
    genuine: int

    @classmethod
    def scaled(cls, scale: float) -> "Sizes":
        people = max(int(NUM_PEOPLE * scale), 20)
        templates = int(people * NUM_TEMPLATES / NUM_PEOPLE)
        return cls(
            templates * NUM_IMAGES // NUM_TEMPLATES,
            templates,
            people,
            int(NUM_PAIRS * scale**2),
            int(NUM_GENUINE * scale),
        )


class Madeup(NamedTuple):
    """A protocol of made-up people: gallery templates come first, one a person; the rest are probes."""

    template_ids: np.ndarray
    media_ids: np.ndarray
    detector_scores: np.ndarray
    pairs: np.ndarray
    is_same: np.ndarray
    person_of_template: np.ndarray


def make_protocol(sizes: Sizes, random: np.random.Generator) -> Madeup:
    person = np.concatenate([np.arange(sizes.people), random.integers(0, sizes.people, sizes.templates - sizes.people)])
    ids = np.sort(random.choice(np.arange(1, 2 * sizes.templates), sizes.templates, replace=False))
    ids = random.permutation(ids)  # galleries and probes lie mixed among the ids, as in the real lists
    template = np.sort(
        np.concatenate(
            [np.arange(sizes.templates), random.integers(0, sizes.templates, sizes.images - sizes.templates)]
        )
    )
    media = random.integers(0, 140_000, sizes.images)
    probes = np.arange(sizes.people, sizes.templates)
    genuine = np.stack([person[probes], probes], axis=1)[random.permutation(len(probes))[: sizes.genuine]]
    impostor = np.stack(
        [random.integers(0, sizes.people, sizes.pairs), random.integers(sizes.people, sizes.templates, sizes.pairs)],
        axis=1,
    )
    impostor = impostor[person[impostor[:, 0]] != person[impostor[:, 1]]][: sizes.pairs - len(genuine)]
    pairs = np.concatenate([genuine, impostor])
    order = random.permutation(len(pairs))
    is_same = (np.arange(len(pairs)) < len(genuine))[order]
    return Madeup(
        ids[template], media, random.random(sizes.images).astype(np.float32), ids[pairs[order]], is_same, person
    )


def make_embeddings(protocol: Madeup, random: np.random.Generator) -> np.ndarray:
    people = random.standard_normal((len(np.unique(protocol.person_of_template)), SIZE), dtype=np.float32)
    _, first, number = np.unique(protocol.template_ids, return_index=True, return_inverse=True)
    ids_in_order = protocol.template_ids[np.sort(first)]
    person_of_id = dict(zip(ids_in_order.tolist(), protocol.person_of_template.tolist(), strict=True))
    person = np.array([person_of_id[i] for i in np.unique(protocol.template_ids).tolist()])[number]
    # What all images of a template share (light, pose) is stronger than the person, in some templates more than in
    # others.
    shared = random.standard_normal((len(first), SIZE), dtype=np.float32) * random.uniform(
        0.5, 4, (len(first), 1)
    ).astype(np.float32)
    embeddings = random.standard_normal((len(person), SIZE), dtype=np.float32)
    for start in range(0, len(person), 8192):
        part = slice(start, start + 8192)
        embeddings[part] += people[person[part]] + shared[number[part]]
    return embeddings


def write_lists(root: Path, protocol: Madeup) -> None:
    (root / "meta").mkdir()
    names = [f"{number}.jpg" for number in range(1, len(protocol.template_ids) + 1)]
    rows = map("{} {} {}".format, names, protocol.template_ids.tolist(), protocol.media_ids.tolist())
    (root / "meta" / "ijbc_face_tid_mid.txt").write_text("\n".join(rows) + "\n")
    points = np.random.default_rng(0).random((len(names), 10)) * 100
    lines = (
        f"{n} {' '.join(map('{:.3f}'.format, p))} {s:.6f}\n"
        for n, p, s in zip(names, points, protocol.detector_scores, strict=True)
    )
    (root / "meta" / "ijbc_name_5pts_score.txt").write_text("".join(lines))
    with (root / "meta" / "ijbc_template_pair_label.txt").open("w") as stream:
        for start in range(0, len(protocol.pairs), 500_000):
            part = slice(start, start + 500_000)
            pairs, same = protocol.pairs[part], protocol.is_same[part].astype(int)
            stream.write(
                "\n".join(map("{} {} {}".format, pairs[:, 0].tolist(), pairs[:, 1].tolist(), same.tolist())) + "\n"
            )


class Cost(NamedTuple):
    """Wall seconds, processor seconds (which other programs hardly lengthen), and the peak of memory beyond the start
    in GB.
    """

    wall: float
    processor: float
    memory: float


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def measured(costs: dict[str, Cost], name: str) -> Iterator[None]:
    start, peak, stop = resident(), [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    wall, processor = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        cost = Cost(time.perf_counter() - wall, time.process_time() - processor, 0.0)
        stop.set()
        watcher.join()
        costs[name] = cost._replace(memory=max(peak[0] - start, 0) / 1e9)
        print(
            f"{name:28s} {costs[name].wall:7.2f} s wall {cost.processor:7.2f} s processor {costs[name].memory:6.2f} GB",
            flush=True,
        )


def run_ours(root: Path, embeddings: np.ndarray, num_bootstraps: int, costs: dict[str, Cost]) -> np.ndarray:
    from transface.data.benchmarks.templates import read_template_set
    from transface.evaluation.recognition.ijb_verification import prepare_pairs
    from transface.evaluation.recognition.template_pooling import pool_templates, score_pairs
    from transface.metrics.tar_at_far import IJB_FARS, operating_points
    from transface.metrics.tar_bootstrap import tar_standard_errors

    with measured(costs, "read three lists"):
        protocol = read_template_set(root)
    with measured(costs, "pool templates"):
        pooled = pool_templates(
            embeddings, protocol.template_ids, protocol.media_ids, detector_scores=protocol.detector_scores
        )
    with measured(costs, "score pairs"):
        scores = score_pairs(pooled, protocol.pair_templates)
    with measured(costs, "TAR by both rules"):
        same = protocol.pair_is_same
        genuine, impostor = scores[same], scores[~same]
        points = operating_points(genuine, impostor, IJB_FARS)
    with measured(costs, f"{num_bootstraps} bootstraps of people"):
        subjects = prepare_pairs(protocol).subjects
        errors = tar_standard_errors(
            genuine,
            impostor,
            IJB_FARS,
            genuine_subjects=subjects[same, 0],
            impostor_subjects=subjects[~same],
            num_bootstraps=num_bootstraps,
        )
    for nearest, strict, error in zip(points[0::2], points[1::2], errors, strict=True):
        print(
            f"  FAR {nearest.target:g}: nearest {100 * nearest.tar:.2f}  strict {100 * strict.tar:.2f}  +-"
            f" {100 * error:.2f} %"
        )
    return scores


def run_reference(protocol: Madeup, embeddings: np.ndarray, scores: np.ndarray, costs: dict[str, Cost]) -> None:
    from sklearn.metrics import roc_curve

    with measured(costs, "reference: pool"):
        faces = embeddings * protocol.detector_scores[:, None]
        ids = np.unique(protocol.template_ids)
        features = np.zeros((len(ids), SIZE))
        for row, members in enumerate(
            np.split(np.arange(len(faces)), np.flatnonzero(np.diff(protocol.template_ids)) + 1)
        ):
            media = protocol.media_ids[members]
            features[row] = sum(faces[members[media == m]].mean(axis=0) for m in np.unique(media))
        features = features[
            np.argsort(protocol.template_ids[np.r_[0, np.flatnonzero(np.diff(protocol.template_ids)) + 1]])
        ]
        features /= np.linalg.norm(features, axis=1, keepdims=True)
    with measured(costs, "reference: score"):
        row_of = np.zeros(ids[-1] + 1, int)
        row_of[ids] = np.arange(len(ids))
        plain = np.zeros(len(protocol.pairs))
        for start in range(0, len(plain), 100_000):
            first, second = row_of[protocol.pairs[start : start + 100_000]].T
            plain[start : start + 100_000] = np.sum(features[first] * features[second], axis=1)
    with measured(costs, "reference: ROC"):
        roc_curve(protocol.is_same, plain)
    print(f"  largest difference of a score: {np.abs(plain - scores).max():.1e}")


def main(arguments: list[str] | None = None, report: Callable[[str], Any] = print) -> dict[str, Cost]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of people")
    parser.add_argument("--bootstraps", type=int, default=1000)
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(options.threads)
    random = np.random.default_rng(0)
    sizes = Sizes.scaled(options.scale)
    report(f"{sizes}, {SIZE} numbers an embedding, {options.threads} threads")
    costs: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory() as folder:
        protocol = make_protocol(sizes, random)
        write_lists(Path(folder), protocol)
        embeddings = make_embeddings(protocol, random)
        scores = run_ours(Path(folder), embeddings, options.bootstraps, costs)
    core = [costs[name] for name in ("pool templates", "score pairs", "TAR by both rules")]
    report(
        f"pooling + scores + TAR: {sum(c.wall for c in core):.2f} s wall, {sum(c.processor for c in core):.2f} s"
        " processor"
    )
    if options.reference:
        run_reference(protocol, embeddings, scores, costs)
        plain = sum(cost.wall for name, cost in costs.items() if name.startswith("reference"))
        report(f"reference: {plain:.1f} s, {plain / sum(c.wall for c in core):.1f} times as long")
    return costs


if __name__ == "__main__":
    main()
