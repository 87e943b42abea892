"""PNG: a walk over the chunks with their checksums, and the pixels of 16-bit pictures, which Pillow cuts to 8 bits."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from s4al.data.formats.header import Header, Refused, Samples

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_PIECE_BYTES = 2**20
_WHOLE = ((0, 0, 1, 1),)  # y0 x0 dy dx
_ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)
_CHANNELS = {"grey": 1, "palette": 1, "grey+alpha": 2, "rgb": 3, "rgb+alpha": 4}


def read_png(data: bytes) -> Header:
    """Raises Refused."""
    chunks = _png_chunks(data)
    kind, body = next(chunks)
    header = _read_ihdr(kind, body)
    kinds = {kind for kind, _ in chunks}
    if b"IDAT" not in kinds:
        raise Refused("holds no pixels")
    return replace(header, transparent=b"tRNS" in kinds, animated=b"acTL" in kinds)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """(kind, body) of every chunk up to and with IEND, checksums verified; what follows is not part of the picture."""
    view, position, kind = memoryview(data), len(PNG_SIGNATURE), b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise Refused("ends early")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise Refused("ends early")
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise Refused(f"damaged: the checksum of its {kind.decode('latin-1')!r} chunk does not match")
        yield kind, view[position + 8 : end - 4]
        position = end


def check_png_pixels(data: bytes, header: Header) -> None:
    """Unpack the pixels once, in small pieces, and see that all are there: Pillow takes missing rows for black.

    Raises Refused.
    """
    for _ in _unpacked(data, header):
        pass


def _unpacked(data: bytes, header: Header) -> Iterator[bytes]:
    """Filter bytes and samples in small pieces; at least as many as the picture needs, and hardly more."""
    expected, found, inflate = sum(rows * (1 + size) for *_, rows, size in _passes(header)), 0, zlib.decompressobj()
    try:
        for kind, body in _png_chunks(data):
            piece = bytes(body) if kind == b"IDAT" else b""
            while piece and found < expected:
                unpacked = inflate.decompress(piece, _PIECE_BYTES)
                piece = inflate.unconsumed_tail
                found += len(unpacked)
                yield unpacked
    except zlib.error as error:
        raise Refused(f"damaged: its pixels cannot be unpacked ({error})") from error
    if found < expected:
        raise Refused(f"ends early: {found:,} of {expected:,} bytes of pixels")


def _passes(header: Header) -> Iterator[tuple[int, int, int, int, int, int]]:
    """(y0, x0, dy, dx, rows, bytes a row without the filter byte) of every pass that holds pixels."""
    for y0, x0, dy, dx in _ADAM7 if header.interlaced else _WHOLE:
        rows, cols = -(-(header.height - y0) // dy), -(-(header.width - x0) // dx)
        if rows > 0 and cols > 0:
            yield y0, x0, dy, dx, rows, -(-cols * _CHANNELS[header.mode] * header.bits // 8)


def read_16_bit_png(data: bytes, header: Header) -> Samples:
    """All 16 bits of every sample. Raises Refused."""
    channels = _CHANNELS[header.mode]
    raw = np.frombuffer(b"".join(_unpacked(data, header)), np.uint8)
    pixels_HWC = np.empty((header.height, header.width, channels), np.uint16)
    for y0, x0, dy, dx, rows, size in _passes(header):
        lines, raw = raw[: rows * (1 + size)].reshape(rows, 1 + size), raw[rows * (1 + size) :]
        if lines[:, 0].max() > 4:
            raise Refused(f"damaged: PNG filter {lines[:, 0].max()} does not exist")
        bytes_HWB = _unfilter(lines[:, 1:].reshape(rows, -1, 2 * channels), lines[:, 0])
        pixels_HWC[y0::dy, x0::dx] = np.ascontiguousarray(bytes_HWB).view(">u2")
    return Samples(pixels_HWC)


def _unfilter(filtered_HWB: NDArray[np.uint8], filters_H: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo PNG's row filters, one anti-diagonal at a time: a byte needs its left, upper and upper left neighbours."""
    height, width, depth = filtered_HWB.shape
    out = np.zeros((height + 1, width + 1, depth), np.uint8)  # a row and a column of zeros in front
    for diagonal in range(height + width - 1):
        rows = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        cols = diagonal - rows
        left, up, corner = (out[r, c].astype(np.int16) for r, c in ((rows + 1, cols), (rows, cols + 1), (rows, cols)))
        predictions = (np.int16(0), left, up, (left + up) // 2, _paeth(left, up, corner))
        predicted = np.choose(filters_H[rows, None], predictions)
        out[rows + 1, cols + 1] = (filtered_HWB[rows, cols] + predicted) & 255
    return out[1:, 1:]


def _paeth(left: NDArray[np.int16], up: NDArray[np.int16], corner: NDArray[np.int16]) -> NDArray[np.int16]:
    """Whichever neighbour is nearest to left + up - corner."""
    to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    return np.where((to_left <= to_up) & (to_left <= to_corner), left, np.where(to_up <= to_corner, up, corner))


def _read_ihdr(kind: bytes, body: memoryview) -> Header:
    if kind != b"IHDR" or len(body) != 13:
        raise Refused("damaged: the first chunk is not a PNG header")
    width, height, bits, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
    match colour:
        case 0:
            mode = "grey"
        case 2:
            mode = "rgb"
        case 3:
            mode = "palette"
        case 4:
            mode = "grey+alpha"
        case 6:
            mode = "rgb+alpha"
        case _:
            raise Refused(f"damaged: PNG colour type {colour} does not exist")
    return Header("PNG", height, width, bits, mode, interlaced=interlace == 1)
