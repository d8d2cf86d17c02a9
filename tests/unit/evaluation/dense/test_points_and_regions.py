"""The protocols of points and regions: what is known is answered exactly, and errors are those of the formula."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from transface.backbones.features import Output
from transface.data.crops.geometry import sample_nearest, sampling_map, warp_points
from transface.evaluation.points.landmarks import Landmarks
from transface.evaluation.regions.parsing import Parsing
from transface.evaluation.results import read_result, write_result
from transface.synthetic.world.dense_forms import shots
from transface.synthetic.world.sets import FORMS

SIDE = 96


class Knowing:
    """A runner whose network knows the truth, moved by some pixels of the photograph."""

    def __init__(self, output: str, names: Sequence[str], answers: Any) -> None:
        kind: Any = "points" if output == "landmarks" else "regions"
        self.outputs = {output: Output(kind, tuple(names))}
        self.output, self.answers, self.device = output, answers, torch.device("cpu")

    def require(self, outputs: Sequence[str]) -> None:
        assert set(outputs) <= set(self.outputs)

    def image_size_for(self, outputs: Sequence[str]) -> tuple[int, int]:
        return SIDE, SIDE

    def run(self, source: Any, outputs: Sequence[str]) -> dict[str, Any]:
        source.read(range(len(source)), (SIDE, SIDE))
        return {self.output: np.stack([self.answers(source, int(row)) for row in source.rows])}

    def run_each(self, source: Any, outputs: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        for place, row in enumerate(source.rows):
            yield place, {self.output: self.answers(source, int(row))[None]}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    taken = shots(10, image_size=64, seed=1, shares=(0.4, 0.2, 0.4))
    for name in ("300w", "wflw", "aflw", "pts", "celebamask_hq", "lapa"):
        FORMS[name](root / name, taken)
    return root


def known_points(protocol: Landmarks, shift: float) -> Knowing:
    opened = protocol.opened()

    def answers(source: Any, row: int) -> Any:
        assert opened.points is not None
        return warp_points(opened.points[row] + [shift, 0.0], source.matrix(row, SIDE), (SIDE, SIDE), opened.warp)

    return Knowing("landmarks", opened.names, answers)


@pytest.mark.parametrize("form", ["300w", "wflw", "aflw", "pts"])
def test_points_that_are_known_have_no_error(form: str, world: Path, tmp_path: Path) -> None:
    protocol = Landmarks(world / form, num_bootstraps=20)
    protocol.prepare()
    (result,) = protocol.evaluate(known_points(protocol, 0.0))  # type: ignore[arg-type]
    assert result.kind == "points"
    named = {measure.name: measure.value for measure in result.measures}
    first = {"aflw": "nme_diag"}.get(form, "nme_inter_ocular")
    assert result.measures[0].name == first
    assert all(value < 1e-9 for name, value in named.items() if name.startswith(("nme_", "fr_")))
    assert all(value > 0.99 for name, value in named.items() if name.startswith("auc_"))
    again = read_result(write_result(result, tmp_path))
    assert again.measures == result.measures


def test_an_error_of_a_pixel_is_one_over_the_unit(world: Path) -> None:
    protocol = Landmarks(world / "300w", unit="box", num_bootstraps=0)
    (result,) = protocol.evaluate(known_points(protocol, 1.0), detailed=False)  # type: ignore[arg-type]
    opened = protocol.opened()
    rows = opened.rows("test")
    sides = opened.boxes[rows][:, 2:] - opened.boxes[rows][:, :2]
    assert result.measures[0].value == pytest.approx(float((1 / np.sqrt(sides.prod(1))).mean()), rel=1e-6)


@pytest.mark.parametrize("form", ["celebamask_hq", "lapa"])
def test_regions_that_are_known_are_all_but_right(form: str, world: Path) -> None:
    protocol = Parsing(world / form)
    protocol.prepare()
    opened = protocol.opened()

    def answers(source: Any, row: int) -> Any:
        assert opened.mask is not None
        size = source.size(row)
        truth = opened.mask(row)
        matrix = source.matrix(row, SIDE)
        scale = np.diag([size[1] / truth.shape[1], size[0] / truth.shape[0], 1.0])
        scale[:2, 2] = [(size[1] / truth.shape[1] - 1) / 2, (size[0] / truth.shape[0] - 1) / 2]
        seen = sample_nearest(truth, sampling_map(matrix @ scale, (SIDE, SIDE), opened.warp))
        return 50 * (seen == np.arange(len(opened.names))[:, None, None]).astype(np.float32)

    (result,) = protocol.evaluate(Knowing("parsing", opened.names, answers))  # type: ignore[arg-type]
    named = {measure.name: measure.value for measure in result.measures}
    assert named["pixel_accuracy"] > 0.97
    assert named["f1"] > 0.75  # regions of a few pixels lose their edges
    assert result.tables["Regions"].rows["skin"][0].value > 0.97  # type: ignore[union-attr]


def test_a_network_with_other_points_or_regions_is_refused(world: Path) -> None:
    points = Landmarks(world / "300w")
    with pytest.raises(ValueError, match="has 68 points, and the network's landmarks answers 3"):
        points.evaluate(Knowing("landmarks", ["a", "b", "c"], None))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has 19 regions, the network's parsing has 2"):
        Parsing(world / "celebamask_hq").evaluate(Knowing("parsing", ["a", "b"], None))  # type: ignore[arg-type]


def test_protocols_of_the_other_kind_and_units_that_are_not_there_are_refused(world: Path) -> None:
    with pytest.raises(ValueError, match="holds regions and no points: choose protocol=regions"):
        Landmarks(world / "lapa").prepare()
    with pytest.raises(ValueError, match="holds points and no regions: choose protocol=points"):
        Parsing(world / "300w").prepare()
    with pytest.raises(ValueError, match="has no unit 'nose': it has inter_ocular, inter_pupil, box, diag"):
        Landmarks(world / "aflw", unit="nose").prepare()
    with pytest.raises(ValueError, match="thresholds are of"):
        Landmarks(world / "aflw", thresholds={"nose": 0.1})
