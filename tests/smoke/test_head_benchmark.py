"""benchmarks/head.py measures what it says: one loss and one gradient for both ways, and what is in memory above
them.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARK = Path(__file__).parents[2] / "benchmarks/head.py"


@pytest.fixture
def head() -> ModuleType:
    if not sys.platform.startswith("linux"):
        pytest.skip("benchmarks/head.py reads /proc")
    spec = importlib.util.spec_from_file_location("head_benchmark", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_ways_have_one_loss_and_gradient_and_the_streamed_one_no_matrix(head: ModuleType) -> None:
    results = {}
    for way in ("streamed", "plain"):
        torch.manual_seed(0)
        results[way] = head.measure(way, classes=100_000, batch=512, size=8, chunk=None, step=True)
    assert results["streamed"]["loss"] == pytest.approx(results["plain"]["loss"], rel=1e-5)
    assert results["streamed"]["gradient_norm"] == pytest.approx(results["plain"]["gradient_norm"], rel=1e-4)
    matrix = 100_000 * 512 * 4
    assert results["streamed"]["above"] < matrix < results["plain"]["above"]
