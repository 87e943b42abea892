"""A run that is killed and continued ends with the bytes of one that was left alone."""

from __future__ import annotations

import random
import shutil
import signal
from pathlib import Path

import pytest

from tests.faults.conftest import STAGES, Attempts, log_of
from tests.tiny import digests

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


def under(files: dict[str, bytes], folder: str) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name.startswith(f"{folder}/")}


@pytest.mark.parametrize("stage", ["cache", *(f"cycles/{cycle:03d}/{stage}" for cycle in (0, 1) for stage in STAGES)])
def test_death_at_every_durable_operation_of_a_stage(attempts: Attempts, before_stage, straight, tmp_path: Path, stage):
    operations = 0
    for die_at in range(1000):
        root = tmp_path / f"{die_at}"
        shutil.copytree(before_stage[stage], root)
        if attempts(root, die_at=die_at, leave_after=stage)["status"] == 0:
            break  # the stage has fewer operations than that
        operations += 1
        assert attempts(root, leave_after=stage)["status"] == 0, log_of(root)
        assert under(digests(root), stage) == under(straight, stage), f"killed at operation {die_at}"
        shutil.rmtree(root)
    assert operations >= 5


@pytest.mark.parametrize("seed", range(3))
def test_ten_random_kills(attempts: Attempts, straight, tmp_path: Path, seed):
    """Thirty in all, over every stage; an attempt lives between a tenth of a second and four seconds."""
    rng, root, kills = random.Random(seed), tmp_path / "run", 0
    while kills < 10:
        status = attempts(root, die_after_s=rng.uniform(0.1, 4.0))["status"]
        if status == 0:
            # It outlived us: do it all again, in another folder, for the kills that are left.
            assert digests(root) == straight
            shutil.rmtree(root)
            continue
        assert status == -signal.SIGKILL, log_of(root)
        kills += 1
    assert attempts(root)["status"] == 0, log_of(root)
    assert digests(root) == straight
    leftovers = [path.name for path in root.rglob("*") if path.name.startswith((".tmp-", ".work-"))]
    assert leftovers == []


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("pause_s", [0.3, 2.0])
def test_signals_stop_with_the_last_step_committed(attempts: Attempts, straight, tmp_path: Path, signum, code, pause_s):
    root = tmp_path / "run"
    assert attempts(root, signals=[[signum, pause_s]])["status"] == code, log_of(root)
    assert "What is committed is safe" in log_of(root)
    assert not list(root.rglob(".tmp-*"))
    assert attempts(root)["status"] == 0, log_of(root)
    assert digests(root) == straight


def test_a_second_signal_stops_at_once(attempts: Attempts, straight, tmp_path: Path):
    root, in_a_checkpoint = tmp_path / "run", 40
    stopped = attempts(root, two_signals_at=in_a_checkpoint)
    assert stopped == {"status": 143, "operations": in_a_checkpoint}, log_of(root)
    assert attempts(root)["status"] == 0, log_of(root)
    assert digests(root) == straight
