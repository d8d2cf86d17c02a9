"""The protocols `ijbb` and `ijbc`: 1:1 verification of templates in up to eight modes out of one embedding pass."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from transface.data.benchmarks.templates import TemplateSet, read_template_set
from transface.evaluation.embedding.embedder import Embedder, FaceEmbeddings
from transface.evaluation.protocol import check_settings
from transface.evaluation.recognition.pair_results import (
    IntervalSettings,
    PairImages,
    PairScores,
    pair_result,
    require_both_classes,
)
from transface.evaluation.recognition.template_pooling import IjbMode, parse_modes, pool_templates, rows_of, score_pairs
from transface.evaluation.results import Result, hash_samples
from transface.images.aligned_sources import AlignedFaces
from transface.images.alignment_check import check_listed_points
from transface.images.sources import header_sizes
from transface.metrics.tar_at_far import IJB_FARS

FACES_CHECKED = 1024  # before any is embedded


class IjbVerification:
    """IJB-B or IJB-C 1:1: reads the meta files and loose_crop, aligns, embeds, pools, scores.

    Args:
        root: folder that holds meta/ and loose_crop/.
        name: "ijbc" or "ijbb", as in the names of the meta files.
        modes: e.g. ["N1D1F1", "N0D1F1"], or "all" for the eight.
        fars: false accept rates.
        num_bootstraps: replicates of the intervals, over people (the connected components of the genuine pairs); 0: no
            intervals.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        name: str = "ijbc",
        modes: Sequence[str] | str = ("N1D1F1",),
        fars: Sequence[float] = IJB_FARS,
        num_bootstraps: int = 1000,
        seed: int = 0,
    ) -> None:
        check_settings(fars=fars, num_bootstraps=num_bootstraps)
        self.root, self.name, self.fars, self.num_bootstraps, self.seed = (
            Path(root),
            name,
            tuple(fars),
            num_bootstraps,
            seed,
        )
        self.modes = parse_modes(modes)
        self.names = [name]
        self._protocol: TemplateSet | None = None

    def prepare(self) -> None:
        """Read the meta files and look for the images."""
        self._read()

    def _read(self) -> TemplateSet:
        if self._protocol is None:
            protocol = read_template_set(self.root, self.name)
            require_both_classes(protocol.pair_is_same, f"the pairs of {self.name} in {self.root}")
            protocol.require_images()
            self._protocol = protocol
        return self._protocol

    def evaluate(self, embedder: Embedder, *, detailed: bool = True) -> list[Result]:
        """Return one Result a mode.

        Raises:
            FileNotFoundError: if a list or an image is missing.
            ValueError: if a list is malformed or names what is not there, or an image cannot be read or aligned.
        """
        protocol = self._read()
        source = faces_of(protocol)
        embeddings = embedder.embed(source)
        settings = IntervalSettings(self.fars, self.num_bootstraps, self.seed, detailed)
        prepared = prepare_pairs(protocol)
        results = []
        for mode in self.modes:
            scores = score_pairs(pool_mode(embeddings, protocol, mode), protocol.pair_templates)
            pairs = PairScores(scores, protocol.pair_is_same, prepared.subjects)
            results.append(
                pair_result(
                    pairs,
                    settings,
                    protocol=self.name,
                    name=self.name,
                    mode=str(mode),
                    images=PairImages(prepared.first_images, protocol.images, source),
                    counts={
                        "images": len(protocol.images),
                        "templates": prepared.num_templates,
                        "subjects": prepared.num_subjects,
                    },
                    samples_hash=hash_samples(protocol.pair_templates, protocol.pair_is_same) if detailed else "",
                )
            )
        return results


def faces_of(protocol: TemplateSet) -> AlignedFaces:
    """Return the images of a template protocol as faces to embed."""
    paths = [protocol.image_folder / image for image in protocol.images]
    some = slice(None, None, max(1, len(paths) // FACES_CHECKED))
    check_listed_points(
        torch.from_numpy(protocol.landmarks[some]),
        protocol.images[some],
        source=protocol.name,
        sizes=torch.from_numpy(header_sizes(paths[some])),
    )
    return AlignedFaces(protocol.name, paths, protocol.landmarks)


def pool_mode(embeddings: FaceEmbeddings, protocol: TemplateSet, mode: IjbMode) -> Any:
    """Return the templates of a protocol pooled in one mode."""
    return pool_templates(
        embeddings.original,
        protocol.template_ids,
        protocol.media_ids,
        flipped=embeddings.mirrored,
        detector_scores=protocol.detector_scores,
        mode=mode,
    )


class PreparedPairs(NamedTuple):
    """What the pairs of a protocol need in every mode: the people (P, 2) and an image (P, 2) of each side."""

    subjects: NDArray[np.int32]
    first_images: NDArray[np.int64]
    num_templates: int
    num_subjects: int


def prepare_pairs(protocol: TemplateSet) -> PreparedPairs:
    """Return the people of each pair, as far as the genuine pairs tell them, and the first image of each template."""
    ids, first_image = np.unique(protocol.template_ids, return_index=True)
    rows = np.stack([rows_of(protocol.pair_templates[:, side], ids) for side in (0, 1)], axis=1)
    people = connected_people(rows[protocol.pair_is_same], len(ids))
    lookup: Any = _Lookup(first_image, rows)
    return PreparedPairs(people[rows], lookup, len(ids), int(people.max()) + 1)


def connected_people(genuine_rows: NDArray[Any], num_templates: int) -> NDArray[np.int32]:
    """Return (T,) the number of the person of each template: templates that genuine pairs connect are one person.

    The meta files of IJB name no subjects. A template in no genuine pair is a person of its own.
    """
    ones = np.ones(len(genuine_rows), bool)
    graph = sparse.coo_matrix((ones, (genuine_rows[:, 0], genuine_rows[:, 1])), shape=(num_templates, num_templates))
    _, people = csgraph.connected_components(graph, directed=False)
    return people.astype(np.int32)


class _Lookup:
    """values[rows[pair]] for single pairs: spares a gather over millions of them."""

    def __init__(self, values: NDArray[np.int64], rows: NDArray[np.int32]) -> None:
        self.values, self.rows = values, rows

    def __getitem__(self, pair: int) -> NDArray[np.int64]:
        return self.values[self.rows[pair]]
