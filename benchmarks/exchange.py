"""Speed of `label export` and `label import`: 10,000 regions in every format, as crops and as whole images.

    python -m benchmarks.exchange [--regions 10000]

The guesses serve as answers: each is written, read back, checked and made durable in a round without an answer.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import record
from s4al.annotate.exchange.all import FORMATS
from s4al.annotate.exchange.receiving import import_answers
from s4al.annotate.exchange.sending import export_regions
from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from tests.annotate.rounds import make_round

SIZE = (360, 480)
CELL = 43
PER_IMAGE = 10
CLASSES = 19
BLOCK = 22  # pixels; a region holds four patches of classes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=10_000)
    parser.add_argument("--formats", nargs="*", choices=[*FORMATS], default=[*FORMATS])
    parser.add_argument("--modes", nargs="*", choices=["crop", "full"], default=["crop", "full"])
    options = parser.parse_args()
    results: dict[str, Any] = {"region": [CELL, CELL], "image": list(SIZE), "classes": CLASSES}
    results["regions"] = options.regions
    with tempfile.TemporaryDirectory() as name:
        round = _round(Path(name), options.regions)
        for mode in options.modes:
            results[mode] = {name: measure(round, name, mode) for name in options.formats}
    results["load"] = round_(os.getloadavg()[1])  # of the last five minutes: others at work on the machine
    print(record("exchange", results))


def measure(round: Round, format: str, mode: Any) -> dict[str, float]:
    """Seconds and bytes of one format, in a round without an answer."""
    shutil.rmtree(round.run.answers_folder(round.cycle), ignore_errors=True)
    store, count = AnswerStore(round), len(round.queries)
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        with Stopwatch("export") as exported:
            export_regions(round, store, format, out, mode=mode, guesses=True)
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        back = _answered(out) if format == "label-studio" else out
        with Stopwatch("import") as imported:
            assert import_answers(round, store, back)["saved"] == count
        with Stopwatch("import_again") as again:
            assert import_answers(round, store, back)["unchanged"] == count
    figures = {**exported.figures, **imported.figures, **again.figures, "mib": round_(size / 2**20)}
    print(mode, format, figures, flush=True)
    return figures


def _round(folder: Path, count: int) -> Round:
    names = [f"class {id}" for id in range(CLASSES)]
    colours = [(id + 1, 2 * id, 255 - id) for id in range(CLASSES)]
    return make_round(folder, names=names, colours=colours, regions=_regions(count), size=SIZE, block=BLOCK)


class Stopwatch:
    """Seconds by the clock, and of this process on all cores: others may be at work on the machine."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.figures: dict[str, float] = {}

    def __enter__(self) -> Stopwatch:
        self._started = time.monotonic(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        wall, cpu = time.monotonic() - self._started[0], time.process_time() - self._started[1]
        self.figures = {f"{self._name}_s": round_(wall), f"{self._name}_cpu_s": round_(cpu)}


def round_(value: float) -> float:
    return round(value, 1)


def _regions(count: int) -> list[tuple[str, tuple[int, int, int, int]]]:
    """Ten cells each of many images."""
    generator = np.random.default_rng(0)
    cells = [(y, x) for y in range(0, SIZE[0] - CELL, CELL) for x in range(0, SIZE[1] - CELL, CELL)]
    regions = []
    for number in range(-(-count // PER_IMAGE)):
        for cell in generator.choice(len(cells), PER_IMAGE, replace=False):
            y, x = cells[cell]
            regions.append((f"seq/{number:06d}", (y, x, y + CELL, x + CELL)))
    return regions[:count]


def _answered(out: Path) -> Path:
    """What Label Studio would export where everybody accepted the guess."""
    tasks = json.loads((out / "tasks.json").read_bytes())
    for number, task in enumerate(tasks):
        about = {"id": number, "completed_by": 1, "lead_time": 5.0, "updated_at": "2026-01-01T00:00:00Z"}
        task |= {"id": number, "annotations": [{**about, "result": task.pop("predictions")[0]["result"]}]}
    path = out.with_name("project.json")
    path.write_text(json.dumps(tasks))
    return path


if __name__ == "__main__":
    main()
