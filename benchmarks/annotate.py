"""What people's answers cost the machine: a round of many regions opened, answered, counted, committed.

    python -m benchmarks.annotate [--regions 100000] [--commit 10000]

The regions are 43 x 43 pixels, four an image. Every step is done in a process of its own, which tells its time and its
peak memory; the images but one are not there, as nothing of the store looks at them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.record import record

CELL, PER_IMAGE = 43, 4
SIZE = (2 * CELL, 2 * CELL)
CLASSES = ("road", "car", "sky", "tree", "person")
SAVES = 300


def make_round(root: Path, regions: int) -> None:
    """A run that asks for `regions` regions before it has a network."""
    from s4al.config import resolve
    from s4al.data.pool import Pool, Row, write_pool
    from s4al.run.asking import AskedRegion, commit_questions
    from s4al.run.classes import CLASSES_FILE, Classes, write_classes
    from s4al.run.state import Run

    data = root.parent / "data"
    data.mkdir()
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(data / "image.png")
    sha256 = hashlib.sha256((data / "image.png").read_bytes()).hexdigest()
    off = ("run.full_supervision=false", "run.random_regions=false")
    run = Run.create(root, resolve("demo", None, (f'data.root="{data}"', 'data.oracle="people"', *off)))
    palette = np.array([[n, 0, 0] for n in range(5)], np.uint8)
    write_classes(root / CLASSES_FILE, Classes(tuple(CLASSES), palette))
    ids = [f"sequence-{index // 1000:03d}/frame-{index:08d}" for index in range(-(-regions // PER_IMAGE))]
    row = {"split": "train", "mask": "", "bytes": 30_000, "height": SIZE[0], "width": SIZE[1], "sha256": sha256}
    write_pool(Pool(tuple(Row(id=id, image="image.png", **row) for id in ids)), run.pool_file)
    boxes = [(y, x, y + CELL, x + CELL) for y in (0, CELL) for x in (0, CELL)]
    asked = [
        AskedRegion(ids[n // PER_IMAGE], n % PER_IMAGE, *boxes[n % PER_IMAGE], 0.5, n, "highest entropy", "train")
        for n in range(regions)
    ]
    commit_questions(run, 0, asked, ())


def answer_all(root: Path, count: int) -> None:
    """What `save` writes, for the first `count` regions, without waiting for the disk each time."""
    from s4al.annotate.store import AnswerStore
    from s4al.annotate.tally import Answer, Entry

    store = AnswerStore(_open(root))
    first = store.round.query(0)
    saved = store.save(first, _labels(0), annotator="ann", seconds=4.0, tool="benchmark")
    png = (store.folder / "answers" / first.image / "0.png").read_bytes()
    counts = {int(id): int(n) for id, n in zip(*np.unique(_labels(0), return_counts=True), strict=True)}
    lines = []
    for query in store.round.queries[1:count]:
        file = f"{query.image}/{query.region}.png"
        path = store.folder / "answers" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png)
        answer = Answer(query.id, f"person {query.number % 3}", 4.0, "benchmark", saved.time, saved.sha256)
        lines.append(json.dumps(Entry(answer, file, counts).line()) + "\n")
    with (store.folder / "answers.jsonl").open("a") as stream:
        stream.writelines(lines)


def _open(root: Path):
    from s4al.annotate.queries import Round
    from s4al.run.state import Run

    return Round.open(Run.open(root))


def _labels(seed: int) -> np.ndarray:
    """Blobs, not noise: people paint areas."""
    coarse = np.random.default_rng(seed).integers(0, len(CLASSES), (5, 5), np.uint8)
    return np.kron(coarse, np.ones((9, 9), np.uint8))[:CELL, :CELL].copy()


class Clock:
    """Seconds of work by name: as they pass, and as this process computed. On a busy machine the first say little."""

    def __init__(self) -> None:
        self.times: dict[str, dict[str, float]] = {}

    def __call__(self, name: str, work: Callable[[], Any], times: int = 1) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        for _ in range(times - 1):
            result = work()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        self.times[name] = {"s": round(wall / times, 5), "cpu_s": round(cpu / times, 5)}
        return result


def use(root: Path) -> dict[str, Any]:
    """Open the round as a server does, ask how far it is, show one image, and save answers."""
    from s4al.annotate.store import AnswerStore

    clock = Clock()
    round = clock("open", lambda: _open(root))
    queries = clock("queries", lambda: round.queries)
    store = AnswerStore(round)
    progress = clock("progress_first", store.progress)
    clock("progress_again", store.progress, times=100)
    clock("image_first", lambda: round.image(queries[0]))
    clock("image_again", lambda: round.image(queries[1]), times=20)
    left = iter(queries[-SAVES:])

    def save() -> None:
        query = next(left)
        store.save(query, _labels(query.number), annotator="eve", seconds=4.0, tool="benchmark")

    clock("save", save, times=SAVES // 2)
    with store.together("saving"):
        clock("save_together", save, times=SAVES // 2)
    return {"answered": progress.answered, **clock.times, "peak_mib": _peak_mib()}


def commit(root: Path) -> dict[str, Any]:
    """`s4al label finish`."""
    from s4al.annotate.commit import commit_answers
    from s4al.data import load_pool
    from s4al.run.state import Run

    run, clock = Run.open(root), Clock()
    done = clock("commit", lambda: commit_answers(run, load_pool(run.pool_file), finish=True))
    return {"regions": done.regions, **clock.times, "peak_mib": _peak_mib()}


def _peak_mib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


STEPS: dict[str, Callable[[Path], dict[str, Any]]] = {"use": use, "commit": commit}


def _apart(step: str, root: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.annotate", "--step", step, str(root)]
    measured = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    print(step, measured)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=100_000, help="asked for at once")
    parser.add_argument("--commit", type=int, default=10_000, help="answered and committed")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        step, root = arguments.step
        print(json.dumps(STEPS[step](Path(root))))
        return
    with tempfile.TemporaryDirectory() as folder:
        many, few = (Path(folder) / name / "run" for name in ("many", "few"))
        for root, regions in ((many, arguments.regions), (few, arguments.commit)):
            root.parent.mkdir()
            make_round(root, regions)
        results = {"pending": _apart("use", many)}
        answer_all(many, arguments.regions - SAVES)
        results["answered"] = _apart("use", many)
        answer_all(few, arguments.commit)
        results["commit"] = _apart("commit", few)
    record("annotate", {"store": {"regions": arguments.regions, "region": [CELL, CELL], "saves": SAVES, **results}})


if __name__ == "__main__":
    main()
