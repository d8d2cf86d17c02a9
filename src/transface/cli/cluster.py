"""`transface cluster`: the embeddings of faces, grouped into people."""

import csv
import io
from pathlib import Path

from omegaconf import DictConfig

from transface.cli.config.compose import run_verb
from transface.cli.config.errors import UserError
from transface.cli.config.model_options import (
    named_words,
    quoted,
    refuse_input_as_output,
    telling_replaced,
    words_and_keys,
)

NAMED = 10


def main(argv: list[str]) -> int:
    """Run `transface cluster faces.npz output=people.csv`."""
    words, keys = words_and_keys(argv)
    named_words(["embeddings"], words, keys)
    listed = ",".join(quoted(word) for word in words)
    files = [f"embeddings={listed if len(words) == 1 else f'[{listed}]'}"] if words else []
    run_verb("cluster", [*files, *keys], cluster)
    return 0


def cluster(cfg: DictConfig) -> None:
    """Write the clusters, print how many there are, which may be one person, and how good they are where people are
    known.
    """
    from transface.artifacts import write_whole
    from transface.evaluation.recognition.own_lists import labels_by_name
    from transface.inference.clusters import cluster_faces
    from transface.inference.folders.embeddings_file import join_embeddings, read_embeddings
    from transface.inference.search.rated_gallery import refuse_low_quality

    files = [cfg.embeddings] if isinstance(cfg.embeddings, str) else list(cfg.embeddings)
    if not files:
        raise UserError("cluster takes files of embeddings: transface cluster faces.npz")
    refuse_input_as_output(cfg.output, [*files, cfg.people])
    if Path(cfg.output).suffix.lower() != ".csv":
        raise UserError(f"output must end in .csv, got {cfg.output}")
    people = None if cfg.people is None else labels_by_name(Path(cfg.people), "name", "person")
    found = join_embeddings([read_embeddings(file) for file in files], files)
    if cfg.min_quality is not None:
        found, refused = refuse_low_quality(found, cfg.min_quality)
        print(f"{len(refused)} faces of a quality below {cfg.min_quality:g} are left out")
    names = [str(name) for name in found.names]
    if people is not None and (missing := [name for name in names if name not in people]):
        raise UserError(f"{cfg.people} does not say who is on {missing[0]} ({len(missing)} such faces)")
    clusters = cluster_faces(
        found.vectors, min_cluster_size=cfg.min_cluster_size, same_person=cfg.same_person, suggest_from=cfg.suggest_from
    )
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["name", "cluster", "probability"])
    rows.writerows(
        [name, label, f"{value:.4f}"]
        for name, label, value in zip(names, clusters.labels, clusters.probabilities, strict=True)
    )
    with telling_replaced(cfg.output):
        write_whole(cfg.output, text.getvalue())
    count = int(clusters.labels.max(initial=-1)) + 1
    print(f"{cfg.output}: {len(names)} faces in {count} clusters, {int((clusters.labels < 0).sum())} in none")
    for merge in clusters.merges[:NAMED]:
        print(f"clusters {merge.first} and {merge.second} may be one person (cosine {merge.cosine:.3f})")
    if people is not None:
        print_scores([people[name] for name in names], clusters.labels)


def print_scores(people: list[str], labels: object) -> None:
    """Print pairwise and BCubed scores against the people on the faces; a face in no cluster is a cluster of one."""
    import numpy as np

    from transface.metrics.clustering import bcubed_scores, pairwise_scores

    numbers = np.unique(people, return_inverse=True)[1]
    for kind, scores in (
        ("pairwise", pairwise_scores(numbers, np.asarray(labels))),
        ("BCubed", bcubed_scores(numbers, np.asarray(labels))),
    ):
        print(f"{kind}: precision {scores.precision:.4f}, recall {scores.recall:.4f}, F {scores.f:.4f}")
