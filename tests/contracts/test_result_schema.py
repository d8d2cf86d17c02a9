"""The names in a result file: one that is removed or renamed breaks reports and scripts, and wants a new schema."""

import dataclasses
import json
from pathlib import Path

from transface.evaluation.results import (
    SCHEMA,
    Curve,
    HardPair,
    HardSample,
    Measure,
    Provenance,
    Result,
    ResultTable,
    RocCurve,
    ScoreHistogram,
    write_result,
)

# Of schema transface.result/2. Names may be added here; a removed one wants transface.result/3 and a CHANGELOG line.
RESULT = {
    "schema",
    "protocol",
    "name",
    "mode",
    "measures",
    "kind",
    "role",
    "counts",
    "warnings",
    "roc",
    "histogram",
    "hardest_genuine",
    "hardest_impostor",
    "curves",
    "tables",
    "hardest",
    "samples_hash",
    "provenance",
}
FIELDS = {
    Measure: "name value low high std warning unit better",
    Provenance: "label checkpoint checkpoint_hash model_fingerprint settings config versions commit device seconds"
    " created seed",
    RocCurve: "far tar threshold tar_low tar_high",
    ScoreHistogram: "edges genuine impostor",
    HardPair: "pair score names thumbnails",
    HardSample: "sample name answered truth thumbnails",
    Curve: "x y x_title y_title low high",
    ResultTable: "columns rows",
}


def test_no_name_of_the_result_schema_is_gone(tmp_path: Path) -> None:
    assert SCHEMA == "transface.result/2"
    path = write_result(Result("pair_sets", "lfw", "F1", (Measure("accuracy", 0.5),)), tmp_path)
    assert set(json.loads(path.read_text())) >= RESULT


def test_no_name_of_its_parts_is_gone() -> None:
    for kind, names in FIELDS.items():
        own = kind._fields if kind is Measure else [field.name for field in dataclasses.fields(kind)]
        assert set(own) >= set(names.split()), kind.__name__
