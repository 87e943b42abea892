"""TIFF: one page of grey, palette or RGB samples, in strips or tiles.

The directory is read here, and only what is known to be right goes to a codec: each strip or tile by itself, as plain
bytes. Pillow on the whole file would cut 16-bit RGB to 8 bits, spread 2- and 4-bit samples, and follow every tag.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4al.data.formats.header import Header, Refused, Samples

_NONE, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS = 1, 5, 8, 32946, 32773
_OTHER_COMPRESSIONS = {
    **dict.fromkeys((2, 3, 4), "fax"),
    **dict.fromkeys((6, 7, 33003, 33005, 34712), "JPEG"),
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
}
_COMPRESSIONS_READ = "none, LZW, deflate and PackBits are read"
_AS_WHOLE_NUMBERS = "Save them again with 8 bits, or as 16-bit whole numbers from 0 on."
_OTHER_PHOTOMETRICS = {4: "a transparency mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab", 9: "ICCLab", 10: "ITULab"}
_GREY_INVERTED, _GREY, _RGB, _PALETTE = range(4)
_TYPES = {1: "u1", 3: "u2", 4: "u4"}  # BYTE, SHORT, LONG
_MAX_BLOCKS = 2**16
_MAX_PADDING_PIXELS = 2**24  # of tiles beyond the picture, besides four times its own
_MAX_CODEC_BYTES = 89_000_000  # of one strip; what Pillow takes for one picture


@dataclass(frozen=True, eq=False)
class _Layout:
    """`planes` are stored one after another, `per_pixel` samples of each are stored together."""

    header: Header
    order: Literal["<", ">"]
    inverted: bool
    compression: int
    differences: bool
    planes: int
    per_pixel: int
    block_height: int
    block_width: int
    tiled: bool
    offsets: NDArray[np.unsignedinteger[Any]]
    counts: NDArray[np.unsignedinteger[Any]]
    palette: NDArray[np.uint8] | None

    @property
    def row_bytes(self) -> int:
        return -(-self.block_width * self.per_pixel * self.header.bits // 8)


def read_tiff(data: bytes) -> Header:
    """Raises Refused."""
    return _read_layout(data).header


def check_tiff_pixels(data: bytes) -> None:
    """Unpack every strip or tile once and see that all pixels are there. Raises Refused."""
    layout = _read_layout(data)
    _check_codec_bytes(layout)
    for _ in _blocks(data, layout):
        pass


def read_tiff_pixels(data: bytes) -> Samples:
    """The samples as they are stored, except that zero is black. Raises Refused."""
    layout = _read_layout(data)
    _check_codec_bytes(layout)
    header = layout.header
    dtype = np.uint16 if header.bits == 16 else np.uint8
    pixels_HWC = np.empty((header.height, header.width, layout.planes * layout.per_pixel), dtype)
    for plane, y, x, rows_HB in _blocks(data, layout):
        target = pixels_HWC[y : y + len(rows_HB), x : x + layout.block_width]
        samples_HWC = _samples(rows_HB, layout)[: target.shape[0], : target.shape[1]]
        target[:, :, plane * layout.per_pixel : (plane + 1) * layout.per_pixel] = samples_HWC
    if layout.inverted:
        pixels_HWC[:, :, 0] = 2**header.bits - 1 - pixels_HWC[:, :, 0]
    return Samples(pixels_HWC, layout.palette)


# --- pixels ---


def _blocks(data: bytes, layout: _Layout) -> Iterator[tuple[int, int, int, NDArray[np.uint8]]]:
    """(plane, y, x, rows of bytes) of every strip or tile, unpacked."""
    header = layout.header
    corners = [
        (plane, y, x)
        for plane in range(layout.planes)
        for y in range(0, header.height, layout.block_height)
        for x in range(0, header.width, layout.block_width)
    ]
    for (plane, y, x), offset, count in zip(corners, layout.offsets.tolist(), layout.counts.tolist(), strict=True):
        if offset + count > len(data):
            raise Refused(f"ends early: pixels at byte {offset:,} of {len(data):,}")
        rows = layout.block_height if layout.tiled else min(layout.block_height, header.height - y)
        unpacked = _unpack(data[offset : offset + count], rows, layout)
        expected = rows * layout.row_bytes
        if len(unpacked) < expected:
            raise Refused(f"ends early: {len(unpacked):,} of {expected:,} bytes of pixels from row {y} on")
        yield plane, y, x, np.frombuffer(unpacked, np.uint8, expected).reshape(rows, layout.row_bytes)


def _check_codec_bytes(layout: _Layout) -> None:
    size = layout.block_height * layout.row_bytes
    if layout.compression in (_LZW, _PACKBITS) and size > _MAX_CODEC_BYTES:
        what = f"a TIFF whose strips hold {size:,} bytes (limit {_MAX_CODEC_BYTES:,}; save it with smaller strips)"
        raise Refused(what)


def _unpack(packed: bytes, rows: int, layout: _Layout) -> bytes:
    size = rows * layout.row_bytes
    if layout.compression == _NONE:
        return packed
    if layout.compression in (_DEFLATE, _OLD_DEFLATE):
        try:
            return zlib.decompressobj().decompress(packed, size)
        except zlib.error as error:
            raise Refused(f"damaged: its pixels cannot be unpacked ({error})") from error
    page = _page_of_bytes(packed, rows, layout.row_bytes, layout.compression)
    try:
        with Image.open(io.BytesIO(page), formats=("TIFF",)) as picture:
            return picture.tobytes()
    except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombWarning) as error:
        raise Refused(f"ends early or is damaged: its pixels cannot be unpacked ({error})") from error


def _page_of_bytes(packed: bytes, rows: int, row_bytes: int, compression: int) -> bytes:
    """A TIFF of one strip whose pixels are the bytes to be unpacked."""
    entries = {
        256: row_bytes,
        257: rows,
        258: 8,
        259: compression,
        262: _GREY,
        273: 8 + 2 + 9 * 12 + 4,
        277: 1,
        278: rows,
        279: len(packed),
    }
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + packed


def _samples(rows_HB: NDArray[np.uint8], layout: _Layout) -> NDArray[np.unsignedinteger[Any]]:
    """Rows of bytes -> (rows, block width, samples a pixel)."""
    bits, shape = layout.header.bits, (len(rows_HB), layout.block_width, layout.per_pixel)
    if bits < 8:
        bits_HWN = np.unpackbits(rows_HB, axis=1).reshape(len(rows_HB), -1, bits)
        values_HW = (bits_HWN << np.arange(bits - 1, -1, -1, dtype=np.uint8)).sum(axis=2, dtype=np.uint8)
        return values_HW[:, : layout.block_width * layout.per_pixel].reshape(shape)
    native = np.uint16 if bits == 16 else np.uint8
    samples_HWC = rows_HB.view(f"{layout.order}u{bits // 8}").astype(native, copy=False).reshape(shape)
    return np.add.accumulate(samples_HWC, axis=1, dtype=native) if layout.differences else samples_HWC


# --- the directory ---


class _Directory:
    """The tags of the first and only page."""

    def __init__(self, data: bytes) -> None:
        if data[:4] in (b"II+\0", b"MM\0+"):
            raise Refused("a BigTIFF (TIFF files below 4 GB are read)")
        self.order: Literal["<", ">"] = "<" if data[:2] == b"II" else ">"
        self._data = data
        start = self._unpack("I", 4)
        count = self._unpack("H", start)
        if start + 2 + 12 * count + 4 > len(data):
            raise Refused("ends early")
        if self._unpack("I", start + 2 + 12 * count):  # never followed, so that circles do not matter
            raise Refused("a TIFF of several pages (single pictures are read)")
        places = range(start + 2, start + 2 + 12 * count, 12)
        self._places = {self._unpack("H", place): place for place in reversed(places)}

    def _unpack(self, code: str, place: int) -> int:
        try:
            return struct.unpack_from(self.order + code, self._data, place)[0]
        except struct.error as error:
            raise Refused("ends early") from error

    def __contains__(self, tag: int) -> bool:
        return tag in self._places

    def values(self, tag: int) -> NDArray[np.unsignedinteger[Any]]:
        """All values of a tag; none where it is missing."""
        if tag not in self._places:
            return np.zeros(0, np.uint32)
        place = self._places[tag]
        kind, count = self._unpack("H", place + 2), self._unpack("I", place + 4)
        if kind not in _TYPES:
            raise Refused(f"damaged: TIFF tag {tag} has the type {kind}")
        dtype = np.dtype(self.order + _TYPES[kind])
        start = place + 8 if count * dtype.itemsize <= 4 else self._unpack("I", place + 8)
        if start + count * dtype.itemsize > len(self._data):
            raise Refused(f"ends early: TIFF tag {tag} has {count:,} values")
        return np.frombuffer(self._data, dtype, count, start)

    def value(self, tag: int, default: int | None = None) -> int:
        """The one value of a tag."""
        values = self.values(tag)
        if not len(values):
            if default is None:
                raise Refused(f"damaged: TIFF tag {tag} is missing")
            return default
        if len(values) > 1:
            raise Refused(f"damaged: TIFF tag {tag} has {len(values):,} values")
        return int(values[0])


def _read_layout(data: bytes) -> _Layout:
    tags = _Directory(data)
    compression, predictor = tags.value(259, 1), tags.value(317, 1)
    if compression not in (_NONE, _LZW, _DEFLATE, _OLD_DEFLATE, _PACKBITS):
        kind = _OTHER_COMPRESSIONS.get(compression, f"unknown ({compression})")
        raise Refused(f"a TIFF with {kind} compression ({_COMPRESSIONS_READ})")
    height, width = tags.value(257), tags.value(256)
    samples = tags.value(277, 1)
    bits, mode, photometric = _read_mode(tags, samples)
    header = Header("TIFF", height, width, bits, mode, orientation=tags.value(274, 1))
    differences = predictor == 2 and compression in (_LZW, _DEFLATE, _OLD_DEFLATE)  # others do not have it
    if predictor not in (1, 2) or (differences and bits < 8):
        raise Refused(f"a TIFF with predictor {predictor} at {bits} bits, which is not supported")
    if tags.value(266, 1) != 1:
        raise Refused("a TIFF whose bytes begin with the low bit, which is not supported")
    planar = tags.value(284, 1)
    if planar not in (1, 2):
        raise Refused(f"damaged: TIFF planar configuration {planar} does not exist")
    planes = samples if planar == 2 else 1
    block_height, block_width, offsets, counts = _read_blocks(tags, height, width, planes)
    return _Layout(
        header=header,
        order=tags.order,
        inverted=photometric == _GREY_INVERTED,
        compression=compression,
        differences=differences,
        planes=planes,
        per_pixel=samples // planes,
        block_height=block_height,
        block_width=block_width,
        tiled=322 in tags,
        offsets=offsets,
        counts=counts,
        palette=_read_palette(tags, bits) if mode == "palette" else None,
    )


def _read_mode(
    tags: _Directory, samples: int
) -> tuple[int, Literal["grey", "grey+alpha", "rgb", "rgb+alpha", "palette"], int]:
    """Bits a sample, what the samples mean, and the photometric interpretation."""
    photometric, bits = tags.value(262), tags.values(258)
    if photometric in _OTHER_PHOTOMETRICS:
        what = f"a TIFF in {_OTHER_PHOTOMETRICS[photometric]} (RGB, grey and palette images are read)"
        raise Refused(what, "Save them as RGB or grey.")
    formats = set(tags.values(339).tolist()) or {1}
    if formats != {1}:
        kind = "floating-point" if formats == {3} else "signed or other"
        raise Refused(f"a TIFF of {kind} samples (whole numbers from 0 on of 8 or 16 bits are read)", _AS_WHOLE_NUMBERS)
    if len(bits) not in (0, samples) or len(set(bits.tolist())) > 1:
        raise Refused(f"a TIFF of {samples} channels with {bits[:4].tolist()} bits (the same for all is read)")
    depth = int(bits[0]) if len(bits) else 1
    alpha = tags.values(338).tolist() in ([1], [2])
    match photometric, samples:
        case ((0 | 1), 1):
            mode, depths = "grey", (1, 2, 4, 8, 16)
        case ((0 | 1), 2) if alpha:
            mode, depths = "grey+alpha", (8, 16)
        case 2, 3:
            mode, depths = "rgb", (8, 16)
        case 2, 4 if alpha:
            mode, depths = "rgb+alpha", (8, 16)
        case 3, 1:
            mode, depths = "palette", (1, 2, 4, 8)
        case ((0 | 1 | 2 | 3), _):
            raise Refused(f"a TIFF of {samples} channels (RGB, grey and palette images are read)")
        case _:
            raise Refused(f"damaged: TIFF photometric interpretation {photometric} does not exist")
    if depth not in depths:
        raise Refused(f"{depth}-bit (8 and 16 bits are read)", _AS_WHOLE_NUMBERS)
    return depth, mode, photometric


def _read_blocks(
    tags: _Directory, height: int, width: int, planes: int
) -> tuple[int, int, NDArray[np.unsignedinteger[Any]], NDArray[np.unsignedinteger[Any]]]:
    """Height and width of a strip or tile, and where each one is."""
    if 322 in tags:
        block_height, block_width = tags.value(323), tags.value(322)
        offsets, counts = tags.values(324), tags.values(325)
    else:
        block_height, block_width = min(tags.value(278, height), height), width
        offsets, counts = tags.values(273), tags.values(279)
    if block_height < 1 or block_width < 1:
        if height and width:
            raise Refused(f"damaged: its strips or tiles are {block_width} x {block_height}")
        return 1, 1, offsets[:0], counts[:0]
    blocks = -(-height // block_height) * -(-width // block_width) * planes
    if len(offsets) != blocks or len(counts) != blocks:
        raise Refused(f"damaged: {len(offsets):,} offsets and {len(counts):,} sizes for {blocks:,} strips or tiles")
    if blocks > _MAX_BLOCKS:
        raise Refused(f"a TIFF of {blocks:,} strips or tiles (limit {_MAX_BLOCKS:,})")
    if blocks // planes * block_height * block_width > 4 * height * width + _MAX_PADDING_PIXELS:
        raise Refused(f"a TIFF in tiles of {block_width} x {block_height}, much larger than its {width} x {height}")
    return block_height, block_width, offsets, counts


def _read_palette(tags: _Directory, bits: int) -> NDArray[np.uint8]:
    """(2^bits, 3) uint8; the file has 16 bits a colour, all reds first."""
    colours = tags.values(320)
    if len(colours) != 3 * 2**bits:
        raise Refused(f"damaged: {len(colours):,} values in the palette of a {bits}-bit TIFF")
    return (colours.reshape(3, -1).T >> 8).astype(np.uint8)
