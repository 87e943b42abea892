"""JPEG: a walk over the markers."""

from __future__ import annotations

import re
import struct

from s4al.data.formats.header import Header, Refused

MAX_JPEG_SCANS = 100  # libjpeg-turbo's own limit against progressive bombs

_MARKER = re.compile(rb"\xff([\x01\xc0-\xcf\xd8-\xfe])")  # stuffing (0), restart and fill bytes are no markers
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOFn without DHT, JPG, DAC


def read_jpeg(data: bytes) -> Header:
    """Raises Refused."""
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
    return Header("JPEG", height, width, bits, mode, lossless=False)
