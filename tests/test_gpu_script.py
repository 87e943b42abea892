"""The GPU script runs through on a machine without a GPU, so that it will on one that is lent for minutes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PARTS = ("kernel", "network", "parity", "pool", "step", "tensorrt", "protocol")
SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.sh"


@pytest.mark.timeout(1800)
def test_every_part_runs_and_writes_its_file(tmp_path: Path) -> None:
    environment = {**os.environ, "OUT": str(tmp_path / "out"), "PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", str(SCRIPT), "--dry-run"], env=environment, capture_output=True, text=True, timeout=1500, check=False
    )
    assert done.returncode == 0, done.stdout + (tmp_path / "out" / "gpu.log").read_text()
    found = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")}
    assert set(found) == {f"gpu_{part}" for part in PARTS}
    for part in sorted(set(PARTS) - {"protocol"}):
        results = found[f"gpu_{part}"]["results"]
        assert results["dry_run"]
        assert len(results) >= 3
    (pool,) = (about for about in found["gpu_pool"]["results"].values() if isinstance(about, dict))
    assert 0 <= pool["gpu_idle"] < 1 and pool["share_of_bare"] > 0
    assert found["gpu_step"]["results"]["ms_per_step"].keys() == {"published", "s4al"}
    (row,) = found["gpu_protocol"]["results"]["rows"]
    assert row["labelled_fraction"] == 0.1 and row["iterations"] == 2
    assert found["gpu_parity"]["results"]["worst"]["region_entropy"] < 0.02


def test_a_part_that_fails_costs_only_itself(tmp_path: Path) -> None:
    """Here every part fails: what stands for Python does."""
    environment = {**os.environ, "OUT": str(tmp_path / "out"), "PYTHON": "false"}
    done = subprocess.run(
        ["bash", str(SCRIPT), "--dry-run"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == len(PARTS) + 1  # the tests are a part too
    assert done.stdout.count("FAILED") == done.returncode


def test_parts_can_be_asked_for_by_name(tmp_path: Path) -> None:
    environment = {**os.environ, "OUT": str(tmp_path / "out"), "PYTHON": "true"}
    command = ["bash", str(SCRIPT), "--dry-run", "pool", "step"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert [line for line in done.stdout.splitlines() if line.startswith("==")] == ["== pool", "== step"]
