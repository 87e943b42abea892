"""One forking process for each module of fault tests, and a run that nothing happened to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import TINY, digests

# Smaller still than TINY: a fault test lives through it many times.
FAULTY = (
    *TINY,
    "scenes.train=6",
    "scenes.val=1",
    "scenes.test=1",
    "data.labelled_fraction=0.34",
    "trainer.epochs=1",
    "trainer.last_epochs=1",
    "trainer.iterations_per_epoch=2",
    "trainer.joint_iterations_per_epoch=2",
    "trainer.checkpoint_every=1",
    "scorer.threads=1",
    "scorer.shard_images=2",
)
STAGES = ("labels", "train", "export", "pseudo", "score", "select")


class Attempts:
    """`s4al train` on the tiny run, in children of a process that has imported everything."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, root: Path, **job: Any) -> dict[str, Any]:
        arguments = ["train", str(root), "--preset", "demo", "--device", "cpu", *FAULTY]
        request = {"root": str(root), "arguments": arguments, "log": str(root.parent / f"{root.name}.log"), **job}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@pytest.fixture(scope="session")
def attempts() -> Iterator[Attempts]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-m", "tests.faults.attempts"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield Attempts(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="session")
def straight(attempts: Attempts, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that nothing happened to."""
    root = tmp_path_factory.mktemp("straight") / "run"
    assert attempts(root) == {"status": 0, "operations": pytest.approx(200, abs=150)}, log_of(root)
    return digests(root)


@pytest.fixture(scope="session")
def before_stage(attempts: Attempts, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Copies of the run as it was when each stage began; the key is the folder that the stage commits."""
    root = tmp_path_factory.mktemp("stages") / "run"
    snapshots: dict[str, Path] = {}
    names = ["cache", *(f"cycles/{cycle:03d}/{stage}" for cycle in (0, 1) for stage in STAGES)]
    for name in names:
        copy = root.parent / f"before-{name.replace('/', '-')}"
        if root.exists():
            shutil.copytree(root, copy)
        else:
            copy.mkdir()
        snapshots[name] = copy
        assert attempts(root, leave_after=name)["status"] == 0, log_of(root)
    return snapshots


def log_of(root: Path) -> str:
    path = root.parent / f"{root.name}.log"
    return path.read_text() if path.exists() else "no log"
