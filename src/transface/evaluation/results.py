"""One result of one protocol: a JSON of numbers with intervals and provenance, an .npz of scores and thumbnails beside it.

Reports, tables and comparisons are made from these two files alone. `write_result` makes `<stem>.json` and `<stem>.npz`;
`read_result` gives a Result back, whose `scores_path` names the .npz (None where it is missing). docs/evaluation.md shows one.

Arrays in the .npz: `scores` (P,) similarity of each pair, higher is more alike (cosine), `is_same` (P,) bool, in protocol order;
optionally `subjects` (P, 2) unsigned, the two people of each pair; `correct` (P,) bool for ten-fold protocols, `folds` (P,);
`thumbnail_<k>` encoded JPEG/PNG bytes as uint8, named by HardPair.thumbnails.
"""

import dataclasses
import datetime
import hashlib
import json
import os
import platform
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SCHEMA = "transface.result/1"
REPORTED_PACKAGES = ("transface", "torch", "torchvision", "timm", "lightning", "torchmetrics", "numpy", "scikit-learn")


class Measure(NamedTuple):
    """One number of a result.

    Attributes:
        name: e.g. "accuracy", "auc", "eer", "threshold_cosine", "tar@far=1e-04/nearest", ".../strict", "rank-1", "tpir@fpir=0.01".
        value: rates are fractions in [0, 1], not per cent.
        low: lower end of the 95 % interval, or None where none is estimated.
        high: upper end, or None.
        std: population standard deviation over folds (or groups), or None.
        warning: why not to trust it (too few impostors), or "".
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    std: float | None = None
    warning: str = ""


@dataclass(frozen=True)
class RocCurve:
    """A ROC curve thinned to at most a few hundred points, FAR rising; a DET curve is (far, 1 - tar). The lists are of equal length.

    Attributes:
        far: false accept rates.
        tar: true accept rates.
        threshold: the score at and above which a pair is accepted.
        tar_low: lower end of the 95 % band of the TAR at that FAR; empty where no interval was estimated.
        tar_high: upper end of the band; empty likewise.
    """

    far: list[float]
    tar: list[float]
    threshold: list[float]
    tar_low: list[float] = field(default_factory=list)
    tar_high: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class ScoreHistogram:
    """Counts of genuine and impostor scores: `edges` has one value more than the two lists of counts."""

    edges: list[float]
    genuine: list[int]
    impostor: list[int]


@dataclass(frozen=True)
class HardPair:
    """A pair the model gets most wrong.

    Attributes:
        pair: its index in the protocol's order of pairs.
        score: its similarity.
        names: the two images (paths, or positions) or templates.
        thumbnails: the keys of their pictures in the .npz; empty where there are none.
    """

    pair: int
    score: float
    names: list[str]
    thumbnails: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Provenance:
    """What made a result.

    Attributes:
        label: the name of the run in tables.
        checkpoint: its path, as given.
        checkpoint_hash: SHA-256 of the file (or of the parameters), hexadecimal.
        config: the resolved config.
        versions: package versions, Python and platform.
        commit: git commit of the code, or "".
        device: e.g. "cpu", "cuda: NVIDIA H100".
        seconds: wall time of this protocol.
        created: UTC time, ISO 8601.
        seed: of the bootstrap.
    """

    label: str = ""
    checkpoint: str = ""
    checkpoint_hash: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    commit: str = ""
    device: str = ""
    seconds: float = 0.0
    created: str = ""
    seed: int = 0


@dataclass(frozen=True)
class Result:
    """All there is to report of one protocol on one set in one mode.

    Attributes:
        protocol: "pair_sets", "ijbc", "ijbb", "ijbc_identification", "tinyface", "rfw", "folder", "pairs_csv".
        name: the set, e.g. "lfw"; rows of a table.
        mode: how embeddings were made, e.g. "F1" (flip-sum), "N1D1F1" for IJB.
        measures: in the order to print them; the first is the headline.
        counts: "pairs", "genuine", "impostor", "folds", "images", "templates", "subjects": those that apply.
        warnings: sentences for the reader.
        roc: or None (identification).
        histogram: or None.
        hardest_genuine: genuine pairs of the lowest score, the worst first.
        hardest_impostor: impostor pairs of the highest score, the worst first.
        pairs_hash: SHA-256 of the pairs and labels: results with equal hashes can be compared pair by pair.
        provenance: what made it.
        arrays: the .npz beside the JSON, filled for writing, empty after reading (use `read_arrays`).
        scores_path: the .npz this was read from, or None.
    """

    protocol: str
    name: str
    mode: str
    measures: tuple[Measure, ...]
    counts: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    roc: RocCurve | None = None
    histogram: ScoreHistogram | None = None
    hardest_genuine: tuple[HardPair, ...] = ()
    hardest_impostor: tuple[HardPair, ...] = ()
    pairs_hash: str = ""
    provenance: Provenance = field(default_factory=Provenance)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)
    scores_path: Path | None = field(default=None, compare=False)

    def measure(self, name: str) -> Measure:
        """Return the measure of that name; raises KeyError naming those there are."""
        for candidate in self.measures:
            if candidate.name == name:
                return candidate
        raise KeyError(f"no measure {name!r}; there are {[m.name for m in self.measures]}")

    @property
    def stem(self) -> str:
        """File name without ending: protocol, set and mode."""
        words = [self.protocol, self.name, self.mode]
        return "_".join("".join(c if c.isalnum() or c in "-._" else "-" for c in word) for word in words if word)


def write_result(result: Result, folder: str | Path) -> Path:
    """Write `<folder>/<result.stem>.json` and, where there are arrays, `.npz`, each whole or not at all; return the JSON's path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"schema": SCHEMA, **_as_json(result)}, indent=1, allow_nan=False)
    if result.arrays:
        _write_atomically(folder / f"{result.stem}.npz", lambda stream: np.savez(stream, **result.arrays))  # type: ignore[arg-type]
    _write_atomically(folder / f"{result.stem}.json", lambda stream: stream.write(text.encode()))
    return folder / f"{result.stem}.json"


def read_result(path: str | Path) -> Result:
    """Return the Result written at a .json path.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a result of this schema.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no result file {path}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a result file: {error}") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f"{path} is not a result file of schema {SCHEMA!r}")
    try:
        return _from_json(content, path.with_suffix(".npz"))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a whole result file: {error}") from error


def read_results(paths: Iterable[str | Path]) -> list[Result]:
    """Return the results of .json files and of all result .json files in given folders (at any depth), sorted by path."""
    found: list[Result] = []
    for path in map(Path, paths):
        if path.is_dir():
            files = [file for file in sorted(path.rglob("*.json")) if SCHEMA in file.read_text(encoding="utf-8", errors="replace")[:200]]
            found += [read_result(file) for file in files]
        else:
            found.append(read_result(path))
    return found


def read_arrays(result: Result) -> dict[str, NDArray[Any]]:
    """Return the arrays of a result read from disk (`scores`, `is_same`, thumbnails, ...), or {} where it has none.

    Raises:
        ValueError: if the file is broken.
    """
    if result.arrays or result.scores_path is None:
        return result.arrays
    try:
        with np.load(result.scores_path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, AttributeError) as error:  # a plain .npy has no `files`
        raise ValueError(f"{result.scores_path} is broken ({error}): remove it, or evaluate again") from error


def hash_pairs(*arrays: NDArray[Any], names: Sequence[str] = ()) -> str:
    """Return the SHA-256 that tells whether two results are of the same pairs in the same order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    for name in names:
        digest.update(name.encode() + b"\0")
    return digest.hexdigest()


def package_versions() -> dict[str, str]:
    """Return the versions of Python, the platform and the packages that shape a number."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for package in REPORTED_PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def utc_now() -> str:
    """Return the time now, UTC, ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _as_json(result: Result) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for item in dataclasses.fields(result):
        if item.name in {"arrays", "scores_path"}:
            continue
        value = getattr(result, item.name)
        content[item.name] = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    content["measures"] = [measure._asdict() for measure in result.measures]
    content["hardest_genuine"] = [dataclasses.asdict(pair) for pair in result.hardest_genuine]
    content["hardest_impostor"] = [dataclasses.asdict(pair) for pair in result.hardest_impostor]
    return content


def _from_json(content: Mapping[str, Any], arrays_path: Path) -> Result:
    fields = {key: value for key, value in content.items() if key != "schema"}
    return Result(
        **{
            **fields,
            "measures": tuple(Measure(**measure) for measure in fields["measures"]),
            "warnings": tuple(fields["warnings"]),
            "roc": RocCurve(**fields["roc"]) if fields["roc"] else None,
            "histogram": ScoreHistogram(**fields["histogram"]) if fields["histogram"] else None,
            "hardest_genuine": tuple(HardPair(**pair) for pair in fields["hardest_genuine"]),
            "hardest_impostor": tuple(HardPair(**pair) for pair in fields["hardest_impostor"]),
            "provenance": Provenance(**fields["provenance"]),
            "scores_path": arrays_path if arrays_path.is_file() else None,
        }
    )


def _write_atomically(path: Path, write: Any) -> None:
    stream: IO[bytes]
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
        try:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        except BaseException:
            os.unlink(stream.name)
            raise
    os.chmod(stream.name, 0o644)
    os.replace(stream.name, path)


def hash_file(path: str | Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
