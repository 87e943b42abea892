"""CVAT for images 1.1: `annotations.xml` with masks, polygons and boxes by frame; a mask keeps holes and every pixel.

What lies above what is their `z_order`, and among equals the order in the file. Skeletons, lines and points have no
area and are refused; tags say nothing about pixels and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

import numpy as np
from numpy.typing import NDArray

from s4al import files
from s4al.annotate.exchange.colours import class_colours, hex_text
from s4al.annotate.exchange.contract import UNPAINTED, Format, Picture, Unusable
from s4al.annotate.exchange.cvat_rle import decode_cvat, encode_cvat
from s4al.annotate.exchange.drawing import (
    MAX_SHAPES,
    Area,
    Shape,
    Size,
    bounding_box,
    draw_box,
    draw_ellipse,
    draw_polygon,
    paint,
)
from s4al.annotate.exchange.export import Export
from s4al.annotate.exchange.frames import FRAME, FRAME_COLOUR, frames, is_frame
from s4al.annotate.exchange.hostile_xml import read_xml
from s4al.annotate.exchange.names import check_names
from s4al.annotate.exchange.reading import Reading
from s4al.annotate.exchange.source import Source

_FILE = "annotations.xml"
_LABELS = "labels.json"
_Number = TypeVar("_Number", int, float)
_NO_AREA = ("polyline", "points", "skeleton", "cuboid")


# ---------------------------------------------------------------------------------------------------------- writing


def write(export: Export, folder: Path) -> list[str]:
    """Images, the labels as a task is made with, and the guesses and frames to upload into it."""
    check_names(export.class_names, _FILE)
    export.write_images(folder)
    labels = _labels(export)
    (folder / _LABELS).write_bytes(files.json_bytes(labels))
    with (folder / _FILE).open("w", encoding="utf-8") as stream:
        xml = XMLGenerator(stream, "utf-8", short_empty_elements=True)
        xml.startDocument()
        _begin(xml, "annotations")
        _element(xml, "version", text="1.1")
        _write_meta(xml, labels, len(export.pictures))
        for number, picture in enumerate(export.pictures):
            _write_image(xml, number, picture, export)
        xml.endElement("annotations")
    return [
        f"Make a task of images/ with {_LABELS} as its labels (raw), then upload {_FILE} as annotations, CVAT 1.1.",
        "Export the task's annotations as CVAT for images 1.1.",
    ]


def _labels(export: Export) -> list[dict[str, object]]:
    """What CVAT's label constructor takes, and `cvat-cli task create --labels`."""
    # A frame needs a colour of its own, too: exported as Segmentation mask 1.1 it is told apart by nothing else.
    palette = np.concatenate([export.palette, [[*bytes.fromhex(FRAME_COLOUR[1:])]]])
    *colours, frame_colour = map(hex_text, class_colours(palette))
    labels: list[dict[str, object]] = [
        {"name": name, "color": colour, "type": "any", "attributes": []}
        for name, colour in zip(export.class_names, colours, strict=True)
    ]
    if any(frames(picture, export.class_names) for picture in export.pictures):
        query_id = {"name": "query_id", "mutable": False, "input_type": "text", "default_value": "", "values": [""]}
        labels.append({"name": FRAME, "color": frame_colour, "type": "rectangle", "attributes": [query_id]})
    return labels


def _write_meta(xml: XMLGenerator, labels: list[dict[str, object]], num_images: int) -> None:
    for name in ("meta", "task"):
        _begin(xml, name)
    _element(xml, "size", text=str(num_images))
    _element(xml, "mode", text="annotation")
    _begin(xml, "labels")
    for label in labels:
        _begin(xml, "label")
        for key in ("name", "color", "type"):
            _element(xml, key, text=str(label[key]))
        _begin(xml, "attributes")
        if label["attributes"]:
            _begin(xml, "attribute")
            for key, text in (("name", "query_id"), ("mutable", "False"), ("input_type", "text")):
                _element(xml, key, text=text)
            xml.endElement("attribute")
        xml.endElement("attributes")
        xml.endElement("label")
    for name in ("labels", "task", "meta"):
        xml.endElement(name)


def _write_image(xml: XMLGenerator, number: int, picture: Picture, export: Export) -> None:
    height, width = picture.size
    about = {"id": str(number), "name": f"{picture.name}.png", "width": str(width), "height": str(height)}
    _begin(xml, "image", about)
    for part in frames(picture, export.class_names):
        corners = {"xtl": part.x0, "ytl": part.y0, "xbr": part.x1, "ybr": part.y1}
        _begin(xml, "box", _shape(FRAME, -1) | {name: f"{value:.2f}" for name, value in corners.items()})
        _element(xml, "attribute", {"name": "query_id"}, part.query)
        xml.endElement("box")
    guess_HW = export.guess(picture)
    for class_id in [] if guess_HW is None else np.unique(guess_HW).tolist():
        if class_id != UNPAINTED:
            _element(xml, "mask", _shape(export.class_names[class_id], 0) | _mask(guess_HW == class_id))
    xml.endElement("image")


def _shape(label: str, z_order: int) -> dict[str, str]:
    return {"label": label, "source": "auto", "occluded": "0", "z_order": str(z_order)}


def _mask(mask_HW: NDArray[np.bool_]) -> dict[str, str]:
    """The smallest box around a mask, and the run lengths inside."""
    x, y, width, height = bounding_box(mask_HW)
    box = {"left": x, "top": y, "width": width, "height": height}
    inside_HW = mask_HW[y : y + height, x : x + width]
    return {"rle": encode_cvat(inside_HW), **{name: str(value) for name, value in box.items()}}


def _begin(xml: XMLGenerator, name: str, attributes: Mapping[str, str] = {}) -> None:
    xml.startElement(name, AttributesImpl(attributes))


def _element(xml: XMLGenerator, name: str, attributes: Mapping[str, str] = {}, text: str = "") -> None:
    _begin(xml, name, attributes)
    xml.characters(text)
    xml.endElement(name)


# ---------------------------------------------------------------------------------------------------------- reading


def read(source: Source, reading: Reading) -> None:
    """Every XML file, frames by their names."""
    for name in source.names(".xml"):
        with reading.item(name):
            document = _Document(name, reading)
            read_xml(source.read(name), document.begin, document.end)


def recognises(source: Source) -> bool:
    return any(b"<annotations>" in source.head(name) for name in source.names(".xml"))


class _Document:
    """Follows a document element by element; a frame is added as soon as it ends."""

    def __init__(self, name: str, reading: Reading) -> None:
        self.name = name
        self.reading = reading
        self.annotator = ""
        self.open: list[str] = []
        self.image: Mapping[str, str] | None = None
        self.shapes: list[tuple[str, Mapping[str, str]]] = []

    def begin(self, element: str, attributes: Mapping[str, str]) -> None:
        if not self.open and element != "annotations":
            raise Unusable(f"its outermost element is <{element}>, so it holds no CVAT annotations")
        if element == "track":
            raise Unusable("it holds tracks of a video: export the task as CVAT for images 1.1")
        self.open.append(element)
        if element == "image":
            self.image, self.shapes = attributes, []
        elif self.open[-2:-1] == ["image"] and element != "tag":
            self.shapes.append((element, attributes))

    def end(self, element: str, text: str) -> None:
        self.open.pop()
        if element == "image" and self.image is not None:
            name = self.image.get("name", "")
            with self.reading.item(f"{self.name}: {name}"):
                self._add(name, self.image)
            self.image = None
        elif element == "username" and self.open[-1:] == ["assignee"] and self.open[1:2] == ["meta"]:
            self.annotator = self.annotator or text

    def _add(self, name: str, image: Mapping[str, str]) -> None:
        picture = self.reading.picture(name)
        labels_HW = self.reading.canvas(picture, *(_number(image, key, int, "image") for key in ("height", "width")))
        if len(self.shapes) > MAX_SHAPES:
            raise Unusable(f"it has {len(self.shapes):,} shapes (limit {MAX_SHAPES:,})")
        names = self.reading.class_names
        answers = [shape for shape in self.shapes if not is_frame(shape[1].get("label", ""), names)]
        paint(labels_HW, [self._shape(kind, given, picture.size) for kind, given in answers])
        self.reading.add(picture, labels_HW, where=f"{self.name}: {name}", annotator=self.annotator)

    def _shape(self, kind: str, given: Mapping[str, str], size: Size) -> Shape:
        class_id = self.reading.class_id(given.get("label", ""))
        z_order = _number(given, "z_order", int, kind) if "z_order" in given else 0
        if kind in _NO_AREA:
            raise Unusable(f"a {kind} of {given.get('label')!r} has no area: draw it as a polygon or a mask")
        draw = _DRAW.get(kind)
        if draw is None:
            raise Unusable(f"a shape <{kind}> is not known")
        return Shape(class_id, lambda: draw(given, size), z_order)


def _draw_mask(given: Mapping[str, str], size: Size) -> Area:
    left, top, width, height = (_number(given, key, int, "mask") for key in ("left", "top", "width", "height"))
    if not (top >= 0 and 0 < height <= size[0] - top and left >= 0 and 0 < width <= size[1] - left):
        raise Unusable(f"a mask at {left}, {top} of {width} x {height} leaves its picture of {size[1]} x {size[0]}")
    return Area(top, left, decode_cvat(given.get("rle", ""), height, width))


def _draw_polygon(given: Mapping[str, str], size: Size) -> Area:
    try:
        points = [float(number) for pair in given.get("points", "").split(";") for number in pair.split(",")]
    except ValueError as error:
        raise Unusable("a polygon's points are no numbers") from error
    return draw_polygon(points, size)


def _draw_box(given: Mapping[str, str], size: Size) -> Area:
    x0, y0, x1, y1 = (_number(given, key, float, "box") for key in ("xtl", "ytl", "xbr", "ybr"))
    return draw_box(x0, y0, x1, y1, size, degrees=_rotation(given, "box"))


def _draw_ellipse(given: Mapping[str, str], size: Size) -> Area:
    cx, cy, rx, ry = (_number(given, key, float, "ellipse") for key in ("cx", "cy", "rx", "ry"))
    return draw_ellipse(cx, cy, rx, ry, size, degrees=_rotation(given, "ellipse"))


def _rotation(given: Mapping[str, str], of: str) -> float:
    return _number(given, "rotation", float, of) if "rotation" in given else 0.0


def _number(given: Mapping[str, str], key: str, kind: Callable[[str], _Number], of: str) -> _Number:
    text = given.get(key, "")
    try:
        return kind(text[:40])
    except (ValueError, OverflowError) as error:
        raise Unusable(f"{of}: {key}={text[:40]!r} is no number") from error


_DRAW: dict[str, Callable[[Mapping[str, str], Size], Area]] = {
    "mask": _draw_mask,
    "polygon": _draw_polygon,
    "box": _draw_box,
    "ellipse": _draw_ellipse,
}

FORMAT = Format("cvat", "CVAT for images 1.1", write, read, recognises)
