"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

_BESIDE_REPOSITORY = Path(__file__).resolve().parents[2] / "shared" / "data" / "camvid"


@pytest.fixture(scope="session")
def camvid_root() -> Path:
    """The real CamVid (367 / 101 / 233 images, 360 x 480); tests that need it are skipped where it is not at hand."""
    root = Path(os.environ.get("S4AL_CAMVID", _BESIDE_REPOSITORY))
    if not (root / "train.txt").is_file():
        pytest.skip(f"CamVid is not at {root}; set S4AL_CAMVID")
    return root


@pytest.fixture(scope="session")
def save_png() -> Callable[[Path, np.ndarray], Path]:
    """Save an array as PNG, making its folder."""

    def save(path: Path, pixels: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, "PNG")
        return path

    return save


@pytest.fixture
def folder_root(tmp_path: Path, save_png: Callable[[Path, np.ndarray], Path]) -> Path:
    """A data set in the `folder` layout: 12 train, 2 val, 3 test images of 20 x 30, classes road, car, sky."""
    root = tmp_path / "data"
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 2), ("test", 3)):
        for i in range(count):
            save_png(root / split / "images" / f"{i:02d}.png", generator.integers(0, 256, (20, 30, 3), np.uint8))
            save_png(root / split / "masks" / f"{i:02d}.png", generator.integers(0, 3, (20, 30), np.uint8))
    (root / "classes.txt").write_text("road\ncar\nsky\n")
    return root
