"""The formulas of docs/scaling.md against the byte counters of gloo ranks, and its table against the formulas."""

from pathlib import Path
from typing import Any

import pytest
import torch

from transface import distributed
from transface.classifiers.head_costs import HeadTraffic, head_memory, head_traffic
from transface.classifiers.partial_fc import PartialFC
from transface.margins.arcface import ArcFace

SCALING = Path(__file__).parents[2] / "docs/scaling.md"
IDENTITIES = {"MS1MV2": 85_742, "Glint360K": 360_232, "WebFace42M": 2_059_906}
EMBEDDING, PER_DEVICE = 512, 128


@pytest.mark.parametrize("rate", [1.0, 0.3])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_step_s_bytes_are_the_formulas(run_ranks: Any, kind: torch.dtype, rate: float) -> None:
    sizes = [4, 4, 2]

    def work(rank: int) -> HeadTraffic:
        classifier = PartialFC(31, 6, ArcFace(), sample_rate=rate)
        embeddings = torch.randn(sizes[rank], 6).to(kind).requires_grad_()
        distributed.reset_traffic()
        distributed.global_mean(classifier(embeddings, torch.arange(sizes[rank]))).backward()
        return HeadTraffic(*distributed.traffic())

    expected = head_traffic(6, ranks=3, faces_per_rank=4, faces=10, element_size=kind.itemsize)
    assert run_ranks(3, work) == [expected] * 3


def test_the_table_holds_what_the_formulas_give() -> None:
    lines = [
        line for line in SCALING.read_text().splitlines() if line.startswith(tuple(f"| {name}" for name in IDENTITIES))
    ]
    assert len(lines) == 12
    for line in lines:
        name, devices, rate, *numbers = (cell.strip() for cell in line.strip("|").split("|"))
        ranks, share = int(devices), float(rate)
        held = head_memory(IDENTITIES[name], EMBEDDING, ranks=ranks, sharded=True, sample_rate=share)
        moved = head_traffic(
            EMBEDDING, ranks=ranks, faces_per_rank=PER_DEVICE, faces=ranks * PER_DEVICE, element_size=4
        )
        replicated = 16 * IDENTITIES[name] * EMBEDDING
        expected = [
            f"{held.total() / 1e9:.2f}",
            f"{moved.gathered / 1e6:.1f}",
            f"{moved.scattered / 1e6:.1f}",
            f"{moved.reduced / 1e3:.0f}",
            f"{replicated / 1e9:.2f}",
            f"{4 * IDENTITIES[name] * EMBEDDING / 1e6:,.0f}",
        ]
        assert numbers == expected, line
