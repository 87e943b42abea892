"""The one decoder of images, with limits; resizing.

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
from s4al.errors import DataError, ImageError

Exif = Literal["apply", "refuse"]
RESIZE_RECIPE = "pillow bilinear, antialiased"

_EXIF_ORIENTATION = 274
_TURNED = range(2, 9)  # 1 is upright; 0 and values beyond 8 mean nothing
_MAX_METADATA_BYTES = 2**24
# What Pillow raises for damaged or hostile files; UserWarning where the caller made warnings errors.
DECODE_ERRORS = (
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
        data, sha256 = read_bytes(path, name, max_megapixels, expected_sha256)
        header = read_header(data)
        _check_picture(header, max_megapixels)
        check_pixel_data(data, header)
        return Loaded(_decode_rgb(data, exif), len(data), sha256)
    except Refused as refusal:
        raise ImageError(f"{name}: {refusal}") from refusal


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
    except DECODE_ERRORS as error:
        raise Refused(one_line(error)) from error


def one_line(error: BaseException) -> str:
    return f"cannot be decoded ({' '.join(str(error).split())[:120] or type(error).__name__})"


def resize_image(image_HWC: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Pillow's bilinear filter, antialiased when shrinking; the image itself where the size agrees."""
    if image_HWC.shape[:2] == (height, width):
        return image_HWC
    resized = Image.fromarray(image_HWC).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)
