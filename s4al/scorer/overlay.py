"""Pictures that show a prediction to people: the image under its classes' colours, and what the colours mean."""

from __future__ import annotations

import contextlib
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

LONGEST = 1600  # pixels of an overlay's longer side; more is not seen on a screen
_SMALLEST = 384  # smaller pictures are enlarged by a whole factor
_NARROWEST = 384  # a legend has this width at least
_MOST_CLASSES = 30  # lines of an overlay's legend
_STRENGTH = 0.5  # of the colours over the image
_WHITE, _BLACK, _GREY = (255, 255, 255), (0, 0, 0), (128, 128, 128)
# Pillow's own font has ASCII only. Other names are drawn with one of these, where it is installed.
_WIDER_FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "Arial.ttf")

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class _Line(NamedTuple):
    """Of a legend: a swatch, a name, and a figure to the right."""

    colour: tuple[int, int, int] | None
    name: str
    figure: str = ""


def draw_overlay(
    picture_HWC: NDArray[np.uint8],
    label_HW: NDArray[np.uint8],
    class_names: Sequence[str],
    palette: NDArray[np.uint8],
    share_C: NDArray[np.float64],
) -> Image.Image:
    """The picture under the colours of its labels, and below it the classes that are in it, the largest first.

    Parameters
    ----------
    label_HW : class ids, of any size; brought to the picture's with the nearest pixel.
    palette : uint8 (C, 3) RGB.
    share_C : of the pixels, by class; classes without any are left out.
    """
    picture = Image.fromarray(picture_HWC)
    colours = Image.fromarray(label_HW).resize(picture.size, Image.Resampling.NEAREST)
    colours.putpalette(palette.tobytes().ljust(3 * 256, b"\0"))
    blended = Image.blend(picture, colours.convert("RGB"), _STRENGTH)
    factor = max(1, _SMALLEST // max(blended.size))
    if factor > 1:
        blended = blended.resize((factor * blended.width, factor * blended.height), Image.Resampling.NEAREST)
    width = max(blended.width, _NARROWEST)
    legend = _legend(_present(class_names, palette, share_C), width, size=min(max(width // 45, 15), 28))
    canvas = Image.new("RGB", (width, blended.height + legend.height), _WHITE)
    canvas.paste(blended, (0, 0))
    canvas.paste(legend, (0, blended.height))
    return canvas


def draw_legend(class_names: Sequence[str], palette: NDArray[np.uint8]) -> Image.Image:
    """Every class with its id and its colour, by id."""
    lines = [_Line(_colour(palette, index), f"{index} {name}") for index, name in enumerate(class_names)]
    return _legend(lines, width=1000 if len(lines) > 10 else 500, size=18)


def _present(class_names: Sequence[str], palette: NDArray[np.uint8], share_C: NDArray[np.float64]) -> list[_Line]:
    order = [int(index) for index in np.argsort(-share_C, kind="stable") if share_C[index] > 0]
    shown = order if len(order) <= _MOST_CLASSES else order[: _MOST_CLASSES - 1]
    lines = [
        _Line(_colour(palette, index), f"{index} {class_names[index]}", _percent(share_C[index])) for index in shown
    ]
    rest = order[len(shown) :]
    return [*lines, _Line(None, f"{len(rest)} more", _percent(share_C[rest].sum()))] if rest else lines


def _colour(palette: NDArray[np.uint8], index: int) -> tuple[int, int, int]:
    red, green, blue = palette[index].tolist()
    return red, green, blue


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"


def _legend(lines: Sequence[_Line], width: int, size: int) -> Image.Image:
    """Lines in columns, each filled before the next; names are cut where there is no room for them."""
    font = _font(size, "".join(char for line in lines for char in line.name if char.isprintable()))
    columns = max(1, min(len(lines), width // (13 * size)))
    rows = -(-len(lines) // columns)
    step, column_width = round(1.5 * size), width // columns
    canvas = Image.new("RGB", (width, rows * step + size), _WHITE)
    draw = ImageDraw.Draw(canvas)
    for index, line in enumerate(lines):
        left = index // rows * column_width + size // 2
        right = left + column_width - size
        middle = index % rows * step + size // 2 + step // 2
        if line.colour is not None:
            swatch = (left, middle - size // 2, left + size, middle + size // 2)
            draw.rectangle(swatch, fill=line.colour, outline=_GREY)
        draw.text((right, middle), line.figure, _BLACK, font, anchor="rm")
        left += round(1.5 * size)
        room = right - left - (font.getlength(line.figure) + size / 2 if line.figure else 0)
        draw.text((left, middle), _cut(_drawable(line.name, font), font, room), _BLACK, font, anchor="lm")
    return canvas


def _cut(text: str, font: _Font, room: float) -> str:
    """The text, or as much of it as there is room for."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "...") > room:
        text = text[:-1]
    return text.rstrip() + "..."


def _drawable(text: str, font: _Font) -> str:
    """The text without what the font lacks: accents go, anything else becomes a question mark."""
    if _has_all(font, text):
        return text
    plain = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return "".join(char if _has_all(font, char) else "?" for char in plain)


@lru_cache(maxsize=64)
def _font(size: int, text: str) -> _Font:
    """The font that has most of the characters; Pillow's own where that has them all."""
    own = ImageFont.load_default(size)
    if _has_all(own, text):
        return own
    fonts: list[_Font] = [own]
    for name in _WIDER_FONTS:
        with contextlib.suppress(OSError):  # not installed
            fonts.append(ImageFont.truetype(name, size))
    return max(fonts, key=lambda font: sum(_has_all(font, char) for char in set(text)))


def _has_all(font: _Font, text: str) -> bool:
    """Whether the font can draw the text: the characters that it lacks all look alike."""
    missing = _look(font, "\U0010ffff")
    return all(char.isprintable() and (char.isascii() or _look(font, char) != missing) for char in set(text))


def _look(font: _Font, char: str) -> bytes:
    canvas = Image.new("L", (64, 64))
    ImageDraw.Draw(canvas).text((8, 8), char, 255, font)
    return canvas.tobytes()
