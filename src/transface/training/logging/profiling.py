"""Where the time of a step goes: a trace file for a viewer and a table of the slowest parts."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.profilers import Profiler
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from transface.artifacts import write_whole

TRACE, TABLE = "trace.json", "slowest_parts.txt"
STEP_ACTION = "run_training_batch"


class StepProfiler(Profiler):
    """Records `active` training batches after `wait` + `warmup` others, then writes trace.json and slowest_parts.txt.

    Args:
        folder: where the two files go; rank 0 writes them.
        wait, warmup, active: batches passed over, recorded for nothing, recorded.
        rows: lines of the table.
    """

    def __init__(self, folder: str | Path, *, wait: int = 3, warmup: int = 2, active: int = 8, rows: int = 25) -> None:
        super().__init__()
        self._profile: profile | None = None
        self._open: dict[str, Any] = {}
        self._written = False
        if min(wait, warmup) < 0 or min(active, rows) < 1:
            raise ValueError(
                f"wait and warmup must be at least 0, active and rows at least 1; got {wait}, {warmup}, {active},"
                f" {rows}"
            )
        self.folder, self.wait, self.warmup, self.active, self.rows = Path(folder), wait, warmup, active, rows

    def start(self, action_name: str) -> None:
        if self._profile is None and action_name == STEP_ACTION and not self._written:
            self._begin()
        if self._profile is not None and action_name not in self._open:
            record = record_function(action_name)
            record.__enter__()
            self._open[action_name] = record

    def stop(self, action_name: str) -> None:
        record = self._open.pop(action_name, None)
        if record is not None:
            record.__exit__(None, None, None)
        if self._profile is not None and action_name == STEP_ACTION:
            self._profile.step()

    def _begin(self) -> None:
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        steps = schedule(wait=self.wait, warmup=self.warmup, active=self.active, repeat=1)
        self._profile = profile(activities=activities, schedule=steps, on_trace_ready=self._write, acc_events=True)
        self._profile.start()

    def _write(self, recorded: Any) -> None:
        if self._local_rank not in (None, 0):
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        recorded.export_chrome_trace(str(self.folder / TRACE))
        key = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = recorded.key_averages().table(sort_by=key, row_limit=self.rows)
        write_whole(self.folder / TABLE, table + "\n")
        self._written = True
        print(f"profile of {self.active} batches: {self.folder / TRACE}, {self.folder / TABLE}", flush=True)

    def teardown(self, stage: str | None) -> None:
        """End the recording; what was recorded so far is written if training was shorter than planned."""
        recording, self._profile = self._profile, None
        for record in self._open.values():
            record.__exit__(None, None, None)
        self._open.clear()
        if recording is not None:
            recording.stop()
            if not self._written:
                print(f"no profile: training ended before {self.wait + self.warmup + 1} batches", flush=True)
        super().teardown(stage)
