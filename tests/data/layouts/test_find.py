"""Folders as people have them: what is understood of the names in them, and what is refused with both readings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from s4al.data.layouts.find import Layout, find_layout
from s4al.data.layouts.splits import drawn_test
from s4al.errors import DataError

CAMVID = "0001TP_0{0-10}"
VOC = "2007_0000{10-20}"


def make(root: Path, tree: str, texts: dict[str, str] | None = None) -> Path:
    """Empty files; "a{0-10}.png" stands for a00.png to a09.png."""
    for item in tree.split():
        before, brace, rest = item.partition("{")
        numbers, _, after = rest.partition("}")
        first, _, last = numbers.partition("-")
        names = [f"{before}{i:02d}{after}" for i in range(int(first), int(last))] if brace else [item]
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
    for name, text in (texts or {}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def counts(layout: Layout) -> tuple[int, ...]:
    """Images of train, val and test."""
    return tuple(layout.counts.get(split, (0, 0))[0] for split in ("train", "val", "test"))


BY_SPLIT = "{s}/images/{s}{{0-5}}.jpg {s}/masks/{s}{{0-5}}.png"


def splits(template: str, *names: str) -> str:
    return " ".join(template.format(s=name) for name in names)


# tree, images pattern, masks pattern, images of (train, val, test), data.test_split, part of a printed line
UNDERSTOOD: dict[str, tuple[str, str, str, tuple[int, int, int], str, str]] = {
    "by split": (
        splits(BY_SPLIT, "train", "val", "test"),
        "{split}/images/*",
        "{split}/masks/*",
        (5, 5, 5),
        "test",
        "Splits: train 5 images (5 with a mask), val 5 images (5 with a mask), test 5 images (5 with a mask).",
    ),
    "aliases of splits, any case": (
        splits(BY_SPLIT, "Training", "VALID", "testing"),
        "{split}/images/*",
        "{split}/masks/*",
        (5, 5, 5),
        "test",
        "val 5 images",
    ),
    "validation": (
        splits(BY_SPLIT, "train", "validation"),
        "{split}/images/*",
        "{split}/masks/*",
        (5, 5, 0),
        "val",
        "There is no test split: the val split (5 images with a mask) is tested on.",
    ),
    "dev": (splits(BY_SPLIT, "train", "dev"), "{split}/images/*", "{split}/masks/*", (5, 5, 0), "val", "tested on"),
    "by kind": (
        splits("images/{s}/{s}{{0-5}}.jpg masks/{s}/{s}{{0-5}}.png", "train", "val", "test"),
        "images/{split}/*",
        "masks/{split}/*",
        (5, 5, 5),
        "test",
        "Pairs: masks are named as their images.",
    ),
    "mmsegmentation": (
        splits("img_dir/{s}/{s}{{0-5}}.jpg ann_dir/{s}/{s}{{0-5}}.png", "train", "val"),
        "img_dir/{split}/*",
        "ann_dir/{split}/*",
        (5, 5, 0),
        "val",
        "",
    ),
    "ade20k": (
        splits("images/{s}/{s}{{0-5}}.jpg annotations/{s}/{s}{{0-5}}.png", "training", "validation"),
        "images/{split}/*",
        "annotations/{split}/*",
        (5, 5, 0),
        "val",
        "",
    ),
    "no splits": (
        "images/a{0-40}.jpg masks/a{0-40}.png",
        "images/*",
        "masks/*",
        (40, 0, 0),
        "drawn",
        "of the 40 images with a mask (data.test_fraction=0.2), by a hash of their ids: stable when images are added.",
    ),
    "only a train split": (
        splits(BY_SPLIT, "train"),
        "train/images/*",
        "train/masks/*",
        (5, 0, 0),
        "drawn",
        "Everything is in the folder train/.",
    ),
    "other words, upper case": ("IMGS/a{0-5}.JPG GT/a{0-5}.PNG", "IMGS/*", "GT/*", (5, 0, 0), "drawn", ""),
    "photos and labels": ("photos/a{0-5}.jpg labels/a{0-5}.png", "photos/*", "labels/*", (5, 0, 0), "drawn", ""),
    "rgb and seg": ("rgb/a{0-5}.png seg/a{0-5}.png", "rgb/*", "seg/*", (5, 0, 0), "drawn", ""),
    "one folder around it": (
        splits("dataset/" + BY_SPLIT.replace(" ", " dataset/"), "train", "test"),
        "dataset/{split}/images/*",
        "dataset/{split}/masks/*",
        (5, 0, 5),
        "test",
        "Everything is in the folder dataset/.",
    ),
    "a folder around it with a name that says something": (
        "segmentation/images/a{0-5}.jpg segmentation/masks/a{0-5}.png",
        "segmentation/images/*",
        "segmentation/masks/*",
        (5, 0, 0),
        "drawn",
        "Everything is in the folder segmentation/.",
    ),
    "sub-folders": (
        "images/day/a{0-5}.jpg images/night/a{0-5}.jpg masks/day/a{0-5}.png masks/night/a{0-5}.png",
        "images/**/*",
        "masks/**/*",
        (10, 0, 0),
        "drawn",
        "",
    ),
    "sub-folders in front": (
        "day/images/a{0-5}.jpg night/images/a{0-5}.jpg day/masks/a{0-5}.png night/masks/a{0-5}.png",
        "**/images/*",
        "**/masks/*",
        (10, 0, 0),
        "drawn",
        "",
    ),
    "deep on one side, where all are": (
        "images/a{0-5}.jpg annotations/trimaps/a{0-5}.png",
        "images/*",
        "annotations/trimaps/*",
        (5, 0, 0),
        "drawn",
        "",
    ),
    "suffix of masks": (
        "images/a{0-5}.jpg masks/a{0-5}_mask.png",
        "images/*",
        "masks/*_mask.*",
        (5, 0, 0),
        "drawn",
        "masks are named as images + `_mask`",
    ),
    "prefix of masks": (
        "images/a{0-5}.jpg masks/seg_a{0-5}.png",
        "images/*",
        "masks/seg_*.*",
        (5, 0, 0),
        "drawn",
        "masks are named as images + `seg_` in front",
    ),
    "suffix of images": (
        "images/a{0-5}_leftImg8bit.png masks/a{0-5}.png",
        "images/*_leftImg8bit.*",
        "masks/*",
        (5, 0, 0),
        "drawn",
        "images are named `*_leftImg8bit`, masks `*`",
    ),
    "affixes on both sides, numbers of any length": (
        "images/img_1.jpg images/img_{10-40}.jpg masks/mask_1.png masks/mask_{10-40}.png",
        "images/img_*.*",
        "masks/mask_*.*",
        (31, 0, 0),
        "drawn",
        "images are named `img_*`, masks `mask_*`",
    ),
    "one folder, suffix": ("a{0-5}.jpg a{0-5}_mask.png", "*.jpg", "*_mask.png", (5, 0, 0), "drawn", "+ `_mask`"),
    "one folder, one format": ("a{0-5}.png a{0-5}_label.png", "*", "*_label.*", (5, 0, 0), "drawn", "+ `_label`"),
    "one folder, two suffixes": (
        "x/a{0-5}_sat.jpg x/a{0-5}_mask.png",
        "x/*_sat.jpg",
        "x/*_mask.png",
        (5, 0, 0),
        "drawn",
        "images are named `*_sat`, masks `*_mask`",
    ),
    "one folder, two words, one format": (
        "a{0-5}_image.png a{0-5}_gt.png",
        "*_image.*",
        "*_gt.*",
        (5, 0, 0),
        "drawn",
        "images are named `*_image`, masks `*_gt`",
    ),
    "one folder, an unknown suffix of the lossless format": (
        "a{0-5}.jpg a{0-5}_P.png",
        "*.jpg",
        "*_P.png",
        (5, 0, 0),
        "drawn",
        "+ `_P`",
    ),
    "one folder, told apart by format": (
        "a{0-5}.jpg b{0-5}.jpeg a{0-5}.png",
        "*.jp*g",
        "*.png",
        (10, 0, 0),
        "drawn",
        "5 images (b00, b01, b02, ...) without a mask",
    ),
    "one folder that is called labels": (
        "labels/a{0-5}.jpg labels/a{0-5}_mask.png",
        "labels/*.jpg",
        "labels/*_mask.png",
        (5, 0, 0),
        "drawn",
        "Everything is in the folder labels/.",
    ),
    "roboflow": (
        splits("{s}/{s}{{0-5}}_jpg.rf.abc.jpg {s}/{s}{{0-5}}_jpg.rf.abc_mask.png {s}/_classes.csv", "train", "valid"),
        "{split}/*.jpg",
        "{split}/*_mask.png",
        (5, 5, 0),
        "val",
        "passed over: 2 .csv",
    ),
    "kaggle's CamVid": (
        splits("{s}/0001TP_{s}{{0-5}}.png {s}_labels/0001TP_{s}{{0-5}}_L.png", "train", "val", "test")
        + " class_dict.csv",
        "{split}/*",
        "{split}_labels/*_L.*",
        (5, 5, 5),
        "test",
        "masks are named as images + `_L`",
    ),
    "split and kind in one word": (
        splits("{s}_images/{s}{{0-5}}.png {s}-masks/{s}{{0-5}}.png", "train", "test"),
        "{split}_images/*",
        "{split}-masks/*",
        (5, 0, 5),
        "test",
        "",
    ),
    "kind first in one word": (
        splits("images_{s}/{s}{{0-5}}.png labels_{s}/{s}{{0-5}}.png", "train", "test"),
        "images_{split}/*",
        "labels_{split}/*",
        (5, 0, 5),
        "test",
        "",
    ),
    "splits of the images alone": (
        splits("images/{s}/{s}{{0-5}}.png masks/{s}{{0-5}}.png", "train", "val"),
        "images/{split}/*",
        "masks/*",
        (5, 5, 0),
        "val",
        "",
    ),
    "splits of the masks alone": (
        splits("images/{s}{{0-5}}.png masks/{s}/{s}{{0-5}}.png", "train", "val"),
        "images/*",
        "masks/{split}/*",
        (5, 5, 0),
        "val",
        "",
    ),
    "a test split without masks": (
        splits(BY_SPLIT, "train", "val") + " test/images/t{0-7}.jpg",
        "{split}/images/*",
        "{split}/masks/*",
        (5, 5, 7),
        "val",
        "The test split has no masks and is not used: the val split (5 images with a mask) is tested on.",
    ),
    "neither has masks": (
        splits(BY_SPLIT, "train") + " test/images/t{0-7}.jpg",
        "{split}/images/*",
        "{split}/masks/*",
        (5, 0, 7),
        "drawn",
        "The test split has no masks and is not used, nor a val split. Drawn for testing: ",
    ),
    "SegNet's form with other names": (
        splits("{s}/{s}{{0-5}}.png {s}annot/{s}{{0-5}}.png", "train", "val", "test"),
        "{split}/*",
        "{split}annot/*",
        (5, 5, 5),
        "test",
        "",
    ),
    "a folder that is not used": (
        splits(BY_SPLIT, "train", "test") + " previews/x{0-3}.png final_test/y{0-2}.png",
        "{split}/images/*",
        "{split}/masks/*",
        (5, 0, 5),
        "test",
        "Pictures that are not used: final_test/ (2); previews/ (3).",
    ),
    "sidecars": (
        "images/a{0-5}.jpg images/a{0-5}.json images/Thumbs.db images/.DS_Store masks/a{0-5}.png README readme.md",
        "images/*",
        "masks/*",
        (5, 0, 0),
        "drawn",
        "Files that are no images, passed over: 5 .json, 1 without a suffix, 1 .md.",
    ),
    "masks without images": (
        "images/a{0-18}.jpg masks/a{0-20}.png",
        "images/*",
        "masks/*",
        (18, 0, 0),
        "drawn",
        "2 masks (a18, a19) without an image: not used.",
    ),
    "few masks": (
        "images/a{0-20}.jpg masks/a{0-2}.png",
        "images/*",
        "masks/*",
        (20, 0, 0),
        "drawn",
        "18 images (a02, a03, a04, ...) without a mask.",
    ),
    "a folder for each image": (
        "s1/image.png s1/mask.png s2/image.png s2/mask.png",
        "**/image.*",
        "**/mask.*",
        (2, 0, 0),
        "drawn",
        "",
    ),
    "the same names before an affix": (
        "images/a{0-5}.jpg masks/a{0-5}_m.png labels/a{0-5}.png",
        "images/*",
        "labels/*",
        (5, 0, 0),
        "drawn",
        "Pictures that are not used: masks/ (5).",
    ),
    "unlabelled images of the same form": (
        "labelled/images/a{0-5}.jpg labelled/masks/a{0-5}.png unlabelled/images/b{0-9}.jpg",
        "**/images/*",
        "**/masks/*",
        (14, 0, 0),
        "drawn",
        "9 images (unlabelled/b00, unlabelled/b01, unlabelled/b02, ...) without a mask.",
    ),
    "two data sets of CamVid's form with other names": (
        splits("{s}/images/train/a{{0-5}}.png {s}/masks/train/a{{0-5}}.png {s}/train.txt", "A", "B"),
        "**/images/{split}/*",
        "**/masks/{split}/*",
        (10, 0, 0),
        "drawn",
        "Lists that are not used: A/train.txt; B/train.txt.",
    ),
    "images alone": ("trip/a{0-5}.jpg", "trip/*", "", (5, 0, 0), "test", "without masks"),
    "images alone in sub-folders": ("a/x{0-5}.jpg b/y{0-5}.jpg", "**/*", "", (10, 0, 0), "test", "folders named masks"),
    "labelme's VOC export": (
        "JPEGImages/a{0-5}.jpg SegmentationClass/a{0-5}.npy SegmentationClassPNG/a{0-5}.png class_names.txt "
        "SegmentationClassVisualization/a{0-5}.jpg",
        "JPEGImages/*",
        "SegmentationClassPNG/*",
        (5, 0, 0),
        "drawn",
        "SegmentationClassVisualization/ (5)",
    ),
    "imgs and lbls": ("imgs/a{0-5}.jpg lbls/a{0-5}.png", "imgs/*", "lbls/*", (5, 0, 0), "drawn", ""),
    "x and y": (
        splits("x_{s}/{s}{{0-5}}.jpg y_{s}/{s}{{0-5}}.png", "train", "test"),
        "x_{split}/*",
        "y_{split}/*",
        (5, 0, 5),
        "test",
        "",
    ),
    "X and Y": (
        splits("{s}_X/{s}{{0-5}}.jpg {s}_Y/{s}{{0-5}}.png", "Train", "Val"),
        "{split}_X/*",
        "{split}_Y/*",
        (5, 5, 0),
        "val",
        "",
    ),
    "rgb and semantic of several scenes": (
        "s1/rgb/a{0-5}.png s1/semantic/a{0-5}.png s2/rgb/a{0-5}.png s2/semantic/a{0-5}.png",
        "**/rgb/*",
        "**/semantic/*",
        (10, 0, 0),
        "drawn",
        "",
    ),
    "LoveDA": (
        splits("{s}/Urban/images_png/{s}{{0-3}}.png {s}/Rural/images_png/r{s}{{0-3}}.png", "Train", "Val", "Test")
        + " "
        + splits("{s}/Urban/masks_png/{s}{{0-3}}.png {s}/Rural/masks_png/r{s}{{0-3}}.png", "Train", "Val"),
        "{split}/**/images_png/*",
        "{split}/**/masks_png/*",
        (6, 6, 6),
        "val",
        "The test split has no masks and is not used",
    ),
    "Supervisely": (
        "ds0/img/a{0-5}.jpg ds0/ann/a{0-5}.jpg.json ds0/masks_machine/a{0-5}.png ds0/masks_human/a{0-5}.png meta.json",
        "ds0/img/*",
        "ds0/masks_machine/*",
        (5, 0, 0),
        "drawn",
        "Pictures that are not used: ds0/masks_human/ (5).",
    ),
    "ISPRS": (
        "2_Ortho_RGB/top_potsdam_2_{10-15}_RGB.tif 5_Labels_all/top_potsdam_2_{10-15}_label.tif",
        "2_Ortho_RGB/*_RGB.*",
        "5_Labels_all/*_label.*",
        (5, 0, 0),
        "drawn",
        "images are named `*_RGB`, masks `*_label`",
    ),
    "labelme's folder for each image": (
        splits(
            "p{s}_json/img.png p{s}_json/label.png p{s}_json/label_viz.png p{s}_json/label_names.txt", "1", "2", "3"
        ),
        "**/img.*",
        "**/label.*",
        (3, 0, 0),
        "drawn",
        "Pictures that are not used: p1_json/ (1)",
    ),
    "numbered splits": (
        splits(BY_SPLIT, "01_train", "02_val", "03_test"),
        "*_{split}/images/*",
        "*_{split}/masks/*",
        (5, 5, 5),
        "test",
        "",
    ),
    "numbered with blanks": (
        splits(BY_SPLIT, "1._train", "2._test"),
        "*._{split}/images/*",
        "*._{split}/masks/*",
        (5, 0, 5),
        "test",
        "",
    ),
    "split in one word": (
        splits("{s}Dataset/images/{s}{{0-5}}.jpg {s}Dataset/masks/{s}{{0-5}}.png", "Train", "Test"),
        "{split}Dataset/images/*",
        "{split}Dataset/masks/*",
        (5, 0, 5),
        "test",
        "",
    ),
    "a word in front of the split": (
        splits(BY_SPLIT, "split_train", "split_val"),
        "split_{split}/images/*",
        "split_{split}/masks/*",
        (5, 5, 0),
        "val",
        "",
    ),
    "two folders of names that say nothing, one of them lossy": (
        "Bilder/a{0-5}.jpg Masken/a{0-5}.png",
        "Bilder/*",
        "Masken/*",
        (5, 0, 0),
        "drawn",
        "images=Bilder/*, masks=Masken/*",
    ),
    "names of several words give way to those of one": (
        "images/a{0-5}.jpg masks/a{0-5}.png masks_png/a{0-5}.png",
        "images/*",
        "masks/*",
        (5, 0, 0),
        "drawn",
        "Pictures that are not used: masks_png/ (5).",
    ),
}


@pytest.mark.parametrize("case", UNDERSTOOD)
def test_layouts(tmp_path: Path, case: str) -> None:
    tree, images, masks, images_of, test_split, said = UNDERSTOOD[case]
    layout = find_layout(make(tmp_path, tree))
    assert layout.settings == {
        "adapter": "folder",
        "images": images,
        "masks": masks,
        "lists": "",
        "test_split": test_split,
    }
    assert counts(layout) == images_of
    assert said in "\n".join(layout.lines)
    assert f"images={images}" in layout.lines[0]
    again = find_layout(tmp_path, images=images, masks=masks)  # what was found, given
    assert again.counts == layout.counts


# tree, parts of the message
REFUSED: dict[str, tuple[str, list[str]]] = {
    "two mask folders": (
        "images/a{0-5}.jpg masks/a{0-5}.png labels/a{0-5}.png",
        ['data.images="images/*" data.masks="labels/*"', 'data.images="images/*" data.masks="masks/*"'],
    ),
    "two image folders": (
        "images/a{0-5}.jpg rgb/a{0-5}.jpg masks/a{0-5}.png",
        ['data.images="images/*" data.masks="masks/*"', 'data.images="rgb/*" data.masks="masks/*"'],
    ),
    "two affixes": (
        "images/a{0-5}.jpg masks/a{0-5}_color.png masks/a{0-5}_ids.png",
        ['data.masks="masks/*_color.*"', 'data.masks="masks/*_ids.*"'],
    ),
    "two affixes in one folder": (
        "a{0-5}.jpg a{0-5}_mask.png a{0-5}_seg.png",
        ['data.images="*.jpg" data.masks="*_mask.png"', 'data.masks="*_seg.png"'],
    ),
    "two folders of names that say nothing": (
        "original/a{0-5}.png truth/a{0-5}.png",
        ['data.images="original/*" data.masks="truth/*"', 'data.images="truth/*" data.masks="original/*"'],
    ),
    "some images below a split": (
        "images/train/a{0-5}.jpg images/b{0-5}.jpg masks/train/a{0-5}.png masks/b{0-5}.png",
        ['data.images="images/*" data.masks="masks/*"', 'data.images="images/{split}/*" data.masks="masks/{split}/*"'],
    ),
    "masks by their names without images": (
        "x/a{0-5}_1.jpg x/a{0-5}_2.jpg x/mask_a{0-5}.png",
        ["5 pictures (x/mask_a00.png, ", "are named like masks, but not as other pictures", "Set patterns for images"],
    ),
    "two names of one split": (
        splits(BY_SPLIT, "train", "val", "valid"),
        ["'val' and 'valid' both stand for the val split, in {split}/images"],
    ),
    "names that never agree": (
        "images/a{0-5}.jpg masks/0{0-5}x.png",
        ["No mask", "the first of images/* is 'a00'", "the first of masks/* is '000x'"],
    ),
    "a folder like numbered splits": (
        splits(BY_SPLIT, "01_train", "02_val", "old_train"),
        ['data.images="*_{split}/images/*" data.masks="*_{split}/masks/*"', 'data.masks="old_train/masks/*"'],
    ),
    "a folder whose name no pattern can spell": (
        "st*r/a{0-5}.jpg masks/a{0-5}.png",
        ["No mask", "the first of */* is 'st*r/a00'"],
    ),
    "numbers are not cut": (
        "images/f_0{0-9}.jpg masks/f_1{0-9}.png",
        ["No mask", "'f_000'", "'f_100'"],
    ),
    "masks alone": ("masks/train/a{0-5}.png masks/val/b{0-5}.png", ["holds masks", "and no images"]),
    "masks alone in one folder": ("labels/a{0-5}.png", ["holds masks (labels/*) and no images"]),
    "nothing": ("notes.txt a.pdf", ["holds no images (1 .pdf, 1 .txt)", "Looked for: <split>/images/*"]),
    "two files of one id": (
        splits(BY_SPLIT, "train") + " train/images/train00.png",
        ["Two files have the id 'train00'"],
    ),
    "two of a published layout": (
        f"VOC2007/JPEGImages/{VOC}.jpg VOC2007/SegmentationClass/{VOC}.png "
        f"VOC2012/JPEGImages/{VOC}.jpg VOC2012/SegmentationClass/{VOC}.png",
        ["holds 2 data sets laid out like Pascal VOC: VOC2007/ and VOC2012/", "--data"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_both_readings(tmp_path: Path, case: str) -> None:
    tree, parts = REFUSED[case]
    with pytest.raises(DataError) as caught:
        find_layout(make(tmp_path, tree))
    for part in parts:
        assert part in str(caught.value)
    assert caught.value.remedy


# tree, list files, adapter, images, masks, lists, images of (train, val, test)
PUBLISHED: dict[str, tuple[str, dict[str, str], str, str, str, str, tuple[int, int, int]]] = {
    "CamVid with lists": (
        f"images/train/{CAMVID}.png masks/train/{CAMVID}.png images/test/{CAMVID}.png masks/test/{CAMVID}.png",
        {"train.txt": "0001TP_000\n0001TP_001\n", "test.txt": "0001TP_005\n"},
        "camvid",
        "images/{split}/*",
        "masks/{split}/*",
        "{split}.txt",
        (2, 0, 1),
    ),
    "SegNet's CamVid": (
        splits("{s}/0001TP_{s}{{0-5}}.png {s}annot/0001TP_{s}{{0-5}}.png", "train", "val", "test"),
        {"train.txt": "/SegNet/CamVid/train/x.png /SegNet/CamVid/trainannot/x.png\n"},
        "camvid",
        "{split}/*",
        "{split}annot/*",
        "",
        (5, 5, 5),
    ),
    "fastai's CamVid": (
        f"images/{CAMVID}.png labels/{CAMVID}_P.png codes.txt",
        {"valid.txt": "0001TP_000.png\r\n0001TP_001.png\r\n"},
        "folder",
        "images/*",
        "labels/*_P.*",
        "{split}.txt",
        (8, 2, 0),
    ),
    "Cityscapes by label ids": (
        splits(
            "c/leftImg8bit/{s}/ulm/ulm_{s}_{{0-5}}_leftImg8bit.png "
            "c/gtFine/{s}/ulm/ulm_{s}_{{0-5}}_gtFine_labelIds.png "
            "c/gtFine/{s}/ulm/ulm_{s}_{{0-5}}_gtFine_color.png",
            "train",
            "val",
        ),
        {},
        "cityscapes",
        "c/leftImg8bit/{split}/**/*_leftImg8bit.png",
        "c/gtFine/{split}/**/*_gtFine_labelIds.png",
        "",
        (5, 5, 0),
    ),
    "VOC's parent folder": (
        f"VOCdevkit/VOC2012/JPEGImages/{VOC}.jpg VOCdevkit/VOC2012/SegmentationClass/{VOC}.png "
        f"VOCdevkit/VOC2012/SegmentationObject/{VOC}.png VOCdevkit/VOC2012/SegmentationClassAug/{VOC}.png",
        {
            "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt": "2007_000010\n2007_000011\n",
            "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt": "2007_000012\n",
            "VOCdevkit/VOC2012/ImageSets/Main/train.txt": "2007_000010\n",
        },
        "voc",
        "VOCdevkit/VOC2012/JPEGImages/*",
        "VOCdevkit/VOC2012/SegmentationClass/*",
        "VOCdevkit/VOC2012/ImageSets/Segmentation/{split}.txt",
        (2, 1, 0),
    ),
    "CVAT's VOC export": (
        "JPEGImages/a{0-5}.jpg SegmentationClass/a{0-5}.png labelmap.txt SegmentationObject/a{0-5}.png",
        {"ImageSets/Segmentation/default.txt": "a00\na01\na02\na03\na04\n"},
        "folder",
        "JPEGImages/*",
        "SegmentationClass/*",
        "ImageSets/Segmentation/{split}.txt",
        (5, 0, 0),
    ),
    "lists of paths": (
        "images/a{0-5}.jpg masks/a{0-5}.png",
        {"splits/train.txt": "images/a00.jpg\nimages/a01.jpg\n", "splits/test.txt": "./images/a04.jpg\n"},
        "folder",
        "images/*",
        "masks/*",
        "splits/{split}.txt",
        (2, 0, 1),
    ),
    "text files that are no lists": (
        "images/a{0-5}.jpg masks/a{0-5}.png",
        {"train.txt": "trained on Monday\n"},
        "folder",
        "images/*",
        "masks/*",
        "",
        (5, 0, 0),
    ),
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_published_layouts_and_lists(tmp_path: Path, case: str) -> None:
    tree, texts, adapter, images, masks, lists, images_of = PUBLISHED[case]
    layout = find_layout(make(tmp_path, tree, texts))
    settings = layout.settings
    assert (layout.adapter, settings["images"], settings["masks"], settings["lists"]) == (adapter, images, masks, lists)
    assert settings["adapter"] == adapter
    assert counts(layout) == images_of
    assert any("with data.adapter=folder they are your own" in line for line in layout.lines) == (adapter != "folder")
    assert not lists or any(f"splits by the lists {lists}" in line for line in layout.lines)


def test_lists_that_are_not_used_are_named(tmp_path: Path) -> None:
    tree = "images/a{0-5}.jpg masks/a{0-5}.png"
    layout = find_layout(make(tmp_path, tree, {"train.txt": "a00\nat last\n", "lists/val.txt": "../../a00\n"}))
    (said,) = (line for line in layout.lines if line.startswith("Lists that are not used"))
    assert "train.txt (no image in 1 of 2 lines, as 'at last')" in said
    assert "lists/val.txt (The path '../../a00' in " in said and "leaves the folder" in said
    (tmp_path / "train.txt").write_bytes(b"a00\na01\n")
    (tmp_path / "test.txt").write_bytes(b"a04\n")
    layout = find_layout(tmp_path)
    assert layout.settings["lists"] == "{split}.txt" and "2 images in no list: not used." in layout.lines
    assert any(line.startswith("Lists that are not used: lists/val.txt (") for line in layout.lines)
    (tmp_path / "test.txt").write_bytes(b"\xff\xfe")
    assert find_layout(tmp_path).settings["lists"] == ""


@pytest.mark.parametrize(
    ("adapter", "tree", "settings"),
    [
        ("voc", "d/JPEGImages/a{0-5}.jpg d/SegmentationClass/a{0-5}.png labelmap.txt", ("d/JPEGImages/*", "val")),
        ("folder", f"train/{CAMVID}.png trainannot/{CAMVID}.png test/{CAMVID}.png testannot/{CAMVID}.png", ("", "")),
        (
            "camvid",
            "train/a{0-5}.png trainannot/a{0-5}.png test/b{0-5}.png testannot/b{0-5}.png",
            ("{split}/*", "test"),
        ),
    ],
)
def test_an_adapter_that_is_given_decides(tmp_path: Path, adapter: str, tree: str, settings: tuple[str, str]) -> None:
    lists = {"train.txt": "a00\n", "val.txt": "a01\n"}
    texts = {f"d/ImageSets/Segmentation/{name}": text for name, text in lists.items()} if adapter == "voc" else {}
    make(tmp_path, tree, texts)
    layout = find_layout(tmp_path, adapter=adapter)
    assert layout.adapter == layout.settings["adapter"] == adapter
    assert find_layout(tmp_path).adapter == ("camvid" if adapter == "folder" else "folder")
    if settings[0]:
        assert (layout.settings["images"], layout.settings["test_split"]) == settings


@pytest.mark.parametrize("adapter", ["camvid", "cityscapes", "voc"])
def test_an_adapter_that_does_not_fit(tmp_path: Path, adapter: str) -> None:
    make(tmp_path, "images/a{0-5}.jpg masks/a{0-5}.png")
    with pytest.raises(
        DataError,
        match=rf"not have the layout of data.adapter={adapter}; pictures are in images/ \(5 .jpg\), masks/ \(5 .png\)",
    ):
        find_layout(tmp_path, adapter=adapter)


def test_voc_masks_that_are_asked_for(tmp_path: Path) -> None:
    tree, texts, *_ = PUBLISHED["VOC's parent folder"]
    asked = "VOCdevkit/VOC2012/SegmentationClassAug/*"
    layout = find_layout(make(tmp_path, tree, texts), masks=asked)
    assert (layout.adapter, layout.settings["masks"]) == ("voc", asked)


@pytest.mark.parametrize(
    ("given", "images", "masks"),
    [
        ({"masks": "labels/*"}, "images/*", "labels/*"),
        ({"images": "images/*", "masks": "masks/*"}, "images/*", "masks/*"),
        ({"masks": "masks/**"}, "images/*", "masks/**"),
    ],
)
def test_what_is_given_decides(tmp_path: Path, given: dict[str, Any], images: str, masks: str) -> None:
    make(tmp_path, "images/a{0-5}.jpg masks/a{0-5}.png labels/a{0-5}.png")
    layout = find_layout(tmp_path, **given)
    assert (layout.settings["images"], layout.settings["masks"]) == (images, masks)
    assert layout.counts == {"train": (5, 5)}


def test_images_that_are_given_find_their_masks(tmp_path: Path) -> None:
    make(tmp_path, "images/a{0-5}.jpg rgb/a{0-5}.jpg masks/a{0-5}_m.png")
    assert find_layout(tmp_path, images="rgb/*").settings["masks"] == "masks/*_m.*"
    with pytest.raises(DataError, match=r"No file in .* fits data.images='nowhere/\*'"):
        find_layout(tmp_path, images="nowhere/*")


def test_two_folders_of_lists(tmp_path: Path) -> None:
    text = {f"{folder}/train.txt": "a00\n" for folder in ("first", "second")}
    with pytest.raises(DataError, match=r'data.lists="first/\{split\}.txt", or data.lists="second/'):
        find_layout(make(tmp_path, "images/a{0-5}.jpg masks/a{0-5}.png", text))
    assert find_layout(tmp_path, lists="second/{split}.txt").counts == {"train": (1, 1)}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"train.txt": "a00\na09\n"}, r"train.txt lists 1 image \(a09\) not found as images/\*"),
        ({"train.txt": "a00\na00\n"}, r"train.txt lists 1 id \(a00\) more than once"),
        ({"train.txt": "a00\n", "test.txt": "a00.jpg\n"}, r"images/a00.jpg is listed for test and for train"),
        ({"train.txt": "../a00\n"}, r"leaves the folder"),
        ({"val.txt": "a00\n", "valid.txt": "a01\n"}, r"val.txt and valid.txt in .* both list the val split"),
        ({}, r"No list in .* fits data.lists='\{split\}.txt'"),
    ],
)
def test_lists_that_are_wrong(tmp_path: Path, texts: dict[str, str], message: str) -> None:
    make(tmp_path, "images/a{0-5}.jpg masks/a{0-5}.png", texts)
    with pytest.raises(DataError, match=message):
        find_layout(tmp_path, lists="{split}.txt")


def test_unpaired_and_unused_are_named(tmp_path: Path) -> None:
    layout = find_layout(make(tmp_path, "images/a{0-20}.jpg masks/a{1-21}.png other/x{0-2}.png a.json"))
    assert layout.unpaired_images == ("a00",) and layout.unpaired_masks == ("a20",)
    assert layout.unused == ("other/ (2)",) and layout.skipped == {".json": 1}


def test_names_that_cannot_be_printed(tmp_path: Path) -> None:
    make(tmp_path, "images/a{0-5}.jpg masks/a{0-5}.png")
    (tmp_path / "x\x1b[31m").mkdir()
    (tmp_path / "x\x1b[31m/train.txt").touch()
    (tmp_path / "q.\x1b[31m").touch()
    assert all(line.isprintable() for line in find_layout(tmp_path).lines)
    (tmp_path / "x\x1b[31m/p.png").touch()
    with pytest.raises(DataError, match="control characters") as caught:
        find_layout(tmp_path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("folder", ["SegmentationObject", "SegmentationClassVisualization", "overlays"])
def test_what_tools_draw_beside_masks_is_no_image(tmp_path: Path, folder: str) -> None:
    root = make(tmp_path, f"SegmentationClass/f{{0-5}}.png {folder}/f{{0-5}}.png")
    with pytest.raises(DataError, match="holds masks"):
        find_layout(root)


@pytest.mark.parametrize("names", [("train_day", "train_night"), ("train_day", "test_day"), ("old_train", "new_train")])
def test_folders_that_look_like_splits_are_named(tmp_path: Path, names: tuple[str, str]) -> None:
    tree = " ".join(f"{name}/images/{name}{{0-5}}.jpg {name}/masks/{name}{{0-5}}.png" for name in names)
    layout = find_layout(make(tmp_path, tree))
    (line,) = (line for line in layout.lines if "look like splits" in line)
    assert all(name in line for name in names) and "Name them train, val and test" in line
    usual = find_layout(make(tmp_path / "usual", "train/images/a{0-5}.jpg train/masks/a{0-5}.png"))
    assert not any("look like splits" in line for line in usual.lines)


def test_masks_in_the_place_of_a_test_split_that_is_kept_back(tmp_path: Path) -> None:
    """Cityscapes as published has empty masks of its test images."""
    template = "leftImg8bit/{s}/ulm/ulm_{s}_{{0-5}}_leftImg8bit.png gtFine/{s}/ulm/ulm_{s}_{{0-5}}_gtFine_labelIds.png"
    layout = find_layout(make(tmp_path, splits(template, "train", "val", "test")))
    assert layout.adapter == "cityscapes" and layout.settings["test_split"] == "val"
    (said,) = (line for line in layout.lines if "is tested on" in line)
    assert said.startswith("The masks of the test split are not published") and "the val split (" in said


def test_drawing_is_stable_and_near_its_share() -> None:
    ids = [f"image {i}" for i in range(2000)]
    drawn = drawn_test(ids, 0.2)
    assert 0.17 < len(drawn) / len(ids) < 0.23
    assert drawn_test(ids[:1000], 0.2) == drawn & set(ids[:1000])  # nobody moves when images are added
    assert drawn < drawn_test(ids, 0.4)


@pytest.mark.parametrize(("count", "fraction"), [(2, 0.001), (3, 0.999), (10, 0.01), (10, 0.99)])
def test_at_least_one_is_drawn_and_one_is_left(count: int, fraction: float) -> None:
    assert 1 <= len(drawn_test([f"{i}" for i in range(count)], fraction)) < count


def test_one_image_is_not_drawn() -> None:
    assert drawn_test(["a"], 0.9) == set() and drawn_test([], 0.2) == set()


def test_drawn_by_the_documented_hash() -> None:
    # sha256("a") = ca97..., of "b" = 3e23..., of "c" = 2e7d..., of "d" = 18ac...: 0.79, 0.24, 0.18, 0.10
    assert drawn_test(["a", "b", "c", "d"], 0.2) == {"c", "d"}
