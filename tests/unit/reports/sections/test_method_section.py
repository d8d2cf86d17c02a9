"""The method's quantities and pictures get into the report of a run that logged them."""

from pathlib import Path

import numpy as np

from transface.reports.page.document import Picture, Plot
from transface.reports.reading.runs import Run
from transface.reports.reading.traces import Trace
from transface.reports.sections.method_section import latest_pictures, method_section, quantities_of, quantity_figure


def trace(*values: float) -> Trace:
    return Trace(np.arange(len(values)), np.array(values))


TRACES = {
    "method/gate_mean": trace(0.5, 0.6, 0.7),
    "method/gate_spread": trace(0.1, 0.2, 0.1),
    "train/ehsm/weight_mean": trace(1.6, 1.5),
    "method/once_mean": trace(1.0),
    "train/loss": trace(3, 2, 1),
}


def test_quantities_are_means_with_their_spread() -> None:
    found = quantities_of(TRACES)
    assert list(found) == ["gate", "EHSM weight (training batches)"]
    assert found["gate"][1] is TRACES["method/gate_spread"]
    assert found["EHSM weight (training batches)"][1] is None


def test_the_band_is_one_spread_to_each_side() -> None:
    found = quantities_of(TRACES)
    (ax,) = quantity_figure("gate", *found["gate"]).axes
    (band,) = ax.collections
    ys = band.get_paths()[0].vertices[:, 1]
    assert np.isclose(ys.min(), 0.4)
    assert np.isclose(ys.max(), 0.8)
    assert not quantity_figure("weight", *found["EHSM weight (training batches)"]).axes[0].collections


def test_the_newest_picture_of_each_kind_is_shown(tmp_path: Path) -> None:
    for name in ("gate/step-000000100.png", "gate/step-000001000.png", "faces/step-000000100.png", "gate/step-x.png"):
        path = tmp_path / "method" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x89PNG" + name.encode())
    assert {name: path.stem for name, path in latest_pictures(tmp_path).items()} == {
        "faces": "step-000000100",
        "gate": "step-000001000",
    }
    (section,) = method_section(Run("a", folder=tmp_path, traces=TRACES))
    assert [type(block) for block in section.blocks] == [Plot, Plot, Picture, Picture]
    assert "step 1,000" in section.blocks[3].caption


def test_a_run_without_any_has_no_section(tmp_path: Path) -> None:
    assert method_section(Run("a", folder=tmp_path)) == []
    assert method_section(Run("a")) == []
