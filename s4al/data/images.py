"""The one reader of images, with limits; EXIF orientation; resizing.

A picture that cannot be read for certain is refused with a reason, never guessed. Accepted: JPEG, PNG, BMP, TIFF and
WebP, one picture a file, grey, RGB or palette, opaque; 8 bits or less a channel, and 16 bits with a stated range.
Images, masks and their names are untrusted input.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4al.data.cache import CacheWriter as CacheWriter
from s4al.data.cache import ImageCache as ImageCache
from s4al.data.decode import DECODE_ERRORS as DECODE_ERRORS
from s4al.data.decode import SAVE_OPAQUE, SET_RANGE, decode_rgb
from s4al.data.decode import ValueRange as ValueRange
from s4al.data.decode import one_line as one_line
from s4al.data.headers import Header, Refused, check_pixel_data, read_header
from s4al.errors import DataError, ImageError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")  # of names in any case
RESIZE_RECIPE = "pillow bilinear, antialiased"

MOST_MEGAPIXELS = 89  # Pillow's own limit, and that of data.max_megapixels

_TURNED = range(2, 9)  # 1 is upright; 0 and values beyond 8 mean nothing
_MAX_METADATA_BYTES = 2**24

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
    path: Path,
    *,
    max_megapixels: float,
    expected_sha256: str | None = None,
    value_range: ValueRange = (),
    mask_size: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """Read an image as (H, W, 3) uint8 RGB, see `load_image`."""
    return load_image(
        path,
        path.name,
        max_megapixels=max_megapixels,
        expected_sha256=expected_sha256,
        value_range=value_range,
        mask_size=mask_size,
    ).pixels


def load_image(
    path: Path,
    name: str,
    *,
    max_megapixels: float,
    expected_sha256: str | None = None,
    value_range: ValueRange = (),
    mask_size: tuple[int, int] | None = None,
) -> Loaded:
    """Read an image as (H, W, 3) uint8 RGB.

    Parameters
    ----------
    name : what messages call the file.
    max_megapixels : limit on height x width, checked before anything is decoded.
    expected_sha256 : of the file's bytes, as recorded when the run began.
    value_range : of 16-bit images: the samples that are black (0) and white (255); linear between them, rounded to the
        nearest, clipped beyond them. () where it is not known: they are refused.
    mask_size : (height, width) of the image's mask, None where there is none. A picture with an EXIF orientation is
        turned as it says, unless only its stored size is that of the mask.

    Raises
    ------
    ImageError : the file cannot be used; `what` is "<name>: <reason>".
    DataError : the file is not the one recorded.
    ConfigError : `value_range` is no range.
    """
    try:
        data, sha256 = read_bytes(path, name, max_megapixels, expected_sha256)
        header = read_header(data)
        _check_picture(header, max_megapixels, value_range)
        if header.format != "TIFF":  # there, decoding finds out what is missing
            check_pixel_data(data, header)
        stored_HWC, orientation = decode_rgb(data, header, value_range)
        turn = orientation in _TURNED and _is_turned(orientation, stored_HWC.shape[:2], mask_size)
        return Loaded(_turn(stored_HWC, orientation) if turn else stored_HWC, len(data), sha256)
    except Refused as refusal:
        raise ImageError(f"{name}: {refusal}", remedy=refusal.remedy) from refusal


def stored_size(path: Path, name: str, *, max_megapixels: float) -> tuple[int, int]:
    """(height, width) by a file's header alone, before any EXIF turn. Raises ImageError."""
    try:
        header = read_header(read_bytes(path, name, max_megapixels, None)[0])
    except Refused as refusal:
        raise ImageError(f"{name}: {refusal}", remedy=refusal.remedy) from refusal
    return header.height, header.width


def read_bytes(path: Path, name: str, max_megapixels: float, expected_sha256: str | None) -> tuple[bytes, str]:
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


def _check_picture(header: Header, max_megapixels: float, value_range: ValueRange) -> None:
    if header.height < 1 or header.width < 1:
        raise Refused(f"its size is {header.width} x {header.height}")
    if header.height * header.width > max_megapixels * 1e6:
        limit = f"limit {max_megapixels:g} megapixels, data.max_megapixels"
        raise Refused(f"it is {header.width} x {header.height} ({limit})", larger_limit(header))
    if header.mode == "cmyk":
        raise Refused("CMYK or YCCK (RGB and grey images are read)", "Save them as RGB.")
    if header.bits == 16 and not value_range:
        what = "16-bit, where 8-bit images are read unless data.value_range says what is black and white"
        raise Refused(f"{what} (data.value_range=0,65535)", SET_RANGE)
    if header.bits > 8 and header.bits != 16:
        raise Refused(f"{header.bits}-bit (8-bit images are read, and 16-bit ones with data.value_range)")
    if header.transparent and (header.bits == 16 or (header.bits < 8 and header.mode == "grey")):
        raise Refused(f"one of its {header.bits}-bit values is transparent (opaque images are read)", SAVE_OPAQUE)
    if header.animated:
        raise Refused("animated (single pictures are read)")


def larger_limit(header: Header) -> str:
    """What to do about a picture with more pixels than `data.max_megapixels`."""
    needed = math.ceil(header.height * header.width / 1e6)
    if needed > MOST_MEGAPIXELS:
        return f"Make them smaller, or cut them up: up to {MOST_MEGAPIXELS} megapixels can be read."
    return f"Set data.max_megapixels={needed}."


def _is_turned(orientation: int, stored: tuple[int, ...], mask_size: tuple[int, int] | None) -> bool:
    """Whether a picture has to be turned as its EXIF orientation says, by the size of its mask."""
    shown = stored[::-1] if orientation >= 5 else stored
    if mask_size is not None and mask_size == stored == shown:
        raise Refused(
            f"its EXIF orientation is {orientation}, and its mask of {mask_size[1]} x {mask_size[0]} fits it both as "
            "it is stored and as it is shown. Save the image the way its mask lies, without that orientation",
            "Save the images again the way their masks lie, without an EXIF orientation.",
        )
    return mask_size is None or mask_size != stored


def _turn(stored_HWC: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The picture as it is to be shown."""
    turned_HWC = stored_HWC.swapaxes(0, 1) if orientation >= 5 else stored_HWC
    if orientation in (3, 4, 7, 8):
        turned_HWC = turned_HWC[::-1]
    if orientation in (2, 3, 6, 7):
        turned_HWC = turned_HWC[:, ::-1]
    return np.ascontiguousarray(turned_HWC)


def resize_image(image_HWC: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Pillow's bilinear filter, antialiased when shrinking; the image itself where the size agrees."""
    if image_HWC.shape[:2] == (height, width):
        return image_HWC
    resized = Image.fromarray(image_HWC).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)
