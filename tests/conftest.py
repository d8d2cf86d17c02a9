"""What all tests share: where shared/ lies, one tolerance table, one thread."""

import gc
import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))

TOLERANCES = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-10},
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
    torch.bfloat16: {"rtol": 2e-2, "atol": 2e-2},
}


def pytest_collection_finish() -> None:
    """Leave what the imports made out of every search for garbage: a sixteenth of the tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)


def pytest_unconfigure() -> None:
    """Let what was left out be freed."""
    gc.unfreeze()


def shared_folder() -> Path:
    """Return the folder of parity packs and real photographs: TRANSFACE_SHARED, by default ../shared beside the
    checkout.
    """
    return Path(os.environ.get("TRANSFACE_SHARED") or Path(__file__).resolve().parents[2] / "shared")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of parity packs and real photographs; skips, with the reason, where it is absent."""
    folder = shared_folder()
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}: parity and real-data tests need it (TRANSFACE_SHARED names another)")
    return folder


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
