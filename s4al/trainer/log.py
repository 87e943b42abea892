"""What a training leaves behind: metrics and checkpoints, reproducible; TensorBoard and progress, with clock times."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from torch import nn
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from s4al import files
from s4al.run.state import Run
from s4al.text import duration
from s4al.trainer.checkpoint import Meta, checkpoints, read_meta, save_checkpoint
from s4al.watch import Watch

_TENSORBOARD_EVERY = 10  # steps
_ESTIMATE_AFTER = 20  # steps, of which the first few are slow


class TrainingLog:
    """Written by rank 0 alone.

    Parameters
    ----------
    work : the training's work folder; lines of metrics.jsonl after its newest checkpoint are dropped, because the
        attempt that wrote them did not get to the next one.
    steps, images_per_step : of the whole training, over all processes.
    images_after : that the run's later trainings will see, for an estimate of its length.
    """

    def __init__(
        self,
        run: Run,
        cycle: int,
        work: Path,
        watch: Watch,
        *,
        steps: int,
        images_per_step: int,
        images_after: int,
    ) -> None:
        self._run, self._cycle, self._work, self._watch = run, cycle, work, watch
        self._steps, self._images_per_step, self._images_after = steps, images_per_step, images_after
        self._added, self._begun = 0, 0.0
        self._lines: list[str] = []
        self._clock = self._window = time.monotonic()
        self._images = 0
        newest = [read_meta(folder) for folder in checkpoints(work)[-1:]]
        self._metrics = work / "metrics.jsonl"
        with files.storage_errors(f"writing {self._metrics}"):
            self._metrics.touch()
            os.truncate(self._metrics, newest[0].metrics_bytes if newest else 0)
            self._writer = SummaryWriter(
                str(tensorboard_folder(run, cycle)), purge_step=newest[0].step if newest else None
            )

    def add(self, step: int, lr: float, figures: dict[str, float]) -> None:
        """The figures of one step, the loss among them."""
        self._lines.append(json.dumps({"step": step, "lr": lr, **figures}) + "\n")
        now = time.monotonic()
        self._images += self._images_per_step
        rate = self._images / max(now - self._window, 1e-9)
        self._watch.progress(
            f"cycle {self._cycle} train", step + 1, self._steps, loss=figures["loss"], images_per_s=rate
        )
        self._estimate(step, now)
        if step % _TENSORBOARD_EVERY == 0:
            for name, value in {**figures, "lr": lr, "images_per_s": rate}.items():
                self._writer.add_scalar(name, value, step)
            self._images, self._window = 0, now

    def _estimate(self, step: int, now: float) -> None:
        """Once, when the pace is known: how long this training and those after it will take."""
        self._added += 1
        if self._added == _ESTIMATE_AFTER // 2:
            self._begun = now
        if self._added != _ESTIMATE_AFTER or step + 1 == self._steps:
            return
        per_step_s = (now - self._begun) / (_ESTIMATE_AFTER - _ESTIMATE_AFTER // 2)
        left_s = (self._steps - step - 1) * per_step_s
        line = f"Cycle {self._cycle}: about {duration(left_s)} of training left"
        if self._images_after:
            later_s = self._images_after / self._images_per_step * per_step_s
            line += f", {duration(left_s + later_s)} for all trainings of the run"
        self._watch.note(f"{line}. Ctrl-C stops it, and the same command goes on.")

    def checkpoint(self, step: int, networks: Mapping[str, nn.Module], optimizer: Optimizer) -> None:
        """Commit what has been reached after `step` steps, with the metrics up to there. Raises StorageError."""
        with files.storage_errors(f"writing {self._metrics}"), self._metrics.open("a") as stream:
            stream.writelines(self._lines)
        self._lines.clear()
        meta = Meta(step, self._steps, len(self._run.classes(self._cycle)), self._metrics.stat().st_size)
        save_checkpoint(self._work, networks, optimizer, meta, keep=self._run.config.trainer.keep_checkpoints)
        now = time.monotonic()
        self._run.add_seconds(self._cycle, "train", now - self._clock)
        self._clock = now

    def close(self) -> None:
        self._writer.close()


def tensorboard_folder(run: Run, cycle: int) -> Path:
    return run.logs / "tensorboard" / f"cycle-{cycle:03d}"
