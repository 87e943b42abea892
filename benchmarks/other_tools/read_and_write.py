"""The other side of benchmarks/roundtrip_datumaro.py: label maps as datumaro and LabelMe read and write them.

    python read_and_write.py versions
    python read_and_write.py read FORMAT FOLDER CLASSES.json LABELS.npz
    python read_and_write.py write FORMAT FOLDER CLASSES.json LABELS.npz IMAGES

It runs in an environment of those packages and knows nothing of s4al. LABELS.npz holds a uint8 array (H, W) for the
name of every picture: positions in the list of CLASSES.json, 255 of none.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np

UNPAINTED = 255
DATUMARO = {"cvat": "cvat", "cvat-mask": "voc_segmentation", "coco": "coco_instances", "coco-panoptic": "coco_panoptic"}
Labels = dict[str, np.ndarray]


def read_datumaro(format: str, folder: Path, names: list[str]) -> Labels:
    """Masks by the label's name, of one item in the order of their z-order."""
    from datumaro import Dataset
    from datumaro.components.annotation import AnnotationType

    dataset = Dataset.import_from(str(folder), DATUMARO[format])
    known = dataset.categories()[AnnotationType.label]
    labels: Labels = {}
    for item in dataset:
        masks = [found for found in item.annotations if found.type == AnnotationType.mask]
        size = item.media.size if item.media else masks[0].image.shape  # VOC's pictures lie in a folder of its own
        labels_HW = np.full(size, UNPAINTED, np.uint8)
        for mask in sorted(masks, key=lambda mask: mask.z_order):
            name = known[mask.label].name
            if name in names:  # VOC's background is none of ours
                labels_HW[mask.image.astype(bool)] = names.index(name)
        labels[item.id] = labels_HW
    return labels


def write_datumaro(format: str, folder: Path, names: list[str], labels: Labels, images: Path) -> None:
    """A mask for every class in a picture; categories in the order of their names, as the tools around it have them."""
    from datumaro import Dataset, DatasetItem
    from datumaro.components.annotation import AnnotationType, LabelCategories, Mask, MaskCategories
    from datumaro.components.media import Image

    order = sorted(names)
    colours = {number: (number + 1, 2 * number, 255 - number) for number in range(len(order))}
    categories = {
        AnnotationType.label: LabelCategories.from_iterable(order),
        AnnotationType.mask: MaskCategories(colours),
    }
    items = []
    for picture, labels_HW in labels.items():
        used = [class_id for class_id in np.unique(labels_HW).tolist() if class_id != UNPAINTED]
        masks = [
            Mask(image=labels_HW == class_id, label=order.index(names[class_id]), id=number, group=number)
            for number, class_id in enumerate(used, 1)
        ]
        image = Image.from_file(path=str(images / f"{picture}.png"))
        items.append(DatasetItem(id=picture, subset="default", media=image, annotations=masks))
    dataset = Dataset.from_iterable(items, categories=categories)
    options = {"segmentation_mode": "mask"} if format == "coco" else {}
    if format == "cvat-mask":
        options = {"label_map": "source"}
    dataset.export(str(folder), DATUMARO[format], save_media=True, **options)


def read_labelme(_: str, folder: Path, names: list[str]) -> Labels:
    """By the program's own reader of files and painter of shapes; its value 0 is what no shape covers."""
    from labelme._label_file import LabelFile
    from labelme.utils import shapes_to_label

    labels: Labels = {}
    for path in sorted((folder / "images").glob("*.json")):
        document = json.loads(path.read_bytes())
        shapes = [shape for shape in LabelFile(str(path)).shapes if shape["label"] in names]
        values = {name: number for number, name in enumerate(names, 1)}
        size = document["imageHeight"], document["imageWidth"]
        values_HW, _instances = shapes_to_label(size, shapes, values)
        labels[path.stem] = np.where(values_HW > 0, values_HW - 1, UNPAINTED).astype(np.uint8)
    return labels


def write_labelme(_: str, folder: Path, names: list[str], labels: Labels, images: Path) -> None:
    """A mask shape for every class, saved as the program saves."""
    from labelme._label_file import LabelFile
    from labelme.utils import img_arr_to_b64

    folder.mkdir(parents=True)
    for picture, labels_HW in labels.items():
        shapes = []
        for class_id in np.unique(labels_HW[labels_HW != UNPAINTED]).tolist():
            rows, cols = np.nonzero(labels_HW == class_id)
            y0, x0, y1, x1 = (int(value) for value in (rows.min(), cols.min(), rows.max(), cols.max()))
            inside = (labels_HW == class_id)[y0 : y1 + 1, x0 : x1 + 1].astype(np.uint8)
            about = {"label": names[class_id], "points": [[x0, y0], [x1, y1]], "shape_type": "mask"}
            shapes.append(about | {"group_id": None, "description": "", "flags": {}, "mask": img_arr_to_b64(inside)})
        height, width = labels_HW.shape
        LabelFile().save(
            filename=str(folder / f"{picture}.json"),
            shapes=shapes,
            imagePath=str(images / f"{picture}.png"),
            imageData=None,
            imageHeight=height,
            imageWidth=width,
            flags={},
        )


def main(arguments: list[str]) -> None:
    if arguments == ["versions"]:
        print(json.dumps({package: metadata.version(package) for package in ("datumaro", "labelme")}))
        return
    command, format, folder, classes, labels, *images = arguments
    names = json.loads(Path(classes).read_text())
    if command == "read":
        read: Callable[..., Labels] = read_labelme if format == "labelme" else read_datumaro
        np.savez(labels, **read(format, Path(folder), names))  # pyright: ignore[reportArgumentType] - names of arrays
    else:
        write = write_labelme if format == "labelme" else write_datumaro
        with np.load(labels) as given:
            write(format, Path(folder), names, dict(given), Path(images[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
