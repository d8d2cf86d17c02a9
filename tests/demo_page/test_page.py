"""`transface demo` in a real server, and in a real browser where there is one: `make test-demo-page`."""

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import transface
from transface.backbones.face_vit import FaceViT
from transface.inference.face_model import FaceModel
from transface.inference.publishing import publish

gradio = pytest.importorskip("gradio", reason="gradio is not installed: 'make test-demo-page' brings it")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page, served by a process of its own from a folder with a small model and three faces."""
    root = tmp_path_factory.mktemp("page")
    publish(FaceModel(FaceViT(embed_dim=16, depth=2, num_heads=2, embedding_size=8)), root / "model")
    rng = np.random.default_rng(0)
    for number in range(3):
        (root / "faces").mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)).save(root / "faces" / f"{number}.png")
    words = ["demo", "checkpoint=model", "detector=null", "gallery=faces", "threshold=0.9", "port=0"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(transface.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "transface", *words], cwd=root, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert child.stdout is not None
        for line in child.stdout:
            if found := re.match(r"(http://127\.0\.0\.1:\d+)", line):
                yield found.group(1)
                break
        else:
            pytest.fail("the page did not start")
    finally:
        child.terminate()
        child.wait(30)


def test_it_answers_on_this_machine_alone(address: str) -> None:
    with urllib.request.urlopen(address, timeout=60) as page:
        assert "gradio" in page.read().decode()


def test_its_functions_answer_through_the_server(address: str, tmp_path: Path) -> None:
    client = pytest.importorskip("gradio_client")
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)).save(path)
    asked = client.handle_file(str(path))
    page = client.Client(address, verbose=False)
    said, first, _ = page.predict(asked, asked, api_name="/compare")
    assert said.startswith("similarity 1.0000: same person")
    assert Path(first if isinstance(first, str) else first["path"]).is_file()
    line, hits = page.predict(asked, api_name="/search")
    assert line == "the 3 likest of 3 faces"
    assert len(hits) == 3


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on this machine")
def test_a_real_browser_shows_its_tabs(address: str) -> None:
    shown = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--virtual-time-budget=20000", "--dump-dom", address],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    ).stdout
    assert all(word in shown for word in ("Compare", "Predict", "Search"))
