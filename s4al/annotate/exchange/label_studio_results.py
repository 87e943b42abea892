"""One result of a Label Studio annotation <-> pixels: bitmasks, brush strokes, polygons and rectangles."""

from __future__ import annotations

import base64
import binascii
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4al.annotate.exchange.brush_rle import BrushError, decode_brush
from s4al.annotate.exchange.contract import Part, Picture, Unusable
from s4al.annotate.exchange.drawing import draw_polygon
from s4al.annotate.exchange.reading import Reading

if TYPE_CHECKING:
    from s4al.data.palettes import Colour

BITMASK, POLYGON, FRAME = "seg", "poly", "query"  # the control tags of our labelling configuration
_FAR = 1e6  # percent of a picture, or degrees
_PNG_URL = "data:image/png;base64,"
_NO_SHAPES = ("choices", "textarea", "rating", "number", "taxonomy", "datetime", "pairwise", "relation", "labels")


def paint_results(results: Any, reading: Reading, picture: Picture) -> NDArray[np.uint8]:
    """uint8 (H, W): what an annotation's results say, the later above the earlier. Raises Unusable."""
    labels_HW = picture.blank()
    if not isinstance(results, list):
        raise Unusable("its result is no list")
    for result in results:
        kind = result.get("type") if isinstance(result, dict) else None
        if kind in _NO_SHAPES or (isinstance(result, dict) and result.get("from_name") == FRAME):
            continue
        if kind not in _DRAW:
            raise Unusable(f"a shape of the kind {kind!r} is not read ({', '.join(_DRAW)} are)")
        value = result.get("value")
        _check_size(result, reading, picture)
        if not isinstance(value, dict):
            raise Unusable(f"a {kind} has no value")
        id = reading.class_id(_class_name(value, kind))
        labels_HW[_DRAW[kind](value, picture)] = id
    return labels_HW


def bitmask_result(name: str, mask_HW: NDArray[np.bool_], class_name: str, colour: Colour) -> dict[str, Any]:
    """A mask as Label Studio knows it: a picture that is opaque where it is painted, of one bit a pixel."""
    picture, data = Image.fromarray(mask_HW.astype(np.uint8)), io.BytesIO()
    picture.putpalette((0, 0, 0, *colour))
    picture.save(data, "PNG", bits=1, transparency=bytes([0, 255]))
    value = {
        "format": "bitmask",
        "imageDataURL": _PNG_URL + base64.b64encode(data.getvalue()).decode(),
        "bitmasklabels": [class_name],
    }
    return _result(name, "bitmasklabels", BITMASK, mask_HW.shape, value)


def frame_result(name: str, part: Part, picture: Picture, label: str) -> dict[str, Any]:
    """The rectangle that shows people which part of a picture is asked for."""
    value = {
        "x": 100 * part.x0 / picture.width,
        "y": 100 * part.y0 / picture.height,
        "width": 100 * part.size[1] / picture.width,
        "height": 100 * part.size[0] / picture.height,
        "rotation": 0,
        "rectanglelabels": [label],
    }
    return _result(name, "rectanglelabels", FRAME, picture.size, value) | {"readonly": True}


def _result(name: str, kind: str, control: str, size: tuple[int, ...], value: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": name,
        "type": kind,
        "from_name": control,
        "to_name": "image",
        "original_width": size[1],
        "original_height": size[0],
        "image_rotation": 0,
        "value": value,
    }


def _check_size(result: dict[str, Any], reading: Reading, picture: Picture) -> None:
    height, width = result.get("original_height"), result.get("original_width")
    if not isinstance(height, int) or not isinstance(width, int):
        raise Unusable("a shape does not say the size of its picture: did Label Studio show the picture?")
    reading.canvas(picture, height, width)
    if result.get("image_rotation"):
        raise Unusable("it was drawn on the picture turned round; turn it back in Label Studio")


def _class_name(value: dict[str, Any], kind: str) -> str:
    names = value.get(kind)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Unusable(f"a {kind} has no label")
    if len(names) != 1:
        raise Unusable(f"a {kind} has {len(names)} labels; a pixel has one class")
    return names[0]


def _draw_bitmask(value: dict[str, Any], picture: Picture) -> NDArray[np.bool_]:
    from s4al.data.headers import Refused, check_pixel_data, read_header
    from s4al.data.images import DECODE_ERRORS, one_line

    url = value.get("imageDataURL")
    if not isinstance(url, str) or not url.startswith(_PNG_URL):
        raise Unusable("a bitmask is no PNG in a data URL")
    try:
        data = base64.b64decode(url.removeprefix(_PNG_URL), validate=True)
        header = read_header(data)
        if (header.height, header.width) != picture.size:
            expected = f"{picture.width} x {picture.height}"
            raise Unusable(f"a bitmask is {header.width} x {header.height}, its picture is {expected}")
        if header.format != "PNG" or not (header.mode.endswith("alpha") or header.transparent):
            raise Unusable("a bitmask has no alpha channel, which says what is painted")
        check_pixel_data(data, header)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
            return np.asarray(opened if opened.mode == "RGBA" else opened.convert("RGBA"))[:, :, 3] > 0
    except (binascii.Error, Refused) as error:
        raise Unusable(f"a bitmask is damaged ({error})") from error
    except DECODE_ERRORS as error:
        raise Unusable(f"a bitmask {one_line(error)}") from error


def _draw_brush(value: dict[str, Any], picture: Picture) -> NDArray[np.bool_]:
    if value.get("format") != "rle" or not isinstance(value.get("rle"), list):
        raise Unusable("a brush stroke holds no run lengths")
    try:
        return decode_brush(bytes(value["rle"]), *picture.size)
    except (TypeError, ValueError) as error:  # BrushError is one, too
        reason = error if isinstance(error, BrushError) else "they are not numbers from 0 to 255"
        raise Unusable(f"a brush stroke has damaged run lengths: {reason}") from error


def _draw_polygon(value: dict[str, Any], picture: Picture) -> NDArray[np.bool_]:
    points = value.get("points")
    if not isinstance(points, list):
        raise Unusable("a polygon has no points")
    numbers: list[float] = []
    for point in points:
        if not isinstance(point, list) or len(point) != 2:
            raise Unusable("a polygon has a point that is not two numbers")
        numbers += [_percent(point[0], picture.width), _percent(point[1], picture.height)]
    return draw_polygon(numbers, picture.size).whole(picture.size)


def _draw_rectangle(value: dict[str, Any], picture: Picture) -> NDArray[np.bool_]:
    x, width = (_percent(value.get(key), picture.width) for key in ("x", "width"))
    y, height = (_percent(value.get(key), picture.height) for key in ("y", "height"))
    angle = math.radians(_number(value.get("rotation", 0)))
    cos, sin = math.cos(angle), math.sin(angle)
    corners = ((0.0, 0.0), (width, 0.0), (width, height), (0.0, height))
    # Turned clockwise about its top left corner, in pixels: that is where Label Studio has the handle.
    turned = [(x + right * cos - down * sin, y + right * sin + down * cos) for right, down in corners]
    return draw_polygon([number for corner in turned for number in corner], picture.size).whole(picture.size)


def _percent(value: Any, size: int) -> float:
    return _number(value) * size / 100


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _FAR:  # NaN is not
        raise Unusable("a shape has a coordinate that is no number, or far outside of the picture")
    return float(value)


_DRAW = {
    "bitmasklabels": _draw_bitmask,
    "brushlabels": _draw_brush,
    "polygonlabels": _draw_polygon,
    "rectanglelabels": _draw_rectangle,
}
