"""benchmarks/head.py runs, and the streamed way equals the plain one in it."""

import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks/head.py"


def test_the_head_benchmark_prints_both_ways_with_one_loss() -> None:
    sizes = ["--classes", "5000", "--batch", "16", "--size", "32", "--threads", "1", "--repeats", "1", "--step"]
    environment = {"PYTHONPATH": str(BENCHMARK.parents[1] / "src"), "PATH": "/usr/bin:/bin"}
    run = subprocess.run([sys.executable, str(BENCHMARK), *sizes], check=True, capture_output=True, text=True, env=environment)
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:]] for line in run.stdout.splitlines() if line.startswith("|")}
    assert {"streamed", "plain"} <= set(rows)
    assert abs(float(rows["streamed"][5]) - float(rows["plain"][5])) < 1e-3
    assert rows["streamed"][6] == rows["plain"][6]
