"""BMP: uncompressed pictures of 1, 4, 8, 24 and 32 bits, read without a codec."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s4al.data.formats.header import Header, Refused, Samples

_CORE, _INFO = 12, 40  # bytes of OS/2's header and of the usual one, which later ones only make longer
_HEADER_SIZES = (_CORE, _INFO, 52, 56, 64, 108, 124)
_OS2 = 64
_UNCOMPRESSED, _BIT_FIELDS = 0, 3
_COMPRESSED = {1: "RLE-compressed", 2: "RLE-compressed", 4: "JPEG-compressed", 5: "PNG-compressed"}
_BYTE_OF_MASK = {0xFF: 0, 0xFF00: 1, 0xFF0000: 2, 0xFF000000: 3, 0: -1}
_BGRX = (2, 1, 0, 3)  # which byte of four is red, green, blue, alpha


@dataclass(frozen=True)
class _Layout:
    height: int
    width: int
    bits: int
    top_down: bool
    offset: int
    row_bytes: int
    palette_at: int
    palette_count: int
    palette_entry: int
    order: tuple[int, int, int, int]  # of the bytes of 32 bits; alpha is -1 where there is none
    alpha_is_stated: bool


def read_bmp(data: bytes) -> Header:
    """Raises Refused."""
    layout = _read_layout(data)
    alpha = layout.bits == 32 and layout.alpha_is_stated
    mode = "palette" if layout.bits <= 8 else "rgb+alpha" if alpha else "rgb"
    return Header("BMP", layout.height, layout.width, min(layout.bits, 8), mode)


def read_bmp_pixels(data: bytes) -> Samples:
    """Rows from the top, RGB, with alpha where the file has any. Raises Refused."""
    layout = _read_layout(data)
    rows_HB = np.frombuffer(data, np.uint8, layout.height * layout.row_bytes, layout.offset)
    rows_HB = rows_HB.reshape(layout.height, layout.row_bytes)
    if not layout.top_down:
        rows_HB = rows_HB[::-1]
    if layout.bits <= 8:
        return Samples(_indices(rows_HB, layout), _read_palette(data, layout))
    used = layout.width * layout.bits // 8
    pixels_HWC = rows_HB[:, :used].reshape(layout.height, layout.width, -1)
    if layout.bits == 24:
        return Samples(pixels_HWC[:, :, ::-1])
    red, green, blue, alpha = layout.order
    # Without a stated alpha the fourth byte is padding, and zero; where it is not, it may be meant.
    with_alpha = alpha >= 0 and (layout.alpha_is_stated or bool(pixels_HWC[:, :, alpha].any()))
    return Samples(pixels_HWC[:, :, [red, green, blue, alpha] if with_alpha else [red, green, blue]])


def _indices(rows_HB: NDArray[np.uint8], layout: _Layout) -> NDArray[np.uint8]:
    if layout.bits == 1:
        indices = np.unpackbits(rows_HB, axis=1)
    elif layout.bits == 4:
        indices = np.stack([rows_HB >> np.uint8(4), rows_HB & np.uint8(15)], axis=2).reshape(layout.height, -1)
    else:
        indices = rows_HB
    return indices[:, : layout.width, None]


def _read_palette(data: bytes, layout: _Layout) -> NDArray[np.uint8]:
    size = layout.palette_count * layout.palette_entry
    entries = np.frombuffer(data, np.uint8, size, layout.palette_at).reshape(-1, layout.palette_entry)
    return entries[:, 2::-1]


def _read_layout(data: bytes) -> _Layout:
    if len(data) < 14 + _CORE:
        raise Refused("ends early")
    offset, size = struct.unpack_from("<II", data, 10)
    if size not in _HEADER_SIZES:
        raise Refused(f"damaged: a BMP header of {size:,} bytes does not exist")
    if len(data) < 14 + size:
        raise Refused("ends early")
    if size == _CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = colours = 0
    else:
        width, height, _, bits, compression, _, _, _, colours = struct.unpack_from("<iiHHIIiiI", data, 18)
    if compression == _BIT_FIELDS and size == _OS2:
        raise Refused("a BMP compressed as OS/2 did, which is not supported")
    _check_kind(bits, compression)
    if width < 1 or height == 0:
        raise Refused(f"its size is {width} x {height}")
    masks_bytes = 12 if compression == _BIT_FIELDS and size == _INFO else 0
    palette_at, entry = 14 + size + masks_bytes, 3 if size == _CORE else 4
    if offset < palette_at:
        raise Refused("damaged: its pixels begin inside its header")
    row_bytes = (width * bits + 31) // 32 * 4
    if offset + row_bytes * abs(height) > len(data):
        raise Refused(f"ends early: {max(0, len(data) - offset):,} of {row_bytes * abs(height):,} bytes of pixels")
    count = min(colours or 2**bits, 2**bits, (offset - palette_at) // entry) if bits <= 8 else 0
    order, stated = _channel_order(data, size, bits, compression)
    layout = (abs(height), width, bits, height < 0, offset, row_bytes, palette_at, count, entry)
    return _Layout(*layout, order=order, alpha_is_stated=stated)


def _check_kind(bits: int, compression: int) -> None:
    if compression in _COMPRESSED:
        raise Refused(f"a BMP that is {_COMPRESSED[compression]} (uncompressed ones are read)")
    if compression not in (_UNCOMPRESSED, _BIT_FIELDS):
        raise Refused(f"damaged: BMP compression {compression} does not exist")
    if bits not in (1, 4, 8, 24, 32) or (compression == _BIT_FIELDS and bits != 32):
        raise Refused(f"a BMP of {bits} bits a pixel (1, 4, 8, 24 and 32 bits are read)")


def _channel_order(data: bytes, size: int, bits: int, compression: int) -> tuple[tuple[int, int, int, int], bool]:
    """Which byte of a 32-bit pixel is what, and whether the file says that one is alpha."""
    if compression != _BIT_FIELDS or bits != 32:
        return _BGRX, False
    if len(data) < 14 + _INFO + 12:
        raise Refused("ends early")
    masks = struct.unpack_from("<III", data, 14 + _INFO)
    alpha = int.from_bytes(data[14 + _INFO + 12 : 14 + _INFO + 16], "little") if size >= 56 else 0
    order = tuple(_BYTE_OF_MASK.get(mask, -2) for mask in (*masks, alpha))
    used = [position for position in order if position != -1]
    if -2 in used or len(set(used)) != len(used) or -1 in order[:3]:
        raise Refused("a BMP whose channels are no whole bytes (8 bits a channel are read)")
    red, green, blue, transparency = order
    return (red, green, blue, transparency), transparency >= 0
