"""Data set layouts as people have them: what is found, and what is refused."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s4al import data
from s4al.config import Config, resolve
from s4al.data import Dataset, open_dataset
from s4al.data.adapters import open_images
from s4al.data.palettes import distinct_palette, voc_palette
from s4al.errors import ConfigError, DataError
from tests.offers import offered

Save = Callable[[Path, np.ndarray], Path]
IMAGE = np.zeros((4, 6, 3), np.uint8)
MASK = np.zeros((4, 6), np.uint8)


def config(adapter: str, root: Path | str, *overrides: str) -> Config:
    small = ("data.height=16", "data.width=16", "acquisition.region_height=8", "acquisition.region_width=8")
    return resolve(overrides=[f'data.adapter="{adapter}"', f'data.root="{root}"', *small, *overrides])


def open_folder(root: Path, *overrides: str) -> Dataset:
    return open_dataset(config("folder", root, *overrides), root.parent / "scenes")


def ids(dataset: Dataset, split: str) -> list[str]:
    return [record.id for record in dataset.records if record.split == split]


# --- folder ---


def test_folder_by_split(folder_root: Path) -> None:
    dataset = open_folder(folder_root)
    assert dataset.class_names == ("road", "car", "sky") and dataset.num_classes == 3
    assert [len(ids(dataset, split)) for split in data.SPLITS] == [12, 2, 3]
    # the same names in several splits: the split goes in front of all of them
    assert ids(dataset, "val") == ["val/00", "val/01"]
    assert dataset.records[0].image == folder_root / "train/images/00.png"
    assert dataset.records[0].mask == folder_root / "train/masks/00.png"
    assert dataset.mask_code.values[:4].tolist() == [0, 1, 2, -1] and dataset.mask_code.values[255] == 255


def test_folder_by_kind_gives_the_same(folder_root: Path, tmp_path: Path) -> None:
    other = tmp_path / "by-kind"
    for split in data.SPLITS:
        for kind in ("images", "masks"):
            shutil.copytree(folder_root / split / kind, other / kind / split)
    shutil.copy(folder_root / "classes.txt", other)
    first, second = open_folder(folder_root), open_folder(other)
    assert [record.id for record in first.records] == [record.id for record in second.records]


def test_ids_that_are_unique_keep_their_short_form(folder_root: Path, save_png: Save) -> None:
    for split, kind in ((s, k) for s in data.SPLITS for k in ("images", "masks")):
        for path in (folder_root / split / kind).iterdir():
            path.rename(path.with_name(f"{split}-{path.name}"))
    save_png(folder_root / "train/images/night/cam 1/é[0] (2).png", IMAGE)
    save_png(folder_root / "train/masks/night/cam 1/é[0] (2).png", MASK)
    dataset = open_folder(folder_root)
    assert ids(dataset, "test") == ["test-00", "test-01", "test-02"]
    assert ids(dataset, "train")[0] == "night/cam 1/é[0] (2)"


def test_class_names_come_from_the_configuration_first(folder_root: Path) -> None:
    assert open_folder(folder_root, 'data.classes=["a", "b", "c"]').class_names == ("a", "b", "c")
    (folder_root / "classes.txt").unlink()
    with pytest.raises(ConfigError, match=r"needs class names.*data.classes.*classes.txt"):
        open_folder(folder_root)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "a"], "the name 'a' is on line 1 too"),
        ([f"c{i}" for i in range(255)], "255 class names; up to 254 can be had"),
    ],
)
def test_class_names_that_cannot_be(folder_root: Path, names: list[str], message: str) -> None:
    (folder_root / "classes.txt").write_text("\n".join(names))
    with pytest.raises((ConfigError, DataError), match=message):
        open_folder(folder_root)


def test_254_classes_leave_room_for_void_and_unknown(folder_root: Path) -> None:
    (folder_root / "classes.txt").write_text("\n".join(f"c{i}" for i in range(254)))
    assert open_folder(folder_root).mask_code.values[[253, 254, 255]].tolist() == [253, -1, 255]


def test_windows_line_ends_in_classes(folder_root: Path) -> None:
    (folder_root / "classes.txt").write_bytes(b"road\r\ncar\r\n\r\nsky\r\n")
    assert open_folder(folder_root).class_names == ("road", "car", "sky")


def test_hidden_files_and_thumbnails_are_not_data(folder_root: Path) -> None:
    for name in (
        "train/images/.DS_Store",
        "train/images/Thumbs.db",
        "train/masks/desktop.ini",
        "train/images/._00.png",
    ):
        (folder_root / name).write_bytes(b"x")
    (folder_root / "train/images/.cache").mkdir()
    (folder_root / "train/images/.cache/a.png").write_bytes(b"x")
    assert len(ids(open_folder(folder_root), "train")) == 12


def test_names_match_across_unicode_forms(folder_root: Path, save_png: Save) -> None:
    """A mask folder that went through macOS has decomposed names."""
    save_png(folder_root / "train/images" / (unicodedata.normalize("NFC", "straße-é") + ".png"), IMAGE)
    save_png(folder_root / "train/masks" / (unicodedata.normalize("NFD", "straße-é") + ".png"), MASK)
    last = open_folder(folder_root).records[11 + 1]
    assert last.id == "train/straße-é" and last.mask is not None


def test_long_names(folder_root: Path, save_png: Save) -> None:
    name = "x" * 251
    save_png(folder_root / "train/images" / f"{name}.png", IMAGE)
    save_png(folder_root / "train/masks" / f"{name}.png", MASK)
    assert f"train/{name}" in ids(open_folder(folder_root), "train")


@pytest.mark.parametrize("name", ["a\nb.png", "a\x1b[31m.png", b"\xff.png"])
def test_names_that_cannot_be_ids(folder_root: Path, name: str | bytes) -> None:
    (folder_root / "train/images" / os.fsdecode(name)).write_bytes(b"x")
    with pytest.raises(DataError, match=r"control characters or is not UTF-8") as caught:
        open_folder(folder_root)
    assert str(caught.value).isprintable()


def test_two_files_of_one_id(folder_root: Path) -> None:
    (folder_root / "train/images/03.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"Two files have the id '03': 03.jpg and 03.png"):
        open_folder(folder_root)


def test_missing_root_and_wrong_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data folder .*nowhere does not exist"):
        open_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/classes.txt").write_text("a\n")
    with pytest.raises(DataError, match=r"holds no images \(1 .txt\). Looked for: <split>/images"):
        open_folder(tmp_path / "empty")
    with pytest.raises(ConfigError, match="--data DIR"):
        open_dataset(config("folder", ""), tmp_path)


@pytest.mark.parametrize("split", ["train", "test"])
def test_empty_split(folder_root: Path, split: str) -> None:
    for kind in ("images", "masks"):
        shutil.rmtree(folder_root / split / kind)
        (folder_root / split / kind).mkdir()
    said = {"train": "holds the val split and the test split alone", "test": "The test split of .* holds no images"}
    with pytest.raises(DataError, match=said[split]):
        open_folder(folder_root)


def test_validation_images_are_not_required(folder_root: Path) -> None:
    shutil.rmtree(folder_root / "val")
    assert ids(open_folder(folder_root), "val") == []


def test_val_as_test(folder_root: Path) -> None:
    dataset = open_folder(folder_root, 'data.test_split="val"')
    assert ids(dataset, "val") == [] and len(ids(dataset, "test")) == 2
    assert all("/val/" in str(record.image) for record in dataset.records if record.split == "test")


def test_image_without_mask(folder_root: Path) -> None:
    for i in range(5):
        (folder_root / f"train/masks/{i:02d}.png").unlink()
    expected = r"5 images \(train/00, train/01, train/02, ...\) of the train split without a mask"
    with pytest.raises(DataError, match=expected) as caught:
        open_folder(folder_root)
    assert offered(caught.value.remedy) == ["data.oracle=people"]
    dataset = open_folder(folder_root, 'data.oracle="people"')
    assert sum(record.mask is None for record in dataset.records) == 5


@pytest.mark.parametrize("split", ["val", "test"])
def test_people_do_not_label_what_is_measured(folder_root: Path, split: str) -> None:
    (folder_root / split / "masks/01.png").unlink()
    with pytest.raises(DataError, match=rf"1 image \({split}/01\) of the {split} split without a mask"):
        open_folder(folder_root, 'data.oracle="people"')


@pytest.mark.parametrize("oracle", ["masks", "people"])
def test_mask_without_image(folder_root: Path, oracle: str) -> None:
    """Counted and named where the folder is understood, see `find_layout`; it labels nothing."""
    (folder_root / "train/images/07.png").unlink()
    dataset = open_folder(folder_root, f'data.oracle="{oracle}"')
    assert len(ids(dataset, "train")) == 11 and "train/07" not in ids(dataset, "train")


def test_mask_without_image_in_a_published_layout(tmp_path: Path, save_png: Save) -> None:
    for split in data.SPLITS:
        save_png(tmp_path / split / "a.png", IMAGE)
        save_png(tmp_path / f"{split}annot" / "a.png", MASK)
    save_png(tmp_path / "trainannot/b.png", MASK)
    with pytest.raises(DataError, match=r"1 mask \(b\) of the train split without an image"):
        open_dataset(config("camvid", tmp_path), tmp_path)


def test_patterns_that_are_set_decide(tmp_path: Path, save_png: Save) -> None:
    for split in ("Training", "validation", "test"):
        for i in range(2):
            save_png(tmp_path / split / "deep" / f"{i}.png", IMAGE)
            save_png(tmp_path / "truth" / split / "deep" / f"seg_{i}.png", MASK)
            save_png(tmp_path / "masks" / split / "deep" / f"{i}.png", MASK)
    patterns = ('data.images="{split}/**"', 'data.masks="truth/{split}/**/seg_*.png"', 'data.classes=["a"]')
    dataset = open_folder(tmp_path, *patterns)
    assert [record.id for record in dataset.records if record.split == "val"] == ["val/deep/0", "val/deep/1"]
    assert all("truth" in str(record.mask) for record in dataset.records) and len(dataset.records) == 6
    with pytest.raises(DataError, match=r"expected layout. Looked for: images nowhere/\*"):
        open_folder(tmp_path, 'data.images="nowhere/*"', 'data.classes=["a"]')


def test_drawn_test_split(tmp_path: Path, save_png: Save) -> None:
    for i in range(40):
        save_png(tmp_path / "images" / f"{i}.png", IMAGE)
        if i >= 10:
            save_png(tmp_path / "masks" / f"{i}.png", MASK)
    settings = ('data.test_split="drawn"', "data.test_fraction=0.3", 'data.oracle="people"', 'data.classes=["a"]')
    dataset = open_folder(tmp_path, *settings)
    drawn = set(ids(dataset, "test"))
    assert drawn and all(int(id) >= 10 for id in drawn)
    assert drawn.isdisjoint(ids(dataset, "train")) and len(dataset.records) == 40
    assert [record.split for record in dataset.records] == ["train"] * (40 - len(drawn)) + ["test"] * len(drawn)
    save_png(tmp_path / "images/new.png", IMAGE)
    save_png(tmp_path / "masks/new.png", MASK)
    assert drawn <= set(ids(open_folder(tmp_path, *settings), "test")) <= drawn | {"new"}


def test_images_alone(tmp_path: Path, save_png: Save) -> None:
    for i in range(3):
        save_png(tmp_path / f"{i}.png", IMAGE)
    assert len(ids(open_folder(tmp_path, 'data.oracle="people"', 'data.classes=["a"]'), "train")) == 3
    with pytest.raises(DataError, match=r"Nothing is labelled in .*Looked for .*folders named masks, labels") as caught:
        open_folder(tmp_path, 'data.classes=["a"]')
    assert offered(caught.value.remedy) == ["data.oracle=people"]


def test_people_may_name_the_classes_of_images_alone(tmp_path: Path, save_png: Save) -> None:
    for split in ("train", "val", "test"):
        save_png(tmp_path / split / "a.png", IMAGE)
    dataset = open_folder(tmp_path, 'data.oracle="people"')
    assert dataset.class_names == () and dataset.palette.shape == (0, 3)
    # Without a mask anywhere nothing can be tested on those of test: they are left out, and people are asked.
    assert [record.split for record in dataset.records] == ["train"]
    (tmp_path / "classes.txt").write_text("wall\nbox\n")
    assert open_folder(tmp_path, 'data.oracle="people"').class_names == ("wall", "box")
    with pytest.raises(ConfigError, match="needs class names"):
        (tmp_path / "classes.txt").unlink()
        open_folder(tmp_path)


def test_one_mask_is_too_few(tmp_path: Path, save_png: Save) -> None:
    for i in range(3):
        save_png(tmp_path / f"images/{i}.png", IMAGE)
    save_png(tmp_path / "masks/0.png", MASK)
    with pytest.raises(DataError, match=r"The test split of .* holds no images") as caught:
        open_folder(tmp_path, 'data.oracle="people"', 'data.classes=["a"]')
    assert "at least one to learn from and one to test on" in caught.value.remedy


def test_data_without_any_train_masks_is_a_pool_for_people(folder_root: Path) -> None:
    shutil.rmtree(folder_root / "train/masks")
    assert len(ids(open_folder(folder_root, 'data.oracle="people"'), "train")) == 12


def test_plain_image_folder(folder_root: Path) -> None:
    dataset = open_images(folder_root / "train/images", ("a", "b"))
    assert ids(dataset, "train") == [f"{i:02d}" for i in range(12)]
    assert all(record.mask is None for record in dataset.records)
    (folder_root / "none").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        open_images(folder_root / "none", ("a",))


# --- camvid ---


def camvid_tree(root: Path, save_png: Save) -> None:
    for split in data.SPLITS:
        names = [f"{split} {i}" for i in range(3)]
        for name in names:
            save_png(root / "images" / split / f"{name}.png", IMAGE)
            save_png(root / "masks" / split / f"{name}.png", MASK)
        (root / f"{split}.txt").write_text("\n".join(names[:2]) + "\n")  # the list decides: two of three


def test_camvid_lists(tmp_path: Path, save_png: Save) -> None:
    camvid_tree(tmp_path, save_png)
    dataset = open_dataset(config("camvid", tmp_path), tmp_path)
    assert ids(dataset, "train") == ["train 0", "train 1"]
    assert dataset.class_names[:5] == ("sky", "building", "pole", "road", "pavement")
    assert dataset.palette.shape == (11, 3) and dataset.palette[3].tolist() == [128, 64, 128]
    assert dataset.mask_code.values[11] == -1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("gone", r"train.txt lists 1 image \(gone\) not found"),
        ("train 1", r"train.txt lists 1 id \(train 1\) more than once"),
        ("../../test/test 0", "leaves the folder"),
        ("/etc/passwd", r"1 image \(/etc/passwd\) not found"),
    ],
)
def test_camvid_lists_that_are_wrong(tmp_path: Path, save_png: Save, line: str, message: str) -> None:
    camvid_tree(tmp_path, save_png)
    with (tmp_path / "train.txt").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(DataError, match=message):
        open_dataset(config("camvid", tmp_path), tmp_path)


def test_segnet_layout(tmp_path: Path, save_png: Save) -> None:
    for split in data.SPLITS:
        save_png(tmp_path / split / f"{split}_0001.png", IMAGE)
        save_png(tmp_path / f"{split}annot" / f"{split}_0001.png", MASK)
        (tmp_path / f"{split}.txt").write_text("/SegNet/CamVid/train/x.png /SegNet/CamVid/trainannot/x.png\n")
    dataset = open_dataset(config("camvid", tmp_path), tmp_path)
    assert ids(dataset, "train") == ["train_0001"]
    assert dataset.mask_code.values[[10, 11, 12, 255]].tolist() == [10, 255, -1, 255]


def test_the_adapter_is_found_out(tmp_path: Path, save_png: Save) -> None:
    for split in data.SPLITS:
        save_png(tmp_path / split / f"0001TP_{split}.png", IMAGE)
        save_png(tmp_path / f"{split}annot" / f"0001TP_{split}.png", MASK)
    assert open_dataset(config("auto", tmp_path), tmp_path).class_names[0] == "sky"
    given = config("auto", tmp_path, 'data.classes=["a"]', 'data.masks="{split}annot/*"')
    assert open_dataset(given, tmp_path).class_names == ("a",)


def test_real_camvid(camvid_root: Path, tmp_path: Path) -> None:
    dataset = open_dataset(config("camvid", camvid_root), tmp_path)
    assert [len(ids(dataset, split)) for split in data.SPLITS] == [367, 101, 233]
    assert all(record.mask is not None for record in dataset.records)
    assert ids(dataset, "train")[0] == "0001TP_006690"


# --- cityscapes ---


def cityscapes_tree(root: Path, save_png: Save, kind: str) -> None:
    for split in ("train", "val"):
        for name in ("ulm/ulm_000000_000019", "bonn/bonn_000000_000019"):
            save_png(root / "leftImg8bit" / split / f"{name}_leftImg8bit.png", IMAGE)
            save_png(root / "gtFine" / split / f"{name}_gtFine_{kind}.png", MASK)
            save_png(root / "gtFine" / split / f"{name}_gtFine_instanceIds.png", MASK)
            (root / "gtFine" / split / f"{name}_gtFine_polygons.json").write_text("{}")
    save_png(root / "leftImg8bit/test/berlin/berlin_0_leftImg8bit.png", IMAGE)


def open_cityscapes(root: Path) -> Dataset:
    return open_dataset(config("cityscapes", root, 'data.test_split="val"'), root)


def test_cityscapes_label_ids(tmp_path: Path, save_png: Save) -> None:
    cityscapes_tree(tmp_path, save_png, "labelIds")
    dataset = open_cityscapes(tmp_path)
    assert ids(dataset, "train") == ["train/bonn/bonn_000000_000019", "train/ulm/ulm_000000_000019"]
    assert ids(dataset, "val") == [] and len(ids(dataset, "test")) == 2
    assert len(dataset.class_names) == 19 and dataset.class_names[0] == "road" and dataset.class_names[18] == "bicycle"
    assert dataset.mask_code.values[[7, 8, 11, 26, 33]].tolist() == [0, 1, 2, 13, 18]
    assert np.count_nonzero((dataset.mask_code.values >= 0) & (dataset.mask_code.values < 19)) == 19
    assert (dataset.mask_code.values[[0, 1, 9, 10, 14, 29, 30, 255]] == 255).all()
    assert dataset.mask_code.values[34] == -1


def test_cityscapes_train_ids_win_and_are_strict(tmp_path: Path, save_png: Save) -> None:
    cityscapes_tree(tmp_path, save_png, "labelIds")
    cityscapes_tree(tmp_path, save_png, "labelTrainIds")
    dataset = open_cityscapes(tmp_path)
    assert all("labelTrainIds" in str(record.mask) for record in dataset.records)
    # label ids under the other name would score 63.8 instead of 70.5 without a word (U2PL issue 13)
    assert dataset.mask_code.values[[0, 18, 19, 33, 255]].tolist() == [0, 18, -1, -1, 255]


def test_cityscapes_ids_are_city_and_name_when_unique(tmp_path: Path, save_png: Save) -> None:
    cityscapes_tree(tmp_path, save_png, "labelIds")
    for kind in ("leftImg8bit", "gtFine"):
        shutil.move(tmp_path / kind / "val/ulm", tmp_path / kind / "val/muenster")
        shutil.move(tmp_path / kind / "val/bonn", tmp_path / kind / "val/lindau")
    assert ids(open_cityscapes(tmp_path), "train") == ["bonn/bonn_000000_000019", "ulm/ulm_000000_000019"]


def test_cityscapes_needs_val_as_test(tmp_path: Path, save_png: Save) -> None:
    cityscapes_tree(tmp_path, save_png, "labelIds")
    with pytest.raises(ConfigError, match="Cityscapes publishes no masks of its test split"):
        open_dataset(config("cityscapes", tmp_path), tmp_path)


# --- voc ---


def voc_tree(root: Path, save_png: Save) -> None:
    for name in ("2007_000032", "2007_000033", "2007_000042"):
        (root / "JPEGImages").mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGE).save(root / "JPEGImages" / f"{name}.jpg")
    for name in ("2007_000032", "2007_000033"):
        mask = Image.fromarray(MASK)
        mask.putpalette(voc_palette(256).tobytes())
        (root / "SegmentationClass").mkdir(exist_ok=True)
        mask.save(root / "SegmentationClass" / f"{name}.png")
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000032\n")
    (lists / "val.txt").write_text("2007_000033\n")
    (lists / "trainval.txt").write_text("2007_000032\n2007_000033\n")


def test_voc(tmp_path: Path, save_png: Save) -> None:
    voc_tree(tmp_path, save_png)
    dataset = open_dataset(config("voc", tmp_path, 'data.test_split="val"'), tmp_path)
    assert [(record.id, record.split) for record in dataset.records] == [
        ("2007_000032", "train"),
        ("2007_000033", "test"),
    ]
    assert len(dataset.class_names) == 21 and dataset.class_names[15] == "person"
    assert dataset.mask_code.values[[0, 20, 21, 255]].tolist() == [0, 20, -1, 255]
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("2007_000032\n2007_000042\n")
    with pytest.raises(DataError, match=r"1 image \(2007_000042\) of the train split without a mask"):
        open_dataset(config("voc", tmp_path, 'data.test_split="val"'), tmp_path)


def test_a_folder_around_a_published_layout(tmp_path: Path, save_png: Save) -> None:
    voc_tree(tmp_path / "VOCdevkit/VOC2012", save_png)
    dataset = open_dataset(config("voc", tmp_path, 'data.test_split="val"'), tmp_path)
    assert dataset.root == tmp_path and [record.split for record in dataset.records] == ["train", "test"]
    aug = tmp_path / "VOCdevkit/VOC2012/SegmentationClassAug"
    shutil.copytree(aug.with_name("SegmentationClass"), aug)
    asked = 'data.masks="VOCdevkit/VOC2012/SegmentationClassAug/*"'
    dataset = open_dataset(config("voc", tmp_path, 'data.test_split="val"', asked), tmp_path)
    assert all("SegmentationClassAug" in str(record.mask) for record in dataset.records)


# --- scenes, palettes ---


def test_scenes_are_rendered_once(tmp_path: Path) -> None:
    settings = config(
        "scenes", "", "scenes.train=3", "scenes.val=1", "scenes.test=2", "scenes.height=32", "scenes.width=48"
    )
    dataset = open_dataset(settings, tmp_path / "scenes")
    assert [len(ids(dataset, split)) for split in data.SPLITS] == [3, 1, 2]
    assert dataset.num_classes >= 8 and dataset.palette.shape == (dataset.num_classes, 3)
    stamp = (tmp_path / "scenes/train/images/scene-0000.png").stat().st_mtime_ns
    open_dataset(settings, tmp_path / "scenes")
    assert (tmp_path / "scenes/train/images/scene-0000.png").stat().st_mtime_ns == stamp


def test_voc_palette_is_the_published_one() -> None:
    palette = voc_palette(256)
    assert palette[[0, 1, 2, 8, 15, 20]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [64, 0, 0],
        [192, 128, 128],
        [0, 64, 128],
    ]
    assert palette[255].tolist() == [224, 224, 192]


@pytest.mark.parametrize("count", [1, 2, 21, 60])
def test_generated_colours_can_be_told_apart(count: int) -> None:
    palette = distinct_palette(count).astype(int)
    distance = np.abs(palette[:, None] - palette[None]).sum(2) + 1000 * np.eye(count, dtype=int)
    assert palette.shape == (count, 3) and distance.min() > 8


def test_a_val_split_without_any_mask_is_left_out(folder_root: Path) -> None:
    shutil.rmtree(folder_root / "val" / "masks")
    dataset = open_folder(folder_root)
    assert [len(ids(dataset, split)) for split in data.SPLITS] == [12, 0, 3]
