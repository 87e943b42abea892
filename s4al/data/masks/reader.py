"""The one reader of masks, and what is written for people to look at.

A mask is never guessed: a value without a meaning, another size than its image's, or a format that changes values is
refused. Masks and their names are untrusted input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4al.data.headers import Refused, read_header
from s4al.data.images import DECODE_ERRORS, Loaded, one_line, read_bytes
from s4al.data.masks.samples import Samples, check_mask_header, colour_text, pack, read_samples, unpack
from s4al.data.palettes import Colour
from s4al.errors import MaskError, RunStateError

IGNORE = 255  # in every uint8 label array: not labelled, or void
VOID = 254  # in a training's labels, where the two differ: somebody looked and found no class; so 254 classes at most


@dataclass(frozen=True, eq=False)
class MaskCode:
    """What the samples of a data set's masks mean.

    Attributes
    ----------
    values : (65536,) int16, raw sample -> train id, 255 = ignore, -1 = not allowed. Palette masks give their indices.
    colours : RGB -> train id or 255. Where it is not empty, masks are read by colour, palette masks through their
        palette, and `values` is not looked at.
    class_names : of the train ids, for messages; may be empty.
    """

    values: NDArray[np.int16]
    colours: Mapping[Colour, int] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()

    @cached_property
    def by_colour(self) -> NDArray[np.int16]:
        """(2**24,) packed RGB -> train id, 255 = ignore, -1 = not allowed. 32 MB, made where it is first needed."""
        lut = np.full(2**24, -1, np.int16)
        for colour, id in self.colours.items():
            lut[pack(np.array(colour, np.uint8))] = id
        return lut


def identity_code(num_classes: int, void: Iterable[int] = (), class_names: tuple[str, ...] = ()) -> MaskCode:
    """Mask value = train id; `void` values and 255 are ignored, all others are not allowed."""
    values = np.full(2**16, -1, np.int16)
    values[:num_classes] = np.arange(num_classes)
    values[[*void, IGNORE]] = IGNORE
    return MaskCode(values, class_names=class_names)


def read_mask(
    path: Path, code: MaskCode, num_classes: int, size: tuple[int, int], expected_sha256: str | None = None
) -> NDArray[np.uint8]:
    """Read a mask as (H, W) uint8 of train ids, 255 = ignore, see `load_mask`."""
    return load_mask(path, path.name, code, num_classes, size, expected_sha256).pixels


def load_mask(
    path: Path,
    name: str,
    code: MaskCode,
    num_classes: int,
    size: tuple[int, int],
    expected_sha256: str | None = None,
) -> Loaded:
    """Read a mask (PNG, BMP or TIFF; grey, palette or opaque colour) as (H, W) uint8 of train ids, 255 = ignore.

    Parameters
    ----------
    name : what messages call the file.
    code : what its samples mean.
    num_classes : train ids are 0 to num_classes - 1.
    size : (height, width) of the image.

    Raises
    ------
    MaskError : another size than its image, values or colours that the code does not allow, or not a picture of
        classes.
    DataError : the file is not the one recorded.
    """
    try:
        data, sha256 = read_bytes(path, name, size[0] * size[1] / 1e6, expected_sha256)
        header = read_header(data)
        check_mask_header(header)
        if (header.height, header.width) != size:
            found = f"it is {header.width} x {header.height}, its image is {size[1]} x {size[0]}"
            raise Refused(f"{found}. Masks are never resized.")
        mask_HW = _to_train_ids(read_samples(data, header), code, num_classes)
        return Loaded(mask_HW, len(data), sha256)
    except Refused as refusal:
        reason = str(refusal).removesuffix(".")
        raise MaskError(f"mask {name}: {reason}.", kept="No labels were taken.", remedy=refusal.remedy) from refusal


def _to_train_ids(samples: Samples, code: MaskCode, num_classes: int) -> NDArray[np.uint8]:
    raw_HW = samples.as_colours() if code.colours else samples.as_values()
    ids_HW = (code.by_colour if code.colours else code.values)[raw_HW]
    wrong_HW = (ids_HW < 0) | ((ids_HW >= num_classes) & (ids_HW != IGNORE))
    if wrong_HW.any():
        row, col = np.argwhere(wrong_HW)[0].tolist()
        count = int(np.count_nonzero(wrong_HW & (raw_HW == raw_HW[row, col])))
        where = f"at {count:,} pixels, first at ({row}, {col})"
        raise Refused(_unknown(int(raw_HW[row, col]), where, code, num_classes))
    return ids_HW.astype(np.uint8)


def _unknown(raw: int, where: str, code: MaskCode, num_classes: int) -> str:
    if not code.colours:
        return f"holds class {raw} {where}; this run has {_allowed(code.values, num_classes)}."
    colour = unpack(raw)
    nearest = nearest_colour(colour, code.colours)
    meaning = meaning_of(code.colours[nearest], code.class_names)
    known = f"the nearest known colour is {colour_text(nearest)} = {meaning}."
    return f"holds colour {colour_text(colour)} {where}, which has no meaning in data.mask_values; {known}"


def nearest_colour(colour: Colour, known: Iterable[Colour]) -> Colour:
    """The closest of the known colours, by squared distance in RGB."""
    return min(known, key=lambda other: sum((a - b) ** 2 for a, b in zip(colour, other, strict=True)))


def meaning_of(id: int, class_names: tuple[str, ...]) -> str:
    """A train id in words: the class name, or "ignore"."""
    if id == IGNORE:
        return "ignore"
    return class_names[id] if id < len(class_names) else f"class {id}"


def _allowed(lut: NDArray[np.int16], num_classes: int) -> str:
    ignored = np.flatnonzero(lut == IGNORE).tolist()
    classes = np.flatnonzero((lut >= 0) & (lut < num_classes)).tolist()
    return f"classes {_ranges(classes)} and {_ranges(ignored)} = unlabelled"


def _ranges(ids: list[int]) -> str:
    """[0, 1, 2, 7] -> "0-2, 7"."""
    starts = [i for i in ids if i - 1 not in ids]
    ends = [i for i in ids if i + 1 not in ids]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


def resize_mask(mask_HW: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Nearest class id at pixel centres: output row i takes input row floor((i + 1/2) * H / height)."""
    if mask_HW.shape == (height, width):
        return mask_HW
    rows, cols = (
        (2 * np.arange(count) + 1) * source // (2 * count)
        for source, count in zip(mask_HW.shape, (height, width), strict=True)
    )
    return np.ascontiguousarray(mask_HW[rows[:, None], cols])


def write_mask(target: Path | IO[bytes], mask_HW: NDArray[np.uint8], palette: NDArray[np.uint8]) -> None:
    """Write class ids as an indexed 8-bit PNG; `palette`, uint8 (C, 3), is for the eyes of people. Raises OSError."""
    image = Image.fromarray(mask_HW)
    # All 256 colours: with fewer, Pillow packs pixels into fewer bits and 255 becomes another id.
    image.putpalette(palette.tobytes().ljust(3 * 256, b"\0"))
    image.save(target, format="PNG")


def read_own_mask(path: Path) -> NDArray[np.uint8]:
    """uint8 (H, W) ids of a mask that `write_mask` wrote. Raises RunStateError where it is damaged."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return np.asarray(image)
    except DECODE_ERRORS as error:
        remedy = "Delete its cycle folder and run the same command."
        raise RunStateError(f"{path}: {one_line(error)}.", remedy=remedy) from error
