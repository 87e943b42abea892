"""YOLO segmentation: `labels/<picture>.txt`, a polygon a line, `class x y x y ...` as shares of width and height.

A polygon has no holes. Written are the outer edges of every piece, larger ones first, so that a class inside of
another lies above it and comes back; only pixels left open inside of a piece are filled. How many is said.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from s4al.annotate.exchange.contract import UNPAINTED, Format, Picture, Unusable
from s4al.annotate.exchange.drawing import MAX_SHAPES, Shape, Size, draw_box, draw_polygon, paint
from s4al.annotate.exchange.export import Export
from s4al.annotate.exchange.frames import answer_id
from s4al.annotate.exchange.outlines import Outline, outlines
from s4al.annotate.exchange.reading import Reading
from s4al.annotate.exchange.source import Source
from s4al.annotate.exchange.yolo_names import read_names, write_names

_DATA = "data.yaml"
_CLASSES = "classes.txt"  # of tools that write no data.yaml: a name a line
_MAX_NAMES_BYTES = 2**20
_MAX_LABEL_BYTES = 2**28


# ---------------------------------------------------------------------------------------------------------- writing


def write(export: Export, folder: Path) -> list[str]:
    """Images, `data.yaml`, and the polygons of every guess."""
    export.write_images(folder)
    (folder / "labels").mkdir()
    (folder / _DATA).write_text(f"path: .\ntrain: images\nval: images\n{write_names(export.class_names)}", "utf-8")
    guessed = kept = 0
    for picture in export.pictures:
        guess_HW = export.guess(picture)
        if guess_HW is not None:
            found = outlines(guess_HW, UNPAINTED)
            lines = "".join(_line(outline, picture) for outline in found)
            (folder / "labels" / f"{picture.name}.txt").write_text(lines)
            same_HW = _drawn(lines, picture) == guess_HW
            guessed += sum(same_HW[part.box].size for part in picture.parts)
            kept += sum(int(np.count_nonzero(same_HW[part.box])) for part in picture.parts)
    notes = [f"Load images/, labels/ and {_DATA}; the format keeps polygons without holes, and no size."]
    if guessed:
        notes.append(f"Fidelity: {_share(kept, guessed)} of the guesses' pixels come back as they are.")
    return notes


def _line(outline: Outline, picture: Picture) -> str:
    shares = outline.points / np.array([picture.width, picture.height])
    return f"{outline.class_id} {' '.join(f'{share:.6f}' for share in shares.ravel())}\n"


def _drawn(lines: str, picture: Picture) -> NDArray[np.uint8]:
    """What a reader makes of the lines."""
    labels_HW = picture.blank()
    paint(labels_HW, [_shape(line, picture.size, int) for line in lines.splitlines()])
    return labels_HW


def _share(part: int, whole: int) -> str:
    """A share that says 100 % only where it is all."""
    percent = part / whole * 100
    return "100 %" if part == whole else f"{min(percent, 99.999):.3f} % ({whole - part:,} of {whole:,} do not)"


# ---------------------------------------------------------------------------------------------------------- reading


def read(source: Source, reading: Reading) -> None:
    """The text files in `labels/`, pictures by their names, classes by the names in `data.yaml` or `classes.txt`."""
    names: dict[int, str] = {}
    for name in _names_files(source)[:1]:
        with reading.item(name):
            names = _read_names(source, name)
    if not names:
        return

    def class_id(number: int) -> int:
        if number not in names:
            raise Unusable(f"class number {number} has no name")
        return answer_id(names[number], reading)

    drawn = covered = 0
    for name in _label_files(source):
        with reading.item(name):
            picture = reading.picture(PurePosixPath(name).stem)
            labels_HW = picture.blank()
            shapes = (_shape(line, picture.size, class_id) for line in _lines(source, name))
            covered += paint(labels_HW, (shape for shape in shapes if shape.class_id != UNPAINTED))
            drawn += int(np.count_nonzero(labels_HW != UNPAINTED))
            reading.add(picture, labels_HW, where=name)
    reading.notes.append(
        f"Fidelity: YOLO's polygons have no holes, so what was cut out of one came back filled. {drawn:,} pixels were "
        f"drawn, and {covered:,} times a later polygon of another class took one over."
    )


def recognises(source: Source) -> bool:
    return bool(_label_files(source)) and bool(_names_files(source))


def _label_files(source: Source) -> list[str]:
    return [name for name in source.names(".txt") if "labels" in PurePosixPath(name).parts[:-1]]


def _names_files(source: Source) -> list[str]:
    """The best one first."""
    found = [name for name in source.names(".yaml", ".yml", ".txt") if PurePosixPath(name).name in (_DATA, _CLASSES)]
    return sorted(found, key=lambda name: (PurePosixPath(name).name != _DATA, len(name)))


def _read_names(source: Source, name: str) -> dict[int, str]:
    """Class number -> name. Raises Unusable."""
    try:
        text = source.read(name, _MAX_NAMES_BYTES).decode()
    except UnicodeDecodeError as error:
        raise Unusable("it is no text in UTF-8") from error
    if name.endswith(_DATA):
        return read_names(text)
    return dict(enumerate(line.strip() for line in text.splitlines() if line.strip()))


def _lines(source: Source, name: str) -> list[str]:
    try:
        lines = source.read(name, _MAX_LABEL_BYTES).decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise Unusable("it is no text of numbers") from error
    if len(lines) > MAX_SHAPES:
        raise Unusable(f"it has {len(lines):,} polygons (limit {MAX_SHAPES:,})")
    return [line for line in lines if line.strip()]


def _shape(line: str, size: Size, class_id: Callable[[int], int]) -> Shape:
    """A polygon, or a box as YOLO's detection has it: class, centre, width and height. Raises Unusable."""
    number, *fields = line.split()
    try:
        id, shares = int(number), [float(field) for field in fields]
    except ValueError as error:
        raise Unusable(f"its line {line[:40]!r} is no class and coordinates") from error
    if len(shares) < 4 or len(shares) == 5 or any(not -1 <= share <= 2 for share in shares):
        raise Unusable(f"its line {line[:40]!r} is no class and a polygon in shares of width and height")
    height, width = size
    if len(shares) == 4:
        x, y, w, h = shares
        corners = (x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height
        return Shape(class_id(id), lambda: draw_box(*corners, size))
    points = [share * (height if i % 2 else width) for i, share in enumerate(shares)]
    return Shape(class_id(id), lambda: draw_polygon(points, size))


FORMAT = Format("yolo", "YOLO segmentation", write, read, recognises)
