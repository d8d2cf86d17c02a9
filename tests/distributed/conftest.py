"""Gloo processes for tests: `run_ranks(4, work)` runs work(rank) on four ranks and returns what each returned."""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

RunRanks = Callable[[int, Callable[[int], Any]], list[Any]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.distributed)


def _rank(rank: int, world_size: int, folder: Path, work: Callable[[int], Any]) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    try:
        torch.set_num_threads(1)
        if world_size > 1:
            dist.init_process_group(
                "gloo",
                init_method=f"file://{folder}/meeting",
                rank=rank,
                world_size=world_size,
                timeout=timedelta(seconds=60),
            )
        torch.save(work(rank), folder / f"{rank}.result")
    except BaseException:
        (folder / f"{rank}.error").write_text(traceback.format_exc())
        os._exit(1)
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()
    os._exit(0)


@pytest.fixture
def run_ranks(tmp_path_factory: pytest.TempPathFactory) -> RunRanks:
    def run(world_size: int, work: Callable[[int], Any]) -> list[Any]:
        folder = tmp_path_factory.mktemp("ranks")
        # Forked, so that `work` may be any closure and torch is not imported again; tests keep to one thread.
        context = multiprocessing.get_context("fork")
        ranks = [context.Process(target=_rank, args=(rank, world_size, folder, work)) for rank in range(world_size)]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(90)
            if process.is_alive():
                process.kill()
        errors = [path.read_text() for path in sorted(folder.glob("*.error"))]
        assert not errors, "\n".join(errors)
        assert all(process.exitcode == 0 for process in ranks), (
            f"ranks ended with {[process.exitcode for process in ranks]}"
        )
        return [torch.load(folder / f"{rank}.result", weights_only=False) for rank in range(world_size)]

    return run
