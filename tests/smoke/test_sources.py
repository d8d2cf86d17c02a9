"""Training on several sources at once, from the command line: packs, a folder, a list; and what is wrong with them in
one line.
"""

from pathlib import Path

import pytest
import yaml

from transface.__main__ import main
from transface.synthetic.datasets import write_identity_pack, write_image_folder

SMALL = [
    "experiment=demo",
    "backbone.depth=1",
    "backbone.embed_dim=16",
    "backbone.num_heads=2",
    "embedding_size=16",
    "schedule.warmup_epochs=0",
    "data.total_batch_size=8",
    "data.num_workers=0",
    "trainer.max_epochs=-1",
    "trainer.max_steps=3",
    "protocol.files=[]",
    "logger=csv",
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a: a pack of 3 people; b: a folder of 2; b/list.csv: two images of each of these."""
    root = tmp_path_factory.mktemp("sources")
    write_identity_pack(root / "a", 3, images_per_identity=4)
    write_image_folder(root / "b", 2, images_per_identity=4)
    rows = [f"person_{person:04d}/{n:04d}.jpg,{person}\n" for person in range(2) for n in range(2)]
    (root / "b" / "list.csv").write_text("path,label\n" + "".join(rows))
    return root


def recorded(folder: Path) -> dict:
    return yaml.safe_load((folder / "config.yaml").read_text())


def test_several_sources_train_together_and_resume(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    joined = f"data.sources=[{sources}/a,{{path: {sources}/b, weight: 2.0}},{sources}/b/list.csv]"
    assert main(["train", *SMALL, joined]) == 0
    config = recorded(tmp_path / "runs/demo")
    assert config["classifier"]["num_identities"] == 7
    assert config["data"]["root"] is None
    assert main(["train", *SMALL, joined, "resume=true", "trainer.max_steps=5"]) == 0
    assert (tmp_path / "runs/demo/checkpoints/step-000000005").is_dir()


@pytest.mark.parametrize("name", ["b", "b/list.csv", "a/train.rec"])
def test_root_may_be_any_one_source(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["data.total_batch_size=4", "trainer.max_steps=1"]
    assert main(["train", *SMALL, *words, f"data.root={sources}/{name}"]) == 0
    assert (
        recorded(tmp_path / "runs/demo")["classifier"]["num_identities"]
        == {"b": 2, "b/list.csv": 2, "a/train.rec": 3}[name]
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["data.sources=[{root}/a,{root}/nowhere]"], "nowhere"),
        (["data.sources=[{root}/a]", "data.root={root}/a"], "give one of data.root"),
        (["data.sources=[]"], "give one of data.root"),
        (["data.sources=[{root}/a]", "protocol.files=[${{data.root}}/easy.bin]"], "give protocol.files=[a.bin,b.bin]"),
        (["data.sources=[{{path: {root}/a, wieght: 2}}]"], "wieght"),
        (
            ["data.sources=[{{path: {root}/a, weight: 2.0}},{root}/b]", "order=in_blocks"],
            "does not heed the weights [2.0, 1.0]",
        ),
        (["data.root={root}/a", "order=class_balanced"], "classes_per_batch must be in 1..3"),
        (
            ["data.root={root}/a", "order=class_balanced", "order.classes_per_batch=3"],
            "batch_size must be a multiple of 12",
        ),
        (["data.root={root}/a", "order=sorted"], "in_blocks"),
        (["data.root={root}/a", "data.decode=gpu"], "decode must be 'workers' or 'device'"),
        (["data.root={root}/a", "augmentation=fog"], "low_resolution"),
        (["data.root={root}/a", "augmentation=blur", "augmentation.blur.kernel_size=4"], "kernel_size must be odd"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    sources: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRANSFACE_TRACEBACK", raising=False)
    assert main(["train", *SMALL, *(word.format(root=sources) for word in words)]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("transface: ")]
    assert len(said) == 1
    assert complaint in said[0]
