"""A process that has everything imported and forks one child for each attempt at a run; the child can be told to die.

Importing torch takes seconds and a fault test needs a hundred attempts. Nothing here is imported by the product: the
child replaces `files._fsync` and `files._rename`, through which every durable write goes, by versions that count.

    {"root": ..., "arguments": [...], "die_at": 7}      SIGKILL itself before the 7th durable operation
    {..., "die_after_s": 1.5}                           the parent sends SIGKILL
    {..., "two_signals_at": 7}                          SIGTERM itself twice before the 7th durable operation
    {..., "leave_after": "cycles/000/train"}            leave quietly once this folder is committed
    {..., "signals": [[2, 0.8], [15, 0.2]]}             the parent sends signals, each after a pause; the first pause
                                                        begins when the run has written something
One JSON line in, one out: {"status": exit code or -signal, "operations": how many durable operations were done}.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import jinja2
import lightning_fabric
import matplotlib.backends.backend_svg
import numba
import onnx
import onnxruntime
import onnxscript
import pyarrow.parquet
import torch
import torch.export
import torch.utils.tensorboard

import s4al.cli.cycle
import s4al.export
import s4al.kernels.region_scores_cpu
import s4al.report
import s4al.scorer
import s4al.trainer
from s4al import files
from s4al.cli import main

PRELOADED = (
    jinja2,
    lightning_fabric,
    matplotlib.backends.backend_svg,
    numba,
    onnx,
    onnxruntime,
    onnxscript,
    pyarrow.parquet,
    s4al.trainer,
    torch,
)


def instrument(job: dict[str, Any], counter: int) -> None:
    """Count durable operations into the file descriptor `counter`; die or leave where the job says so."""
    done = 0
    real_fsync, real_rename = files._fsync, files._rename
    leave_after = job.get("leave_after")

    def before() -> None:
        nonlocal done
        if job.get("die_at") == done:
            os.kill(os.getpid(), signal.SIGKILL)
        if job.get("two_signals_at") == done:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        done += 1
        os.pwrite(counter, str(done).encode(), 0)

    def fsync(descriptor: int) -> None:
        before()
        real_fsync(descriptor)

    def rename(source: Path, target: Path) -> None:
        before()
        real_rename(source, target)
        if leave_after and target == Path(job["root"]) / leave_after:
            os._exit(0)

    files._fsync, files._rename = fsync, rename


def attempt(job: dict[str, Any]) -> dict[str, Any]:
    counter = os.memfd_create("operations")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            quiet = os.open(job.get("log", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            instrument(job, counter)
            main(job["arguments"])
        except SystemExit as ending:
            status = int(ending.code or 0)
        finally:
            os._exit(status)
    if "die_after_s" in job:
        time.sleep(job["die_after_s"])
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    if "signals" in job:
        while not os.pread(counter, 1, 0) and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            time.sleep(0.01)
    for signum, pause in job.get("signals", ()):
        time.sleep(pause)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signum)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    operations = int(os.pread(counter, 20, 0) or 0)
    os.close(counter)
    return {"status": status, "operations": operations}


if __name__ == "__main__":
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(attempt(json.loads(line))), flush=True)
