"""The one decoder and the one mask reader, with limits; resizing.

A picture that cannot be read for certain is refused with a reason, never guessed. Accepted: JPEG and PNG of 8 bits or
less a channel, grey, RGB or palette, one frame, no alpha. Images, masks and their names are untrusted input.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from s4al.data.cache import CacheWriter as CacheWriter
from s4al.data.cache import ImageCache as ImageCache
from s4al.data.headers import Header, Refused, check_pixel_data, read_header
from s4al.errors import DataError, ImageError, MaskError, RunStateError

Exif = Literal["apply", "refuse"]
IGNORE = 255  # in every uint8 label array: not labelled, or void
VOID = 254  # in a training's labels, where the two differ: somebody looked and found no class
RESIZE_RECIPE = "pillow bilinear, antialiased"

_EXIF_ORIENTATION = 274
_TURNED = range(2, 9)  # 1 is upright; 0 and values beyond 8 mean nothing
_MAX_METADATA_BYTES = 2**24
# What Pillow raises for damaged or hostile files; UserWarning where the caller made warnings errors.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
    UserWarning,
)

# Pillow's advice; `max_megapixels` is checked before Pillow sees the file, this is the second fence.
warnings.simplefilter("error", Image.DecompressionBombWarning)
# Pillow warns of corrupt EXIF. Every viewer then shows the picture as it is stored, and so is it read here.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")


@dataclass(frozen=True)
class Loaded:
    """Decoded pixels, and the identity of the file they came from (the same bytes were hashed and decoded)."""

    pixels: NDArray[np.uint8]
    num_bytes: int
    sha256: str


def read_image(
    path: Path, *, max_megapixels: float, expected_sha256: str | None = None, exif: Exif = "apply"
) -> NDArray[np.uint8]:
    """Read a JPEG or PNG as (H, W, 3) uint8 RGB, see `load_image`."""
    return load_image(path, path.name, max_megapixels=max_megapixels, expected_sha256=expected_sha256, exif=exif).pixels


def load_image(
    path: Path, name: str, *, max_megapixels: float, expected_sha256: str | None = None, exif: Exif = "apply"
) -> Loaded:
    """Read a JPEG or PNG as (H, W, 3) uint8 RGB.

    Parameters
    ----------
    name : what messages call the file.
    max_megapixels : limit on height x width, checked before anything is decoded.
    expected_sha256 : of the file's bytes, as recorded when the run began.
    exif : "apply" turns the picture as its EXIF orientation says; "refuse" is for pictures with a mask, which would
        not be turned with it.

    Raises
    ------
    ImageError : the file cannot be used; `what` is "<name>: <reason>".
    DataError : the file is not the one recorded.
    """
    try:
        data, sha256 = _read_bytes(path, name, max_megapixels, expected_sha256)
        header = read_header(data)
        _check_picture(header, max_megapixels)
        check_pixel_data(data, header)
        return Loaded(_decode_rgb(data, exif), len(data), sha256)
    except Refused as refusal:
        raise ImageError(f"{name}: {refusal}") from refusal


def read_mask(
    path: Path, lut: NDArray[np.int16], num_classes: int, size: tuple[int, int], expected_sha256: str | None = None
) -> NDArray[np.uint8]:
    """Read a PNG of class ids as (H, W) uint8 of train ids, 255 = ignore, see `load_mask`."""
    return load_mask(path, path.name, lut, num_classes, size, expected_sha256).pixels


def load_mask(
    path: Path,
    name: str,
    lut: NDArray[np.int16],
    num_classes: int,
    size: tuple[int, int],
    expected_sha256: str | None = None,
) -> Loaded:
    """Read a PNG of class ids as (H, W) uint8 of train ids, 255 = ignore.

    Parameters
    ----------
    name : what messages call the file.
    lut : (65536,) raw value -> train id, 255 = ignore, -1 = not allowed. Palette masks give their indices as values.
    num_classes : train ids are 0 to num_classes - 1.
    size : (height, width) of the image.

    Raises
    ------
    MaskError : another size than its image, values that the lut does not allow, or not a picture of class ids.
    DataError : the file is not the one recorded.
    """
    try:
        data, sha256 = _read_bytes(path, name, size[0] * size[1] / 1e6, expected_sha256)
        header = read_header(data)
        _check_mask(header, size)
        check_pixel_data(data, header)
        mask_HW = _to_train_ids(_decode_ids(data, header), lut, num_classes)
        return Loaded(mask_HW, len(data), sha256)
    except Refused as refusal:
        raise MaskError(f"mask {name}: {refusal}", kept="No labels were taken.") from refusal


def _read_bytes(path: Path, name: str, max_megapixels: float, expected_sha256: str | None) -> tuple[bytes, str]:
    """The bytes of a regular file and their sha256."""
    limit_bytes = int(max_megapixels * 1e6) * 8 + _MAX_METADATA_BYTES
    try:
        # O_NONBLOCK: opening a FIFO would otherwise wait for a writer for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise Refused("not a regular file")
            if status.st_size > limit_bytes:
                raise Refused(f"the file has {status.st_size:,} bytes (limit {limit_bytes:,})")
            with open(descriptor, "rb", closefd=False) as stream:
                data = stream.read(status.st_size + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Refused(f"cannot be read ({error.strerror})") from error
    if len(data) != status.st_size:
        raise Refused("its size changed while it was being read")
    sha256 = hashlib.sha256(data).hexdigest()
    if expected_sha256 not in (None, sha256):
        raise DataError(
            f"{name} changed since this run began (sha256 differs).",
            kept="Nothing was read from it.",
            remedy="Restore the file, or start a new run.",
        )
    return data, sha256


def _check_picture(header: Header, max_megapixels: float) -> None:
    if header.height < 1 or header.width < 1:
        raise Refused(f"its size is {header.width} x {header.height}")
    if header.height * header.width > max_megapixels * 1e6:
        raise Refused(f"it is {header.width} x {header.height} (limit {max_megapixels:g} megapixels)")
    if header.bits > 8:
        raise Refused(f"{header.bits}-bit (8-bit images are read)")
    if header.mode == "cmyk":
        raise Refused("CMYK or YCCK (RGB and grey images are read)")
    if header.mode.endswith("alpha") or header.transparent:
        raise Refused("it has an alpha channel (opaque images are read)")
    if header.animated:
        raise Refused("animated (single pictures are read)")


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


def _decode_rgb(data: bytes, exif: Exif) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
            orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)
            turned = orientation in _TURNED
            if turned and exif == "refuse":
                raise Refused(f"its EXIF orientation is {orientation}, which its mask does not follow")
            upright = ImageOps.exif_transpose(picture) if turned else picture
            return np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))
    except Refused:
        raise
    except _DECODE_ERRORS as error:
        raise Refused(_one_line(error)) from error


def _decode_ids(data: bytes, header: Header) -> NDArray[np.integer]:
    """Raw samples. Pillow spreads 2- and 4-bit grey over 0..255, as pictures want it; class ids want it undone."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            samples_HW = np.asarray(picture)
    except _DECODE_ERRORS as error:
        raise Refused(_one_line(error)) from error
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


def _one_line(error: BaseException) -> str:
    return f"cannot be decoded ({' '.join(str(error).split())[:120] or type(error).__name__})"


def resize_image(image_HWC: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Pillow's bilinear filter, antialiased when shrinking; the image itself where the size agrees."""
    if image_HWC.shape[:2] == (height, width):
        return image_HWC
    resized = Image.fromarray(image_HWC).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


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
    except _DECODE_ERRORS as error:
        remedy = "Delete its cycle folder and run the same command."
        raise RunStateError(f"{path}: {_one_line(error)}.", remedy=remedy) from error
