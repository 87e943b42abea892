"""What a few labels buy: every row with the same iterations, and supervision by the paper's comparison too.

    python -m benchmarks.label_efficiency --data CAMVID [--preset camvid] [--rows NAME ...] [--seeds 3108 3109 3110]

Every row is tested on the test split after its last step. But for `S4AL`, which has the protocol of its own preset, all
take as many steps as the preset's last joint training, with as many images in each, of which the rows with
self-training spend a part on pseudo-labelled ones: the comparison at equal steps. Cycle 0 of those rows sees as many
labelled images as they do, in half the steps: the comparison at equal labelled draws, as in the paper. All of them
share cycle 0 to the byte: the run is copied and its regions are selected anew. Runs continue where they were cut off,
so the command can be given again; it works on one run at a time, with all cores. What is done so far is recorded after
every run, as JSON and as a picture.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import label_efficiency_chart as chart
from benchmarks.record import record
from s4al.config import resolve


class Row(NamedTuple):
    """
    Attributes
    ----------
    folder : of its runs.
    cycle : which is reported.
    settings : of `s4al train`, beside preset, data and seed.
    select : of `s4al select`, for a copy of the run `active`.
    alone : cycle 0 and no more, trained as long as the last joint training.
    """

    folder: str
    cycle: int
    settings: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    alone: bool = False


ROWS = {
    "supervised 10 %": Row("tenth", 0, alone=True),
    "supervised 10 %, equal draws": Row("active", 0),
    "random + self-training": Row("random", 1, select=("--strategy", "random")),
    "S4AL+": Row("active", 1),
    "full supervision": Row("full", 0, ("data.labelled_fraction=1.0",), alone=True),
    "supervised 10 %, without ReCo": Row("plain", 0, ("reco.weight=0",), alone=True),
    "S4AL+ without queries": Row("unasked", 1, select=("--regions-per-image", "0")),
    "class quotas": Row("class-quota", 1, select=("--strategy", "class-quota")),
    "class confidence": Row("class-confidence", 1, select=("--strategy", "class-confidence")),
    "k-centre": Row("k-centre", 1, select=("--strategy", "k-centre")),
    "S4AL": Row("s4al", 2, ("--preset", "camvid-s4al", "model.weights=none")),
}
_DEFAULT = (
    "supervised 10 %",
    "supervised 10 %, equal draws",
    "S4AL+ without queries",
    "random + self-training",
    "S4AL+",
    "full supervision",
)
_FULL = "full supervision"


class Experiment:
    """Where the runs lie, and what all of them have in common."""

    def __init__(self, preset: str, data: Path | None, root: Path, overrides: list[str]) -> None:
        self._common = ["--preset", preset, *(["--data", str(data)] if data else []), *overrides]
        self._root = root
        self._trainer = resolve(preset, None, overrides).trainer

    def run(self, name: str, seed: int) -> dict[str, Any]:
        """The reported cycle of a row and seed, as `s4al train --json` has it, trained as far as it is not yet."""
        row = ROWS[name]
        root = self._root / f"{row.folder}-{seed}"
        if row.select and not root.exists():
            self._copy_with_other_regions(self._root / f"active-{seed}", root, row.select, seed)
        cycles = self._train(root, seed, (*self._alone, *row.settings) if row.alone else row.settings)
        (last,) = (root / "cycles" / f"{row.cycle:03d}" / "train").glob("step-*")
        steps = int(last.name.removeprefix("step-"))
        each = self._trainer.batch_labelled if row.cycle else self._trainer.batch_labelled_only
        return {**cycles[row.cycle], "iterations": steps, "labelled_draws": steps * each}

    @property
    def _alone(self) -> tuple[str, ...]:
        epochs, iterations = self._trainer.last_epochs, self._trainer.joint_iterations_per_epoch
        return "--cycles", "1", f"trainer.epochs={epochs}", f"trainer.iterations_per_epoch={iterations}"

    def _train(self, root: Path, seed: int, settings: tuple[str, ...]) -> list[dict[str, Any]]:
        cycles = s4al(["train", str(root), *self._common, f"run.seed={seed}", *settings])["cycles"]
        print(f"{root.name}: {[round(cycle['miou'], 4) for cycle in cycles]}", flush=True)
        return cycles

    def _copy_with_other_regions(self, active: Path, root: Path, select: tuple[str, ...], seed: int) -> None:
        self._train(active, seed, ())
        copy = root.with_name(f"copying-{root.name}")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(active, copy)
        shutil.rmtree(copy / "cycles" / "001")
        shutil.rmtree(copy / "cycles" / "000" / "select")
        s4al(["select", str(copy), "--cycle", "0", *select])
        copy.rename(root)


def s4al(arguments: list[str]) -> dict[str, Any]:
    """One command of s4al with `--json`; its answer."""
    command = [sys.executable, "-m", "s4al", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def table(done: dict[str, dict[int, dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row for each name; means and spreads are over the seeds that are done."""
    return [_row(name, seeds, done.get(_FULL, {})) for name, seeds in done.items()]


def _row(name: str, seeds: dict[int, dict[str, Any]], full: dict[int, dict[str, Any]]) -> dict[str, Any]:
    cycles = list(seeds.values())
    mious = [cycle["miou"] for cycle in cycles]
    shares = [cycle["miou"] / full[seed]["miou"] for seed, cycle in seeds.items() if seed in full]
    assert len({cycle["iterations"] for cycle in cycles}) == 1, name
    return {
        "row": name,
        "seeds": list(seeds),
        "labelled_pixels": cycles[0]["labelled_pixels"],
        "labelled_fraction": cycles[0]["labelled_fraction"],
        "iterations": cycles[0]["iterations"],
        "labelled_draws": cycles[0]["labelled_draws"],
        "miou_mean": statistics.mean(mious),
        "miou_stdev": statistics.stdev(mious) if len(mious) > 1 else None,
        "miou": mious,
        "share_of_full_mean": statistics.mean(shares) if shares else None,
        "train_s": [cycle["train_s"] for cycle in cycles],
        "per_class_iou_mean": {
            c: statistics.mean(cycle["per_class_iou"][c] or 0.0 for cycle in cycles) for c in cycles[0]["per_class_iou"]
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="section.key=value for every run")
    parser.add_argument("--data", type=Path, help="the data set's folder")
    parser.add_argument("--preset", default="camvid-small", help="camvid-small, or camvid where there is a GPU")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=_DEFAULT, metavar="NAME")
    parser.add_argument("--runs", type=Path, default=Path("runs/label-efficiency"), help="where the runs go")
    parser.add_argument("--name", default="label_efficiency", help="of the JSON")
    parser.add_argument("--out", type=Path, default=None, help="where the JSON goes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[3108, 3109, 3110])
    arguments = parser.parse_args()
    arguments.runs.mkdir(parents=True, exist_ok=True)
    experiment = Experiment(arguments.preset, arguments.data, arguments.runs, arguments.overrides)
    done: dict[str, dict[int, dict[str, Any]]] = {}
    for seed in arguments.seeds:
        for name in arguments.rows:
            done.setdefault(name, {})[seed] = experiment.run(name, seed)
            results = {"preset": arguments.preset, "overrides": arguments.overrides, "rows": table(done)}
            written = record(arguments.name, results, folder=arguments.out)
            chart.save(chart.draw(results["rows"], chart.chart_title(results)), written.with_suffix(".svg"))
            print(written, flush=True)


if __name__ == "__main__":
    main()
