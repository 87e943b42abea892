"""From files to a pool: what is set aside, what stops everything, what comes out byte by byte."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s4al import data
from s4al.config import Config, resolve
from s4al.data import Pool, Record, Row, load_pool, open_dataset, verify_sources
from s4al.data.adapters import open_images
from s4al.data.cache import ImageCache
from s4al.data.faults import Fault, write_faults
from s4al.data.images import read_image, resize_image
from s4al.data.ingest import _in_order, _Read, ingest, oracle_mask, read_row_mask
from s4al.data.masks import resize_mask
from s4al.data.pool import write_pool
from s4al.data.start_set import initial_labelled
from s4al.errors import DataError, ImageError, MaskError, RunStateError
from s4al.files import sha256_file
from tests.bad_images import CORPUS, EXIF_TURNED, HEIGHT, WIDTH, encode, make_special_files, picture
from tests.offers import offered

Save = Callable[[Path, np.ndarray], Path]


def config(root: Path, *overrides: str) -> Config:
    small = ("data.height=16", "data.width=24", "acquisition.region_height=8", "acquisition.region_width=8")
    return resolve(overrides=['data.adapter="folder"', f'data.root="{root}"', *small, *overrides])


def silent(split: str, done: int, total: int) -> None:
    pass


def take(root: Path, out: Path, *overrides: str) -> Pool:
    settings = config(root, *overrides)
    out.mkdir(exist_ok=True)
    return ingest(open_dataset(settings, out / "scenes"), settings, out, silent, out / "faults.csv")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


# --- what comes out ---


def test_pool_and_caches(folder_root: Path, out: Path) -> None:
    pool = take(folder_root, out)
    assert [len(split) for split in (pool.train, pool.val, pool.test)] == [12, 2, 3]
    row = pool.train.rows[3]
    path = folder_root / "train/images/03.png"
    assert row.id == "train/03" and row.image == "train/images/03.png" and row.mask == "train/masks/03.png"
    assert row.bytes == path.stat().st_size and row.sha256 == sha256_file(path)
    assert (row.height, row.width, row.reason) == (20, 30, "")
    with ImageCache.open(out / "cache/train") as cache:
        assert cache.ids == pool.train.ids and cache.row_shape == (16, 24, 3)
        expected = resize_image(read_image(path, max_megapixels=1), 16, 24)
        np.testing.assert_array_equal(cache.read(3), expected)
    assert not (out / "cache/train/masks.npy").exists()  # true labels of the pool are the oracle's
    with ImageCache.open(out / "cache/test", "masks") as masks:
        dataset = open_dataset(config(folder_root), out)
        truth = read_row_mask(pool.test.rows[1], dataset)
        np.testing.assert_array_equal(masks.read(1), resize_mask(truth, 16, 24))


def test_two_ingests_give_the_same_bytes(folder_root: Path, tmp_path: Path) -> None:
    take(folder_root, tmp_path / "a")
    moved = shutil.copytree(folder_root, tmp_path / "elsewhere")
    for path in moved.rglob("*.png"):
        os.utime(path, (0, 0))
    take(moved, tmp_path / "b")
    found = {path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert len(found) == 1 + 3 * (2 + 1) + 2 * 2
    for name in found:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_progress_counts_every_image(folder_root: Path, out: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    settings = config(folder_root)
    ingest(open_dataset(settings, out), settings, out, lambda *call: seen.append(call), out / "faults.csv")
    assert seen == [(split, i + 1, n) for split, n in (("train", 12), ("val", 2), ("test", 3)) for i in range(n)]


def test_stop_request_ends_the_reading(folder_root: Path, out: Path) -> None:
    def stop(split: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    settings = config(folder_root)
    with pytest.raises(KeyboardInterrupt):
        ingest(open_dataset(settings, out), settings, out, stop, out / "faults.csv")
    assert not (out / data.POOL_FILE).exists()


def test_few_decoded_images_are_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the writing is, the readers do not run ahead of it."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    started: list[str] = []

    def work(record: Record) -> _Read:
        started.append(record.id)
        return _Read(Row(record.id, "train", "", ""))

    records = [Record(str(i), "train", Path(), None) for i in range(100)]
    taken = 0
    for read in _in_order(work, records):
        assert read.row.id == str(taken)
        taken += 1
        assert len(started) - taken <= 2 * 2
    assert taken == 100


def test_empty_validation_has_empty_caches(folder_root: Path, out: Path) -> None:
    shutil.rmtree(folder_root / "val")
    take(folder_root, out)
    assert len(ImageCache.open(out / "cache/val")) == len(ImageCache.open(out / "cache/val", "masks")) == 0


def test_one_image_of_one_pixel(tmp_path: Path, save_png: Save, out: Path) -> None:
    root = tmp_path / "one"
    for split in ("train", "test"):
        save_png(root / split / "images/a.png", np.full((1, 1, 3), 77, np.uint8))
        save_png(root / split / "masks/a.png", np.zeros((1, 1), np.uint8))
    pool = take(root, out, 'data.classes=["thing"]')
    assert len(pool.train) == 1 and initial_labelled(pool, 0.1, 0).tolist() == [0]
    assert (ImageCache.open(out / "cache/train").read(0) == 77).all()


def test_images_of_many_sizes(tmp_path: Path, folder_root: Path, save_png: Save, out: Path) -> None:
    save_png(folder_root / "train/images/tall.png", np.zeros((300, 2, 3), np.uint8))
    save_png(folder_root / "train/masks/tall.png", np.zeros((300, 2), np.uint8))
    pool = take(folder_root, out)
    assert pool.train.heights.tolist()[-1] == 300 and pool.train.widths.tolist()[-1] == 2
    assert len(ImageCache.open(out / "cache/train")) == 13


# --- what is set aside ---


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")  # as images.py does; pytest resets it
def test_the_whole_corpus_in_a_pool(tmp_path: Path, save_png: Save) -> None:
    """Every bad file is set aside with its reason; the rows of the others are as in a pool without them."""
    good, mixed = tmp_path / "good", tmp_path / "mixed"
    for root in (good, mixed):
        for split in ("train", "test"):
            save_png(root / split / "images/0.png", picture())
        save_png(root / "test/masks/0.png", np.zeros((HEIGHT, WIDTH), np.uint8))
        for name, (content, reason) in {**CORPUS, **EXIF_TURNED}.items():
            if root == mixed or reason is None or name in EXIF_TURNED:
                (root / "train/images" / apart(name)).write_bytes(content)
    special = make_special_files(mixed / "train/images")
    (tmp_path / "outside.png").write_bytes(CORPUS["rgb.png"][0])
    (mixed / "train/images/outside.png").symlink_to(tmp_path / "outside.png")
    for root in (good, mixed):
        (root / "train/images/inside.png").symlink_to(apart("rgb.png"))
    settings = ('data.classes=["a"]', 'data.oracle="people"', "data.max_bad_fraction=1.0", 'data.links="inside"')
    pool, clean = take(mixed, tmp_path / "a", *settings), take(good, tmp_path / "b", *settings)
    set_aside = {Path(row.image).name: row.reason for row in pool.quarantined}
    expected = {apart(name): reason for name, (_, reason) in CORPUS.items() if reason is not None}
    expected |= {name: special[name] for name in ("fifo.png", "broken-link.png")}
    expected |= {"outside.png": "leaves the data folder", "circle.png": "leads nowhere"}
    assert set_aside.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in set_aside[name] and name in set_aside[name]
    assert pool.train.ids == clean.train.ids
    assert (tmp_path / "a/cache/train/images.npy").read_bytes() == (tmp_path / "b/cache/train/images.npy").read_bytes()
    verify_sources(pool, mixed)


def apart(name: str) -> str:
    """rgb.png and rgb.jpg would have one id: rgb-png.png, rgb-jpg.jpg."""
    return f"{name.replace('.', '-')}.{name[-3:]}"


def test_one_bad_image_is_always_tolerated(folder_root: Path, out: Path) -> None:
    (folder_root / "train/images/05.png").write_bytes(CORPUS["cut-50.png"][0])
    pool = take(folder_root, out)
    assert len(pool.train) == 11 and "train/05" not in pool.train.ids
    assert [(row.id, row.image, row.reason) for row in pool.quarantined] == [
        ("train/05", "train/images/05.png", "train/images/05.png: ends early")
    ]
    assert ImageCache.open(out / "cache/train").ids == pool.train.ids
    assert load_pool(out / data.POOL_FILE) == pool


@pytest.mark.parametrize(("bad", "fraction", "stops"), [(2, 0.01, True), (2, 0.17, False), (3, 0.17, True)])
def test_too_many_bad_images_stop(folder_root: Path, out: Path, bad: int, fraction: float, stops: bool) -> None:
    """Of 12 images, floor(0.17 * 12) = 2 may be bad."""
    for i in range(bad):
        (folder_root / f"train/images/{i:02d}.png").write_bytes(CORPUS["text.png"][0])
    if not stops:
        assert len(take(folder_root, out, f"data.max_bad_fraction={fraction}").quarantined) == bad
        return
    with pytest.raises(DataError, match=rf"{bad} of 12 training images cannot be used \(up to") as caught:
        take(folder_root, out, f"data.max_bad_fraction={fraction}")
    assert f"{bad} files (train/images/00.png, train/images/01.png" in str(caught.value)
    assert str(caught.value).count("not a JPEG, PNG") == 1
    assert not (out / data.POOL_FILE).exists()
    (enough,) = offered(caught.value.remedy)
    assert len(take(folder_root, out, enough).quarantined) == bad


def test_no_usable_image_is_left(folder_root: Path, out: Path) -> None:
    for path in (folder_root / "train/images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="No training image can be used"):
        take(folder_root, out, "data.max_bad_fraction=1.0")


@pytest.mark.parametrize("split", ["val", "test"])
def test_bad_images_among_those_that_measure_are_errors(folder_root: Path, out: Path, split: str) -> None:
    (folder_root / split / "images/01.png").write_bytes(CORPUS["rgba.png"][0])
    with pytest.raises(ImageError, match=rf"{split}/images/01.png: 960 of its 960 pixels are transparent"):
        take(folder_root, out)


def test_turned_images(folder_root: Path, out: Path, save_png: Save) -> None:
    """Without a mask they are turned; with one, they have its size, and all sizes are those of what was cached."""
    (folder_root / "train/images/05.png").write_bytes(EXIF_TURNED["exif-6.jpg"][0])
    for shape in ((WIDTH, HEIGHT), (HEIGHT, WIDTH)):
        save_png(folder_root / "train/masks/05.png", np.zeros(shape, np.uint8))
        row = take(folder_root, out).train.rows[5]
        assert (row.id, row.mask_bytes > 0, row.height, row.width) == ("train/05", True, *shape)
        settings = config(folder_root)
        dataset = open_dataset(settings, out)
        assert read_row_mask(row, dataset).shape == shape
        path = folder_root / row.image
        expected = resize_image(read_image(path, max_megapixels=1, mask_size=shape), 16, 24)
        np.testing.assert_array_equal(ImageCache.open(out / "cache/train").read(5), expected)
    (folder_root / "train/masks/05.png").unlink()
    row = take(folder_root, out, 'data.oracle="people"').train.rows[5]
    assert (row.id, row.mask, row.height, row.width) == ("train/05", "", WIDTH, HEIGHT)


def test_images_that_can_be_turned_either_way_are_set_aside(folder_root: Path, out: Path, save_png: Save) -> None:
    (folder_root / "train/images/05.png").write_bytes(EXIF_TURNED["exif-3.jpg"][0])
    save_png(folder_root / "train/masks/05.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    assert "EXIF orientation is 3" in take(folder_root, out).quarantined[0].reason


def test_16_bit_images_are_read_with_a_range(folder_root: Path, out: Path, save_png: Save) -> None:
    path = save_png(folder_root / "train/images/05.png", np.full((20, 30), 1000, np.uint16))
    assert "data.value_range=0,65535" in take(folder_root, out).quarantined[0].reason
    pool = take(folder_root, out, "data.value_range=[0, 2000]")
    assert pool.train.rows[5].image == path.relative_to(folder_root).as_posix() and not pool.quarantined
    assert (ImageCache.open(out / "cache/train").read(5) == 128).all()  # 127.5 to the even neighbour


def test_scoring_a_plain_folder(folder_root: Path, out: Path) -> None:
    dataset = open_images(folder_root / "train/images", ("a", "b"))
    pool = ingest(dataset, config(folder_root), out, silent, out / "faults.csv")
    assert len(pool.train) == 12 and len(pool.test) == 0
    assert len(ImageCache.open(out / "cache/train")) == 12


# --- what stops everything before training ---


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("oracle", ["masks", "people"])
def test_any_bad_mask_stops(folder_root: Path, out: Path, save_png: Save, split: str, oracle: str) -> None:
    save_png(folder_root / split / "masks/01.png", np.full((20, 30), 3, np.uint8))
    expected = rf"mask {split}/masks/01.png: holds class 3 at 600 pixels, first at \(0, 0\); this run has classes 0-2"
    with pytest.raises(MaskError, match=expected):
        take(folder_root, out, f'data.oracle="{oracle}"')
    assert not (out / data.POOL_FILE).exists()


def test_mask_of_another_size_stops(folder_root: Path, out: Path, save_png: Save) -> None:
    save_png(folder_root / "train/masks/01.png", np.zeros((30, 20), np.uint8))
    with pytest.raises(MaskError, match=r"it is 20 x 30, its image is 30 x 20. Masks are never resized"):
        take(folder_root, out)


def test_mask_behind_a_link_that_leaves_the_folder(folder_root: Path, out: Path) -> None:
    path = folder_root / "train/masks/01.png"
    path.rename(folder_root.parent / "01.png")
    path.symlink_to(folder_root.parent / "01.png")
    with pytest.raises(MaskError, match=r"a link that leaves the data folder .* data.links=anywhere"):
        take(folder_root, out, 'data.links="inside"')
    pool = take(folder_root, out / "anywhere")
    settings = config(folder_root)
    dataset = open_dataset(settings, out)
    assert oracle_mask(pool, dataset, 1).shape == (20, 30)
    verify_sources(pool, folder_root)
    (folder_root.parent / "01.png").unlink()
    with pytest.raises(DataError, match=r"train/masks/01.png cannot be read \(No such file"):
        verify_sources(pool, folder_root)


def test_links_to_what_is_no_file(folder_root: Path, tmp_path: Path, out: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, target in (("a.png", "fifo"), ("b.png", "nowhere")):
        (folder_root / "train/images" / name).symlink_to(tmp_path / target)
    pool = take(folder_root, out, 'data.oracle="people"', "data.max_bad_fraction=0.5")
    reasons = {Path(row.image).name: row.reason for row in pool.quarantined}
    assert reasons.keys() == {"a.png", "b.png"}
    assert "not a regular file" in reasons["a.png"] and "No such file" in reasons["b.png"]


# --- all faults at once ---


def spoil(root: Path, save_png: Save, masks: int, images: int) -> None:
    """Bad masks in train, a bad image and a bad mask of it in val, bad images in test, one bad image in train."""
    for i in range(masks):
        save_png(root / f"train/masks/{i:02d}.png", np.full((20, 30), 9, np.uint8))
    (root / "train/images/11.png").write_bytes(CORPUS["cut-50.png"][0])
    (root / "train/masks/11.png").write_bytes(b"bad as well, but its image is set aside")
    (root / "val/images/00.png").write_bytes(b"")
    save_png(root / "val/masks/00.png", np.full((20, 30), 7, np.uint8))
    for i in range(images):
        (root / f"test/images/{i:02d}.png").write_bytes(CORPUS["text.png"][0])


def listed_faults(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_all_faults_are_reported_together(folder_root: Path, out: Path, save_png: Save) -> None:
    spoil(folder_root, save_png, masks=2, images=2)
    with pytest.raises(MaskError) as caught:
        take(folder_root, out)
    head, _, rest = caught.value.what.partition(": ")
    assert head == "3 masks and 3 images cannot be used"
    classes = "at 600 pixels, first at (0, 0); this run has classes 0-2 and 255 = unlabelled"
    text = "not a JPEG, PNG, BMP, TIFF or WebP file (it is something else)"
    assert rest == (
        f"mask train/masks/00.png: holds class 9 {classes}; mask train/masks/01.png: holds class 9 {classes}; "
        f"val/images/00.png: the file is empty; mask val/masks/00.png: holds class 7 {classes}; "
        f"test/images/00.png: {text}; test/images/01.png: {text}."
    )
    path = out / "faults.csv"
    assert caught.value.remedy == (
        "Repair them, or remove each image together with its mask. "
        f"All are listed in {path}, with 1 bad training image."
    )
    found = listed_faults(path)
    assert [(row["split"], row["id"], row["file"], row["kind"]) for row in found] == [
        ("train", "train/00", "train/masks/00.png", "mask"),
        ("train", "train/01", "train/masks/01.png", "mask"),
        ("train", "train/11", "train/images/11.png", "image"),
        ("val", "val/00", "val/images/00.png", "image"),
        ("val", "val/00", "val/masks/00.png", "mask"),
        ("test", "test/00", "test/images/00.png", "image"),
        ("test", "test/01", "test/images/01.png", "image"),
    ]
    assert found[2]["reason"] == "train/images/11.png: ends early"
    assert not (out / data.POOL_FILE).exists()


@pytest.mark.parametrize(("masks", "kind"), [(0, ImageError), (1, MaskError)])
def test_the_first_fault_decides_the_kind(
    folder_root: Path, out: Path, save_png: Save, masks: int, kind: type[DataError]
) -> None:
    spoil(folder_root, save_png, masks, images=1)
    with pytest.raises(DataError) as caught:
        take(folder_root, out)
    assert type(caught.value) is kind and caught.value.exit_code == 4
    assert (caught.value.kept == "No labels were taken.") == (kind is MaskError)


def test_twenty_faults_are_named_and_the_others_counted(folder_root: Path, out: Path, save_png: Save) -> None:
    for i in range(25):
        save_png(folder_root / f"train/images/{i:02d}.png", np.zeros((2, 2, 3), np.uint8))
        save_png(folder_root / f"train/masks/{i:02d}.png", np.full((2, 2), 9, np.uint8))
    with pytest.raises(MaskError) as caught:
        take(folder_root, out)
    what = caught.value.what
    assert what.startswith("25 masks cannot be used: mask train/masks/00.png: ") and what.endswith("; and 5 more.")
    assert what.count("mask train/masks/") == 20 and "train/masks/19.png" in what
    assert len(listed_faults(out / "faults.csv")) == 25


def test_one_fault_is_one_sentence(folder_root: Path, out: Path) -> None:
    (folder_root / "test/images/01.png").write_bytes(b"")
    with pytest.raises(ImageError) as caught:
        take(folder_root, out)
    assert caught.value.what == "test/images/01.png: the file is empty. The test split must be sound."
    assert caught.value.remedy == (
        f"Repair the image, or remove it and its mask. It is listed in {out / 'faults.csv'}."
    )


def test_images_set_aside_are_listed_and_a_sound_folder_has_no_list(folder_root: Path, out: Path) -> None:
    sound = (folder_root / "train/images/05.png").read_bytes()
    (folder_root / "train/images/05.png").write_bytes(b"")
    take(folder_root, out)
    assert [row["file"] for row in listed_faults(out / "faults.csv")] == ["train/images/05.png"]
    (folder_root / "train/images/05.png").write_bytes(sound)
    take(folder_root, out)
    assert not (out / "faults.csv").exists()  # the older one would be wrong by now


def test_too_many_bad_images_name_the_list(folder_root: Path, out: Path) -> None:
    for i in range(12):
        (folder_root / f"train/images/{i:02d}.png").write_bytes(b"")
    for settings in ((), ("data.max_bad_fraction=1.0",)):
        with pytest.raises(DataError) as caught:
            take(folder_root, out, *settings)
        assert caught.value.remedy.endswith(f"All are listed in {out / 'faults.csv'}.")
        assert len(listed_faults(out / "faults.csv")) == 12


@pytest.mark.parametrize("name", ["=1+1", "+a", "-a", "@a", '"quoted", and more', "été", "a\nb"])
def test_names_in_the_list_are_no_formulas(name: str, tmp_path: Path) -> None:
    path = tmp_path / "faults.csv"
    write_faults([Fault("train", name, name, "image", f"{name}: ends early")], path)
    row = listed_faults(path)[0]
    shown = f"'{name}" if name[0] in "=+-@" else name
    assert (row["id"], row["file"]) == (shown, shown)
    assert row["reason"] == f"{shown}: ends early"


# --- real data ---


def test_real_camvid(camvid_root: Path, tmp_path: Path) -> None:
    """Counts and class shares are those of the data's README."""
    settings = resolve("camvid-small", overrides=[f'data.root="{camvid_root}"'])
    dataset = open_dataset(settings, tmp_path)
    pool = ingest(dataset, settings, tmp_path / "out", silent, tmp_path / "faults.csv")
    assert [len(split) for split in (pool.train, pool.val, pool.test)] == [367, 101, 233]
    assert not pool.quarantined
    assert set(pool.train.heights.tolist()) == {360} and set(pool.train.widths.tolist()) == {480}
    count = sum(np.bincount(oracle_mask(pool, dataset, i).ravel(), minlength=256) for i in range(367))
    share = 100 * count / count.sum()
    expected = [16.8, 23.3, 0.98, 31.7, 4.5, 9.7, 1.2, 1.1, 5.9, 0.64, 0.29]
    np.testing.assert_allclose(share[:11], expected, atol=0.2)
    assert share[255] == pytest.approx(3.9, abs=0.2)
    assert len(initial_labelled(pool, settings.data.labelled_fraction, settings.run.seed)) == 37


# --- the table ---


def test_table_round_trip(folder_root: Path, out: Path) -> None:
    pool = take(folder_root, out)
    assert load_pool(out / data.POOL_FILE) == pool


def test_table_columns(folder_root: Path, out: Path) -> None:
    import pyarrow.parquet as pq

    take(folder_root, out)
    schema = pq.read_schema(out / data.POOL_FILE)
    assert {field.name: str(field.type) for field in schema} == {
        "id": "string",
        "split": "string",
        "image": "string",
        "mask": "string",
        "bytes": "int64",
        "sha256": "string",
        "mask_bytes": "int64",
        "mask_sha256": "string",
        "height": "int32",
        "width": "int32",
        "reason": "string",
        "labelled_pixels": "int64",
    }


def test_damaged_table_is_never_read_silently(tmp_path: Path) -> None:
    rows = tuple(
        Row(f"é/{i}", "train", f"i/{i}.png", "", i, f"{i:064x}", 0, "", 5, 6, "" if i % 9 else "cut") for i in range(60)
    )
    path = tmp_path / "pool.parquet"
    write_pool(Pool(rows), path)
    sound = path.read_bytes()
    generator = np.random.default_rng(0)
    verdicts = {"refused": 0, "same": 0, "other": 0}
    for _ in range(300):
        damaged = bytearray(sound)
        damaged[generator.integers(len(sound))] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged if generator.random() < 0.7 else sound[: generator.integers(len(sound))])
        try:
            verdicts["same" if load_pool(path).rows == rows else "other"] += 1
        except RunStateError:
            verdicts["refused"] += 1
    assert verdicts["other"] == 0 and verdicts["refused"] > 200
    path.unlink()
    with pytest.raises(RunStateError, match="cannot be read"):
        load_pool(path)


# --- files that change ---


def test_unchanged_sources_pass_and_are_remembered(
    folder_root: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, memory = take(folder_root, out), tmp_path / "memory.json"
    verify_sources(pool, folder_root)
    verify_sources(pool, folder_root, memory)
    assert len(json.loads(memory.read_bytes())) == 2 * 17
    monkeypatch.setattr("s4al.data.pool.sha256_file", lambda path: pytest.fail(f"{path} was read again"))
    verify_sources(pool, folder_root, memory)


def test_touched_files_are_read_again(folder_root: Path, out: Path, tmp_path: Path) -> None:
    pool, memory = take(folder_root, out), tmp_path / "memory.json"
    verify_sources(pool, folder_root, memory)
    before = memory.read_bytes()
    os.utime(folder_root / "train/images/03.png", (1, 1))
    verify_sources(pool, folder_root, memory)
    assert memory.read_bytes() != before


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"train/images/03.png": "x"}'])
def test_damaged_memory_only_costs_time(folder_root: Path, out: Path, tmp_path: Path, content: bytes) -> None:
    pool, memory = take(folder_root, out), tmp_path / "memory.json"
    memory.write_bytes(content)
    verify_sources(pool, folder_root, memory)
    assert len(json.loads(memory.read_bytes())) == 2 * 17


@pytest.mark.parametrize("name", ["train/images/03.png", "train/masks/03.png", "test/masks/01.png"])
def test_changed_and_missing_sources(folder_root: Path, out: Path, tmp_path: Path, name: str) -> None:
    pool, memory = take(folder_root, out), tmp_path / "memory.json"
    verify_sources(pool, folder_root, memory)
    path = folder_root / name
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"1 file is not as when this run began: {name} changed") as caught:
        verify_sources(pool, folder_root, memory)
    assert caught.value.exit_code == 4 and caught.value.kept and caught.value.remedy
    path.unlink()
    (folder_root / "val/images/00.png").write_bytes(b"x")
    with pytest.raises(DataError, match="2 files are not as when this run began"):
        verify_sources(pool, folder_root, memory)


def test_files_set_aside_may_change(folder_root: Path, out: Path) -> None:
    path = folder_root / "train/images/05.png"
    path.write_bytes(b"")
    pool = take(folder_root, out)
    path.write_bytes(b"repaired later")
    verify_sources(pool, folder_root)


# --- the oracle ---


def test_oracle_mask(folder_root: Path, out: Path) -> None:
    pool, dataset = take(folder_root, out), open_dataset(config(folder_root), out)
    truth = np.asarray(Image.open(folder_root / "train/masks/07.png"))
    np.testing.assert_array_equal(oracle_mask(pool, dataset, 7), truth)
    (folder_root / "train/masks/07.png").write_bytes(encode(np.zeros((20, 30), np.uint8), "PNG"))
    with pytest.raises(DataError, match=r"07.png changed since this run began"):
        oracle_mask(pool, dataset, 7)
    bare = Pool((replace(pool.rows[0], mask=""),))
    with pytest.raises(MaskError, match="train/00 has no mask"):
        oracle_mask(bare, dataset, 0)
