"""One result of one protocol: a JSON of numbers with intervals and provenance, an .npz of scores and thumbnails beside
it.

Reports, tables and comparisons are made from these two files alone. `write_result` makes `<stem>.json` and
`<stem>.npz`; `read_result` gives a Result back, whose `scores_path` names the .npz (None where it is missing).
docs/evaluation.md shows one.

Arrays in the .npz: `scores` (P,) similarity of each pair, higher is more alike (cosine), `is_same` (P,) bool, in
protocol order; optionally `subjects` (P, 2) unsigned, the two people of each pair; `correct` (P,) bool for ten-fold
protocols, `folds` (P,); `thumbnail_<k>` encoded JPEG/PNG bytes as uint8, named by HardPair.thumbnails.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from transface.artifacts import write_whole, writing_file
from transface.file_kinds import kind_or, open_npz

SCHEMA = "transface.result/2"
FIRST_SCHEMA = "transface.result/1"  # its measures had no unit and no direction, its results no kind
Unit = str  # "rate", "ratio", "count", "" (a plain number), or a word: "years", "pixels", "degrees", "kg"
Better = Literal["higher", "lower"]
Kind = Literal["pairs", "search", "classes", "values", "points", "regions"]


class Measure(NamedTuple):
    """One number of a result.

    Attributes:
        name: e.g. "accuracy", "mae", "eer", "threshold_cosine", "tar@far=1e-04/nearest", ".../strict", "rank-1",
            "tpir@fpir=0.01".
        value: in `unit`; rates are fractions in [0, 1], not per cent.
        low: lower end of the 95 % interval, or None where none is estimated.
        high: upper end, or None.
        std: population standard deviation over folds (or groups), or None.
        warning: why not to trust it (too few impostors), or "".
        unit: "rate" (printed in per cent), "ratio" (a plain number with four decimals), "count" (without decimals),
            "", or the word that is printed behind it: "years", "pixels", "degrees".
        better: whether the higher or the lower value is the better one; None: neither (a threshold).
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    std: float | None = None
    warning: str = ""
    unit: Unit = "rate"
    better: Better | None = "higher"


def format_number(value: float, unit: Unit) -> str:
    """Return a value as it is printed everywhere: rates in per cent with two decimals, ratios with four, counts with
    none, the rest with two or three.
    """
    if unit == "count":
        return f"{value:,.0f}"
    decimals = {"ratio": 4, "": 3}.get(unit, 2)
    return f"{100 * value if unit == 'rate' else value:.{decimals}f}"


def format_measure(measure: Measure, *, with_unit: bool = False) -> str:
    """Return a measure as it is printed everywhere: value, +- its spread, its 95 % interval in brackets, and its unit
    if asked for.
    """
    text = format_number(measure.value, measure.unit)
    if measure.std is not None:
        text += f" +- {format_number(measure.std, measure.unit)}"
    if measure.low is not None and measure.high is not None:
        text += f" [{format_number(measure.low, measure.unit)}, {format_number(measure.high, measure.unit)}]"
    return text + (f" {unit_word(measure.unit)}" if with_unit and unit_word(measure.unit) else "")


def unit_word(unit: Unit) -> str:
    """Return what stands behind a value: "%", "years", "degrees", or nothing."""
    return {"rate": "%", "ratio": "", "count": ""}.get(unit, unit)


@dataclass(frozen=True)
class Curve:
    """A curve thinned to at most a few hundred points; `low` and `high` are its 95 % band, empty where none was
    estimated.

    Attributes:
        x, y: values of equal length.
        x_title, y_title: what the axes are, units included.
        low, high: the band of y.
    """

    x: list[float]
    y: list[float]
    x_title: str = ""
    y_title: str = ""
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class ResultTable:
    """A table of a result, e.g. a confusion matrix or one row an attribute: measures by row name and column name."""

    columns: list[str]
    rows: dict[str, list[Measure | None]]


@dataclass(frozen=True)
class HardSample:
    """A sample the model gets most wrong: its index, its name, what was answered and what is true, and its pictures'
    keys in the .npz.
    """

    sample: int
    name: str
    answered: str
    truth: str
    thumbnails: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RocCurve:
    """A ROC curve thinned to at most a few hundred points, FAR rising; a DET curve is (far, 1 - tar). The lists are of
    equal length.

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
        model_fingerprint: of the weights as they were used, whatever file held them; "" in results of earlier versions.
        settings: of the protocol and the runner, as far as they are plain values: what decides on the numbers.
        config: the resolved config.
        versions: package versions, Python and platform.
        commit: git commit of the code, or "".
        device: e.g. "cpu", "cuda: NVIDIA H100".
        seconds: wall time of the protocol, over all its sets and modes.
        created: UTC time, ISO 8601.
        seed: of the bootstrap.
    """

    label: str = ""
    checkpoint: str = ""
    checkpoint_hash: str = ""
    model_fingerprint: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
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
        protocol: "pair_sets", "ijbc", "ijbb", "ijbc_identification", "tinyface", "rfw", "folder", "pairs_csv",
            "attributes", ...
        name: the set, e.g. "lfw"; rows of a table.
        mode: how answers were made, e.g. "F1" (flip-sum), "N1D1F1" for IJB.
        measures: in the order to print them; the first is the headline.
        kind: what was measured: "pairs", "search", "classes", "values", "points", "regions".
        role: "baseline" where others are compared with it (raw pixels, the majority class), or "".
        counts: "pairs", "genuine", "impostor", "folds", "images", "templates", "subjects": those that apply.
        warnings: sentences for the reader.
        roc: or None (identification).
        histogram: or None.
        hardest_genuine: genuine pairs of the lowest score, the worst first.
        hardest_impostor: impostor pairs of the highest score, the worst first.
        curves: by title.
        tables: by title, e.g. one row an attribute.
        hardest: by title, the samples the model gets most wrong, the worst first.
        samples_hash: SHA-256 of the samples (pairs, images) and labels: results with equal hashes can be compared
            sample by sample.
        provenance: what made it.
        arrays: the .npz beside the JSON, filled for writing, empty after reading (use `read_arrays`). For paired tests
            "correct" (N,) or (N, A) bool, or "error" (N,); "subjects" (N,) where people are known.
        scores_path: the .npz this was read from, or None.
        path: the .json this was read from, or None.
    """

    protocol: str
    name: str
    mode: str
    measures: tuple[Measure, ...]
    kind: Kind = "pairs"
    role: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    roc: RocCurve | None = None
    histogram: ScoreHistogram | None = None
    hardest_genuine: tuple[HardPair, ...] = ()
    hardest_impostor: tuple[HardPair, ...] = ()
    curves: dict[str, Curve] = field(default_factory=dict)
    tables: dict[str, ResultTable] = field(default_factory=dict)
    hardest: dict[str, tuple[HardSample, ...]] = field(default_factory=dict)
    samples_hash: str = ""
    provenance: Provenance = field(default_factory=Provenance)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False, compare=False)
    scores_path: Path | None = field(default=None, compare=False)
    path: Path | None = field(default=None, compare=False)

    def measure(self, name: str) -> Measure:
        """Return the measure of that name; raises KeyError naming those there are."""
        for candidate in self.measures:
            if candidate.name == name:
                return candidate
        raise KeyError(f"no measure {name!r}; there are {[m.name for m in self.measures]}")

    @property
    def stem(self) -> str:
        """File name without ending: protocol, set and mode."""
        return "_".join(file_word(word) for word in (self.protocol, self.name, self.mode) if word)

    @property
    def key(self) -> str:
        """Eight letters that change with the samples and the settings: what tells apart results of one stem."""
        text = json.dumps([self.samples_hash, self.provenance.settings, self.counts], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def measures_the_same_as(self, other: "Result") -> bool:
        """Return whether another result is of the same samples with the same settings: of whichever model."""
        if self.samples_hash != other.samples_hash:
            return False
        mine, theirs = self.provenance.settings, other.provenance.settings
        if mine and theirs:
            return json.dumps(mine, sort_keys=True, default=str) == json.dumps(theirs, sort_keys=True, default=str)
        return self.counts == other.counts and [m.name for m in self.measures] == [m.name for m in other.measures]

    def is_of_model_of(self, other: "Result") -> bool:
        """Return whether another result is of the same weights."""
        mine, theirs = self.provenance, other.provenance
        if mine.model_fingerprint and theirs.model_fingerprint:
            return mine.model_fingerprint == theirs.model_fingerprint
        return mine.checkpoint_hash == theirs.checkpoint_hash


def apart_from_tables(result: Result) -> list[Measure]:
    """Return the measures of a result but those that are shown in a table it brings along, in a row of their name."""
    rows = {name for table in result.tables.values() for name in table.rows}
    return [measure for measure in result.measures if measure.name.partition("/")[0] not in rows]


def file_word(name: str) -> str:
    """Return a name as part of a file's: other names give other words, also where a letter had to be replaced ("a b" is
    not "a-b").
    """
    word = "".join(c if c.isalnum() or c in "-._" else "-" for c in name)
    return word if word == name else f"{word}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def write_result(result: Result, folder: str | Path) -> Path:
    """Write `<folder>/<result.stem>.json` and, where there are arrays, `.npz`, each whole or not at all; return the
    JSON's path.

    Where a result of other samples or other settings has that name, `<result.stem>-<result.key>.json` is written: what
    was measured otherwise stands beside it.
    """
    path = result_path(result, folder)
    text = json.dumps({"schema": SCHEMA, **_as_json(result)}, indent=1, allow_nan=False)
    if result.arrays:
        with writing_file(path.with_suffix(".npz")) as stream:
            np.savez(stream, **result.arrays)  # type: ignore[arg-type]
    return write_whole(path, text)


def result_path(result: Result, folder: str | Path) -> Path:
    """Return where a result is written in a folder: at its stem, or beside one that was measured otherwise."""
    path = Path(folder) / f"{result.stem}.json"
    if not path.exists():
        return path
    try:
        if read_result(path).measures_the_same_as(result):
            return path
    except ValueError:
        pass  # something else has that name: it is left alone
    return path.with_name(f"{result.stem}-{result.key}.json")


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
        raise ValueError(f"{path} is not a result file: {kind_or(error, path)}") from error
    if not isinstance(content, dict) or content.get("schema") not in (SCHEMA, FIRST_SCHEMA):
        raise ValueError(f"{path} is not a result file of schema {SCHEMA!r}")
    try:
        return _from_json(content, path.with_suffix(".npz"))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a whole result file: {error}") from error


def read_results(paths: Iterable[str | Path]) -> list[Result]:
    """Return the results of .json files and of all result .json files in given folders (at any depth), sorted by
    path.
    """
    found: list[Result] = []
    for path in map(Path, paths):
        if path.is_dir():
            found_files = sorted(path.rglob("*.json"), key=lambda file: (file.parent, file.stem))
            files = [file for file in found_files if _is_result(file)]
            found += [read_result(file) for file in files]
        else:
            found.append(read_result(path))
    return found


def _is_result(file: Path) -> bool:
    begin = file.read_text(encoding="utf-8", errors="replace")[:200]
    return SCHEMA in begin or FIRST_SCHEMA in begin


def read_arrays(result: Result) -> dict[str, NDArray[Any]]:
    """Return the arrays of a result read from disk (`scores`, `is_same`, thumbnails, ...), or {} where it has none.

    Raises:
        ValueError: if the file is broken.
    """
    if result.arrays or result.scores_path is None:
        return result.arrays
    try:
        with open_npz(result.scores_path) as stored:
            return {key: stored[key] for key in stored.files}
    except Exception as error:  # NumPy, zipfile and zlib each have errors of their own for a broken file
        raise ValueError(f"{result.scores_path} is broken ({error}): remove it, or evaluate again") from error


def hash_samples(*arrays: NDArray[Any], names: Sequence[str] = ()) -> str:
    """Return the SHA-256 that tells whether two results are of the same pairs in the same order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    for name in names:
        digest.update(name.encode() + b"\0")
    return digest.hexdigest()


def _as_json(result: Result) -> dict[str, Any]:
    return {
        item.name: _plain(getattr(result, item.name))
        for item in dataclasses.fields(result)
        if item.name not in {"arrays", "scores_path", "path"}
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Measure):
        return value._asdict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _from_json(content: Mapping[str, Any], arrays_path: Path) -> Result:
    fields = {key: value for key, value in content.items() if key != "schema"}
    if content["schema"] == FIRST_SCHEMA:
        fields = _from_first_schema(fields)
    return Result(
        **{
            **fields,
            "measures": tuple(Measure(**measure) for measure in fields["measures"]),
            "warnings": tuple(fields["warnings"]),
            "roc": RocCurve(**fields["roc"]) if fields["roc"] else None,
            "histogram": ScoreHistogram(**fields["histogram"]) if fields["histogram"] else None,
            "hardest_genuine": tuple(HardPair(**pair) for pair in fields["hardest_genuine"]),
            "hardest_impostor": tuple(HardPair(**pair) for pair in fields["hardest_impostor"]),
            "curves": {title: Curve(**curve) for title, curve in fields["curves"].items()},
            "tables": {title: _table(table) for title, table in fields["tables"].items()},
            "hardest": {
                title: tuple(HardSample(**sample) for sample in samples) for title, samples in fields["hardest"].items()
            },
            "provenance": Provenance(**fields["provenance"]),
            "scores_path": arrays_path if arrays_path.is_file() else None,
            "path": arrays_path.with_suffix(".json"),
        }
    )


def _table(content: Mapping[str, Any]) -> ResultTable:
    rows = {
        name: [None if cell is None else Measure(**cell) for cell in cells] for name, cells in content["rows"].items()
    }
    return ResultTable(list(content["columns"]), rows)


def _from_first_schema(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a result written before measures had a unit and a direction: their names told both then."""
    searched = any(word in fields["protocol"] for word in ("identification", "tinyface"))
    fields = {**fields, "kind": "search" if searched else "pairs", "curves": {}, "tables": {}, "hardest": {}}
    fields["samples_hash"] = fields.pop("pairs_hash", "")
    fields["role"] = "baseline" if "pixel" in str(fields["provenance"].get("label", "")) else ""
    for measure in fields["measures"]:
        name = measure["name"]
        measure["unit"] = (
            "" if "threshold" in name else "ratio" if name.startswith("auc") or "ratio" in name else "rate"
        )
        measure["better"] = (
            None if "threshold" in name else "lower" if name.startswith("eer") or "error" in name else "higher"
        )
    return fields
