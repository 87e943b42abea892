"""Independent readers and writers of the exchange formats: datumaro (CVAT, VOC, COCO) and LabelMe's own code.

    python -m benchmarks.roundtrip_datumaro

Both directions, crops and whole images, 60 classes whose names hold quotes, <, & and other alphabets, regions with
holes and open pixels: what `label export` writes with guesses, the other tool reads; what the other tool writes,
`label import` reads. Counted are the pixels that differ, which has to be none. The two packages cannot live beside
s4al's, so they have an environment of their own, which is made where it is not there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.other_tools.environment import environment
from benchmarks.record import record
from s4al.annotate.exchange.contract import Mode, Picture
from s4al.annotate.exchange.manifest import MANIFEST_FILE, manifest_from_json
from s4al.annotate.queries import Round
from tests.annotate.label_maps import NAMES, Maps, label_maps, receive, send, sixty_classes

PACKAGES = ("datumaro==1.13.12", "labelme==5.11.4")
FORMATS = ("cvat", "cvat-mask", "coco", "coco-panoptic", "labelme")
SIZE = (173, 247)  # of every image
CELL = 43  # regions of the grid, smaller at the right and the bottom edge
_SCRIPT = Path(__file__).parent / "other_tools" / "read_and_write.py"


class Other:
    """Runs the other tools, in their environment."""

    def __init__(self) -> None:
        self.python = environment("datumaro-labelme", *PACKAGES)

    def __call__(self, *arguments: object) -> str:
        return _run(self.python, _SCRIPT, *arguments)


def _run(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[1:4]} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def grid() -> list[tuple[str, tuple[int, int, int, int]]]:
    """All regions of two images."""
    height, width = SIZE
    return [
        (image, (y, x, min(y + CELL, height), min(x + CELL, width)))
        for image in ("a", "sub dir/b é")
        for y in range(0, height, CELL)
        for x in range(0, width, CELL)
    ]


def measure(other: Other, format: str, mode: Mode, folder: Path) -> dict[str, Any]:
    """Both directions of one format."""
    shapes = [(y1 - y0, x1 - x0) for _, (y0, x0, y1, x1) in grid()]
    maps = label_maps(len(format), undecided=True, shapes=shapes)
    round = sixty_classes(folder, regions=grid(), size=SIZE)
    classes, ours, theirs = folder / "classes.json", folder / "ours.npz", folder / "theirs.npz"
    classes.write_text(json.dumps(NAMES))

    begun = time.monotonic()
    send(round, maps, format, folder / "export", mode, margin=7)
    exported = time.monotonic() - begun
    manifest = manifest_from_json(json.loads((folder / "export" / MANIFEST_FILE).read_bytes()))
    expected = {picture.name: _picture_labels(round, picture, maps) for picture in manifest.pictures}
    other("read", format, folder / "export", classes, theirs)
    with np.load(theirs) as read:
        they_differ = [_difference(labels_HW, read.get(name)) for name, labels_HW in expected.items()]

    np.savez(ours, **expected)  # pyright: ignore[reportArgumentType] - names of arrays
    other("write", format, folder / "written", classes, ours, folder / "export" / "images")
    begun = time.monotonic()
    found, _ = receive(round, folder / "written", format)
    imported = time.monotonic() - begun
    we_differ = [_difference(sent_HW, found_HW) for sent_HW, found_HW in zip(maps, found, strict=True)]
    return {
        "regions": len(maps),
        "pictures": len(expected),
        "pixels": sum(labels_HW.size for labels_HW in maps),
        "pixels_read_otherwise_by_them": sum(they_differ),
        "pixels_read_otherwise_by_us": sum(we_differ),
        "export_seconds": round_2(exported),
        "import_seconds": round_2(imported),
    }


def round_2(seconds: float) -> float:
    return int(seconds * 100) / 100


def _picture_labels(round: Round, picture: Picture, maps: Maps) -> np.ndarray:
    """What a picture shows: the guesses in its regions, else nothing."""
    labels_HW = picture.blank()
    for part in picture.parts:
        labels_HW[part.box] = maps[round.query(part.query).number]
    return labels_HW


def _difference(first_HW: np.ndarray, second_HW: np.ndarray | None) -> int:
    """All pixels where the second is missing, or of another size."""
    if second_HW is None or first_HW.shape != second_HW.shape:
        return first_HW.size
    return int(np.count_nonzero(first_HW != second_HW))


def measure_all(other: Other) -> Iterator[tuple[str, dict[str, Any]]]:
    modes: tuple[Mode, ...] = ("crop", "full")
    for format in FORMATS:
        for mode in modes:
            with tempfile.TemporaryDirectory() as folder:
                result = measure(other, format, mode, Path(folder))
                print(format, mode, result, flush=True)
                yield f"{format}, {mode}", result


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    other = Other()
    measured = dict(measure_all(other))
    record("roundtrip_datumaro", {"readers": json.loads(other("versions")), "classes": len(NAMES), **measured})
    wrong = [
        f"{name}: {key} {value:,}"
        for name, result in measured.items()
        for key, value in result.items()
        if key.startswith("pixels_read_otherwise") and value
    ]
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
