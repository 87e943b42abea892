"""COCO: `annotations/*.json`, a mask of run lengths for every class in a picture.

Masks keep holes and every pixel. Read are run lengths, compressed or not, polygons, and boxes that come without
either; the later an annotation, the higher it lies. Categories are matched by name.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al import files
from s4al.annotate.exchange.coco_rle import encode_coco
from s4al.annotate.exchange.contract import UNPAINTED, Format, Picture, Unusable
from s4al.annotate.exchange.drawing import MAX_SHAPES, Area, Shape, Size, bounding_box, draw_box, draw_polygon, paint
from s4al.annotate.exchange.export import Export
from s4al.annotate.exchange.frames import is_frame
from s4al.annotate.exchange.hostile_json import get, read_json
from s4al.annotate.exchange.reading import Reading
from s4al.annotate.exchange.source import Source

_FILE = "annotations/instances_default.json"
_KEYS = (b'"annotations"', b'"categories"', b'"licenses"', b'"images"')


# ---------------------------------------------------------------------------------------------------------- writing


def write(export: Export, folder: Path) -> list[str]:
    """Images, and one annotation a class and guess."""
    export.write_images(folder)
    annotations: list[dict[str, Any]] = []
    for number, picture in enumerate(export.pictures, 1):
        guess_HW = export.guess(picture)
        for class_id in [] if guess_HW is None else np.unique(guess_HW).tolist():
            if class_id != UNPAINTED:
                annotations.append(_annotation(len(annotations) + 1, number, class_id, guess_HW == class_id))
    (folder / _FILE).parent.mkdir()
    (folder / _FILE).write_bytes(files.json_bytes(head(export) | {"annotations": annotations}))
    return [f"Load images/ with {_FILE}; the masks in it are run lengths, which not every tool can edit."]


def head(export: Export) -> dict[str, Any]:
    """Images and categories, both numbered from 1 on, as they come with any kind of COCO annotations."""
    return {
        "info": {"description": "s4al"},
        "licenses": [],
        "images": [
            {"id": number, "file_name": f"{picture.name}.png", "height": picture.height, "width": picture.width}
            for number, picture in enumerate(export.pictures, 1)
        ],
        "categories": [{"id": id, "name": name, "supercategory": ""} for id, name in enumerate(export.class_names, 1)],
    }


def _annotation(id: int, image: int, class_id: int, mask_HW: NDArray[np.bool_]) -> dict[str, Any]:
    return {
        "id": id,
        "image_id": image,
        "category_id": class_id + 1,
        "segmentation": encode_coco(mask_HW),
        "area": int(np.count_nonzero(mask_HW)),
        "bbox": bounding_box(mask_HW),
        "iscrowd": 1,  # in COCO's own tools, the mark of run lengths
    }


# ---------------------------------------------------------------------------------------------------------- reading


def read(source: Source, reading: Reading) -> None:
    """Every JSON file of instances, pictures by the names of their images."""
    for name in coco_files(source):
        if not is_panoptic(name):
            with reading.item(name):
                _read_document(source, name, reading)


def recognises(source: Source) -> bool:
    return any(not is_panoptic(name) for name in coco_files(source))


def coco_files(source: Source) -> list[str]:
    """The JSON files that begin as COCO's do."""
    return [name for name in source.names(".json") if _is_coco(source.head(name))]


def is_panoptic(name: str) -> bool:
    return "panoptic" in PurePosixPath(name).name.lower()


def document_annotations(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Raises Unusable."""
    annotations = get(document, "annotations", list, "the file")
    if not all(isinstance(annotation, dict) for annotation in annotations):
        raise Unusable("one of its annotations is no object")
    return annotations


def document_images(document: dict[str, Any]) -> list[tuple[int, str, Size]]:
    """(id, file name, (height, width)) of each image. Raises Unusable."""
    images = []
    for image in get(document, "images", list, "the file"):
        size = get(image, "height", int, "an image"), get(image, "width", int, "an image")
        images.append((get(image, "id", int, "an image"), get(image, "file_name", str, "an image"), size))
    return images


def category_names(document: dict[str, Any]) -> dict[int, str]:
    """Category id -> name. Raises Unusable."""
    return {
        get(category, "id", int, "a category"): get(category, "name", str, "a category")
        for category in get(document, "categories", list, "the file")
    }


def category_of(entry: Any, names: dict[int, str], of: str) -> str:
    """The name of the category of an annotation or segment. Raises Unusable."""
    number = get(entry, "category_id", int, of)
    if number not in names:
        raise Unusable(f"{of} has the category {number}, which the file does not list")
    return names[number]


def _is_coco(start: bytes) -> bool:
    return start.lstrip()[:1] == b"{" and any(key in start for key in _KEYS)


def _read_document(source: Source, name: str, reading: Reading) -> None:
    document = read_json(source, name)
    names = category_names(document)
    images = document_images(document)
    by_image: dict[int, list[dict[str, Any]]] = {image: [] for image, _, _ in images}
    for annotation in document_annotations(document):
        if "segments_info" in annotation:
            raise Unusable("it holds panoptic annotations: say --format coco-panoptic")
        image = get(annotation, "image_id", int, "an annotation")
        if image not in by_image:
            raise Unusable(f"an annotation is of image {image}, which the file does not list")
        by_image[image].append(annotation)
    for image, file_name, size in images:
        with reading.item(f"{name}: {file_name}"):
            picture = reading.picture(file_name)
            labels_HW = reading.canvas(picture, *size)
            _paint(labels_HW, by_image[image], names, picture, reading)
            reading.add(picture, labels_HW, where=f"{name}: {file_name}")


def _paint(
    labels_HW: NDArray[np.uint8],
    annotations: list[dict[str, Any]],
    names: dict[int, str],
    picture: Picture,
    reading: Reading,
) -> None:
    if len(annotations) > MAX_SHAPES:
        raise Unusable(f"it has {len(annotations):,} annotations (limit {MAX_SHAPES:,})")
    shapes: list[Shape] = []
    for annotation in annotations:
        label = category_of(annotation, names, "an annotation")
        if not is_frame(label, reading.class_names):
            class_id = reading.class_id(label)
            shapes += [Shape(class_id, draw) for draw in _draws(annotation, picture.size)]
    paint(labels_HW, shapes)


def _draws(annotation: dict[str, Any], size: Size) -> list[Callable[[], Area]]:
    """How to draw an annotation: polygon by polygon, or its run lengths, or its box."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list) and segmentation:
        return [lambda polygon=polygon: draw_polygon(polygon, size) for polygon in segmentation]
    if not segmentation:
        return [lambda: _draw_bbox(annotation, size)]
    return [lambda: _draw_runs(segmentation, size)]


def _draw_runs(segmentation: Any, size: Size) -> Area:
    from s4al.data.headers import Refused
    from s4al.data.layouts.shapes import decode_shape

    try:
        return Area(0, 0, decode_shape(segmentation, *size))
    except Refused as refusal:
        raise Unusable(f"an annotation: {refusal}") from refusal


def _draw_bbox(annotation: dict[str, Any], size: Size) -> Area:
    box = get(annotation, "bbox", list, "an annotation without a segmentation")
    if len(box) != 4 or not all(type(number) in (int, float) for number in box):
        raise Unusable("an annotation's bbox is no list of four numbers")
    x, y, width, height = box
    return draw_box(x, y, x + width, y + height, size)


FORMAT = Format("coco", "COCO with run lengths", write, read, recognises)
