"""WebP: a walk over the RIFF chunks, and the size in the header of the codec."""

from __future__ import annotations

import struct

from s4al.data.formats.header import Header, Refused

_MAX_CHUNKS = 10_000
_ANIMATION = 0x02  # a flag of VP8X


def read_webp(data: bytes) -> Header:
    """Raises Refused."""
    chunks = _chunks(data)
    lossless = b"VP8L" in chunks
    if lossless:
        header = _read_lossless(chunks[b"VP8L"])
    elif b"VP8 " in chunks:
        header = _read_lossy(chunks[b"VP8 "], alpha=b"ALPH" in chunks)
    elif b"ANMF" in chunks:
        raise Refused("a WebP that is animated (single pictures are read)")
    else:
        raise Refused("holds no pixels")
    canvas = chunks.get(b"VP8X")
    if canvas is not None:
        _check_canvas(canvas, header)
    return header


def riff_end(data: bytes) -> int:
    """Where the picture ends: what follows is not part of it."""
    return 8 + int.from_bytes(data[4:8], "little")


def _chunks(data: bytes) -> dict[bytes, memoryview]:
    """The first chunk of every kind."""
    if data[8:12] != b"WEBP":
        raise Refused("a RIFF file that is not a WebP")
    end, position, found = riff_end(data), 12, {}
    if end > len(data):
        raise Refused("ends early")
    for _ in range(_MAX_CHUNKS):
        if position + 8 > end:
            return found
        kind, size = struct.unpack_from("<4sI", data, position)
        if position + 8 + size > end:
            raise Refused("ends early")
        found.setdefault(kind, memoryview(data)[position + 8 : position + 8 + size])
        position += 8 + size + size % 2
    raise Refused(f"holds more than {_MAX_CHUNKS:,} chunks")


def _read_lossy(body: memoryview, *, alpha: bool) -> Header:
    if len(body) < 10 or body[0] & 1 or body[3:6] != b"\x9d\x01\x2a":
        raise Refused("damaged: its frame header is not that of a key frame")
    width, height = struct.unpack_from("<HH", body, 6)
    return Header("WEBP", height & 0x3FFF, width & 0x3FFF, 8, "rgb+alpha" if alpha else "rgb", lossless=False)


def _read_lossless(body: memoryview) -> Header:
    if len(body) < 5 or body[0] != 0x2F:
        raise Refused("damaged: its lossless header does not begin as it should")
    bits = int.from_bytes(body[1:5], "little")
    if bits >> 29:
        raise Refused(f"a lossless WebP of version {bits >> 29}, which does not exist")
    width, height, alpha = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bits >> 28 & 1
    return Header("WEBP", height, width, 8, "rgb+alpha" if alpha else "rgb")


def _check_canvas(body: memoryview, header: Header) -> None:
    if len(body) < 10:
        raise Refused("damaged: its VP8X chunk is too short")
    if body[0] & _ANIMATION:
        raise Refused("a WebP that is animated (single pictures are read)")
    width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
    if (height, width) != (header.height, header.width):
        what = f"damaged: its canvas is {width} x {height}, its picture {header.width} x {header.height}"
        raise Refused(what)
