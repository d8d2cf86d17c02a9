"""The protocols `folder` and `pairs_csv`: the same numbers on a user's own images."""

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.data.loaders import ImageError
from transface.evaluation.aligned_faces import AlignedFaces, ResizedFaces
from transface.evaluation.all_pairs import OwnBenchmark, evaluate_all_pairs, require_both_kinds
from transface.evaluation.embed import Embedder, FaceEmbeddings
from transface.evaluation.face_sources import FaceFiles, FaceSource, list_images
from transface.evaluation.ijbc import pool_templates
from transface.evaluation.pair_results import IntervalSettings, PairImages, PairScores, pair_result, require_both_classes
from transface.evaluation.pair_sets import accuracy_measures
from transface.evaluation.results import Result, hash_pairs
from transface.metrics.verification import fold_of_each_pair, pair_distances, verify_distances

OWN_FARS = (1e-4, 1e-3, 1e-2)
POINT_COLUMNS = tuple(f"{axis}{number}" for number in range(1, 6) for axis in "xy")
Fit = Literal["refuse", "resize"]


class PeopleFolder:
    """The protocol `folder`: one folder of images a person; every image is compared with every other.

    Args:
        root: holds the people's folders.
        name: of the benchmark; None: the folder's name.
        fit: what to do with an image of another size than the backbone takes: "refuse" it or "resize" it.
        flip: add the mirrored image's embedding.
        fars: false accept rates.
        max_impostors: impostor pairs scored at most; they are drawn if there are more.
        num_bootstraps: replicates of the intervals, over people; 0: none.
        seed: of draws and bootstrap.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        name: str | None = None,
        fit: Fit = "refuse",
        flip: bool = True,
        fars: Sequence[float] = OWN_FARS,
        max_impostors: int = 10_000_000,
        num_bootstraps: int = 1000,
        seed: int = 0,
    ) -> None:
        self.root, self.fit, self.flip, self.fars = Path(root), _checked_fit(fit), flip, tuple(fars)
        self.max_impostors, self.num_bootstraps, self.seed = max_impostors, num_bootstraps, seed
        self.names = [name or self.root.name]

    def evaluate(self, embedder: Embedder, *, detailed: bool = True) -> list[Result]:
        """Return one Result.

        Raises:
            FileNotFoundError: if the folder is missing or holds no images.
            ValueError: if there are no genuine or no impostor pairs, or an image is not fit.
        """
        paths = list_images(self.root)
        loose = [path for path in paths if path.parent == self.root]
        if loose:
            raise ValueError(f"{loose[0]} belongs to nobody: {self.root} should hold a folder for each person, images inside")
        names = [str(path.relative_to(self.root)) for path in paths]
        people = np.array([path.relative_to(self.root).parts[0] for path in paths])
        require_both_kinds(people)
        started = time.perf_counter()
        source = _source(self.names[0], paths, fit=self.fit)
        unit = _embedded(embedder, source).unit(flip=self.flip)
        return [
            evaluate_all_pairs(
                OwnBenchmark(unit, people, np.arange(len(paths)), names, source),
                IntervalSettings(self.fars, self.num_bootstraps, self.seed, detailed),
                protocol="folder",
                name=self.names[0],
                mode="F1" if self.flip else "F0",
                embedder=embedder,
                started=started,
                max_impostors=self.max_impostors,
            )
        ]


class PairsCsv:
    """The protocol `pairs_csv`: a CSV with a header, of pairs or of templates. Paths are relative to `root`.

    Columns of pairs: image1, image2, is_same (0 or 1); optionally subject1, subject2 (intervals are then over people). Ten folds in file
    order. Columns of templates: image, subject; optionally template (images of one are pooled; else each image is one), x1, y1 .. x5, y5
    (five points: the face is aligned). Every template is compared with every other.

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
        flip: bool = True,
        fars: Sequence[float] = OWN_FARS,
        max_impostors: int = 10_000_000,
        num_bootstraps: int = 1000,
        seed: int = 0,
    ) -> None:
        self.file = Path(file)
        self.root = self.file.parent if root is None else Path(root)
        self.fit, self.flip, self.fars = _checked_fit(fit), flip, tuple(fars)
        self.max_impostors, self.num_bootstraps, self.seed = max_impostors, num_bootstraps, seed
        self.names = [self.file.stem]

    def evaluate(self, embedder: Embedder, *, detailed: bool = True) -> list[Result]:
        """Return one Result.

        Raises:
            FileNotFoundError: if the CSV or an image is missing.
            ValueError: if columns or values are not as said, or all pairs are of one class.
        """
        table = read_table(self.file)
        settings = IntervalSettings(self.fars, self.num_bootstraps, self.seed, detailed)
        if {"image1", "image2", "is_same"} <= table.columns:
            return [self._pairs(table, embedder, settings)]
        if {"image", "subject"} <= table.columns:
            return [self._templates(table, embedder, settings)]
        raise ValueError(
            f"{self.file} must have the columns image1, image2, is_same, or image, subject (template); it has {', '.join(sorted(table.columns))}"
        )

    def _pairs(self, table: "Table", embedder: Embedder, settings: IntervalSettings) -> Result:
        started = time.perf_counter()
        is_same = np.array([_flag(value, self.file, row) for row, value in enumerate(table.column("is_same"), start=2)])
        require_both_classes(is_same, f"the pairs of {self.file}")
        sides = np.array([table.column("image1"), table.column("image2")]).T
        names, indices = np.unique(sides, return_inverse=True)
        indices = indices.reshape(-1, 2)
        source = _source(self.names[0], [self.root / name for name in names], fit=self.fit)
        unit = _embedded(embedder, source).unit(flip=self.flip)
        distances = pair_distances(unit[indices.ravel()])
        try:
            verified = verify_distances(distances, is_same)
        except ValueError as error:
            raise ValueError(f"{self.file}: {error}") from error
        subjects = None
        if {"subject1", "subject2"} <= table.columns:
            people = np.array([table.column("subject1"), table.column("subject2")]).T
            subjects = np.unique(people, return_inverse=True)[1].reshape(-1, 2).astype(np.int32)
            _require_agreement(subjects, is_same, self.file)
        return pair_result(
            PairScores(1 - distances / 2, is_same, subjects),
            settings,
            protocol="pairs_csv",
            name=self.names[0],
            mode=self._mode,
            embedder=embedder,
            started=started,
            images=PairImages(indices, names.tolist(), source),
            measures=accuracy_measures(
                verified, num_bootstraps=settings.num_bootstraps if settings.detailed else 0, seed=self.seed, subjects=subjects
            ),
            counts={"folds": len(verified.fold_accuracies), "images": len(names)},
            pairs_hash=hash_pairs(indices, is_same, names=names.tolist()) if settings.detailed else "",
            arrays={"correct": verified.correct, "folds": fold_of_each_pair(len(is_same))},
        )

    def _templates(self, table: "Table", embedder: Embedder, settings: IntervalSettings) -> Result:
        started = time.perf_counter()
        images, subjects = table.column("image"), np.array(table.column("subject"))
        labels = np.array(table.column("template") if "template" in table.columns else images)
        _, first, numbers = np.unique(labels, return_index=True, return_inverse=True)
        mixed = subjects != subjects[first][numbers]
        if mixed.any():
            raise ValueError(f"{self.file}: template {labels[mixed][0]} has images of two subjects, {subjects[mixed][0]} and another")
        require_both_kinds(subjects[first])
        landmarks = None
        if set(POINT_COLUMNS) <= table.columns:
            landmarks = _numbers(table, POINT_COLUMNS, self.file).reshape(-1, 5, 2)
        source = _source(self.names[0], [self.root / image for image in images], fit=self.fit, landmarks=landmarks)
        found = _embedded(embedder, source)
        pooled = pool_templates(found.original, numbers, np.arange(len(images)), flipped=found.mirrored if self.flip else None)
        return evaluate_all_pairs(
            OwnBenchmark(pooled.features, subjects[first], first, images, source),
            settings,
            protocol="pairs_csv",
            name=self.names[0],
            mode=self._mode,
            embedder=embedder,
            started=started,
            max_impostors=self.max_impostors,
        )

    @property
    def _mode(self) -> str:
        return "F1" if self.flip else "F0"


class Table(NamedTuple):
    """A CSV file: `columns`, and its rows by column name."""

    columns: set[str]
    rows: list[dict[str, str]]

    def column(self, name: str) -> list[str]:
        return [row[name] for row in self.rows]


def read_table(path: Path) -> Table:
    """Return a CSV file with a header.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has no rows or a row lacks values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        rows = [{(key or "").strip(): value for key, value in row.items()} for row in reader]
    for number, row in enumerate(rows, start=2):
        if None in row.values() or "" in row:
            raise ValueError(f"{path}, line {number}: as many values as the header has columns are wanted")
    if not rows:
        raise ValueError(f"{path} has no rows below its header")
    return Table(set(rows[0]), rows)


def _source(name: str, paths: Sequence[Path], *, fit: Fit, landmarks: NDArray[np.float32] | None = None) -> FaceSource:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"{len(missing)} of {len(paths)} images are missing, the first is {missing[0]}")
    if landmarks is not None:
        return AlignedFaces(name, paths, landmarks)
    return ResizedFaces(name, paths) if fit == "resize" else FaceFiles(name, paths)


def _embedded(embedder: Embedder, source: FaceSource) -> FaceEmbeddings:
    """The embeddings of a source; an image that does not fit is refused with what to do about it."""
    try:
        return embedder.embed(source)
    except ImageError as error:
        hint = "; protocol.fit=resize takes aligned crops of any size" if " must be " in str(error) else ""
        raise ValueError(f"{error}{hint}") from error


def _checked_fit(fit: Fit) -> Fit:
    if fit not in ("refuse", "resize"):
        raise ValueError(f'fit must be "refuse" or "resize", got {fit!r}')
    return fit


def _flag(value: str, path: Path, row: int) -> bool:
    words = {"1": True, "0": False, "true": True, "false": False}
    if value.strip().lower() not in words:
        raise ValueError(f"{path}, line {row}: is_same must be 0 or 1, got {value!r}")
    return words[value.strip().lower()]


def _numbers(table: Table, columns: Sequence[str], path: Path) -> NDArray[np.float32]:
    try:
        return np.array([[float(row[column]) for column in columns] for row in table.rows], np.float32)
    except ValueError as error:
        raise ValueError(f"{path}: points must be numbers: {error}") from error


def _require_agreement(subjects: NDArray[np.int32], is_same: NDArray[np.bool_], path: Path) -> None:
    differs = (subjects[:, 0] == subjects[:, 1]) != is_same
    if differs.any():
        raise ValueError(f"{path}, line {int(np.argmax(differs)) + 2}: is_same and the two subjects contradict each other")
