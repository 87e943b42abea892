"""A run that asks people something, made by hand in milliseconds: images, a pool and the stage `ask`, no network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from s4al.annotate.queries import Round
from s4al.config import resolve
from s4al.data import Pool, Row
from s4al.data.pool import write_pool
from s4al.run.asking import AskedRegion, Guess, commit_questions
from s4al.run.classes import CLASSES_FILE, Classes, write_classes
from s4al.run.state import Run

NAMES = ("road", "car", "sky")
COLOURS = ((128, 64, 128), (0, 0, 142), (70, 130, 180))
SIZE = (40, 60)  # of every image
# Image and box (y0, x0, y1, x1): one inside, two of one image, one of a single pixel, ragged ones at the edges.
REGIONS = (
    ("a", (10, 10, 20, 25)),
    ("a", (30, 45, 40, 60)),
    ("sub dir/b é", (0, 0, 7, 9)),
    ("c", (39, 59, 40, 60)),
)


def make_round(
    root: Path,
    *,
    names: Sequence[str] = NAMES,
    colours: Sequence[tuple[int, int, int]] = COLOURS,
    regions: Sequence[tuple[str, tuple[int, int, int, int]]] = REGIONS,
    size: tuple[int, int] = SIZE,
    cycle: int = 1,
    guesses: bool = True,
    block: int = 1,
    seed: int = 0,
) -> Round:
    """The open round of a new run `root / "run"` over images in `root / "data"`.

    Parameters
    ----------
    cycle : whose labels are asked for; 0 has no network before it, so no guesses.
    guesses : random label maps and uncertainties of every region, where there is a network.
    block : pixels of the squares that guesses are made of.
    """
    generator = np.random.default_rng(seed)
    data = root / "data"
    run = Run.create(root / "run", resolve("demo", None, [f'data.root="{data}"', 'data.oracle="people"', *_ALONE]))
    write_classes(run.root / CLASSES_FILE, Classes(tuple(names), np.array(colours, np.uint8).reshape(-1, 3)))
    images = sorted({image for image, _ in regions})
    rows = [_save_image(data, image, size, generator) for image in images]
    write_pool(Pool(tuple(sorted(rows, key=lambda row: row.id))), run.pool_file)
    for earlier in range(cycle):
        for stage in ("labels", "train", "export", "pseudo", "score", "select"):
            _commit_before(run, earlier, stage)
    asked = [
        AskedRegion(image, number, *box, score=1 / (number + 1), rank=number, reason="entropy", purpose="train")
        for number, (image, box) in enumerate(regions)
    ]
    shapes = [(box[2] - box[0], box[3] - box[1]) for _, box in regions]
    shown = [(number, _guess(shape, len(names) or 1, block, generator)) for number, shape in enumerate(shapes)]
    commit_questions(run, cycle, asked, shown if guesses and cycle else [])
    return Round.open(run)


_ALONE = ("run.full_supervision=false", "run.random_regions=false")


def _guess(shape: tuple[int, int], classes: int, block: int, generator: np.random.Generator) -> Guess:
    coarse = (-(-shape[0] // block), -(-shape[1] // block))
    label_hw = np.kron(generator.integers(0, classes, coarse, np.uint8), np.ones((block, block), np.uint8))
    uncertainty_hw = generator.integers(0, 256, shape, np.uint8)
    return Guess(np.ascontiguousarray(label_hw[: shape[0], : shape[1]]), uncertainty_hw)


def _save_image(data: Path, image: str, size: tuple[int, int], generator: np.random.Generator) -> Row:
    path = data / f"{image}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(generator.integers(0, 256, (*size, 3), np.uint8)).save(path, "PNG")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Row(image, "train", f"{image}.png", "", len(content), digest, height=size[0], width=size[1])


def _commit_before(run: Run, cycle: int, stage: str) -> None:
    if stage == "labels":
        run.commit_labels(cycle, [], [])
        return
    with run.commit(cycle, stage) as folder:
        (folder / "something").write_text(stage)
