"""The published experiments of Faceptor compose and train a moment, on a made-up world in the forms of their data."""

from pathlib import Path

import pytest

from transface.__main__ import main
from transface.cli.config.compose import compose, conf_folder
from transface.synthetic.datasets import write_pair_sets
from transface.synthetic.world import dense_forms, label_forms
from transface.synthetic.world.sets import FORMS, write_pack

PLACES = {
    "morph2": "MORPH2",
    "utkface": "UTKFace",
    "celeba": "CelebA",
    "affectnet": "AffectNet",
    "rafdb": "RAF-DB/basic",
    "ferplus": "FERPlus",
    "celebamask_hq": "CelebAMask-HQ",
    "lapa": "LaPa",
    "300w": "300W",
    "wflw": "WFLW",
    "cofw": "COFW",
    "aflw": "AFLW",
}
DENSE = ("celebamask_hq", "lapa", "300w", "wflw", "cofw", "aflw")
NAMES = sorted(path.stem for path in (conf_folder() / "experiment" / "faceptor").glob("*.yaml"))
SMALL = (
    "backbone.width=16",
    "backbone.num_heads=2",
    "backbone.output_width=8",
    "optimizer.lr=1e-4",
    "schedule.warmup_steps=0",
    "validation.every_n_epochs=null",
    "trainer=cpu",
    "trainer.max_steps=1",
    "trainer.log_every_n_steps=1",
    "data.num_workers=0",
    "devices=1",
    "logger=csv",
    "report=false",
)
OF_NETWORK = {
    "naive": ("network.feature_width=8", "network.dense_channels=4"),
    "faceptor": ("network.width=8", "network.num_heads=2", "network.feedforward_width=8", "network.num_layers=1"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published") / "data"
    faces = label_forms.known_faces(30, seed=3, number=47)
    taken = dense_forms.shots(10, image_size=48, seed=3)
    for form, place in PLACES.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        FORMS[form](root / place, taken if form in DENSE else faces)
    write_pack(root / "MS1MV3", label_forms.known_faces(4, 2, seed=3, number=43), 4)
    written = write_pair_sets(root / "pairs", 20, num_identities=4)
    (root / "verification").mkdir()
    for name in ("lfw", "cfp_fp", "agedb_30", "calfw", "cplfw"):
        (root / "verification" / f"{name}.bin").write_bytes(Path(written["easy"]).read_bytes())
    return root


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("demo", "small", "real")])
def test_a_published_experiment_trains_a_step_of_all_its_tasks(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [f"experiment=faceptor/{name}", f"paths.data={data}"]
    tasks = list(compose("train", words).data.tasks)
    batches = [f"data.tasks.{task}.batch_size=2" for task in tasks]
    own = OF_NETWORK["naive" if name == "naive" else "faceptor"]
    assert main(["train", *words, *SMALL, *batches, *own, "name=moment"]) == 0
    head = (tmp_path / "runs/moment/metrics.csv").read_text().splitlines()[0].split(",")
    assert [task for task in tasks if f"train/loss/{task}" not in head] == []
    assert len(tasks) == (13 if name == "full" else 7)


def test_300w_is_measured_on_the_images_of_its_published_figure() -> None:
    """HRNet's list `valid` is the "full" set of the table; its `test` is the contest's, which no table here has."""
    own = compose("train", ["experiment=faceptor/base"]).protocol.protocols.align_300w
    assert (own.split, own.name) == ("val", "300W_full")
