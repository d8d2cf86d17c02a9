"""The pictures of zones at the end of training: of the split's images, whatever their number; never an end of a run."""

import json
import logging
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.unit.systems.attributes.test_zone_pictures import network_of

from transface.systems.attributes.zone_callback import ZonePictures

TRAINER: Any = SimpleNamespace(is_global_zero=True, precision_plugin=SimpleNamespace(forward_context=nullcontext))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    lines = ["path,a,b,c,split"]
    for number in range(7):
        Image.fromarray(random.integers(0, 256, (32, 24, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{number % 2},1,{number // 3 % 2},{'train' if number == 6 else 'val'}")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "table.csv"


def test_both_pictures_are_drawn_with_their_captions(table: Path, tmp_path: Path) -> None:
    module: Any = SimpleNamespace(evaluated_network=network_of().float())
    ZonePictures(tmp_path / "pictures", root=table, num_images=4, batch_size=2).on_fit_end(TRAINER, module)
    told = json.loads((tmp_path / "pictures" / "captions.json").read_text())
    assert {name: one["title"] for name, one in told.items()} == {
        "zone_attention": "Where the zones look",
        "exits": "Accuracy and cost by exit",
    }
    assert {path.stem for path in (tmp_path / "pictures").glob("*.png")} == set(told)


def test_another_network_or_no_images_have_no_pictures(table: Path, tmp_path: Path) -> None:
    ZonePictures(tmp_path / "pictures", root=None).on_fit_end(TRAINER, SimpleNamespace(evaluated_network=network_of()))
    ZonePictures(tmp_path / "pictures", root=table).on_fit_end(TRAINER, SimpleNamespace(evaluated_network=None))
    assert not (tmp_path / "pictures").exists()


def test_images_that_are_gone_do_not_end_a_run(table: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "2.png").unlink()
    with caplog.at_level(logging.WARNING):
        ZonePictures(tmp_path / "pictures", root=table).on_fit_end(
            TRAINER, SimpleNamespace(evaluated_network=network_of().float())
        )
    assert "no picture of where the zones look" in caplog.text
