"""The one reader of masks, and what is written for people to look at.

A mask is never guessed: a value without a meaning, another size than its image's, or a format that changes values is
refused. Masks and their names are untrusted input.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4al.data.headers import Header, Refused, check_pixel_data, read_header
from s4al.data.images import DECODE_ERRORS, Loaded, one_line, read_bytes
from s4al.errors import MaskError, RunStateError

IGNORE = 255  # in every uint8 label array: not labelled, or void
VOID = 254  # in a training's labels, where the two differ: somebody looked and found no class


@dataclass(frozen=True, eq=False)
class MaskCode:
    """What the samples of a data set's masks mean.

    Attributes
    ----------
    values : (65536,) int16, raw sample -> train id, 255 = ignore, -1 = not allowed. Palette masks give their indices.
    colours : RGB -> train id or 255. Where it is not empty, masks are read by colour, palette masks through their
        palette, and `values` is not looked at.
    """

    values: NDArray[np.int16]
    colours: dict[tuple[int, int, int], int] = field(default_factory=dict)


def identity_code(num_classes: int, void: Iterable[int] = ()) -> MaskCode:
    """Mask value = train id; `void` values and 255 are ignored, all others are not allowed."""
    values = np.full(2**16, -1, np.int16)
    values[:num_classes] = np.arange(num_classes)
    values[[*void, IGNORE]] = IGNORE
    return MaskCode(values)


def read_mask(
    path: Path, code: MaskCode, num_classes: int, size: tuple[int, int], expected_sha256: str | None = None
) -> NDArray[np.uint8]:
    """Read a PNG of class ids as (H, W) uint8 of train ids, 255 = ignore, see `load_mask`."""
    return load_mask(path, path.name, code, num_classes, size, expected_sha256).pixels


def load_mask(
    path: Path,
    name: str,
    code: MaskCode,
    num_classes: int,
    size: tuple[int, int],
    expected_sha256: str | None = None,
) -> Loaded:
    """Read a PNG of class ids as (H, W) uint8 of train ids, 255 = ignore.

    Parameters
    ----------
    name : what messages call the file.
    code : what its samples mean.
    num_classes : train ids are 0 to num_classes - 1.
    size : (height, width) of the image.

    Raises
    ------
    MaskError : another size than its image, values that the code does not allow, or not a picture of class ids.
    DataError : the file is not the one recorded.
    """
    try:
        data, sha256 = read_bytes(path, name, size[0] * size[1] / 1e6, expected_sha256)
        header = read_header(data)
        _check_mask(header, size)
        check_pixel_data(data, header)
        mask_HW = _to_train_ids(_decode_ids(data, header), code.values, num_classes)
        return Loaded(mask_HW, len(data), sha256)
    except Refused as refusal:
        raise MaskError(f"mask {name}: {refusal}", kept="No labels were taken.") from refusal


def _check_mask(header: Header, size: tuple[int, int]) -> None:
    if header.format != "PNG":
        raise Refused("a JPEG, which does not keep class ids exactly; masks are PNG files")
    if header.animated:
        raise Refused("animated (single pictures are read)")
    if header.mode not in ("grey", "palette"):
        raise Refused(f"an {header.mode} picture; a mask has one channel of class ids (8-bit grey or palette)")
    if (header.height, header.width) != size:
        raise Refused(
            f"it is {header.width} x {header.height}, its image is {size[1]} x {size[0]}. Masks are never resized."
        )


def _decode_ids(data: bytes, header: Header) -> NDArray[np.integer]:
    """Raw samples. Pillow spreads 2- and 4-bit grey over 0..255, as pictures want it; class ids want it undone."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            samples_HW = np.asarray(picture)
    except DECODE_ERRORS as error:
        raise Refused(one_line(error)) from error
    if header.mode == "grey" and header.bits in (2, 4):
        return samples_HW // (255 // (2**header.bits - 1))
    return samples_HW.astype(np.uint8) if samples_HW.dtype == np.bool_ else samples_HW


def _to_train_ids(raw_HW: NDArray[np.integer], lut: NDArray[np.int16], num_classes: int) -> NDArray[np.uint8]:
    ids_HW = lut[raw_HW]
    wrong_HW = (ids_HW < 0) | ((ids_HW >= num_classes) & (ids_HW != IGNORE))
    if wrong_HW.any():
        row, col = np.argwhere(wrong_HW)[0].tolist()
        value = int(raw_HW[row, col])
        count = int(np.count_nonzero(wrong_HW & (raw_HW == value)))
        raise Refused(
            f"holds class {value} at {count:,} pixels, first at ({row}, {col}); "
            f"this run has {_allowed(lut, num_classes)}."
        )
    return ids_HW.astype(np.uint8)


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


def write_mask(path: Path, mask_HW: NDArray[np.uint8], palette: NDArray[np.uint8]) -> None:
    """Write class ids as an indexed 8-bit PNG; `palette`, uint8 (C, 3), is for the eyes of people. Raises OSError."""
    image = Image.fromarray(mask_HW)
    # All 256 colours: with fewer, Pillow packs pixels into fewer bits and 255 becomes another id.
    image.putpalette(palette.tobytes().ljust(3 * 256, b"\0"))
    image.save(path, format="PNG")


def read_own_mask(path: Path) -> NDArray[np.uint8]:
    """uint8 (H, W) ids of a mask that `write_mask` wrote. Raises RunStateError where it is damaged."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return np.asarray(image)
    except DECODE_ERRORS as error:
        remedy = "Delete its cycle folder and run the same command."
        raise RunStateError(f"{path}: {one_line(error)}.", remedy=remedy) from error
