"""Segmentation mask 1.1 of CVAT, which is VOC's: a colour picture a frame, and `labelmap.txt` with the colours' names.

Exporters sort the names and give other numbers, so nothing is read but colours. Black is "not painted" whatever the
label map calls it: CVAT writes it for both, and a class of the run is never black.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4al.annotate.exchange.colours import class_colours
from s4al.annotate.exchange.contract import UNPAINTED, Format, Unusable
from s4al.annotate.exchange.export import Export
from s4al.annotate.exchange.frames import answer_id
from s4al.annotate.exchange.names import check_names
from s4al.annotate.exchange.pixels import label_samples
from s4al.annotate.exchange.reading import Reading
from s4al.annotate.exchange.source import Source
from s4al.data.palettes import Colour
from s4al.errors import DataError

_LABELMAP = "labelmap.txt"
_MASKS = "SegmentationClass"
_LIST = "ImageSets/Segmentation/default.txt"
_MAX_LABELMAP_BYTES = 2**20


def write(export: Export, folder: Path) -> list[str]:
    """Images, the label map, and a picture of colours for every guess."""
    check_names(export.class_names, _LABELMAP, signs=":", first="#")
    export.write_images(folder)
    colours = class_colours(export.palette)
    lines = ["# label:color_rgb:parts:actions"]
    if "background" not in export.class_names:  # what CVAT adds itself
        lines.append("background:0,0,0::")
    lines += [f"{name}:{_text(colour)}::" for name, colour in zip(export.class_names, colours, strict=True)]
    (folder / _LABELMAP).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / _MASKS).mkdir()
    colour_of_id = np.zeros((256, 3), np.uint8)
    colour_of_id[: len(colours)] = colours
    written = []
    for picture in export.pictures:
        guess_HW = export.guess(picture)
        if guess_HW is not None:
            Image.fromarray(colour_of_id[guess_HW]).save(folder / _MASKS / f"{picture.name}.png", "PNG")
            written.append(picture.name)
    (folder / _LIST).parent.mkdir(parents=True)
    (folder / _LIST).write_text("".join(f"{name}\n" for name in written))
    return [
        f"Give the labels in the tool the colours of {_LABELMAP}; black is not painted.",
        "Where shapes overlap, the tool keeps one of them when it exports this format.",
    ]


def read(source: Source, reading: Reading) -> None:
    """The pictures in `SegmentationClass` beside a `labelmap.txt`, by the names of its colours."""
    for file in _label_maps(source):
        names = _read_label_map(source, file)
        for name in _masks(source, file):
            with reading.item(name):
                picture = reading.picture(PurePosixPath(name).stem)
                samples = label_samples(source.read(name), reading, picture)
                reading.add(picture, _to_ids(samples.as_colours(), names, reading), where=name)


def recognises(source: Source) -> bool:
    return any(_masks(source, file) for file in _label_maps(source))


def _label_maps(source: Source) -> list[str]:
    return [name for name in source.names(_LABELMAP) if PurePosixPath(name).name.lower() == _LABELMAP]


def _masks(source: Source, labelmap: str) -> list[str]:
    return source.names(".png", under=(PurePosixPath(labelmap).parent / _MASKS).as_posix())


def _read_label_map(source: Source, file: str) -> dict[Colour, list[str]]:
    """Colour -> the names that have it, without black. Raises DataError where the file is none."""
    try:
        lines = source.read(file, _MAX_LABELMAP_BYTES).decode().splitlines()
    except (UnicodeDecodeError, Unusable) as error:
        raise _damaged(source, file, str(error)) from error
    names: dict[Colour, list[str]] = {}
    for line in lines:
        if line.strip() and not line.startswith("#"):
            colour, name = _parse(line, source, file)
            names.setdefault(colour, []).append(name)
    names.pop((0, 0, 0), None)
    return names


def _parse(line: str, source: Source, file: str) -> tuple[Colour, str]:
    fields = line.rstrip().rsplit(":", 3)
    try:
        red, green, blue = (int(number) for number in fields[1].split(","))
    except (ValueError, IndexError) as error:
        raise _damaged(source, file, f"its line {line[:80]!r} is no name:r,g,b:parts:actions") from error
    return (red, green, blue), fields[0]


def _damaged(source: Source, file: str, reason: str) -> DataError:
    return DataError(
        f"{source.path}: {file} is no label map ({reason}).",
        kept="Nothing was imported.",
        remedy="Export it from the tool once more.",
    )


def _to_ids(colours_HW: NDArray[np.uint32], names: dict[Colour, list[str]], reading: Reading) -> NDArray[np.uint8]:
    """Packed colours -> ids of the run, by name. Raises Unusable for colours that name no class, or more than one."""
    from s4al.data.masks.samples import unpack

    used, inverse, counts = np.unique(colours_HW, return_inverse=True, return_counts=True)
    ids = np.full(len(used), UNPAINTED, np.uint8)
    for i, (packed, count) in enumerate(zip(used.tolist(), counts.tolist(), strict=True)):
        if packed == 0:
            continue
        colour = unpack(packed)
        found = names.get(colour, [])
        if len(found) != 1:
            known = f"is that of {' and '.join(found)}" if found else f"is not in {_LABELMAP}"
            raise Unusable(f"colour {_text(colour)} at {count:,} pixels {known}")
        ids[i] = answer_id(found[0], reading)
    return ids[inverse].reshape(colours_HW.shape)


def _text(colour: Colour) -> str:
    return ",".join(map(str, colour))


FORMAT = Format("cvat-mask", "Segmentation mask 1.1 (CVAT, VOC)", write, read, recognises)
