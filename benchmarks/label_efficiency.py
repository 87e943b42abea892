"""What 12 % of the labels buy: CamVid at 180x240 from random weights, every row with the same iterations.

    python -m benchmarks.label_efficiency --data CAMVID [--seeds 3108 3109 3110]

Rows, each for every seed, tested on the test split after the last step:

    supervised 10 %           cross entropy + ReCo on the labelled images
    random + self-training    cycle 1 of a run whose regions are chosen at random
    S4AL+                     cycle 1 of a run whose regions are those of highest entropy
    full supervision          cross entropy + ReCo on all training images

All take the same number of steps with the same number of images in each, of which the second and third row spend half
on pseudo-labelled ones. These two share cycle 0 to the byte: the run is copied and its regions are selected anew. Runs
continue where they were cut off, so the command can be given again; it works on one run at a time, with all cores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.record import record

SAME_STEPS = ("trainer.epochs=38", "trainer.iterations_per_epoch=80")  # as the preset's last joint training
ROWS = ("supervised 10 %", "random + self-training", "S4AL+", "full supervision")


def s4al(arguments: list[str]) -> dict[str, Any]:
    """One command of s4al with `--json`; its answer."""
    command = [sys.executable, "-m", "s4al", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def one_seed(seed: int, data: Path, root: Path, overrides: list[str]) -> dict[str, dict[str, Any]]:
    """The four rows of one seed, each a cycle as `s4al train --json` reports it."""

    def train(run: Path, *more: str) -> list[dict[str, Any]]:
        settings = ["--preset", "camvid-small", "--data", str(data), f"run.seed={seed}", *overrides]
        cycles = s4al(["train", str(run), *settings, *more])["cycles"]
        print(f"{run.name}: {[round(cycle['miou'], 4) for cycle in cycles]}", flush=True)
        return [{**cycle, "iterations": _iterations(run, cycle["cycle"])} for cycle in cycles]

    active, random, tenth, full = (root / f"{name}-{seed}" for name in ("active", "random", "tenth", "full"))
    last = train(active)
    supervised = train(full, "--cycles", "1", *SAME_STEPS, "data.labelled_fraction=1.0")
    few = train(tenth, "--cycles", "1", *SAME_STEPS)
    _copy_with_random_selection(active, random)
    baseline = train(random)
    rows = few[0], baseline[1], last[1], supervised[0]
    assert len({row["iterations"] for row in rows}) == 1, [row["iterations"] for row in rows]
    return dict(zip(ROWS, rows, strict=True))


def _iterations(run: Path, cycle: int) -> int:
    (last,) = (run / "cycles" / f"{cycle:03d}" / "train").glob("step-*")
    return int(last.name.removeprefix("step-"))


def _copy_with_random_selection(active: Path, random: Path) -> None:
    if random.exists():
        return
    copy = random.with_name(f"copying-{random.name}")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(active, copy)
    shutil.rmtree(copy / "cycles" / "001")
    shutil.rmtree(copy / "cycles" / "000" / "select")
    s4al(["select", str(copy), "--cycle", "0", "--strategy", "random"])
    copy.rename(random)


def table(seeds: dict[int, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    rows = []
    for name in ROWS:
        cycles = [seeds[seed][name] for seed in seeds]
        mious = [cycle["miou"] for cycle in cycles]
        shares = [
            cycle["miou"] / seeds[seed]["full supervision"]["miou"] for seed, cycle in zip(seeds, cycles, strict=True)
        ]
        rows.append(
            {
                "row": name,
                "labelled_pixels": cycles[0]["labelled_pixels"],
                "labelled_fraction": cycles[0]["labelled_fraction"],
                "iterations": cycles[0]["iterations"],
                "miou_mean": statistics.mean(mious),
                "miou_stdev": statistics.stdev(mious) if len(mious) > 1 else None,
                "miou": mious,
                "share_of_full_mean": statistics.mean(shares),
                "per_class_iou_mean": {
                    c: statistics.mean(cycle["per_class_iou"][c] or 0.0 for cycle in cycles)
                    for c in cycles[0]["per_class_iou"]
                },
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the CamVid folder")
    parser.add_argument("--out", type=Path, default=Path("runs/label-efficiency"), help="where the runs go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3108, 3109, 3110])
    parser.add_argument("overrides", nargs="*", help="section.key=value for every run")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    seeds = {seed: one_seed(seed, arguments.data, arguments.out, arguments.overrides) for seed in arguments.seeds}
    configuration = (arguments.out / f"active-{arguments.seeds[0]}" / "run.toml").read_text()
    print(record("label_efficiency", {"rows": table(seeds), "seeds": arguments.seeds, "configuration": configuration}))


if __name__ == "__main__":
    main()
