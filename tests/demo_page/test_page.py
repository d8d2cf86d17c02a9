"""`transface demo` in a real server and a real browser: `make test-demo-page`.

TRANSFACE_SCREENSHOTS=FOLDER keeps a picture of each tab.
"""

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import transface
from transface.backbones.face_vit import FaceViT
from transface.inference.face_model import FaceModel
from transface.inference.publishing import publish
from transface.synthetic.templates import write_ijbc_folder

pytest.importorskip("gradio", reason="gradio is not installed: 'make test-demo-page' brings it")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WAIT = 120_000  # milliseconds: a busy machine is slow, and a wrong answer fails at once


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model, and a folder of photographs of made-up people."""
    root = tmp_path_factory.mktemp("page")
    publish(FaceModel(FaceViT(embed_dim=16, depth=2, num_heads=2, embedding_size=8)), root / "model")
    write_ijbc_folder(root / "made_up", 3, templates_per_identity=1)
    (root / "faces").mkdir()
    for photograph in sorted((root / "made_up" / "loose_crop").glob("*.jpg"))[:6]:
        shutil.copy(photograph, root / "faces")
    return root


@pytest.fixture(scope="module")
def address(room: Path) -> Iterator[str]:
    """The page, served by a process of its own."""
    words = ["demo", "checkpoint=model", "detector=mtcnn", "gallery=faces", "threshold=0.9", "port=0"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(transface.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "transface", *words], cwd=room, stdout=subprocess.PIPE, text=True, env=environment
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


@pytest.fixture(scope="module")
def photographs(room: Path) -> list[Path]:
    return sorted((room / "faces").glob("*.jpg"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium or Chrome on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="'make test-demo-page' brings playwright")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page in a window of its own; at the end no request may have left this machine and no script have failed."""
    window = browser.new_page(viewport={"width": 1200, "height": 1000})
    window.set_default_timeout(WAIT)
    asked: list[str] = []
    failed: list[str] = []
    window.on("request", lambda request: asked.append(request.url))
    window.on("pageerror", lambda error: failed.append(str(error)))
    window.goto(address)
    window.get_by_role("tab", name="Compare").wait_for()
    yield window
    window.close()
    elsewhere = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert elsewhere == []
    assert failed == []


def keep(page: Any, name: str) -> None:
    """Keep a picture of the page where TRANSFACE_SCREENSHOTS asks for it."""
    if folder := os.environ.get("TRANSFACE_SCREENSHOTS"):
        page.wait_for_timeout(1000)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def choose(page: Any, place: str, photograph: Path) -> None:
    """Give a photograph to the place of that id, and wait until the page shows it."""
    page.locator(f"#{place} input[type=file]").set_input_files(photograph)
    page.locator(f"#{place} img").wait_for()


def test_it_answers_on_this_machine_alone(address: str) -> None:
    with urllib.request.urlopen(address, timeout=60) as page:
        assert "gradio" in page.read().decode()


def test_two_photographs_are_compared(page: Any, photographs: list[Path]) -> None:
    choose(page, "first", photographs[0])
    choose(page, "second", photographs[0])
    page.locator("#compare").click()
    page.wait_for_function("document.querySelector('#verdict textarea').value.startsWith('similarity 1.0000: same')")
    for face in ("first_face", "second_face"):
        page.locator(f"#{face} img").wait_for()
    keep(page, "compare")


def test_one_photograph_is_predicted(page: Any, photographs: list[Path]) -> None:
    page.get_by_role("tab", name="Predict").click()
    choose(page, "photograph", photographs[1])
    page.locator("#predict").click()
    page.wait_for_function("document.querySelector('#answers').innerText.includes('box')")
    keep(page, "predict")


def test_a_folder_is_searched(page: Any, photographs: list[Path]) -> None:
    page.get_by_role("tab", name="Search").click()
    choose(page, "asked", photographs[2])
    page.locator("#search").click()
    said = f"the {len(photographs)} most similar of {len(photographs)} faces"
    page.wait_for_function(f"document.querySelector('#found textarea').value == '{said}'")
    hits = page.locator("#hits .thumbnail-item img")
    hits.nth(len(photographs) - 1).wait_for()
    assert hits.count() == len(photographs)
    loaded = "[...document.querySelectorAll('#hits .thumbnail-item img')].every(image => image.naturalWidth > 0)"
    page.wait_for_function(loaded)  # a picture that cannot be had stays at 0: the wait ends with an error
    assert f"1.0000 {photographs[2].name}, same" in page.locator("#hits").inner_text()
    keep(page, "search")


def test_a_mistake_is_a_sentence_on_the_page(page: Any) -> None:
    page.locator("#compare").click()
    page.wait_for_function("document.querySelector('#verdict textarea').value == 'choose a photograph first'")
    keep(page, "mistake")


def test_it_fits_a_phone_and_a_dark_room(browser: Any, address: str) -> None:
    window = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
    window.set_default_timeout(WAIT)
    window.goto(address)
    window.get_by_role("tab", name="Compare").wait_for()
    keep(window, "phone")
    assert window.evaluate("document.documentElement.scrollWidth") <= 390
    window.close()
