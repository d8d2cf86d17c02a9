"""What a run will measure is known before it: protocols name the same measures on drawn answers as on real ones."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.unit.evaluation.conftest import PooledPixels
from torch import Tensor, nn

from transface.backbones.features import Output
from transface.data.augment.occluders import HalfBlackOut
from transface.evaluation.classes.attributes import Attributes
from transface.evaluation.occluded_faces import OccludedFaces
from transface.evaluation.photographs import Photographs
from transface.evaluation.points.landmarks import Landmarks
from transface.evaluation.protocol import BenchmarkProtocol, NothingToMeasureError
from transface.evaluation.recognition.pair_sets import PairSets
from transface.evaluation.regions.parsing import Parsing
from transface.evaluation.rehearsal import rehearsed
from transface.evaluation.several import Several
from transface.evaluation.validation import ProtocolValidation, logged_values, runner_for
from transface.synthetic.datasets import write_pair_sets
from transface.synthetic.labelled_sets import write_age_folder, write_attribute_folder
from transface.synthetic.world.dense_forms import shots
from transface.synthetic.world.sets import FORMS
from transface.systems.attributes.datamodule import AttributesData


class Answering(nn.Module):
    """A network that answers zeros of the form of its outputs, and counts the images it is shown."""

    def __init__(self, outputs: Mapping[str, Output], image_size: tuple[int, int]) -> None:
        super().__init__()
        self.outputs, self.image_size = dict(outputs), image_size
        self.num_images = 0

    def forward(self, images: Tensor) -> Any:
        self.num_images += len(images)
        return SimpleNamespace(**{name: self._zeros(own, len(images)) for name, own in self.outputs.items()})

    def _zeros(self, output: Output, count: int) -> Tensor:
        shapes = {"number": (count,), "points": (count, len(output.names), 2)}
        regions = (count, len(output.names), *self.image_size)
        return torch.zeros(regions if output.kind == "regions" else shapes.get(output.kind, (count, len(output.names))))


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("room")
    write_age_folder(root / "faces", num_identities=20, images_per_identity=2)
    write_attribute_folder(root / "attributes", num_identities=10, images_per_identity=2)
    write_pair_sets(root, 20, num_identities=4)
    for name in ("300w", "celebamask_hq"):
        FORMS[name](root / name, shots(20, image_size=64, seed=1, shares=(0.4, 0.3, 0.3)))
    return root


YEARS = Output("number", unit="years")
SEXES = Output("one_of", ("male", "female"))
FACES = {"age": YEARS, "gender": SEXES}
VIEWS = {"whole": None, "half": HalfBlackOut("lower")}
CASES: Mapping[str, tuple[Callable[[Path], BenchmarkProtocol], Mapping[str, Output], tuple[int, int]]] = {
    "age": (lambda root: Photographs(root / "faces", column="age"), FACES, (112, 112)),
    "gender": (lambda root: Photographs(root / "faces", column="gender"), FACES, (112, 112)),
    "occluded": (lambda root: OccludedFaces(root / "faces", occluders=VIEWS), FACES, (112, 112)),
    "occluded age": (lambda root: OccludedFaces(root / "faces", occluders=VIEWS), {"age": YEARS}, (112, 112)),
    "attributes": (
        lambda root: Attributes(root / "attributes", split="val", reliable=["Smiling"]),
        {"attributes": Output("several_of", ("Smiling", "Bald", "Male"))},
        (218, 178),
    ),
    "points": (
        lambda root: Landmarks(root / "300w"),
        {"landmarks": Output("points", tuple(map(str, range(68))))},
        (64, 64),
    ),
    "regions": (
        lambda root: Parsing(root / "celebamask_hq"),
        {"parsing": Output("regions", tuple(map(str, range(19))))},
        (64, 64),
    ),
    "several": (
        lambda root: Several(
            {"age": Photographs(root / "faces", column="age"), "gender": Photographs(root / "faces", column="gender")}
        ),
        FACES,
        (112, 112),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_measures_are_named_before_an_image_is_seen(room: Path, case: str) -> None:
    make, outputs, size = CASES[case]
    network = Answering(outputs, size)
    found = rehearsed([make(room)], network)
    assert found is not None
    assert network.num_images == 0
    real = make(room).evaluate(runner_for(network, progress=False), detailed=False)
    assert list(logged_values(found)) == list(logged_values(real))
    assert found[0].measures


def test_pair_sets_are_rehearsed_with_embeddings(room: Path) -> None:
    backbone = PooledPixels()
    protocol = PairSets([room / "easy.bin", room / "hard.bin"])
    found = rehearsed([protocol], backbone)
    assert found is not None
    assert backbone.num_images == 0
    real = protocol.evaluate(runner_for(backbone, progress=False), detailed=False)
    assert list(logged_values(found)) == list(logged_values(real))
    names = ProtocolValidation([protocol]).will_measure(backbone)
    assert names is not None
    assert names[0].startswith("val/pair_sets/mean/")
    assert "val/mean/accuracy" in names
    assert ProtocolValidation([protocol], every_n_epochs=None).will_measure(backbone) == []


def test_drawing_leaves_random_numbers_of_the_run_as_they_were(room: Path) -> None:
    before = torch.get_rng_state()
    rehearsed([Photographs(room / "faces", column="age")], Answering(FACES, (112, 112)))
    assert torch.equal(before, torch.get_rng_state())


def test_a_protocol_that_needs_the_network_itself_is_not_known_before(room: Path) -> None:
    class Needing(Photographs):
        def evaluate(self, runner: Any, *, detailed: bool = True) -> Any:
            return runner.network.tokens

    assert rehearsed([Needing(room / "faces", column="age")], Answering(FACES, (112, 112))) is None


@pytest.mark.parametrize("column", ["gender", "age"])
def test_a_label_that_is_known_of_no_image_is_told_before_the_first_step(room: Path, column: str) -> None:
    names = sorted(path.relative_to(room).as_posix() for path in (room / "faces").glob("*.jpg"))[:12]
    unknown = [("" if k >= 6 else str(k % 2), ("sad", "happy")[k % 2], "train" if k < 6 else "test") for k in range(12)]
    lines = [",".join([name, *cells]) for name, cells in zip(names, unknown, strict=True)]
    path = room / f"{column}.csv"
    path.write_text("\n".join([f"image,{column},expression,split", *lines]) + "\n")
    network = Answering({column: FACES[column], "expression": Output("one_of", ("happiness", "sadness"))}, (112, 112))
    with pytest.raises(NothingToMeasureError, match=f"has no image whose {column} is known"):
        rehearsed([OccludedFaces(path, occluders=VIEWS)], network)


def test_attributes_of_which_nothing_is_known_are_told(room: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = sorted(path.relative_to(room).as_posix() for path in (room / "attributes").rglob("*.jpg"))[:12]
    network = Answering({"attributes": Output("several_of", ("Hat", "Smile"))}, (218, 178))
    for told, smile in (("nothing is known of Hat, which no mean is over", "1"), ("has no image of which one of", "")):
        lines = [f"{name},,{smile},{'train' if k < 6 else 'val'}" for k, name in enumerate(names)]
        path = room / f"known{len(smile)}.csv"
        path.write_text("\n".join(["image,Hat,Smile,split", *lines]) + "\n")
        protocol = Attributes(path, split="val", num_bootstraps=0)
        if smile:
            assert rehearsed([protocol], network)
            assert told in caplog.text
            AttributesData(path, total_batch_size=2)
            assert "nothing is known of Hat in the images of train, so their answers stay as they begin" in caplog.text
        else:
            with pytest.raises(NothingToMeasureError, match=told):
                rehearsed([protocol], network)
