"""A folder of indexed PNGs, `labels/<picture>.png`: for scripts, and for tools that paint on pictures.

The classes are those of `classes.json` beside them, ids in the order of its list; 255 is "not painted".
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from s4al import files
from s4al.annotate.exchange.contract import UNPAINTED, Format, Unusable
from s4al.annotate.exchange.export import Export
from s4al.annotate.exchange.manifest import classes_json
from s4al.annotate.exchange.pixels import label_samples
from s4al.annotate.exchange.reading import Reading
from s4al.annotate.exchange.source import Source
from s4al.errors import DataError

CLASSES_FILE = "classes.json"
_FOLDER = "labels"
_MAX_CLASSES_BYTES = 2**20


def write(export: Export, folder: Path) -> list[str]:
    """Images, `classes.json`, and a label file a picture: the guess where it is wanted, else all 255."""
    from s4al.data.masks import write_mask

    export.write_images(folder)
    classes = classes_json(export.class_names, export.palette)
    (folder / CLASSES_FILE).write_bytes(files.json_bytes({"classes": classes, "ignore_id": UNPAINTED}))
    (folder / _FOLDER).mkdir()
    for picture in export.pictures:
        guess_HW = export.guess(picture)
        labels_HW = picture.blank() if guess_HW is None else guess_HW
        write_mask(folder / _FOLDER / f"{picture.name}.png", labels_HW, export.palette)
    return [f"Paint over {_FOLDER}/*.png with the class ids of {CLASSES_FILE}; {UNPAINTED} is not painted."]


def read(source: Source, reading: Reading) -> None:
    """Label files by their stems; ids by `classes.json`, by the export's classes where there is none."""
    given = _given_names(source)
    for name in _label_files(source):
        with reading.item(name):
            picture = reading.picture(PurePosixPath(name).stem)
            samples = label_samples(source.read(name), reading, picture)
            manifest = reading.manifest(picture)
            names = given or dict(enumerate(manifest.class_names if manifest else reading.class_names))
            reading.add(picture, _to_ids(samples.as_values(), names, reading), where=name)


def recognises(source: Source) -> bool:
    return bool(_label_files(source))


def _label_files(source: Source) -> list[str]:
    """The PNGs of `labels/`, wherever it lies in the source; all of a folder that has none."""
    inside = [name for name in source.names(".png") if PurePosixPath(name).parent.name == _FOLDER]
    return inside or [name for name in source.names(".png") if "/" not in name]


def _given_names(source: Source) -> dict[int, str]:
    """Id -> class name by the source's `classes.json`; {} without. Raises DataError where it is damaged."""
    file = next((name for name in source.names(CLASSES_FILE) if PurePosixPath(name).name == CLASSES_FILE), None)
    if file is None:
        return {}
    try:
        classes = json.loads(source.read(file, _MAX_CLASSES_BYTES))["classes"]
        return {int(item["id"]): str(item["name"]) for item in classes}
    except (ValueError, KeyError, TypeError, Unusable) as error:
        raise DataError(
            f"{source.path}: {file} is not the list of classes that was exported ({error}).",
            kept="Nothing was imported.",
            remedy="Put the exported one back, or delete it where the ids are those of the run.",
        ) from error


def _to_ids(values_HW: NDArray[np.unsignedinteger], names: dict[int, str], reading: Reading) -> NDArray[np.uint8]:
    """Ids of the file -> ids of the run, by name. Raises Unusable for ids without a name."""
    run_ids = np.full(2**16, UNPAINTED, np.uint8)
    used, counts = np.unique(values_HW, return_counts=True)
    for value, count in zip(used.tolist(), counts.tolist(), strict=True):
        if value == UNPAINTED:
            continue
        if value not in names:
            known = f"{', '.join(map(str, sorted(names)))}; {UNPAINTED} is not painted"
            raise Unusable(f"class id {value} at {count:,} pixels (known: {known})")
        run_ids[value] = reading.class_id(names[value])
    return run_ids[values_HW]


FORMAT = Format("png", "indexed PNG", write, read, recognises)
