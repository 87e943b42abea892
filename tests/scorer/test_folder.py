"""Scoring a folder of any images with a finished model."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s4al import files
from s4al.errors import DataError, RunStateError, StorageError
from s4al.scorer.folder import score_folder
from s4al.watch import Interrupted, Watch
from tests.bad_images import CORPUS
from tests.small_models import random_images, small_engine

NAMES = ["a b.png", "été [1].png", "deep/er/x.png", "[red]y[/red].png", "z.jpg"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for index, name in enumerate(NAMES):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random_images(1, index, 30 + 10 * index, 40)[0]).save(path)
    return root


def scored(images: Path, out: Path, batch_size: int = 2) -> dict[str, list[object]]:
    score_folder(images, small_engine(batch_size), out, max_megapixels=40, watch=Watch())
    return files.read_table(out / "scores.parquet").to_pydict()


def test_every_image_is_scored_in_original_pixels(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "scores"
    result = score_folder(images, small_engine(), out, max_megapixels=40, watch=Watch())
    assert (result.images, result.quarantined, result.engine, result.out) == (5, 0, "ort", out)
    table = files.read_table(out / "scores.parquet")
    grid = small_engine().card.grid
    assert table.num_rows == 5 * grid.num_regions
    ids = ["[red]y[/red].png", "a b.png", "deep/er/x.png", "z.jpg", "été [1].png"]
    assert table["image"].unique().to_pylist() == ids
    heights = {name: 30 + 10 * index for index, name in enumerate(NAMES)}
    for row in table.to_pylist():
        box = grid.original_boxes(heights[row["image"]], 40)[row["region"]]
        assert [row[name] for name in ("y0", "x0", "y1", "x1")] == box.tolist()
    assert set(files.verify_folder(out)["files"]) == {"scores.parquet", "quarantine.parquet"}


def test_bad_images_are_set_aside_and_change_nothing_else(images: Path, tmp_path: Path) -> None:
    alone = scored(images, tmp_path / "alone")
    verdicts = {}
    for number, (name, (data, reason)) in enumerate(CORPUS.items()):
        if reason is not None:
            path = images / f"{'a0' if number % 2 else 'zz'}-{name}"
            path.write_bytes(data)
            verdicts[path.relative_to(images).as_posix()] = reason
    (images / "outside.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "secret.png").write_bytes((images / "a b.png").read_bytes())
    (images / "circle.png").symlink_to("circle.png")
    (images / os.fsdecode(b"\xff\xfe.png")).write_bytes(CORPUS["rgb.png"][0])
    out = tmp_path / "together"
    result = score_folder(images, small_engine(), out, max_megapixels=40, watch=Watch())
    assert files.read_table(out / "scores.parquet").to_pydict() == alone
    aside = {row["path"]: row["reason"] for row in files.read_table(out / "quarantine.parquet").to_pylist()}
    assert result.quarantined == len(aside)
    for path, reason in verdicts.items():
        assert reason in aside[path], path
    others = {"outside.png": "leaves the folder", "circle.png": "", "\\xff\\xfe.png": "name is not UTF-8"}
    assert set(aside) - set(verdicts) == set(others)
    assert all(reason in aside[path] for path, reason in others.items())


def test_other_files_are_passed_over_and_counted(images: Path, tmp_path: Path) -> None:
    for name in ("labels.txt", "a b.xml", ".hidden.png", "Thumbs.db"):
        (images / name).write_text("not a picture")
    lines: list[str] = []
    watch = Watch()
    watch.note = lines.append  # type: ignore[method-assign]
    result = score_folder(images, small_engine(), tmp_path / "out", max_megapixels=40, watch=watch)
    assert (result.images, result.quarantined) == (5, 0)
    assert lines == ["3 files that are no .jpg, .jpeg, .png, .bmp, .tif, .tiff or .webp were passed over."]


@pytest.mark.parametrize("batch_size", [1, 4, 9])
def test_batch_size_changes_nothing(batch_size: int, images: Path, tmp_path: Path) -> None:
    first, other = scored(images, tmp_path / "first"), scored(images, tmp_path / "other", batch_size)
    assert first["image"] == other["image"]
    np.testing.assert_allclose(first["entropy"], other["entropy"], atol=1e-5)  # type: ignore[arg-type]


def test_a_folder_without_images_or_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "missing"):
        with pytest.raises(DataError):
            score_folder(tmp_path / folder, small_engine(), tmp_path / "out", max_megapixels=40, watch=Watch())
    assert not (tmp_path / "out").exists()


def test_only_bad_images_give_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "zero.png").write_bytes(b"")
    result = score_folder(tmp_path / "images", small_engine(), tmp_path / "out", max_megapixels=40, watch=Watch())
    assert (result.images, result.quarantined) == (0, 1)
    assert files.read_table(tmp_path / "out" / "scores.parquet").num_rows == 0


def test_an_existing_out_is_left_alone(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(RunStateError, match="exists"):
        scored(images, out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_a_stop_leaves_nothing(images: Path, tmp_path: Path) -> None:
    watch = Watch()
    watch.request_stop()
    with pytest.raises(Interrupted):
        score_folder(images, small_engine(), tmp_path / "out", max_megapixels=40, watch=watch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


def test_a_full_disk_is_a_storage_error(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        scored(images, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]
