"""The protocols `folder` and `pairs_csv`: the same numbers on a user's own images."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from transface.evaluation.embedding.embedder import Embedder
from transface.evaluation.protocol import check_settings
from transface.evaluation.recognition.all_pairs import (
    NUM_FOLDS,
    OwnBenchmark,
    PairList,
    evaluate_all_pairs,
    one_picture_notes,
    too_few_pairs,
)
from transface.evaluation.recognition.own_lists import (
    Finding,
    ListedImages,
    ListedPairs,
    ListedTemplates,
    list_csv,
    list_people,
)
from transface.evaluation.recognition.pair_results import (
    NUM_HARDEST,
    IntervalSettings,
    PairImages,
    PairScores,
    pair_result,
)
from transface.evaluation.recognition.pair_sets import accuracy_measures, check_fitted, embed_fitted
from transface.evaluation.recognition.template_pooling import pool_templates
from transface.evaluation.results import Result, hash_samples
from transface.images.detection import Policy
from transface.images.detectors.locating import Missing
from transface.images.fit import Fit, check_fit
from transface.metrics.verification import fold_of_each_pair, pair_distances, verify_distances

OWN_FARS = (1e-4, 1e-3, 1e-2)


class PeopleFolder:
    """The protocol `folder`: one folder of images a person; every image is compared with every other.

    Args:
        root: holds the people's folders.
        name: of the benchmark; None: the folder's name.
        fit: what to do with an image of another size than the backbone takes; see `images.fit`.
        detector: finds the face in each photograph: "mtcnn", "yunet:FILE.onnx", "scrfd:FILE.onnx"; None: they are
            aligned faces.
        faces: which of a photograph's faces is taken: "largest", "central", "score" or "only".
        missing: "refuse" photographs without a face, or take their "center".
        flip: add the mirrored image's embedding.
        fars: false accept rates.
        images_per_person: at most, drawn; None: all.
        max_impostors: impostor pairs scored at most; they are drawn if there are more.
        num_hardest: pairs of each kind that are listed.
        num_bootstraps: replicates of the intervals, over people; 0: none.
        seed: of draws and bootstrap.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        name: str | None = None,
        fit: Fit = "refuse",
        detector: str | None = None,
        faces: Policy = "largest",
        missing: Missing = "refuse",
        flip: bool = True,
        fars: Sequence[float] = OWN_FARS,
        images_per_person: int | None = None,
        max_impostors: int = 10_000_000,
        num_hardest: int = NUM_HARDEST,
        num_bootstraps: int = 1000,
        seed: int = 0,
    ) -> None:
        self.finding = Finding(detector, faces, missing)
        check_settings(fars=fars, num_bootstraps=num_bootstraps, max_impostors=max_impostors)
        if (images_per_person is not None and images_per_person < 1) or num_hardest < 1:
            raise ValueError(
                f"images_per_person and num_hardest must be at least 1, got {images_per_person} and {num_hardest}"
            )
        self.images_per_person, self.num_hardest = images_per_person, num_hardest
        self.root, self.fit, self.flip, self.fars = Path(root), check_fit(fit), flip, tuple(fars)
        self.max_impostors, self.num_bootstraps, self.seed = max_impostors, num_bootstraps, seed
        self.names = [name or self.root.resolve().name]  # of "." too

    def prepare(self) -> None:
        """List the people's images."""
        self._list()

    def check_images(self, size: tuple[int, int]) -> None:
        """Hold the images' headers against the size (H, W) that a network takes; raises ValueError naming the first
        misfit.
        """
        check_fitted(self._list().source, size)

    def _list(self) -> ListedImages:
        return list_people(
            self.root,
            name=self.names[0],
            fit=self.fit,
            finding=self.finding,
            images_per_person=self.images_per_person,
            seed=self.seed,
        )

    def evaluate(self, embedder: Embedder, *, detailed: bool = True) -> list[Result]:
        """Return one Result.

        Raises:
            FileNotFoundError: if the folder is missing or holds no images.
            ValueError: if there are no genuine or no impostor pairs, or an image is not fit.
        """
        names, people, source = self._list()
        unit = embed_fitted(embedder, source).unit(flip=self.flip)
        return [
            evaluate_all_pairs(
                OwnBenchmark(unit, people, np.arange(len(names)), names, source),
                IntervalSettings(self.fars, self.num_bootstraps, self.seed, detailed),
                protocol="folder",
                name=self.names[0],
                mode="F1" if self.flip else "F0",
                max_impostors=self.max_impostors,
                num_hardest=self.num_hardest,
            )
        ]


class PairsCsv:
    """The protocol `pairs_csv`: a CSV with a header, of pairs or of templates; or a pairs.txt as LFW and MFR2 have it.
    Paths are relative to `root`.

    Columns of pairs: image1, image2, is_same (0 or 1); optionally subject1, subject2 (intervals are then over people).
    Ten folds in file order. Columns of templates: image, subject; optionally template (images of one are pooled; else
    each image is one), x1, y1 .. x5, y5 (five points: the face is aligned). Every template is compared with every
    other.

    Args:
        file: the CSV.
        root: folder of the images; None: the CSV's.
        fit, flip, fars, max_impostors, num_bootstraps, seed: as of PeopleFolder.
    """

    def __init__(
        self,
        file: str | Path,
        *,
        root: str | Path | None = None,
        fit: Fit = "refuse",
        detector: str | None = None,
        faces: Policy = "largest",
        missing: Missing = "refuse",
        flip: bool = True,
        fars: Sequence[float] = OWN_FARS,
        max_impostors: int = 10_000_000,
        num_bootstraps: int = 1000,
        seed: int = 0,
    ) -> None:
        self.finding = Finding(detector, faces, missing)
        check_settings(fars=fars, num_bootstraps=num_bootstraps, max_impostors=max_impostors)
        self.file = Path(file)
        self.root = self.file.parent if root is None else Path(root)
        self.fit, self.flip, self.fars = check_fit(fit), flip, tuple(fars)
        self.max_impostors, self.num_bootstraps, self.seed = max_impostors, num_bootstraps, seed
        self.names = [self.file.stem]

    def prepare(self) -> None:
        """Read the CSV and look for its images."""
        self._read()

    def check_images(self, size: tuple[int, int]) -> None:
        """Hold the images' headers against the size (H, W) that a network takes; raises ValueError naming the first
        misfit.
        """
        check_fitted(self._read().source, size)

    def _read(self) -> ListedPairs | ListedTemplates:
        return list_csv(self.file, root=self.root, name=self.names[0], fit=self.fit, finding=self.finding)

    def evaluate(self, embedder: Embedder, *, detailed: bool = True) -> list[Result]:
        """Return one Result.

        Raises:
            FileNotFoundError: if the CSV or an image is missing.
            ValueError: if columns or values are not as said, or all pairs are of one class.
        """
        listed = self._read()
        settings = IntervalSettings(self.fars, self.num_bootstraps, self.seed, detailed)
        if isinstance(listed, ListedPairs):
            return [self._evaluate_pairs(listed, embedder, settings)]
        return [self._evaluate_templates(listed, embedder, settings)]

    def _evaluate_pairs(self, listed: ListedPairs, embedder: Embedder, settings: IntervalSettings) -> Result:
        unit = embed_fitted(embedder, listed.source).unit(flip=self.flip)
        distances = pair_distances(unit[listed.indices.ravel()])
        verified = None
        if len(listed.is_same) >= NUM_FOLDS:
            try:
                verified = verify_distances(distances, listed.is_same, num_folds=NUM_FOLDS)
            except ValueError as error:
                raise ValueError(f"{self.file}: {error}") from error
        num_bootstraps = settings.num_bootstraps if settings.detailed else 0
        scores = 1 - distances / 2
        result = pair_result(
            PairScores(scores, listed.is_same, listed.subjects),
            settings,
            protocol="pairs_csv",
            name=self.names[0],
            mode=self._mode,
            images=PairImages(listed.indices, listed.names, listed.source),
            measures=()
            if verified is None
            else accuracy_measures(verified, num_bootstraps=num_bootstraps, seed=self.seed, subjects=listed.subjects),
            counts={"folds": 0 if verified is None else NUM_FOLDS, "images": len(listed.names)},
            samples_hash=hash_samples(listed.indices, listed.is_same, names=listed.names) if settings.detailed else "",
            arrays={}
            if verified is None
            else {"correct": verified.correct, "folds": fold_of_each_pair(len(listed.is_same), NUM_FOLDS)},
        )
        few = (too_few_pairs(len(listed.is_same), NUM_FOLDS),) if verified is None else ()
        notes = one_picture_notes(scores, PairList(listed.indices, listed.is_same), listed.names)
        return dataclasses.replace(result, warnings=(*few, *notes, *result.warnings))

    def _evaluate_templates(self, listed: ListedTemplates, embedder: Embedder, settings: IntervalSettings) -> Result:
        found = embed_fitted(embedder, listed.source)
        media = np.arange(len(listed.names))
        pooled = pool_templates(found.original, listed.numbers, media, flipped=found.mirrored if self.flip else None)
        return evaluate_all_pairs(
            OwnBenchmark(pooled.features, listed.people, listed.first, listed.names, listed.source),
            settings,
            protocol="pairs_csv",
            name=self.names[0],
            mode=self._mode,
            max_impostors=self.max_impostors,
        )

    @property
    def _mode(self) -> str:
        return "F1" if self.flip else "F0"
