"""COCO panoptic: a JSON file, and a PNG a picture whose pixels are ids of segments, R + 256 G + 65536 B, 0 of none.

The one standard format that says "not labelled" by itself. A class is one segment, and its id is the class's colour,
so that the PNG looks as it should.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4al import files
from s4al.annotate.exchange.coco import (
    category_names,
    category_of,
    coco_files,
    document_annotations,
    document_images,
    head,
    is_panoptic,
)
from s4al.annotate.exchange.colours import class_colours
from s4al.annotate.exchange.contract import UNPAINTED, Format, Unusable
from s4al.annotate.exchange.drawing import bounding_box
from s4al.annotate.exchange.export import Export
from s4al.annotate.exchange.frames import answer_id
from s4al.annotate.exchange.hostile_json import get, read_json
from s4al.annotate.exchange.pixels import label_samples
from s4al.annotate.exchange.reading import Reading
from s4al.annotate.exchange.source import Source
from s4al.data.palettes import Colour

_FILE = "annotations/panoptic_default.json"


def write(export: Export, folder: Path) -> list[str]:
    """Images, the JSON file, and a PNG a picture: the guess, or black."""
    export.write_images(folder)
    colours = class_colours(export.palette)
    colour_of_id = np.zeros((256, 3), np.uint8)
    colour_of_id[: len(colours)] = colours
    pngs = (folder / _FILE).with_suffix("")
    pngs.mkdir(parents=True)
    annotations = []
    for number, picture in enumerate(export.pictures, 1):
        guess_HW = export.guess(picture)
        labels_HW = picture.blank() if guess_HW is None else guess_HW
        Image.fromarray(colour_of_id[labels_HW]).save(pngs / f"{picture.name}.png", "PNG")
        segments = _segments(labels_HW, colours)
        annotations.append({"image_id": number, "file_name": f"{picture.name}.png", "segments_info": segments})
    document = head(export) | {"annotations": annotations}
    for category in document["categories"]:
        category["isthing"] = 0
    (folder / _FILE).write_bytes(files.json_bytes(document))
    return [f"Load images/ with {_FILE} and the folder of its name; black pixels are not painted."]


def _segments(labels_HW: NDArray[np.uint8], colours: list[Colour]) -> list[dict[str, Any]]:
    segments = []
    for class_id in np.unique(labels_HW).tolist():
        if class_id != UNPAINTED:
            red, green, blue = colours[class_id]
            mask_HW = labels_HW == class_id
            about = {"id": red + 256 * green + 65536 * blue, "category_id": class_id + 1, "iscrowd": 0}
            segments.append(about | {"area": int(np.count_nonzero(mask_HW)), "bbox": bounding_box(mask_HW)})
    return segments


def read(source: Source, reading: Reading) -> None:
    """Every panoptic JSON file, pictures by the names of their images."""
    named = [name for name in coco_files(source) if is_panoptic(name)]
    for name in named or coco_files(source):
        with reading.item(name):
            document = read_json(source, name)
            names = category_names(document)
            images = {image: (file_name, size) for image, file_name, size in document_images(document)}
            for annotation in document_annotations(document):
                image = get(annotation, "image_id", int, "an annotation")
                if image not in images:
                    raise Unusable(f"an annotation is of image {image}, which the file does not list")
                file_name, size = images[image]
                with reading.item(f"{name}: {file_name}"):
                    _read_annotation(source, name, annotation, file_name, size, names, reading)


def recognises(source: Source) -> bool:
    return any(is_panoptic(name) for name in coco_files(source))


def _read_annotation(
    source: Source,
    document: str,
    annotation: dict[str, Any],
    image: str,
    size: tuple[int, int],
    names: dict[int, str],
    reading: Reading,
) -> None:
    picture = reading.picture(image)
    reading.canvas(picture, *size)
    png = _png(source, document, get(annotation, "file_name", str, "an annotation"))
    packed_HW = label_samples(source.read(png), reading, picture).as_colours()
    ids_HW = (packed_HW >> 16) | (packed_HW & 0xFF00) | ((packed_HW & 0xFF) << 16)
    segments = {0: UNPAINTED}
    for segment in get(annotation, "segments_info", list, "an annotation"):
        number = get(segment, "id", int, "a segment")
        segments[number] = answer_id(category_of(segment, names, "a segment"), reading)
    used, inverse = np.unique(ids_HW, return_inverse=True)
    unknown = [number for number in used.tolist() if number not in segments]
    if unknown:
        raise Unusable(f"{png} holds segment {unknown[0]}, which its annotation does not list")
    ids = np.array([segments[number] for number in used.tolist()], np.uint8)
    reading.add(picture, ids[inverse].reshape(picture.size), where=f"{document}: {image}")


def _png(source: Source, document: str, file_name: str) -> str:
    """The PNG lies in the folder that is called as the JSON file, else beside it."""
    base = PurePosixPath(document)
    for folder in (base.with_suffix(""), base.parent, base.parent.parent / base.stem):
        if (name := (folder / file_name).as_posix()) in source:
            return name
    raise Unusable(f"its panoptic PNG {file_name!r} is not in {base.with_suffix('')}/")


FORMAT = Format("coco-panoptic", "COCO panoptic", write, read, recognises)
