"""Which images a run starts with, and which classes they lack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from s4al.config import resolve
from s4al.data import Pool, Row, open_dataset
from s4al.data.ingest import ingest
from s4al.data.start_set import cached_class_pixels, initial_labelled, missing_classes
from s4al.errors import ConfigError, DataError

Save = Callable[[Path, np.ndarray], Path]


def rows(count: int, without_mask: tuple[int, ...] = (), ignored: tuple[int, ...] = ()) -> Pool:
    def row(i: int) -> Row:
        masked = i not in without_mask
        labelled = 7 if masked and i not in ignored else 0
        return Row(f"{i:03d}", "train", f"{i}.png", f"m/{i}.png" if masked else "", labelled_pixels=labelled)

    return Pool(tuple(row(i) for i in range(count)))


@pytest.mark.parametrize(("count", "fraction", "expected"), [(367, 0.1, 37), (10, 0.01, 1), (10, 1.0, 10), (1, 0.5, 1)])
def test_initial_count(count: int, fraction: float, expected: int) -> None:
    chosen = initial_labelled(rows(count), fraction, seed=3108)
    assert len(chosen) == len(set(chosen.tolist())) == expected
    assert (np.diff(chosen) > 0).all() and chosen.min() >= 0 and chosen.max() < count


def test_initial_draw_is_keyed_by_the_seed() -> None:
    pool = rows(100)
    first = initial_labelled(pool, 0.1, 1)
    np.testing.assert_array_equal(first, initial_labelled(pool, 0.1, 1))
    assert not np.array_equal(first, initial_labelled(pool, 0.1, 2))
    many = np.bincount(np.concatenate([initial_labelled(pool, 0.1, seed) for seed in range(500)]), minlength=100)
    assert many.min() >= 25 and many.max() <= 80  # 50 expected, standard deviation 6.7
    # a longer list begins with the shorter one, so that runs at several fractions are comparable
    assert set(first.tolist()) <= set(initial_labelled(pool, 0.3, 1).tolist())


def test_initial_draw_is_pinned() -> None:
    """Published results depend on it."""
    assert initial_labelled(rows(367), 0.02, 3108).tolist() == [35, 77, 91, 170, 221, 266, 303]


def test_initial_draw_is_among_images_with_masks() -> None:
    pool = rows(20, without_mask=tuple(range(15)))
    assert initial_labelled(pool, 1.0, 0).tolist() == [15, 16, 17, 18, 19]
    with pytest.raises(DataError, match="No training image has a mask"):
        initial_labelled(rows(3, without_mask=(0, 1, 2)), 0.5, 0)


def test_initial_list(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("007\n\n003\r\n007\n")
    assert initial_labelled(rows(10), 0.1, 0, str(path)).tolist() == [3, 7]
    path.write_text("0o7\n")
    with pytest.raises(ConfigError, match=r"names '0o7', .* Did you mean '007'\?"):
        initial_labelled(rows(10), 0.1, 0, str(path))
    path.write_text("\n")
    with pytest.raises(ConfigError, match="names no images"):
        initial_labelled(rows(10), 0.1, 0, str(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        initial_labelled(rows(10), 0.1, 0, str(path))
    with pytest.raises(ConfigError, match="cannot be read"):
        initial_labelled(rows(10), 0.1, 0, str(tmp_path / "gone.txt"))


def test_images_whose_mask_is_wholly_ignored_are_not_drawn() -> None:
    pool = rows(20, ignored=tuple(range(1, 15)))
    assert initial_labelled(pool, 1.0, 0).tolist() == [0, 15, 16, 17, 18, 19]
    for seed in range(20):
        chosen = initial_labelled(pool, 0.2, seed).tolist()
        assert len(chosen) == 4 and not set(chosen) & set(range(1, 15))


def test_masks_without_any_label_stop() -> None:
    with pytest.raises(DataError) as caught:
        initial_labelled(rows(3, without_mask=(0,), ignored=(1, 2)), 0.5, 0)
    assert caught.value.what == "No training mask holds a label: every pixel of all 2 is ignored."
    assert caught.value.exit_code == 4 and "data.mask_values" in caught.value.remedy


def test_list_that_names_an_image_without_a_label(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("003\n004\n")
    with pytest.raises(ConfigError, match="names '004', whose mask holds no label: every pixel is ignored"):
        initial_labelled(rows(10, ignored=(4,)), 0.1, 0, str(path))
    with pytest.raises(ConfigError, match="'004', which is not a usable training image with a mask"):
        initial_labelled(rows(10, without_mask=(4,)), 0.1, 0, str(path))


# --- classes ---


def masked_folder(root: Path, save_png: Save, masks: dict[str, np.ndarray]) -> None:
    for name, mask in masks.items():
        split, stem = name.split("/")
        save_png(root / split / "images" / f"{stem}.png", np.zeros((*mask.shape, 3), np.uint8))
        save_png(root / split / "masks" / f"{stem}.png", mask)
    (root / "classes.txt").write_text("road\ncar\nsky\n")


def test_classes_without_a_pixel_are_named(tmp_path: Path, save_png: Save) -> None:
    masks = {
        "train/a": np.array([[0, 0, 255, 2]] * 20, np.uint8),
        "train/b": np.array([[1, 255, 255, 255]] * 10, np.uint8),
        "train/c": np.full((10, 4), 255, np.uint8),
        "test/t": np.array([[0, 2, 255, 255]] * 16, np.uint8),
    }
    masked_folder(tmp_path / "data", save_png, masks)
    overrides = ['data.adapter="folder"', f'data.root="{tmp_path / "data"}"', "data.height=16", "data.width=16"]
    settings = resolve(overrides=[*overrides, "acquisition.region_height=8", "acquisition.region_width=8"])
    dataset = open_dataset(settings, tmp_path)
    pool = ingest(dataset, settings, tmp_path / "out", lambda *_: None, tmp_path / "faults.csv")
    assert [row.labelled_pixels for row in pool.rows] == [60, 10, 0, 32]
    cached = cached_class_pixels(tmp_path / "out/cache/test", dataset.num_classes)
    assert cached.tolist() == [64, 0, 64]  # 16 x 16, a quarter each
    assert missing_classes(cached, dataset.class_names) == ("car",)
    assert cached_class_pixels(tmp_path / "out/cache/val", dataset.num_classes).tolist() == [0, 0, 0]
    assert initial_labelled(pool, 1.0, 0).tolist() == [0, 1]
