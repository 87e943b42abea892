"""LabelMe's JSON files (those of the desktop program, versions 5 to 7), one beside each image.

Written are shapes of the type "mask": they keep holes and every pixel. Read are those, polygons, rectangles, upright or
turned, and circles; the later a shape, the higher it lies. The flag "skip" of an image hands its regions back.
"""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4al import files
from s4al.annotate.exchange.contract import UNPAINTED, Format, Part, Picture, Unusable
from s4al.annotate.exchange.drawing import (
    MAX_SHAPES,
    Area,
    Shape,
    Size,
    bounding_box,
    clip,
    draw_box,
    draw_ellipse,
    draw_polygon,
    paint,
)
from s4al.annotate.exchange.export import Export
from s4al.annotate.exchange.frames import FRAME, frames, is_frame
from s4al.annotate.exchange.hostile_json import get, read_json
from s4al.annotate.exchange.names import check_names
from s4al.annotate.exchange.reading import Reading
from s4al.annotate.exchange.source import Source

_SKIP = "skip"
_LABELS = "labels.txt"
_VERSION = "7.0.0"
_MAX_BYTES = 2**28  # of one file, which may hold its image


# ---------------------------------------------------------------------------------------------------------- writing


def write(export: Export, folder: Path) -> list[str]:
    """Images, a JSON file beside each, and the list of labels that the program takes."""
    check_names(export.class_names, _LABELS)
    export.write_images(folder)
    framed = any(frames(picture, export.class_names) for picture in export.pictures)
    labels = [*export.class_names, *([FRAME] if framed else [])]
    (folder / _LABELS).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    for picture in export.pictures:
        path = (folder / picture.file).with_suffix(".json")
        path.write_bytes(files.json_bytes(_document(picture, export)))
    return [
        f"Start, in this folder: labelme images --labels {_LABELS}",
        f"Tick the flag {_SKIP!r} of an image to hand its region back. Import this folder: the program saves into it.",
    ]


def _document(picture: Picture, export: Export) -> dict[str, Any]:
    shapes = [_frame(part) for part in frames(picture, export.class_names)]
    guess_HW = export.guess(picture)
    for class_id in [] if guess_HW is None else np.unique(guess_HW).tolist():
        if class_id != UNPAINTED:
            shapes.append(_mask(export.class_names[class_id], guess_HW == class_id))
    return {
        "version": _VERSION,
        "flags": {_SKIP: False},
        "shapes": shapes,
        "imagePath": f"{picture.name}.png",
        "imageData": None,
        "imageHeight": picture.height,
        "imageWidth": picture.width,
    }


def _frame(part: Part) -> dict[str, Any]:
    return _shape(FRAME, "rectangle", [[part.x0, part.y0], [part.x1, part.y1]]) | {"description": part.query}


def _mask(label: str, mask_HW: NDArray[np.bool_]) -> dict[str, Any]:
    """The mask inside its smallest box, whose last row and column the points name, too."""
    x, y, width, height = bounding_box(mask_HW)
    png = io.BytesIO()
    Image.fromarray(mask_HW[y : y + height, x : x + width].astype(np.uint8)).save(png, "PNG")
    shape = _shape(label, "mask", [[x, y], [x + width - 1, y + height - 1]])
    return shape | {"mask": base64.b64encode(png.getvalue()).decode()}


def _shape(label: str, kind: str, points: list[list[int]]) -> dict[str, Any]:
    about = {"label": label, "shape_type": kind, "points": [[float(x), float(y)] for x, y in points]}
    return about | {"group_id": None, "description": "", "flags": {}, "mask": None}


# ---------------------------------------------------------------------------------------------------------- reading


def read(source: Source, reading: Reading) -> None:
    """Every JSON file with shapes, pictures by the files' names."""
    for name in _files(source):
        with reading.item(name):
            document = read_json(source, name, max_bytes=_MAX_BYTES)
            picture = reading.picture(PurePosixPath(name).stem)
            size = get(document, "imageHeight", int, "the file"), get(document, "imageWidth", int, "the file")
            labels_HW = reading.canvas(picture, *size)
            given = get(document, "shapes", list, "the file")
            if len(given) > MAX_SHAPES:
                raise Unusable(f"it has {len(given):,} shapes (limit {MAX_SHAPES:,})")
            shapes = (_read_shape(entry, size, reading) for entry in given)
            paint(labels_HW, [shape for shape in shapes if shape is not None])
            flags = document.get("flags")
            skipped = isinstance(flags, dict) and flags.get(_SKIP) is True
            reading.add(picture, labels_HW, where=name, skipped=skipped)


def recognises(source: Source) -> bool:
    return bool(_files(source))


def _files(source: Source) -> list[str]:
    return [name for name in source.names(".json") if _is_labelme(source.head(name))]


def _is_labelme(start: bytes) -> bool:
    """By keys that stand at the beginning whether they are sorted, as ours are, or in the program's own order."""
    return b'"shapes"' in start or (b'"imageData"' in start and b'"flags"' in start)


def _read_shape(entry: Any, size: Size, reading: Reading) -> Shape | None:
    """None for frames."""
    label = get(entry, "label", str, "a shape")
    if is_frame(label, reading.class_names):
        return None
    kind = "polygon" if entry.get("shape_type") is None else entry["shape_type"]
    draw = _DRAW.get(kind) if isinstance(kind, str) else None
    if draw is None:
        raise Unusable(f"a shape {kind!r} of {label!r} has no area: draw it as a polygon or a mask")
    return Shape(reading.class_id(label), lambda: draw(entry, _points(entry, label), size))


def _points(entry: Any, label: str) -> list[list[float]]:
    points = get(entry, "points", list, f"a shape of {label!r}")
    for point in points:
        if not (isinstance(point, list) and len(point) == 2 and all(type(number) in (int, float) for number in point)):
            raise Unusable(f"a shape of {label!r} has points that are no pairs of numbers")
        if not all(math.isfinite(number) for number in point):
            raise Unusable(f"a shape of {label!r} has points that are not finite")
    return points


def _draw_polygon(_: Any, points: list[list[float]], size: Size) -> Area:
    return draw_polygon([number for point in points for number in point], size)


def _draw_rectangle(_: Any, points: list[list[float]], size: Size) -> Area:
    (x0, y0), (x1, y1) = _two(points)
    return draw_box(x0, y0, x1, y1, size)


def _draw_circle(_: Any, points: list[list[float]], size: Size) -> Area:
    (cx, cy), (x, y) = _two(points)
    radius = math.hypot(x - cx, y - cy)
    return draw_ellipse(cx, cy, radius, radius, size)


def _draw_mask(entry: Any, points: list[list[float]], size: Size) -> Area:
    """The PNG of a mask with its top left pixel at the first point. As the program has it: the points name the last
    row and column where they are whole numbers, else the PNG's own size counts."""
    from s4al.data.headers import Refused, read_header
    from s4al.data.masks.samples import read_samples

    (x0, y0), (x1, y1) = _two(points)
    try:
        data = base64.b64decode(get(entry, "mask", str, "a mask"), validate=True)
        header = read_header(data)
        if header.height * header.width > 4 * size[0] * size[1]:
            raise Unusable(f"a mask is {header.width} x {header.height}, its picture is {size[1]} x {size[0]}")
        mask_HW = read_samples(data, header).as_values() != 0
    except (Refused, ValueError) as error:
        raise Unusable(f"a mask's PNG is damaged ({error})") from error
    if all(float(number).is_integer() for number in (x0, y0, x1, y1)):
        mask_HW = mask_HW[: max(int(y1 - y0) + 1, 0), : max(int(x1 - x0) + 1, 0)]
    return clip(mask_HW, round(y0), round(x0), size)


def _two(points: list[list[float]]) -> list[list[float]]:
    if len(points) != 2:
        raise Unusable(f"a shape has {len(points)} points instead of two")
    return points


_DRAW = {
    "polygon": _draw_polygon,
    "rectangle": _draw_rectangle,
    "oriented_rectangle": _draw_polygon,
    "circle": _draw_circle,
    "mask": _draw_mask,
}

FORMAT = Format("labelme", "LabelMe JSON", write, read, recognises)
