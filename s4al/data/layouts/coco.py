"""COCO's annotations -> masks: panoptic PNGs and shapes are rendered once, as PNGs of class ids.

Classes are the categories in the order of their ids. Of shapes (instances, stuff), pixels of no annotation are the
class "background", which comes first where no category has that name; where shapes overlap, smaller ones lie above
larger ones. Of panoptic annotations, such pixels are not labelled. Crowds count as all others. The JSON is untrusted.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al.data.dataset import SPLITS, Progress, Record, unseen
from s4al.data.headers import Refused
from s4al.data.images import load_image, stored_size
from s4al.data.layouts.coco_files import BACKGROUND, MAX_BYTES, annotation_files
from s4al.data.layouts.list_files import Names
from s4al.data.layouts.patterns import Key, compile_pattern, match_names
from s4al.data.layouts.shapes import paint
from s4al.data.layouts.tree import Tree, checked_id, some
from s4al.data.masks import IGNORE, VOID, write_mask
from s4al.data.palettes import distinct_palette
from s4al.data.pool import first_few
from s4al.errors import DataError, ImageError, MaskError
from s4al.files import commit_folder, storage_errors

_EXPORT = "Export the annotations again, or repair the file."
_WORDS = {int: "whole number", str: "text", list: "list"}


@dataclass(frozen=True)
class Rendered:
    """What came of the annotations: class names, records, and the folder in which the masks are."""

    class_names: tuple[str, ...]
    records: tuple[Record, ...]
    folder: Path


def render(
    tree: Tree, images: str, masks: str, folder: Path, max_megapixels: float, progress: Progress = unseen
) -> Rendered:
    """Render the annotations of `tree` below `folder`, once for the same annotation files.

    Parameters
    ----------
    images, masks : the patterns of images and annotation files.
    max_megapixels : limit on height x width of every image that the annotations name.
    progress : called after every mask.

    Raises
    ------
    DataError : annotations that are not COCO's, that contradict each other, or that name images which are not there.
    MaskError : an annotation that cannot be drawn on its image.
    StorageError : the masks cannot be written.
    """
    read = [
        _read(tree.root / name, name, split, max_megapixels)
        for split, name in sorted(annotation_files(tree, masks).items(), key=lambda item: SPLITS.index(item[0]))
    ]
    if len({tuple(sorted(annotations.categories.items())) for annotations in read}) > 1:
        what = f"{read[0].name} and {read[1].name} in {tree.root} have different categories."
        raise DataError(what, remedy="One run has one list of classes: make the annotation files agree.")
    if len({annotations.panoptic for annotations in read}) > 1:
        raise DataError(f"{masks} in {tree.root} are panoptic and other annotations.", remedy="Narrow data.masks.")
    names, class_ids = _classes(read[0], read[0].panoptic)
    found = match_names(compile_pattern(images, "data.images"), tree.pictures, tree.root)
    digest = hashlib.sha256("".join(annotations.sha256 for annotations in read).encode() + masks.encode()).hexdigest()
    target = folder / f"coco-{digest[:16]}"
    records = [record for annotations in read for record in _records(tree, annotations, found, images, target)]
    _check_listed_once(read)
    if not target.exists():
        _check_sizes(tree, read, max_megapixels)
        palette = distinct_palette(len(names))
        with storage_errors(f"writing {target}", kept=""), commit_folder(target) as temporary:
            labelled = [(each, image) for each in read for image in each.images.values() if _is_labelled(each, image)]
            for done, (annotations, image) in enumerate(labelled, 1):
                ids_HW = _draw(tree, annotations, image, names, class_ids, max_megapixels)
                path = temporary / annotations.split / f"{image.id}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_mask(path, ids_HW, palette)
                progress("draw masks", done, len(labelled))
    return Rendered(names, tuple(records), target)


# --- reading ---


@dataclass
class _Image:
    file_name: str
    height: int
    width: int
    annotations: list[dict[str, Any]]
    id: str = ""
    path: str = ""  # below the data folder


@dataclass(frozen=True)
class _Annotations:
    name: str
    split: str
    sha256: str
    categories: dict[int, str]
    images: dict[int, _Image]
    panoptic: bool


def listed_images(path: Path, name: str) -> list[str]:
    """The file names of the images that an annotation file lists. Raises DataError."""
    entries = _get(_load(path, name)[0], "images", list, name)
    return [checked_id(_get(entry, "file_name", str, f"an image of {name}")) for entry in entries]


def _load(path: Path, name: str) -> tuple[Any, bytes]:
    """What the JSON file holds, and its bytes."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{name} has more than {MAX_BYTES:,} bytes.", remedy="Split it, or leave annotations out.")
        data = path.read_bytes()
        return json.loads(data), data
    except OSError as error:
        raise DataError(f"{name} cannot be read ({error.strerror}).", remedy="Check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is not JSON.", remedy="Export the annotations again.") from error


def _read(path: Path, name: str, split: str, max_megapixels: float) -> _Annotations:
    tree, data = _load(path, name)
    categories: dict[int, str] = {}
    for entry in _get(tree, "categories", list, name):
        where = f"a category of {name}"
        number = _get(entry, "id", int, where)
        categories[number] = checked_id(_get(entry, "name", str, where).strip())
    images: dict[int, _Image] = {}
    for entry in _get(tree, "images", list, name):
        _add_image(images, entry, name, max_megapixels)
    annotations = _get(tree, "annotations", list, name)
    for entry in annotations:
        image = _get(entry, "image_id", int, f"an annotation of {name}")
        if image not in images:
            raise DataError(f"{name} has an annotation of image {image}, which it does not list.", remedy=_EXPORT)
        images[image].annotations.append(entry)
    panoptic = bool(annotations) and "segments_info" in annotations[0]
    if annotations and not panoptic and not any(entry.get("segmentation", True) for entry in annotations):
        what = f"{name} holds boxes alone: the segmentation of all its {len(annotations):,} annotations is empty."
        raise DataError(what, remedy="Export polygons or masks, not boxes.")
    return _Annotations(name, split, hashlib.sha256(data).hexdigest(), categories, images, panoptic)


def _add_image(images: dict[int, _Image], entry: Any, name: str, max_megapixels: float) -> None:
    number = _get(entry, "id", int, f"an image of {name}")
    where = f"image {number} of {name}"
    file_name = checked_id(_get(entry, "file_name", str, where))
    height, width = (_get(entry, key, int, where) for key in ("height", "width"))
    if ".." in PurePosixPath(file_name).parts or file_name.startswith("/"):
        what = f"{where} has the file name {file_name!r}, which leaves the folder."
        raise DataError(what, remedy="Use paths inside the data folder.")
    if height < 1 or width < 1 or height * width > max_megapixels * 1e6:
        what = f"{where} ({file_name}) is {width} x {height} (limit {max_megapixels:g} megapixels)."
        raise DataError(what, remedy="Correct its size, or raise data.max_megapixels.")
    if number in images:
        raise DataError(f"{name} lists image {number} more than once.", remedy=_EXPORT)
    images[number] = _Image(file_name, height, width, [])


def _get(entry: Any, key: str, kind: type, where: str) -> Any:
    """A value of a JSON object, of the type it has to have."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if type(value) is not kind:
        what = f"{where}: {key!r} is missing or no {_WORDS[kind]}, so it is no COCO annotation file."
        raise DataError(what, remedy=_EXPORT)
    return value


def _classes(annotations: _Annotations, panoptic: bool) -> tuple[tuple[str, ...], dict[int, int]]:
    """Class names, and category id -> class id."""
    numbers = sorted(annotations.categories)
    names = [annotations.categories[number] for number in numbers]
    if not panoptic and BACKGROUND not in names:
        names.insert(0, BACKGROUND)
    if len(set(names)) != len(names) or not 0 < len(names) <= VOID:
        what = f"{annotations.name} has {len(names)} classes, {len(set(names))} of them different"
        raise DataError(f"{what}; from 1 to {VOID} can be had.", remedy="Give every category a name of its own.")
    return tuple(names), {number: names.index(annotations.categories[number]) for number in numbers}


def _records(tree: Tree, annotations: _Annotations, found: dict[Key, str], images: str, target: Path) -> list[Record]:
    """Sets the ids of the images, too. An image of panoptic annotations that has none is not labelled."""
    known = Names(found)
    missing: list[str] = []
    records: dict[str, Record] = {}
    for image in annotations.images.values():
        key = known.key(image.file_name, annotations.split)
        if key is None:
            missing.append(image.file_name)
            continue
        image.id, image.path = key[1], found[key]
        if image.id in records:
            raise DataError(f"{annotations.name} lists {image.file_name} more than once.", remedy=_EXPORT)
        mask = target / annotations.split / f"{image.id}.png" if _is_labelled(annotations, image) else None
        records[image.id] = Record(image.id, annotations.split, tree.root / found[key], mask)
    if missing:
        what = f"{annotations.name} lists {some(sorted(missing), 'image')} not found as {images} in {tree.root}."
        raise DataError(what, remedy="Add the images, or set data.images.")
    return [records[id] for id in sorted(records)]


def _check_listed_once(read: list[_Annotations]) -> None:
    """Raises DataError for an image of two splits: what is tested on would be trained on."""
    whose: dict[str, str] = {}
    for file in read:
        for image in file.images.values():
            if whose.setdefault(image.path, file.name) != file.name:
                what = f"{image.path} is listed in {whose[image.path]} and in {file.name}."
                raise DataError(what, remedy="Remove it from one of them.")


def _check_sizes(tree: Tree, read: list[_Annotations], max_megapixels: float) -> None:
    """Raises MaskError where images are of other sizes than their entries say; the masks would not fit them."""
    wrong: list[str] = []
    for file in read:
        for number, image in file.images.items():
            size = _shown_size(tree.root / image.path, (image.height, image.width), max_megapixels)
            if size not in (None, (image.height, image.width)):
                said = f"{file.name} gives image {number} ({image.file_name}) {image.width} x {image.height} pixels"
                wrong.append(f"{said}, and {image.path} has {size[1]} x {size[0]}")
    if wrong:
        remedy = "Correct the width and height of the entry, or put the image back that was annotated."
        raise MaskError(f"{first_few(wrong)}.", remedy=remedy)


def _shown_size(path: Path, listed: tuple[int, int], max_megapixels: float) -> tuple[int, int] | None:
    """(height, width) as the image is read beside a mask of the size `listed`; None where it cannot be read at all."""
    try:
        size = stored_size(path, path.name, max_megapixels=max_megapixels)
        if size == listed[::-1] != listed:  # it may be turned by its EXIF orientation
            height, width = load_image(path, path.name, max_megapixels=max_megapixels, mask_size=listed).pixels.shape[
                :2
            ]
            return height, width
    except ImageError:  # reading it for the pool says so
        return None
    return size


def _is_labelled(annotations: _Annotations, image: _Image) -> bool:
    """Without annotations an image of shapes is background; a panoptic one is not labelled."""
    return bool(image.annotations) or not annotations.panoptic


# --- drawing ---


def _draw(
    tree: Tree,
    annotations: _Annotations,
    image: _Image,
    names: tuple[str, ...],
    class_ids: dict[int, int],
    max_megapixels: float,
) -> NDArray[np.uint8]:
    where = f"{image.file_name} in {annotations.name}"
    try:
        if annotations.panoptic:
            return _draw_segments(tree, annotations, image, class_ids, max_megapixels)
        shapes = [(entry.get("segmentation"), _class_of(entry, class_ids, where)) for entry in image.annotations]
        return paint(shapes, image.height, image.width, names.index(BACKGROUND))
    except (Refused, ImageError) as error:
        reason = error.what if isinstance(error, ImageError) else f"{where}: {error}"
        raise MaskError(f"{reason}.", remedy=_EXPORT) from error


def _class_of(entry: Any, class_ids: dict[int, int], where: str) -> int:
    category = _get(entry, "category_id", int, where)
    if category not in class_ids:
        raise Refused(f"an annotation has category {category}, which is not listed")
    return class_ids[category]


def _draw_segments(
    tree: Tree, annotations: _Annotations, image: _Image, class_ids: dict[int, int], max_megapixels: float
) -> NDArray[np.uint8]:
    """Panoptic pixels are R + 256 G + 65536 B, the id of a segment, 0 of none."""
    where = f"{image.file_name} in {annotations.name}"
    if len(image.annotations) != 1:
        raise Refused(f"it has {len(image.annotations)} panoptic annotations")
    (entry,) = image.annotations
    segments = {0: IGNORE}
    for segment in _get(entry, "segments_info", list, where):
        segments[_get(segment, "id", int, where)] = _class_of(segment, class_ids, where)
    name = _segments_file(tree, annotations.name, _get(entry, "file_name", str, where))
    size = image.height, image.width
    pixels_HWC = load_image(tree.root / name, name, max_megapixels=max_megapixels, mask_size=size).pixels
    if pixels_HWC.shape[:2] != (image.height, image.width):
        height, width = pixels_HWC.shape[:2]
        raise Refused(f"{name} is {width} x {height}, its image is {image.width} x {image.height}")
    numbers, inverse = np.unique(pixels_HWC @ np.array([1, 2**8, 2**16], np.uint32), return_inverse=True)
    unknown = [number for number in numbers.tolist() if number not in segments]
    if unknown:
        raise Refused(f"{name} holds segment {unknown[0]}, which is not listed")
    ids = np.array([segments[number] for number in numbers.tolist()], np.uint8)
    return ids[inverse].reshape(image.height, image.width)


def _segments_file(tree: Tree, annotations: str, file_name: str) -> str:
    """The PNG lies in a folder that is called as the annotation file, beside it or at the top."""
    beside = annotations.removesuffix(".json")
    for folder in (beside, PurePosixPath(beside).name):
        if (name := f"{folder}/{file_name}") in tree.pictures and name.endswith(".png"):
            return name
    raise Refused(f"its panoptic PNG {file_name!r} is neither in {beside}/ nor in {PurePosixPath(beside).name}/")
