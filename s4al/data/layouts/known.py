"""Published layouts, known by their folders and by how their files are named.

People lay their own data out in the same way, with classes of their own. Where the names of the files are not the
published ones, or a class file lies beside them, these are folders like any other.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from s4al.data.layouts.pairing import Reading
from s4al.data.layouts.tree import Tree
from s4al.data.masks.class_files import CLASS_FILES
from s4al.errors import DataError

CAMVID_LISTED = Reading("images/{split}/*", "masks/{split}/*", adapter="camvid", lists="{split}.txt", name="CamVid")
CAMVID_SEGNET = Reading("{split}/*", "{split}annot/*", adapter="camvid", name="CamVid (SegNet's)")
VOC = Reading(
    "JPEGImages/*",
    "SegmentationClass/*",
    adapter="voc",
    lists="ImageSets/Segmentation/{split}.txt",
    name="Pascal VOC (21 classes)",
)
CITYSCAPES_IMAGES = "leftImg8bit/{split}/**/*_leftImg8bit.png"
CITYSCAPES_TRAIN_IDS = "gtFine/{split}/**/*_gtFine_labelTrainIds.png"
CITYSCAPES_LABEL_IDS = "gtFine/{split}/**/*_gtFine_labelIds.png"

CITYSCAPES = Reading(CITYSCAPES_IMAGES, CITYSCAPES_LABEL_IDS, adapter="cityscapes")

_CAMVID_NAME = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_.*")
_VOC_NAME = re.compile(r"(\d{4}_)?\d{6}")
_MOSTLY = 0.9


def known_layout(tree: Tree, adapter: str = "auto") -> Reading | None:
    """The published layout that `tree` has, its patterns below `tree.root`.

    Of an `adapter` that was asked for, only the folders are looked at, whatever the files are called. Raises DataError
    for two data sets of one kind.
    """
    asked = adapter != "auto"
    finders = {"cityscapes": _cityscapes, "voc": _voc, "camvid": _camvid}
    chosen = [finders[adapter]] if asked else finders.values()
    return next((reading for find in chosen if (reading := find(tree, asked))), None)


def _cityscapes(tree: Tree, asked: bool) -> Reading | None:
    """Masks by train ids where they were made, else by label ids: one meaning of their values for the whole run."""
    base = _one_base(tree, _bases(tree, r"leftImg8bit/train/[^/]+/[^/]+_leftImg8bit\.png"), "Cityscapes")
    if base is None:
        return None
    masks = [name for name in tree.pictures if name.startswith(f"{base}gtFine/train/")]
    if any(name.endswith("_gtFine_labelTrainIds.png") for name in masks):
        kind, said = CITYSCAPES_TRAIN_IDS, "train ids"
    elif any(name.endswith("_gtFine_labelIds.png") for name in masks):
        kind, said = CITYSCAPES_LABEL_IDS, "label ids"
    else:
        return None
    return Reading(base + CITYSCAPES_IMAGES, base + kind, adapter="cityscapes", name=f"Cityscapes (masks by {said})")


def _voc(tree: Tree, asked: bool) -> Reading | None:
    bases = _bases(tree, r"SegmentationClass/[^/]+\.png")
    bases = [base for base in bases if asked or _is_published(tree, base, "JPEGImages/", _VOC_NAME)]
    base = _one_base(tree, bases, "Pascal VOC")
    if base is None:
        return None
    lists = PurePosixPath(f"{base}{VOC.lists}").parent.as_posix()
    if not any(name.startswith(f"{lists}/") for name in tree.others):
        return None
    return _below(base, VOC)


def _camvid(tree: Tree, asked: bool) -> Reading | None:
    for first, reading in (("trainannot/", CAMVID_SEGNET), ("masks/train/", CAMVID_LISTED)):
        bases = _bases(tree, rf"{first}[^/]+\.png")
        bases = [base for base in bases if asked or _is_published(tree, base, first, _CAMVID_NAME)]
        base = _one_base(tree, bases, "CamVid")
        if base is not None and (not reading.lists or f"{base}train.txt" in tree.others):
            return _below(base, reading)
    return None


def _below(base: str, reading: Reading) -> Reading:
    lists = base + reading.lists if reading.lists else ""
    return Reading(base + reading.images, base + reading.masks, adapter=reading.adapter, lists=lists, name=reading.name)


def _bases(tree: Tree, inside: str) -> list[str]:
    """The folders, "" or with a slash at their ends, below which some picture is named like `inside`."""
    expression = re.compile(rf"((?:.*/)?){inside}")
    return sorted({found[1] for picture in tree.pictures if (found := expression.fullmatch(picture))})


def _one_base(tree: Tree, bases: list[str], name: str) -> str | None:
    if len(bases) > 1:
        what = f"{tree.root} holds {len(bases)} data sets laid out like {name}: {bases[0] or './'} and {bases[1]}."
        raise DataError(what, remedy="Pass the folder of one of them as --data.")
    return bases[0] if bases else None


def _is_published(tree: Tree, base: str, folder: str, expression: re.Pattern[str]) -> bool:
    """Whether most files are named as the published ones, and nobody has put classes of their own beside them."""
    if any(f"{where}{name}" in tree.others for where in {"", base} for name in CLASS_FILES):
        return False
    names = [PurePosixPath(name).stem for name in tree.pictures if name.startswith(f"{base}{folder}")]
    return sum(expression.fullmatch(name) is not None for name in names) >= _MOSTLY * len(names) > 0
