"""What one run of `make evidence` measured, as a JSON file that can be committed: figures, counts and which pairs were
decided rightly; no picture, no path of a machine.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transface.artifacts import write_whole
from transface.evaluation.results import Measure, Result, read_arrays, read_results
from transface.reports.reading.runs import Run, is_baseline
from transface.reports.reading.trials import Trial

SCHEMA = "transface.evidence/1"


@dataclasses.dataclass(frozen=True)
class Record:
    """One run.

    Attributes:
        group, run, seed: which one of runs.yaml.
        command: as it was given, folders as {data}, {made}.
        results: of its model, without curves and pictures.
        trained: network, parameters, data, steps, as the run wrote them.
        cpu_seconds: processor time of all its commands; None where it was not measured.
        processor: its name.
        versions, commit, created: as the results state them.
    """

    group: str
    run: str
    seed: int
    command: str
    results: tuple[Result, ...]
    trained: dict[str, Any]
    cpu_seconds: float | None
    processor: str
    versions: dict[str, str]
    commit: str
    created: str

    @property
    def stem(self) -> str:
        """File name without ending."""
        return f"{self.run}-seed{self.seed}"

    def as_trial(self) -> Trial:
        """Return the run as the statistics of sweeps take it."""
        return Trial(Run(self.stem, results=self.results), {"run": self.run}, self.seed)


def results_below(folder: Path) -> list[Result]:
    """Return the results of models in a run's results/ or test/ folder, test before validation."""
    places = [place for name in ("test", "results") if (place := folder / name).is_dir()]
    return [result for place in places[:1] for result in read_results([place]) if not is_baseline(result)]


def write_record(record: Record, folder: Path) -> Path:
    """Write <folder>/<group>/<run>-seed<N>.json and return its path."""
    content = {
        "schema": SCHEMA,
        **{field.name: getattr(record, field.name) for field in dataclasses.fields(record) if field.name != "results"},
        "results": [plain_result(result) for result in record.results],
    }
    path = folder / record.group / f"{record.stem}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_whole(path, json.dumps(content, indent=1) + "\n")


def plain_result(result: Result) -> dict[str, Any]:
    """Return the figures of a result, and its decisions as hexadecimal bits where there is one a sample."""
    kept = ("protocol", "name", "mode", "kind", "counts", "samples_hash")
    correct = read_arrays(result).get("correct")
    return {
        **{name: getattr(result, name) for name in kept},
        "measures": [measure._asdict() for measure in result.measures],
        "decided": None if correct is None or correct.ndim != 1 else bits_as_text(correct),
        "num_decided": None if correct is None or correct.ndim != 1 else len(correct),
    }


def read_record(path: Path) -> Record:
    """Return the record of a file that `write_record` wrote.

    Raises:
        ValueError: if it is something else.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.pop("schema", None) != SCHEMA:
        raise ValueError(f"{path} is no record of make evidence: its schema is not {SCHEMA}")
    return Record(**{**content, "results": tuple(map(result_of, content["results"]))})


def result_of(content: dict[str, Any]) -> Result:
    """Return the Result that `plain_result` made plain."""
    decided, length = content.pop("decided"), content.pop("num_decided")
    measures = tuple(Measure(**measure) for measure in content.pop("measures"))
    arrays = {} if decided is None else {"correct": bits_of_text(decided, length)}
    return Result(**content, measures=measures, arrays=arrays)


def read_records(folder: Path) -> list[Record]:
    """Return all records below a folder, by group, run and seed."""
    return [read_record(path) for path in sorted(folder.glob("*/*.json"))]


def bits_as_text(values: NDArray[np.bool_]) -> str:
    """Return booleans as hexadecimal digits."""
    return np.packbits(np.asarray(values, bool)).tobytes().hex()


def bits_of_text(text: str, length: int) -> NDArray[np.bool_]:
    """Return the booleans of `bits_as_text`."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=length).astype(bool)
