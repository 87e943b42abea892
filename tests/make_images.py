"""BMP, TIFF and PNG files byte by byte, for what Pillow does not write; and how they are read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from s4al.data.decode import ValueRange
from s4al.data.images import load_image
from s4al.errors import ImageError
from tests.bad_images import HEIGHT, WIDTH, png_chunk

Values = int | Sequence[int]
WORDS = (np.arange(HEIGHT * WIDTH * 3).reshape(HEIGHT, WIDTH, 3) * 7919 % 65536).astype(np.uint16)


def make_tiff(
    blocks: Sequence[bytes], tags: Mapping[int, Values], order: str = "<", *, next_page: int = 0, tiled: bool = False
) -> bytes:
    """One page: header, blocks, values, directory. `tags` override those made here; all are LONG but colour maps."""
    data = (b"II*\0" if order == "<" else b"MM\0*") + bytes(4)
    offsets = []
    for block in blocks:
        offsets.append(len(data))
        data += block
    places, sizes = (324, 325) if tiled else (273, 279)
    entries: dict[int, Values] = {places: offsets, sizes: [len(block) for block in blocks], **tags}
    directory = b""
    for tag, given in sorted(entries.items()):
        values = [given] if isinstance(given, int) else list(given)
        kind, code = (3, "H") if tag == 320 else (4, "I")
        body = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(body) > 4:
            body, data = struct.pack(f"{order}I", len(data)), data + body
        directory += struct.pack(f"{order}HHI", tag, kind, len(values)) + body.ljust(4, b"\0")
    start = len(data)
    page = struct.pack(f"{order}H", len(entries)) + directory + struct.pack(f"{order}I", next_page)
    return data[:4] + struct.pack(f"{order}I", start) + data[8:] + page


def tiff_of(pixels: np.ndarray, order: str = "<", **tags: int) -> bytes:
    """An uncompressed TIFF in one strip, grey or RGB, 8 or 16 bits. `tags` are `t262=1`."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    body = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    about: dict[int, Values] = {
        256: width,
        257: height,
        258: [8 * pixels.itemsize] * channels,
        262: 1 if channels < 3 else 2,
        277: channels,
        278: height,
    }
    if channels in (2, 4):
        about[338] = 2
    return make_tiff([body], {**about, **{int(name[1:]): value for name, value in tags.items()}}, order)


def tiled_tiff(pixels: np.ndarray, tile: tuple[int, int], *, pack: bool, planar: bool) -> bytes:
    """(H, W, C) uint8 in tiles that reach beyond the picture, deflated or not, channels together or apart."""
    height, width, channels = pixels.shape
    padded = np.zeros((-(-height // tile[0]) * tile[0], -(-width // tile[1]) * tile[1], channels), np.uint8)
    padded[:height, :width] = pixels
    planes = [padded[:, :, c : c + 1] for c in range(channels)] if planar else [padded]
    blocks = [
        plane[y : y + tile[0], x : x + tile[1]].tobytes()
        for plane in planes
        for y in range(0, height, tile[0])
        for x in range(0, width, tile[1])
    ]
    tags: dict[int, Values] = {256: width, 257: height, 258: [8] * channels, 277: channels, 322: tile[1], 323: tile[0]}
    tags |= {259: 8 if pack else 1, 262: 2 if channels == 3 else 1, 284: 2 if planar else 1}
    return make_tiff([zlib.compress(block) if pack else block for block in blocks], tags, tiled=True)


def make_bmp(
    width: int,
    height: int,
    bits: int,
    rows: bytes,
    *,
    palette: bytes = b"",
    compression: int = 0,
    masks: bytes = b"",
    header_bytes: int = 40,
    offset: int | None = None,
    colours: int = 0,
) -> bytes:
    if header_bytes == 12:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        header = struct.pack("<IiiHHIIiiII", header_bytes, width, height, 1, bits, compression, 0, 0, 0, colours, 0)
        if header_bytes > 40:
            header, masks = header + masks.ljust(header_bytes - 40, b"\0"), b""
    front = header + masks + palette
    start = 14 + len(front) if offset is None else offset
    return b"BM" + struct.pack("<IHHI", 14 + len(front) + len(rows), 0, 0, start) + front + rows


def png_16_bit(pixels: np.ndarray, filters: Sequence[int]) -> bytes:
    """(H, W, C) uint16 as PNG, row i filtered by `filters[i % len(filters)]`, one byte after another as PNG says."""
    height, width, channels = pixels.shape
    step = 2 * channels
    rows = np.frombuffer(pixels.astype(">u2").tobytes(), np.uint8).reshape(height, -1).astype(int)
    above = np.zeros(rows.shape[1], int)
    body = b""
    for index, row in enumerate(rows):
        kind = filters[index % len(filters)]
        filtered = []
        for at, value in enumerate(row):
            left, up = row[at - step] if at >= step else 0, above[at]
            corner = above[at - step] if at >= step else 0
            nearest = min((left, up, corner), key=lambda near, to=left + up - corner: abs(to - near))
            filtered.append((value - (0, left, up, (left + up) // 2, nearest)[kind]) % 256)
        body += bytes([kind, *filtered])
        above = row
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(body)) + png_chunk(b"IEND", b"")


def read(tmp_path: Path, data: bytes, value_range: ValueRange = ()) -> np.ndarray:
    """The pixels of a file with these bytes."""
    path = tmp_path / "a"
    path.write_bytes(data)
    return load_image(path, "a", max_megapixels=40, value_range=value_range).pixels


def refusal(tmp_path: Path, data: bytes, value_range: ValueRange = ()) -> str:
    """Why a file with these bytes is refused."""
    with pytest.raises(ImageError) as caught:
        read(tmp_path, data, value_range)
    assert caught.value.what.startswith("a: ")
    return caught.value.what
