"""Made-up results, run folders and faces for the tests of reports."""

import csv
import io
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from transface.evaluation.results import (
    HardPair,
    Measure,
    Provenance,
    Result,
    RocCurve,
    ScoreHistogram,
    hash_samples,
    write_result,
)

MakeResult = Callable[..., Result]


def encoded_face(index: int, *, size: int = 112) -> bytes:
    """A made-up face: an oval on a plain ground, its colours drawn from the index."""
    generator = np.random.default_rng(index)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    pixels = np.empty((size, size, 3), np.uint8)
    pixels[:] = generator.integers(40, 220, 3)
    pixels[(x / 0.34) ** 2 + (y / 0.44) ** 2 < 1] = generator.integers(90, 240, 3)
    for side in (-0.14, 0.14):
        pixels[(x - side) ** 2 + (y + 0.1) ** 2 < 0.003] = generator.integers(0, 80, 3)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="JPEG")
    return stream.getvalue()


def roc_of(scores: np.ndarray, same: np.ndarray) -> RocCurve:
    thresholds = np.unique(np.quantile(scores, np.linspace(0, 1, 200)))[::-1]
    far = np.array([(scores[~same] >= t).mean() for t in thresholds])
    tar = np.array([(scores[same] >= t).mean() for t in thresholds])
    half = 1.96 * np.sqrt(np.maximum(tar * (1 - tar), 1e-4) / same.sum())
    return RocCurve(
        far.tolist(),
        tar.tolist(),
        thresholds.tolist(),
        np.clip(tar - half, 0, 1).tolist(),
        np.clip(tar + half, 0, 1).tolist(),
    )


def build_result(
    name: str = "easy",
    *,
    protocol: str = "pair_sets",
    mode: str = "F1",
    label: str = "demo",
    margin: float = 3.0,
    pairs: int = 600,
    seed: int = 0,
    thumbnails: bool = True,
    warning: str = "",
    **changes: Any,
) -> Result:
    """A result whose genuine scores lie `margin` standard deviations above the impostors'."""
    generator = np.random.default_rng([seed, len(name)])
    same = np.tile(np.repeat([True, False], 30), pairs // 60)
    scores = (np.where(same, 0.15 * margin, 0.0) + 0.15 * generator.standard_normal(pairs)).clip(-1, 1)
    threshold = 0.075 * margin
    correct = (scores >= threshold) == same
    folds = np.arange(pairs) // (pairs // 10)
    by_fold = np.array([correct[folds == fold].mean() for fold in range(10)])
    half = 1.96 * np.sqrt(correct.mean() * (1 - correct.mean()) / pairs)
    measures = [
        Measure(
            "accuracy",
            float(correct.mean()),
            float(correct.mean() - half),
            float(min(correct.mean() + half, 1)),
            float(by_fold.std()),
        ),
        Measure("threshold_cosine", threshold, unit="", better=None),
        Measure("auc", float((scores[same][:, None] > scores[~same][None]).mean()), unit="ratio"),
        Measure("eer", 1 - float(correct.mean()), better="lower"),
    ]
    for far in (1e-3, 1e-2):
        for rule in ("nearest", "strict"):
            tar = float((scores[same] >= np.quantile(scores[~same], 1 - far)).mean())
            measures.append(
                Measure(
                    f"tar@far={far:.0e}/{rule}",
                    tar,
                    max(tar - 0.03, 0),
                    min(tar + 0.03, 1),
                    warning=warning if far < 1e-2 else "",
                )
            )
    edges = np.linspace(-1, 1, 81)
    worst_genuine = np.flatnonzero(same)[np.argsort(scores[same])][:6]
    worst_impostor = np.flatnonzero(~same)[np.argsort(-scores[~same])][:6]
    arrays: dict[str, np.ndarray] = {
        "scores": scores.astype(np.float32),
        "is_same": same,
        "correct": correct,
        "folds": folds,
    }

    def hard(chosen: np.ndarray) -> tuple[HardPair, ...]:
        found = []
        for pair in map(int, chosen):
            keys = [f"thumbnail_{2 * pair}", f"thumbnail_{2 * pair + 1}"] if thumbnails else []
            arrays.update(
                {key: np.frombuffer(encoded_face(2 * pair + side), np.uint8) for side, key in enumerate(keys)}
            )
            found.append(HardPair(pair, float(scores[pair]), [str(2 * pair), str(2 * pair + 1)], keys))
        return tuple(found)

    parts: dict[str, Any] = {
        "protocol": protocol,
        "name": name,
        "mode": mode,
        "measures": tuple(measures),
        "counts": {"pairs": pairs, "genuine": int(same.sum()), "impostor": int((~same).sum()), "folds": 10},
        "warnings": (warning,) if warning else (),
        "roc": roc_of(scores, same),
        "histogram": ScoreHistogram(
            edges.tolist(),
            np.histogram(scores[same], edges)[0].tolist(),
            np.histogram(scores[~same], edges)[0].tolist(),
        ),
        "hardest_genuine": hard(worst_genuine),
        "hardest_impostor": hard(worst_impostor),
        "samples_hash": hash_samples(same, names=[name]),
        "provenance": Provenance(
            label=label, checkpoint="runs/demo/checkpoints/best", checkpoint_hash="ab" * 32, device="cpu", seconds=1.5
        ),
        "arrays": arrays,
    }
    return Result(**{**parts, **changes})


def write_run(folder: Path, results: list[Result], *, config: dict[str, Any] | None = None, steps: int = 200) -> Path:
    """A run folder as training and evaluation leave it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config or {"seed": 0, "margin": {"s": 64.0}}))
    (folder / "environment.json").write_text(
        '{"versions": {"torch": "2.15"}, "commit": "abc", "command": ["transface", "train"]}'
    )
    generator = np.random.default_rng(1)
    with (folder / "metrics.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(
            stream, ["step", "epoch", "train/loss", "train/loss/margin", "val/easy/accuracy", "val/mean/accuracy"]
        )
        writer.writeheader()
        for step in range(steps):
            loss = 12 * np.exp(-step / 60) + generator.normal(0, 0.4)
            writer.writerow({"step": step, "epoch": step // 50, "train/loss": loss, "train/loss/margin": loss})
            if step % 50 == 49:
                accuracy = 0.95 - 0.4 * np.exp(-step / 80)
                writer.writerow(
                    {"step": step, "epoch": step // 50, "val/easy/accuracy": accuracy, "val/mean/accuracy": accuracy}
                )
    for result in results:
        write_result(result, folder / "results")
    return folder


@pytest.fixture(scope="session")
def make_result() -> MakeResult:
    return build_result


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    return write_run


@pytest.fixture(scope="session")
def make_face() -> Callable[..., bytes]:
    return encoded_face


class Browser:
    """A real browser without a window, its profile in a folder of its own."""

    def __init__(self, program: str, profile: Path) -> None:
        self.program, self.profile = program, profile

    def open(self, page: Path, *arguments: str) -> str:
        """Open a page and return what the browser prints."""
        quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        quiet += ["--disable-component-update", "--disable-sync", f"--user-data-dir={self.profile}"]
        done = subprocess.run(
            [self.program, *quiet, *arguments, page.as_uri()], capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def seen(self, page: Path) -> str:
        """Say what of a page the browser laid out with a size: tables, plots, pictures it could decode, and whether the
        page is too wide.
        """
        probe = """<script>addEventListener('load', () => {
          const all = [...document.querySelectorAll('table, svg, img')];
          const seen = all.filter(e => e.getBoundingClientRect().width > 20);
          const count = name => seen.filter(e => e.localName === name).length;
          const pictures = seen.filter(e => e.localName === 'img' && e.naturalWidth > 0).length;
          const width = document.documentElement.scrollWidth > innerWidth ? 'wider than' : 'as wide as';
          document.title = `${count('table')} tables, ${count('svg')} plots, ${pictures} pictures, ${width} the window`;
        });</script>"""
        probed = self.profile.parent / "probed.html"
        probed.write_text(page.read_text().replace("</body>", f"{probe}</body>"))
        return re.findall("<title>(.*?)</title>", self.open(probed, "--dump-dom"))[0]


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    """Chromium or Chrome; skips, with the reason, where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"):
        if found := shutil.which(name):
            return Browser(found, tmp_path / "profile")
    pytest.skip(
        "no Chromium or Chrome on this machine: 'apt-get install chromium' lets this test open the report in a real"
        " browser"
    )
