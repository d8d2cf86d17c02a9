"""The wheel holds all it needs: unpacked alone, outside the repository, it finds its configs and runs the demo."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from this checkout, unpacked into a folder."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"no wheel can be built here: {built.stderr.strip().splitlines()[-1:]}")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def test_configs_and_data_files_are_inside(unpacked: Path) -> None:
    ours = {path.relative_to(ROOT / "conf").as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    packed = {path.relative_to(unpacked / "transface" / "conf").as_posix() for path in unpacked.rglob("conf/**/*.yaml")}
    assert ours <= packed
    assert (unpacked / "transface" / "inference" / "published_models.yaml").is_file()


def test_the_demo_runs_outside_the_repository(unpacked: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(unpacked), "OMP_NUM_THREADS": "1"}
    for words in (
        "checks",
        "models",
        "config experiment=demo",
        "synthesize root=data/demo num_identities=12 images_per_identity=8 num_pairs=40",
        "train experiment=demo trainer.max_steps=2 data.num_workers=0",
        "evaluate checkpoint=runs/demo protocol.files=[data/demo/easy.bin]",
        "report runs/demo",
    ):
        done = subprocess.run(
            [sys.executable, "-m", "transface", *words.split()],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"transface {words}: {done.stderr[-2000:]}"
    assert (tmp_path / "runs" / "demo" / "report" / "report.html").is_file()
    assert "What was trained" in (tmp_path / "runs" / "demo" / "report" / "report.md").read_text()
