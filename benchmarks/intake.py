"""Looking at a folder, and reading it: `s4al check` on many files, and ingest beside that of an earlier checkout.

    python -m benchmarks.intake [--files 20000] [--before CHECKOUT]

The folder is made up: photographs of noise with masks, half as many of each as there are files. Ingest is the reading
of 360 x 480 images by `s4al train`, from the folder to the pool and the decoded cache, each time in a process of its
own, the two checkouts in turn; their ratio is that of the fastest runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.record import record

CLASSES = ("road", "car", "sky", "tree", "person")
_HERE = Path(__file__).parents[1]
_INGEST = """
import sys, time
from pathlib import Path
from s4al.cli.cycle import prepare_pool
from s4al.config import resolve
from s4al.run.state import Run
from s4al.watch import Watch
data, root = sys.argv[1:]
config = resolve(None, None, ["data.adapter=folder", f'data.root="{data}"', "data.height=180", "data.width=240"])
run = Run.create(Path(root), config)
started = time.monotonic()
prepare_pool(run, Watch())
print(time.monotonic() - started)
"""


def make_folder(root: Path, pairs: int, height: int, width: int) -> None:
    """`<split>/images` and `<split>/masks` with classes.txt; one in ten pairs tests. Pictures repeat, names do not."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (10, height // 8, width // 8, 3), np.uint8)
    label = generator.integers(0, len(CLASSES), (10, height // 8, width // 8), np.uint8)
    size, nearest = (width, height), Image.Resampling.NEAREST
    for split in ("train", "test"):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
    originals = root.parent / f"{root.name}-originals"
    originals.mkdir()
    for i in range(10):
        Image.fromarray(small[i]).resize(size).save(originals / f"{i}.jpg", quality=90)
        Image.fromarray(label[i]).resize(size, nearest).save(originals / f"{i}.png")
    files = [((originals / f"{i}.jpg").read_bytes(), (originals / f"{i}.png").read_bytes()) for i in range(10)]
    for index in range(pairs):
        split, (image, mask) = "test" if index % 10 == 0 else "train", files[index % 7]
        (root / split / "images" / f"frame_{index:06d}.jpg").write_bytes(image)
        (root / split / "masks" / f"frame_{index:06d}.png").write_bytes(mask)
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")


def check_seconds(data: Path) -> float:
    """Of the whole command, its start and the estimate of training included."""
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "s4al", "check", str(data), "--json"], check=True, capture_output=True, cwd=_HERE
    )
    return time.monotonic() - started


def understand_seconds(data: Path) -> float:
    """Of looking at the folder alone, in this process."""
    from s4al import config as settings
    from s4al.cli.new_run import Wanted, look

    wanted = Wanted(overrides=(f"data.root={json.dumps(str(data))}",))
    started = time.monotonic()
    look(settings.resolve(wanted.start, None, wanted.overrides), wanted)
    return time.monotonic() - started


def ingest_seconds(checkout: Path, data: Path, root: Path) -> float:
    """Of reading the folder into a new run with the code of `checkout`."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", _INGEST, str(data), str(root)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=checkout, env=environment)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000, help="images and masks that `check` looks at")
    parser.add_argument("--ingested", type=int, default=1000, help="images with masks that ingest reads")
    parser.add_argument("--before", type=Path, help="a checkout to compare ingest with")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=None, help="where the JSON goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_folder(folder / "many", arguments.files // 2, 96, 128)
        results = {
            "files": arguments.files,
            "check_s": [check_seconds(folder / "many") for _ in range(3)],
            "understand_s": [understand_seconds(folder / "many") for _ in range(3)],
        }
        make_folder(folder / "large", arguments.ingested, 360, 480)
        checkouts = {"now": _HERE} | ({"before": arguments.before.resolve()} if arguments.before else {})
        seconds: dict[str, list[float]] = {name: [] for name in checkouts}
        for repeat in range(arguments.repeats):
            for name, checkout in checkouts.items():
                seconds[name].append(ingest_seconds(checkout, folder / "large", folder / f"run-{name}-{repeat}"))
        results |= {"ingested_images": arguments.ingested, "ingest_s": seconds}
        if arguments.before:
            results["ingest_before_over_now"] = min(seconds["before"]) / min(seconds["now"])
    print(json.dumps(results, indent=1))
    print(record("intake", results, folder=arguments.out))


if __name__ == "__main__":
    main()
