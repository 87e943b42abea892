"""What is said of folders that are not understood: what was seen, and settings that can be pasted and work."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from s4al.data.layouts.find import Layout, find_layout
from s4al.errors import DataError
from tests.data.layouts.test_find import make, splits


def refusal(root: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        find_layout(root)
    return caught.value


def offered(text: str) -> list[dict[str, str]]:
    """The settings of a message, those that stand together in one dict."""
    together = re.findall(r'(?:data\.\w+="[^"]*"(?: (?=data\.))?)+', text)
    return [dict(re.findall(r'data\.(\w+)="([^"]*)"', item)) for item in together]


def accepted(root: Path, settings: dict[str, str]) -> Layout:
    return find_layout(root, **{key: settings[key] for key in ("images", "masks", "lists") if key in settings})


# tree, parts of what is said, images with a mask by each of the offered settings
NOT_UNDERSTOOD: dict[str, tuple[str, list[str], list[int]]] = {
    "two versions of the masks": (
        splits("{s}/images/{s}{{0-5}}.jpg {s}/v1/labels/{s}{{0-5}}.png {s}/v2/labels/{s}{{0-5}}.png", "train", "val"),
        ["No mask", "train/images/ (5 .jpg), train/v1/labels/ (5 .png), train/v2/labels/ (5 .png), val/images/"],
        [10, 10],
    ),
    "named like masks, but not as other pictures": (
        "scans/x_{0-5}_a.png results/x_{0-5}_mask.png",
        ["are named like masks", "pictures are in results/ (5 .png), scans/ (5 .png)"],
        [5],
    ),
    "names below splits that say nothing": (
        splits("{s}/one/{s}{{0-5}}.png {s}/two/{s}{{0-5}}.png", "train", "val"),
        ["No folder in ", "the names in {split}/one/* and {split}/two/* agree", "train/one/ (5 .png), train/two/"],
        [10, 0],
    ),
    "lossy and lossless folders among others": (
        "a/p{0-5}.jpg b/p{0-5}.png c/q{0-5}.jpg",
        ["the names in a/* and b/* agree", "c/ (5 .jpg)"],
        [5, 0],
    ),
    "masks alone": (
        "labels/a{0-5}.png",
        ["holds masks (labels/*) and no images; pictures are in labels/ (5 .png)", "Add the images"],
        [0],
    ),
    "masks of a format that is not read": (
        "train/a{0-6}.jpg train_masks/a{0-6}_mask.gif test/b{0-3}.jpg",
        ["The masks of ", "are of a format that is not read: train_masks/ (6 .gif)", "masks as PNG of class ids"],
        [0],
    ),
    "arrays for masks": (
        "images/a{0-6}.jpg masks/a{0-6}.npy",
        ["are of a format that is not read: masks/ (6 .npy)", "Save images as PNG or JPEG"],
        [0],
    ),
    "images of a format that is not read": (
        "images/a{0-6}.heic masks/a{0-6}.png",
        ["holds masks (masks/*) and no images", "images/ (6 .heic) cannot be read"],
        [0],
    ),
    "a val split alone": (
        splits("{s}/images/{s}{{0-5}}.jpg {s}/masks/{s}{{0-5}}.png", "val"),
        ["holds the val split alone (5 images, val/images/*), and no images for training"],
        [5],
    ),
    "a test split alone, below a folder": (
        "d/images/Test/a{0-5}.jpg d/labels/Test/a{0-5}.png",
        ["holds the test split alone (5 images"],
        [5],
    ),
    "val and test alone": (
        splits("{s}/images/{s}{{0-5}}.jpg {s}/masks/{s}{{0-5}}.png", "valid", "test"),
        ["holds the val split and the test split alone", 'data.images="valid/images/*" data.masks="valid/masks/*"'],
        [5],
    ),
    "images of a val split alone": ("val/a{0-5}.jpg", ["holds the val split alone"], [0]),
}


@pytest.mark.parametrize("case", NOT_UNDERSTOOD)
def test_what_is_offered_works(tmp_path: Path, case: str) -> None:
    tree, parts, masked = NOT_UNDERSTOOD[case]
    root = make(tmp_path, tree)
    error = refusal(root)
    for part in parts:
        assert part in str(error)
    settings = offered(error.remedy)
    assert len(settings) == len(masked)
    for setting, expected in zip(settings, masked, strict=True):
        layout = accepted(root, setting)
        assert layout.counts["train"][0] > 0
        assert sum(with_mask for _, with_mask in layout.counts.values()) == expected


def test_an_example_of_the_folders_own_names_where_nothing_fits(tmp_path: Path) -> None:
    error = refusal(make(tmp_path, "images/a{0-5}.jpg masks/0{0-5}x.png"))
    assert "Rename them, so that a00 has a mask of its name" in error.remedy
    assert 'as data.images="images/*" data.masks="masks/*" then do' in error.remedy
    assert "pictures are in images/ (5 .jpg), masks/ (5 .png)" in error.what
    error = refusal(make(tmp_path / "other", "one/x_{0-5}_a.png two/mask_{0-5}y.png"))
    assert 'As an example: data.images="one/*" data.masks="two/*".' in error.remedy


def test_no_image_of_a_format_that_is_read(tmp_path: Path) -> None:
    error = refusal(make(tmp_path, "images/a{0-6}.heic images/b.avif masks/a{0-6}.npy notes.txt"))
    assert "holds no images of a format that is read: images/ (6 .heic, 1 .avif), masks/ (6 .npy)" in error.what
    assert error.remedy == "Save images as PNG or JPEG, and masks as PNG of class ids."


def test_pictures_drawn_from_masks_are_no_example(tmp_path: Path) -> None:
    error = refusal(make(tmp_path, "SegmentationClass/a{0-5}.png SegmentationObject/a{0-5}.png"))
    assert "SegmentationObject" in error.what and "SegmentationObject" not in error.remedy


def test_arrays_beside_masks_are_no_reason_to_warn(tmp_path: Path) -> None:
    layout = find_layout(make(tmp_path, "images/a{0-6}.jpg masks/a{0-6}.png labels/a{0-6}.npy"))
    (line,) = (line for line in layout.lines if ".npy" in line)
    assert line.startswith("Files of formats that are not read: labels/ (6 .npy).")


def test_some_files_of_a_format_that_is_not_read(tmp_path: Path) -> None:
    layout = find_layout(make(tmp_path, "images/a{0-6}.jpg images/b{0-3}.HEIC masks/a{0-6}.png c.txt"))
    assert layout.counts == {"train": (6, 6)}
    assert (
        "WARNING: of formats that are not read: images/ (3 .heic). Save images as PNG or JPEG, and masks as PNG of "
        "class ids." in layout.lines
    )
    assert "Files that are no images, passed over: 1 .txt." in layout.lines


def test_many_folders_are_counted(tmp_path: Path) -> None:
    tree = " ".join(f"masks/m{i:02d}/a.png" for i in range(12))
    assert "masks/m07/ (1 .png) and 4 more folders." in refusal(make(tmp_path, tree)).what


def test_names_that_cannot_be_printed(tmp_path: Path) -> None:
    root = make(tmp_path, "masks/a{0-5}.png")
    (root / "masks\x1b[31m").mkdir()
    (root / "masks\x1b[31m" / "a.gif").touch()
    error = refusal(root)
    assert str(error).isprintable() and "1 .gif" in error.remedy


def test_a_val_split_of_coco_alone(tmp_path: Path) -> None:
    root = make(tmp_path, "val2017/a{0-2}.jpg")
    (root / "annotations").mkdir()
    text = json.dumps({"images": [], "annotations": [], "categories": []})
    (root / "annotations/instances_val2017.json").write_text(text)
    error = refusal(root)
    assert "holds the val split alone (2 images, {split}2017/*)" in error.what
    (settings,) = offered(error.remedy)
    assert settings == {"images": "val2017/*", "masks": "annotations/instances_val2017.json"}
    layout = accepted(root, settings)
    assert layout.adapter == "coco" and layout.counts == {"train": (2, 2)}


def test_a_folder_around_all_may_be_called_as_one_for_training(tmp_path: Path) -> None:
    assert find_layout(make(tmp_path, "train/images/a{0-5}.jpg train/masks/a{0-5}.png")).counts == {"train": (5, 5)}
    # not the data folder itself, which people may call as they like
    assert find_layout(make(tmp_path / "val", "images/a{0-5}.jpg masks/a{0-5}.png")).counts == {"train": (5, 5)}


def test_splits_with_words_behind(tmp_path: Path) -> None:
    root = make(tmp_path, splits("{s}/images/{s}{{0-5}}.jpg {s}/masks/{s}{{0-5}}.png", "train_day", "test_day"))
    layout = find_layout(root)
    assert layout.counts == {"train": (10, 10)}
    (line,) = (line for line in layout.lines if "look like splits" in line)
    (settings,) = offered(line)
    assert settings == {"images": "{split}*/images/*", "masks": "{split}*/masks/*"}
    assert accepted(root, settings).counts == {"train": (5, 5), "test": (5, 5)}


def test_half_of_what_was_offered_still_says_what_is_missing(tmp_path: Path) -> None:
    root = make(tmp_path, "val/images/a{0-5}.jpg val/masks/a{0-5}.png")
    with pytest.raises(DataError, match="holds the val split alone") as caught:
        find_layout(root, images="val/images/*")
    assert offered(caught.value.remedy) == [{"images": "val/images/*", "masks": "val/masks/*"}]


def test_frames_of_the_same_names_are_no_masks(tmp_path: Path) -> None:
    layout = find_layout(make(tmp_path, "day/f{0-9}.jpg night/f{0-9}.jpg dusk/f{0-9}.jpg"))
    assert layout.counts == {"train": (27, 0)}
