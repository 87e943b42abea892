"""What a PNG or JPEG file says about itself, checked before any codec runs.

Pillow alone is not enough: it drops the low bytes of 16-bit RGB without a word, does not check the CRC of PNG pixels
(one flipped mask in ten loads with wrong classes), and warns about huge pictures only after opening them. A walk over
the chunks or markers settles all of it, costs no decoding, and gives a reason a person understands.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_JPEG_SCANS = 100  # libjpeg-turbo's own limit against progressive bombs

_PIECE_BYTES = 2**20
_ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)  # y0 x0 dy dx
_MARKER = re.compile(rb"\xff([\x01\xc0-\xcf\xd8-\xfe])")  # stuffing (0), restart and fill bytes are no markers
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOFn without DHT, JPG, DAC
_OTHER_FORMATS = {
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"RIFF": "a WebP",
    b"%!PS": "an EPS",
    b"%PDF": "a PDF",
    b"<": "HTML, SVG or XML text",
}


class Refused(ValueError):
    """Why a file cannot be used: a reason without the file's name."""


@dataclass(frozen=True)
class Header:
    """`mode` is what the samples mean; `bits` is per sample; `transparent` means a PNG tRNS chunk."""

    format: Literal["PNG", "JPEG"]
    height: int
    width: int
    bits: int
    mode: Literal["grey", "grey+alpha", "rgb", "rgb+alpha", "palette", "cmyk"]
    transparent: bool = False
    animated: bool = False
    interlaced: bool = False


def read_header(data: bytes) -> Header:
    """Walk over all chunks or markers of a whole file. Raises Refused."""
    if not data:
        raise Refused("the file is empty")
    if data.startswith(PNG_SIGNATURE):
        return _read_png(data)
    if data.startswith(b"\xff\xd8"):
        return _read_jpeg(data)
    kind = next((name for magic, name in _OTHER_FORMATS.items() if data.startswith(magic)), "something else")
    raise Refused(f"not a JPEG or PNG file (it is {kind})")


def _read_png(data: bytes) -> Header:
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


def check_pixel_data(data: bytes, header: Header) -> None:
    """Unpack a PNG's pixels once, in small pieces, and see that all are there: Pillow takes missing rows for black.

    Raises Refused. JPEG data cannot be checked without decoding it.
    """
    if header.format != "PNG":
        return
    expected, found, inflate = _png_pixel_bytes(header), 0, zlib.decompressobj()
    try:
        for kind, body in _png_chunks(data):
            piece = bytes(body) if kind == b"IDAT" else b""
            while piece and found < expected:
                found += len(inflate.decompress(piece, _PIECE_BYTES))
                piece = inflate.unconsumed_tail
    except zlib.error as error:
        raise Refused(f"damaged: its pixels cannot be unpacked ({error})") from error
    if found < expected:
        raise Refused(f"ends early: {found:,} of {expected:,} bytes of pixels")


def _png_pixel_bytes(header: Header) -> int:
    """Filter bytes and samples, before compression."""
    channels = {"grey": 1, "palette": 1, "grey+alpha": 2, "rgb": 3, "rgb+alpha": 4}[header.mode]
    total = 0
    for y0, x0, dy, dx in _ADAM7 if header.interlaced else ((0, 0, 1, 1),):
        rows, cols = -(-(header.height - y0) // dy), -(-(header.width - x0) // dx)
        if rows > 0 and cols > 0:
            total += rows * (1 + -(-cols * channels * header.bits // 8))
    return total


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


def _read_jpeg(data: bytes) -> Header:
    header: Header | None = None
    scans = 0
    position = 2
    while match := _MARKER.search(data, position):
        code, position = match[1][0], match.end()
        if code == 0xD9:  # end of image; what follows it (previews, maker's data) is not part of the picture
            break
        if code in (0x01, 0xD8):  # markers without a body
            continue
        length = int.from_bytes(data[position : position + 2])
        if length < 2 or position + length > len(data):
            raise Refused("ends early")
        if code in _FRAMES:
            if header is not None:
                raise Refused("a hierarchical JPEG, which is not supported")
            header = _read_frame(code, data[position + 2 : position + length])
        scans += code == 0xDA
        if scans > MAX_JPEG_SCANS:
            raise Refused(f"holds more than {MAX_JPEG_SCANS} progressive scans")
        position += length
    else:
        raise Refused("ends early")
    if header is None or not scans:
        raise Refused("holds no pixels")
    return header


def _read_frame(code: int, body: bytes) -> Header:
    if len(body) < 6:
        raise Refused("damaged: its frame header is too short")
    bits, height, width, components = struct.unpack_from(">BHHB", body)
    if code not in (0xC0, 0xC1, 0xC2):
        kind = "arithmetic-coded" if code in (0xC9, 0xCA, 0xCB) else "lossless or hierarchical"
        raise Refused(f"a JPEG of {kind} type, which is not supported")
    match components:
        case 1:
            mode = "grey"
        case 3:
            mode = "rgb"
        case 4:
            mode = "cmyk"
        case _:
            raise Refused(f"a JPEG of {components} channels")
    return Header("JPEG", height, width, bits, mode)
