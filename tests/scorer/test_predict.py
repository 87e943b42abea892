"""Masks for a folder of any images with a finished model."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s4al import files
from s4al.data.images import read_image, resize_image
from s4al.errors import ConfigError, DataError, EngineError, NumericsError, RunStateError, StorageError
from s4al.scorer import predict
from s4al.scorer.full_size import label_pixels
from s4al.scorer.predict import PredictResult, output_stems, predict_folder
from s4al.watch import Interrupted, Watch
from tests.bad_images import CORPUS
from tests.scorer.test_device_pipeline import LazyBlockEngine
from tests.scorer.test_pipeline import BlockEngine
from tests.small_models import HEIGHT, WIDTH, random_images, small_engine

SIZES = {
    "a b.png": (30, 40),
    "deep/er/x.png": (200, 150),
    "été [1].jpg": (48, 64),
    "tiny.png": (3, 5),
    "wide.jpeg": (20, 1700),
}
PALETTE = np.array([(200, 0, 0), (0, 200, 0), (0, 0, 200)], np.uint8)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for seed, (name, (height, width)) in enumerate(SIZES.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # coarse colours, so that the network has something to see
        coarse = random_images(1, seed, -(-height // 8), -(-width // 8))[0].repeat(8, 0).repeat(8, 1)
        Image.fromarray(coarse[:height, :width]).save(path)
    return root


def predicted(images: Path, out: Path, *, batch_size: int = 2, overlays: bool = True, watch: Watch | None = None):
    return predict_folder(
        images,
        small_engine(batch_size),
        out,
        palette=PALETTE,
        max_megapixels=40,
        overlays=overlays,
        watch=watch or Watch(),
    )


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def mask(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        assert picture.mode == "P"
        return np.asarray(picture)


def expected(path: Path) -> np.ndarray:
    """The label of one image, by the engine itself."""
    pixels, engine = read_image(path, max_megapixels=40), small_engine(1)
    logits = engine.run(resize_image(pixels, HEIGHT, WIDTH)[None])[0]
    label = label_pixels(logits, *pixels.shape[:2], align_corners=False, threads=1)
    assert label is not None
    return label


def test_every_image_gets_a_mask_of_its_own_size(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    result = predicted(images, out)
    assert (result.images, result.quarantined, result.engine, result.out) == (5, 0, "ort", out)
    seen = set()
    for name, size in SIZES.items():
        ids = mask(out / "masks" / Path(name).with_suffix(".png"))
        assert ids.shape == size
        # another batch size may move the last bits of a logit, and so a pixel at a border
        assert (ids == expected(images / name)).mean() > 0.999
        seen |= set(ids.ravel().tolist())
    assert seen == {0, 1, 2}  # the network tells them apart here, so equality means something
    files.verify_folder(out)
    assert files.read_manifest(out)["engine"] == "ort"


def test_masks_have_the_colours_of_the_run(images: Path, tmp_path: Path) -> None:
    predicted(images, tmp_path / "out")
    with Image.open(tmp_path / "out" / "masks" / "deep" / "er" / "x.png") as picture:
        ids, colours = np.asarray(picture), np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(colours, PALETTE[ids])


def test_the_table_holds_the_shares_of_the_masks(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = predicted(images, out)
    *rows, total = table(out / "classes.csv")
    assert [row["image"] for row in rows] == sorted(SIZES)
    counts = np.zeros(3)
    for row in rows:
        ids = mask(out / row["mask"])
        assert (int(row["height"]), int(row["width"])) == SIZES[row["image"]] == ids.shape
        share_C = np.bincount(ids.ravel(), minlength=3) / ids.size
        assert [float(row[name]) for name in ("road", "car", "sky")] == pytest.approx(share_C, abs=1e-6)
        counts += share_C * ids.size
    assert (total["image"], total["mask"]) == ("all images", "")
    overall = counts / counts.sum()
    assert [float(total[name]) for name in ("road", "car", "sky")] == pytest.approx(overall, abs=1e-6)
    assert list(result.classes.values()) == pytest.approx(overall)


def test_ids_names_and_colours_are_written_down(images: Path, tmp_path: Path) -> None:
    predicted(images, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "classes.json").read_bytes())["classes"] == [
        {"id": index, "name": name, "colour": PALETTE[index].tolist()}
        for index, name in enumerate(("road", "car", "sky"))
    ]
    with Image.open(tmp_path / "out" / "legend.png") as legend:
        assert legend.size >= (200, 50)


def test_overlays_can_be_had_or_not(images: Path, tmp_path: Path) -> None:
    predicted(images, tmp_path / "with")
    predicted(images, tmp_path / "without", overlays=False)
    overlays = {path.relative_to(tmp_path / "with" / "overlays") for path in (tmp_path / "with").rglob("*.jpg")}
    assert overlays == {Path(name).with_suffix(".jpg") for name in SIZES}
    with Image.open(tmp_path / "with" / "overlays" / "wide.jpg") as picture:
        assert picture.width == 1600  # of 1700: nobody looks at more
    assert not (tmp_path / "without" / "overlays").exists()
    for name in SIZES:
        path = f"masks/{Path(name).with_suffix('.png')}"
        assert (tmp_path / "with" / path).read_bytes() == (tmp_path / "without" / path).read_bytes()


@pytest.mark.parametrize("batch_size", [1, 4, 9])
def test_batch_size_changes_nothing(batch_size: int, images: Path, tmp_path: Path) -> None:
    predicted(images, tmp_path / "two")
    predicted(images, tmp_path / "other", batch_size=batch_size)
    for path in (tmp_path / "two").rglob("masks/**/*.png"):
        other = tmp_path / "other" / path.relative_to(tmp_path / "two")
        assert (mask(path) == mask(other)).mean() > 0.999


def test_bad_images_are_set_aside_and_change_nothing_else(images: Path, tmp_path: Path) -> None:
    predicted(images, tmp_path / "alone")
    bad = {f"{'a0' if i % 2 else 'zz'}-{name}": item for i, (name, item) in enumerate(CORPUS.items()) if item[1]}
    for name, (data, _) in bad.items():
        (images / name).write_bytes(data)
    (tmp_path / "secret.png").write_bytes((images / "a b.png").read_bytes())
    (images / "outside.png").symlink_to(tmp_path / "secret.png")
    (images / "circle.png").symlink_to("circle.png")
    (images / os.fsdecode(b"\xff\xfe.png")).write_bytes(CORPUS["rgb.png"][0])
    result = predicted(images, tmp_path / "together")
    aside = {row["image"]: row["reason"] for row in table(tmp_path / "together" / "quarantine.csv")}
    reasons: dict[str, str] = {name: str(reason) for name, (_, reason) in bad.items()}
    reasons |= {"outside.png": "leaves the folder", "circle.png": "", "\\xff\\xfe.png": "name is not UTF-8"}
    assert aside.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in aside[name], name
    assert (result.images, result.quarantined) == (5, len(aside))
    alone, together = (table(tmp_path / name / "classes.csv") for name in ("alone", "together"))
    assert [row["image"] for row in together] == [row["image"] for row in alone]
    written = {path.relative_to(tmp_path / "together") for path in (tmp_path / "together").rglob("*.png")}
    assert written == {path.relative_to(tmp_path / "alone") for path in (tmp_path / "alone").rglob("*.png")}


def test_only_bad_images_give_an_empty_table(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "zero.png").write_bytes(b"")
    result = predicted(tmp_path / "images", tmp_path / "out")
    assert (result.images, result.quarantined) == (0, 1)
    assert result.classes == {"road": 0.0, "car": 0.0, "sky": 0.0}
    assert [row["image"] for row in table(tmp_path / "out" / "classes.csv")] == ["all images"]


STEMS = {
    "different": (["a.jpg", "b/a.jpg", "c.jpeg"], ["a", "b/a", "c"]),
    "same but for the extension": (["a.jpg", "a.png", "b.jpg"], ["a.jpg", "a.png", "b"]),
    "same but for the case": (["A.jpg", "a.png"], ["A.jpg", "a.png"]),
    "a name that the extension makes another's": (["a.jpg", "a.jpg.png", "a.png"], ["a.jpg", "a.jpg.png", "a.png"]),
    "a folder of the mask's name": (["a.jpg", "a.png/b.jpg"], ["a.jpg", "a.png/b"]),
    "a folder of the overlay's name": (["x/a.jpg/b.jpg", "x/a.png"], ["x/a.jpg/b", "x/a.png"]),
    "both": (["a.jpg", "a.jpg.png/c.jpg", "a.png/b.jpg"], ["a.jpg_", "a.jpg.png/c", "a.png/b"]),
    "dots": (["a.1.jpg", "a.2.jpg"], ["a.1", "a.2"]),
}


@pytest.mark.parametrize("case", STEMS)
def test_no_two_images_share_a_mask(case: str) -> None:
    names, stems = STEMS[case]
    assert output_stems(names) == stems
    assert len({stem.casefold() for stem in stems}) == len(names)


def test_images_that_differ_in_their_extension_both_get_a_mask(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for index, name in enumerate(("a.jpg", "a.png")):
        Image.fromarray(random_images(1, index, 20 + index, 30)[0]).save(tmp_path / "images" / name)
    predicted(tmp_path / "images", tmp_path / "out")
    masks = {row["image"]: row["mask"] for row in table(tmp_path / "out" / "classes.csv")[:2]}
    assert masks == {"a.jpg": "masks/a.jpg.png", "a.png": "masks/a.png.png"}
    assert [mask(tmp_path / "out" / masks[name]).shape[0] for name in ("a.jpg", "a.png")] == [20, 21]


def test_the_mask_of_a_turned_photo_is_that_of_the_shown_picture(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn
    Image.fromarray(random_images(1, 0, 20, 30)[0]).save(tmp_path / "images" / "a.jpg", exif=exif)
    predicted(tmp_path / "images", tmp_path / "out")
    assert mask(tmp_path / "out" / "masks" / "a.png").shape == (30, 20)


def test_a_folder_without_images_or_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, reason in (("empty", "holds no"), ("missing", "cannot be listed")):
        with pytest.raises(DataError, match=reason):
            predicted(tmp_path / folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_existing_out_is_left_alone(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(RunStateError, match="exists"):
        predicted(images, out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("inside", ["masks", "deep/er/masks"])
def test_masks_do_not_go_among_the_images(inside: str, images: Path) -> None:
    with pytest.raises(ConfigError, match="for images"):
        predicted(images, images / inside)
    assert not (images / inside).exists()


def test_a_stop_leaves_nothing(images: Path, tmp_path: Path) -> None:
    watch = Watch()
    watch.progress = lambda task, done, total, **fields: watch.request_stop()  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        predicted(images, tmp_path / "out", watch=watch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


@pytest.mark.parametrize("where", ["write_mask", "draw_legend"])
def test_a_full_disk_is_a_storage_error(
    where: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(predict, where, full)
    with pytest.raises(StorageError, match="No space left"):
        predicted(images, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


def test_an_out_that_cannot_be_made_is_a_storage_error(images: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for out, reason in ((tmp_path / "file" / "out", "is a file"), (tmp_path / ("x" * 255), "longer than")):
        with pytest.raises(StorageError, match=reason):
            predicted(images, out)


def test_a_network_that_is_broken_names_the_image(images: Path, tmp_path: Path) -> None:
    engine = small_engine()
    run = engine.run
    engine.run = lambda image_NHWC: run(image_NHWC) * np.float32(np.nan)  # type: ignore[method-assign]
    with pytest.raises(NumericsError, match=r"a b\.png"):
        predict_folder(images, engine, tmp_path / "out", palette=PALETTE, max_megapixels=40, watch=Watch())
    assert not (tmp_path / "out").exists()


def test_a_gpu_gives_the_same_in_smaller_batches(images: Path, tmp_path: Path) -> None:
    on_device = LazyBlockEngine(64)
    for name, engine in {"cpu": BlockEngine(2), "gpu": on_device}.items():
        predict_folder(images, engine, tmp_path / name, palette=PALETTE, max_megapixels=40, watch=Watch())
    assert on_device.batch_size == 32
    for path in (tmp_path / "cpu" / "masks").rglob("*.png"):
        other = tmp_path / "gpu" / path.relative_to(tmp_path / "cpu")
        assert path.read_bytes() == other.read_bytes()
    assert (tmp_path / "cpu" / "classes.csv").read_bytes() == (tmp_path / "gpu" / "classes.csv").read_bytes()


def test_a_gpu_that_somebody_else_filled_is_an_engine_error(images: Path, tmp_path: Path) -> None:
    engine = LazyBlockEngine(4, memory_bytes=1000)
    with pytest.raises(EngineError, match="has not the memory for 4 images"):
        predict_folder(images, engine, tmp_path / "out", palette=PALETTE, max_megapixels=40, watch=Watch())


def test_progress_counts_every_image(images: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    watch = Watch()
    watch.progress = lambda task, done, total, **fields: seen.append((task, done, total))  # type: ignore[method-assign]
    result: PredictResult = predicted(images, tmp_path / "out", watch=watch)
    assert seen == [("predict", done, 5) for done in range(1, 6)]
    assert result.images_per_s > 0
