"""Pictures go to a PNG and to each logger that takes them; loggers that take none are left alone."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from torchvision.io import encode_png

from transface.training.logging.pictures import as_pixels, log_distribution, log_picture


class Recorder:
    """Takes every call and keeps it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *words, **named: self.calls.append((name, words, named))


@pytest.fixture
def pixels() -> np.ndarray:
    return np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)


@pytest.fixture
def png(pixels: np.ndarray) -> bytes:
    return encode_png(torch.from_numpy(pixels).permute(2, 0, 1).contiguous()).numpy().tobytes()


def tensorboard(recorder: Recorder) -> TensorBoardLogger:
    logger = TensorBoardLogger.__new__(TensorBoardLogger)
    logger._experiment = recorder
    return logger


def wandb(monkeypatch: pytest.MonkeyPatch, recorder: Recorder) -> WandbLogger:
    """Return a WandbLogger whose package is not needed."""

    class Fake(WandbLogger):
        def __init__(self) -> None:
            pass

        def log_image(self, *words: Any, **named: Any) -> None:
            recorder.log_image(*words, **named)

        def log_metrics(self, *words: Any, **named: Any) -> None:
            recorder.log_metrics(*words, **named)

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Histogram=lambda values: ("histogram", tuple(values))))
    return Fake()


def mlflow(recorder: Recorder) -> MLFlowLogger:
    class Fake(MLFlowLogger):
        run_id = "r1"

        def __init__(self) -> None:
            pass

        @property
        def experiment(self) -> Any:
            return recorder

    return Fake()


def test_a_picture_is_kept_as_it_is(tmp_path: Path, png: bytes, pixels: np.ndarray) -> None:
    path = log_picture("faces", png, folder=tmp_path, loggers=[CSVLogger(tmp_path)], step=30)
    assert path == tmp_path / "faces" / "step-000000030.png"
    assert path.read_bytes() == png
    assert np.array_equal(as_pixels(png), pixels)


def test_every_logger_gets_the_same_picture(
    tmp_path: Path, png: bytes, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    board, bias, flow = Recorder(), Recorder(), Recorder()
    loggers = [tensorboard(board), wandb(monkeypatch, bias), mlflow(flow)]
    log_picture("faces", png, folder=tmp_path, loggers=loggers, step=7)
    ((name, words, named),) = board.calls
    assert (name, words[0], words[2], named) == ("add_image", "faces", 7, {"dataformats": "HWC"})
    assert np.array_equal(words[1], pixels)
    ((name, words, named),) = bias.calls
    assert (name, words[0], named) == ("log_image", "faces", {"step": 7})
    assert np.array_equal(words[1][0], pixels)
    ((name, words, named),) = flow.calls
    assert (name, words[0], named) == ("log_image", "r1", {"artifact_file": "faces/step-000000007.png"})
    assert np.array_equal(words[1], pixels)


def test_a_distribution_goes_where_histograms_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board, bias, flow = Recorder(), Recorder(), Recorder()
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.bfloat16)
    loggers = [tensorboard(board), wandb(monkeypatch, bias), mlflow(flow), CSVLogger(tmp_path)]
    log_distribution("method/gate", values, loggers=loggers, step=3)
    ((name, words, _),) = board.calls
    assert (name, words[0], words[1].tolist(), words[2]) == ("add_histogram", "method/gate", [1, 2, 3, 4], 3)
    ((name, words, named),) = bias.calls
    assert (name, words, named) == (
        "log_metrics",
        ({"method/gate/distribution": ("histogram", (1, 2, 3, 4))},),
        {"step": 3},
    )
    assert flow.calls == []
