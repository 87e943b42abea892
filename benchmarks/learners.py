"""Every learner on the embedded scenes: the same images, budget and iterations, and what a step costs.

    python -m benchmarks.learners [--out DIR] [--seeds 3108 3109 3110] [--rows NAME ...] [--jobs N]
                                  [--name NAME] [section.key=value ...]

A run is two trainings from random weights with one round of regions between them; what is reported is the second. Runs
continue where they were cut off, so the command can be given again. Steps are timed afterwards, all learners in turn in
one process, on batches of the same size.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.record import record
from s4al.data import load_pool
from s4al.run.state import Run
from s4al.trainer.distributed import launch_fabric
from s4al.trainer.loop import Training
from s4al.trainer.targets import build_targets, targets_file
from s4al.watch import Watch

# Regional contrast is a part of S4AL+ and of no other row. Adam, because under supervision alone as many steps of the
# preset's SGD end four points lower, and what such a network labels is not worth learning.
_SETTINGS = (
    "run.full_supervision=false",
    "run.random_regions=false",
    "scenes.test=100",
    "reco.weight=0",
    "trainer.precision=bf16-mixed",
    "trainer.optimizer=adam",
    "trainer.lr=0.002",
)
ROWS: dict[str, tuple[str, ...]] = {
    "supervised": ("learner.name=supervised",),
    # What learners with a part for unlabelled images are left with when that part brings nothing.
    "the labelled part alone": ("learner.name=mean-teacher", "learner.weight=0"),
    "s4al-plus": ("learner.name=s4al-plus", "reco.weight=1"),
    "s4al": ("learner.name=s4al",),
    "mean-teacher, no mixing": ("learner.name=mean-teacher", "learner.mix=none"),
    "mean-teacher, CutMix": ("learner.name=mean-teacher", "learner.mix=cutmix"),
    "mean-teacher, ClassMix": ("learner.name=mean-teacher",),
    "cutmix": ("learner.name=cutmix",),
    "cutmix-star": ("learner.name=cutmix-star",),
    "phtps, mean teacher": ("learner.name=phtps",),
    "phtps, simple 1w-ps": ("learner.name=phtps", "learner.teacher=simple"),
    "phtps, simple 1w-pt": ("learner.name=phtps", "learner.teacher=simple", "learner.variant=1w-pt"),
    "phtps, simple 2w-p1": ("learner.name=phtps", "learner.teacher=simple", "learner.variant=2w-p1"),
    "phtps, simple 1w-p2": ("learner.name=phtps", "learner.teacher=simple", "learner.variant=1w-p2"),
    "uda": ("learner.name=uda",),
    "cps": ("learner.name=cps",),
    "deal": ("learner.name=deal", "model.difficulty_stride=8"),
    "equal": ("learner.name=equal",),
}
_CYCLE = 1
_STEPS, _TURNS = 4, 5  # timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="section.key=value for every run")
    parser.add_argument("--out", type=Path, default=Path("runs/learners"), help="where the runs go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3108, 3109, 3110])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, which share the cores")
    parser.add_argument("--name", default="learners", help="of the JSON file in benchmarks/results")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    cycles: dict[str, list[dict[str, Any]]] = {row: [] for row in arguments.rows}
    with ThreadPoolExecutor(arguments.jobs) as executor:
        todo = [
            (row, executor.submit(_train, _folder(arguments.out, row, seed), row, seed, arguments))
            for seed, row in itertools.product(arguments.seeds, arguments.rows)
        ]
        try:
            for row, cycle in todo:
                cycles[row].append(cycle.result())
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise
    runs = {row: Run.open(_folder(arguments.out, row, arguments.seeds[0])) for row in arguments.rows}
    step_s = _time_steps(runs)
    base = arguments.rows[0]
    results = {
        "rows": [_row(row, cycles[row], cycles[base], step_s[row] / step_s[base]) for row in arguments.rows],
        "step_s": step_s,
        "seeds": arguments.seeds,
        "configuration": (runs[base].root / "run.toml").read_text(),
    }
    print(record(arguments.name, results))


def _folder(out: Path, row: str, seed: int) -> Path:
    return out / f"{row.replace(',', '').replace(' ', '-')}-{seed}"


def _train(root: Path, row: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """The last cycle of a run, as `s4al train --json` reports it."""
    command = [sys.executable, "-m", "s4al", "train", str(root), "--preset", "demo", "--device", "cpu", "--json"]
    settings = (f"run.seed={seed}", *_SETTINGS, *ROWS[row], *arguments.overrides)
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // arguments.jobs)), "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run([*command, *settings], capture_output=True, text=True, env=os.environ | threads)
    if done.returncode:
        raise RuntimeError(f"{root.name} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    cycle = json.loads(done.stdout)["cycles"][_CYCLE]
    print(f"{root.name}: {cycle['miou']:.4f}", flush=True)
    return cycle


def _row(row: str, cycles: list[dict[str, Any]], base: list[dict[str, Any]], step_ratio: float) -> dict[str, Any]:
    """Means and spreads over seeds; gains are over the first row, seed by seed."""
    mious = [cycle["miou"] for cycle in cycles]
    gains = [cycle["miou"] - other["miou"] for cycle, other in zip(cycles, base, strict=True)]
    return {
        "row": row,
        "settings": ROWS[row],
        "labelled_fraction": cycles[0]["labelled_fraction"],
        "miou": mious,
        "miou_mean": statistics.mean(mious),
        "miou_stdev": _spread(mious),
        "gain_mean": statistics.mean(gains),
        "gain_stdev": _spread(gains),
        "per_class_iou": {
            name: statistics.mean(cycle["per_class_iou"][name] for cycle in cycles)
            for name in cycles[0]["per_class_iou"]
        },
        "step_ratio": step_ratio,
    }


def _spread(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def _time_steps(runs: dict[str, Run]) -> dict[str, float]:
    """Seconds of a step of each learner, half through its last training: the median of turns that all take."""
    fabric = launch_fabric("cpu", next(iter(runs.values())).config.trainer.precision)
    with tempfile.TemporaryDirectory() as work:
        trainings = {}
        for row, run in runs.items():
            pool = load_pool(run.pool_file)
            build_targets(run, _CYCLE, pool)
            trainings[row] = Training(run, _CYCLE, pool, Path(work), fabric, Watch())
        numbers = {row: range(training.steps // 2, training.steps) for row, training in trainings.items()}
        batches = {
            row: zip(numbers[row], training.open_batches(numbers[row][0]), strict=True)
            for row, training in trainings.items()
        }
        turns: dict[str, list[float]] = {row: [] for row in runs}
        for _ in range(_TURNS + 1):
            for row, training in trainings.items():
                ready = list(itertools.islice(batches[row], _STEPS))
                started = time.perf_counter()
                for number, batch in ready:
                    training.step(number, batch)
                turns[row].append((time.perf_counter() - started) / _STEPS)
    for run in runs.values():
        targets_file(run, _CYCLE).unlink()
    return {row: statistics.median(times[1:]) for row, times in turns.items()}  # the first turn warms up


if __name__ == "__main__":
    main()
