"""Rounds over given pictures, without a training: what the page's tests and benchmark serve."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4al.annotate.queries import Round
from s4al.config import resolve
from s4al.data import Pool, Row
from s4al.data.palettes import distinct_palette
from s4al.data.pool import write_pool
from s4al.run.asking import AskedRegion, Guess, commit_questions
from s4al.run.classes import CLASSES_FILE, Classes, write_classes
from s4al.run.state import Run

Box = tuple[int, int, int, int]
NAMES = ("road", "car", "sky")


def picture_round(
    root: Path,
    pictures: dict[str, NDArray[np.uint8]],
    regions: Sequence[tuple[str, Box]],
    *,
    names: Sequence[str] = NAMES,
    palette: NDArray[np.uint8] | None = None,
    guesses: Sequence[NDArray[np.uint8]] | None = None,
    uncertainties: Sequence[NDArray[np.uint8]] | None = None,
    quality: int | None = None,
) -> Round:
    """The open round of a new run `root / "run"` over images in `root / "data"`: `regions` in the order of rank.

    Parameters
    ----------
    pictures : uint8 (H, W, 3) by image id.
    guesses, uncertainties : uint8 (h, w) of each region; without them it is the first cycle.
    quality : of JPEG files; PNG without.
    """
    data = root / "data"
    settings = [f'data.root="{data}"', 'data.oracle="people"', "run.full_supervision=false", "run.random_regions=false"]
    run = Run.create(root / "run", resolve("demo", None, settings))
    colours = distinct_palette(len(names)) if palette is None else palette
    write_classes(run.root / CLASSES_FILE, Classes(tuple(names), np.asarray(colours, np.uint8)))
    rows = [_save(data, name, picture, quality) for name, picture in sorted(pictures.items())]
    write_pool(Pool(tuple(rows)), run.pool_file)
    cycle = 0
    shown: list[tuple[int, Guess]] = []
    if guesses is not None:
        cycle = 1
        for stage in ("labels", "train", "export", "score", "select"):
            _commit(run, stage)
        unsure = uncertainties or [np.zeros_like(guess) for guess in guesses]
        shown = [(n, Guess(*pair)) for n, pair in enumerate(zip(guesses, unsure, strict=True))]
    asked = [
        AskedRegion(image, n, *box, score=1 - n / len(regions), rank=n, reason="entropy", purpose="train")
        for n, (image, box) in enumerate(regions)
    ]
    commit_questions(run, cycle, asked, shown)
    return Round.open(run)


def _save(data: Path, name: str, picture: NDArray[np.uint8], quality: int | None) -> Row:
    file = f"{name}.{'png' if quality is None else 'jpg'}"
    path = data / file
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, **({} if quality is None else {"quality": quality}))
    content = path.read_bytes()
    height, width = picture.shape[:2]
    return Row(name, "train", file, "", len(content), hashlib.sha256(content).hexdigest(), height=height, width=width)


def _commit(run: Run, stage: str) -> None:
    if stage == "labels":
        run.commit_labels(0, [], [])
        return
    with run.commit(0, stage) as folder:
        (folder / "something").write_text(stage)
