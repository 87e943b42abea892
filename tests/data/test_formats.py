"""BMP, TIFF, WebP and 16 bits: pixels against Pillow's own, or by hand where Pillow has none."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from s4al.data.headers import read_header
from s4al.data.images import IMAGE_SUFFIXES, read_image, stored_size
from s4al.errors import ConfigError
from tests.bad_images import HEIGHT, WIDTH, encode, picture, png_chunk
from tests.make_images import WORDS, make_bmp, make_tiff, png_16_bit, read, refusal, tiff_of, tiled_tiff

IMAGE = Image.fromarray(picture())
MODES = {
    "RGB": IMAGE,
    "L": IMAGE.convert("L"),
    "P": IMAGE.quantize(64),
    "P-4-bit": IMAGE.quantize(9),
    "1": IMAGE.convert("1"),
    "RGBA": IMAGE.convert("RGBA"),
    "LA": IMAGE.convert("LA"),
}
COMPRESSIONS = (None, "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")


def pillows(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


# --- the same pixels as Pillow's ---


@pytest.mark.parametrize("strips", [{}, {278: 5}])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("mode", MODES)
def test_tiff(mode: str, compression: str | None, predictor: int, strips: dict[int, int], tmp_path: Path) -> None:
    differs = predictor == 2 and compression is not None and mode in ("RGB", "L", "RGBA")
    options: dict[str, Any] = {"compression": compression} if compression else {}
    data = encode(MODES[mode], "TIFF", tiffinfo=strips | ({317: 2} if differs else {}), **options)
    header = read_header(data)
    assert (header.format, header.height, header.width, header.lossless) == ("TIFF", HEIGHT, WIDTH, True)
    np.testing.assert_array_equal(read(tmp_path, data), pillows(data))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "P-4-bit", "1", "RGBA"])
def test_bmp(mode: str, tmp_path: Path) -> None:
    data = encode(MODES[mode], "BMP")
    header = read_header(data)
    assert (header.format, header.height, header.width, header.lossless) == ("BMP", HEIGHT, WIDTH, True)
    np.testing.assert_array_equal(read(tmp_path, data), pillows(data))


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("exif", [b"", b"Exif\0\0" + bytes(9)])
def test_webp(mode: str, lossless: bool, exif: bytes, tmp_path: Path) -> None:
    data = encode(MODES[mode], "WEBP", lossless=lossless, exif=exif)
    assert (b"VP8X" in data) == bool(exif)
    header = read_header(data)
    assert (header.format, header.height, header.width, header.lossless) == ("WEBP", HEIGHT, WIDTH, lossless)
    np.testing.assert_array_equal(read(tmp_path, data), pillows(data))
    np.testing.assert_array_equal(read(tmp_path, data + b"more"), pillows(data))


def test_jpeg_is_known_to_be_lossy() -> None:
    assert not read_header(encode(picture(), "JPEG")).lossless
    assert read_header(encode(picture(), "PNG")).lossless


def test_every_suffix_is_of_a_format_that_is_read(tmp_path: Path) -> None:
    for suffix in IMAGE_SUFFIXES:
        path = tmp_path / f"a{suffix}"
        IMAGE.save(path)
        assert read_image(path, max_megapixels=1).shape == (HEIGHT, WIDTH, 3)
        assert stored_size(path, "a", max_megapixels=1) == (HEIGHT, WIDTH)


# --- files made by hand ---


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("tile", [(16, 16), (32, 64), (5, 7)])
def test_tiff_tiles(tile: tuple[int, int], pack: bool, planar: bool, tmp_path: Path) -> None:
    data = tiled_tiff(picture(), tile, pack=pack, planar=planar)
    np.testing.assert_array_equal(read(tmp_path, data), picture())


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_tiff_byte_orders_and_channels(order: str, channels: int, tmp_path: Path) -> None:
    colours = picture() if channels > 2 else np.repeat(picture()[..., :1], 3, axis=2)
    stored = colours[..., : 1 if channels < 3 else 3]
    if channels in (2, 4):
        stored = np.concatenate([stored, np.full((HEIGHT, WIDTH, 1), 255, np.uint8)], axis=2)
    np.testing.assert_array_equal(read(tmp_path, tiff_of(stored, order)), colours)


def test_tiff_where_zero_is_white(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(tmp_path, tiff_of(picture()[..., 0], t262=0))[..., 1], 255 - picture()[..., 0])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_tiff_of_few_bits(bits: int, tmp_path: Path) -> None:
    values = np.arange(3 * 5).reshape(3, 5) % 2**bits
    rows = [
        np.packbits((row[:, None] >> np.arange(bits)[::-1] & 1).astype(np.uint8).ravel()).tobytes() for row in values
    ]
    tags = {256: 5, 257: 3, 258: bits, 262: 1, 277: 1, 278: 3}
    grey = read(tmp_path, make_tiff([b"".join(rows)], tags))
    np.testing.assert_array_equal(grey[..., 2], values * (255 // (2**bits - 1)))
    colours = np.arange(3 * 2**bits).reshape(3, -1) * 1000  # reds, greens, blues, 16 bits each
    palette = read(tmp_path, make_tiff([b"".join(rows)], {**tags, 262: 3, 320: colours.ravel().tolist()}))
    np.testing.assert_array_equal(palette, (colours.T >> 8)[values])


@pytest.mark.parametrize(("height", "flip"), [(2, True), (-2, False)])
def test_bmp_rows_from_below_and_from_above(height: int, flip: bool, tmp_path: Path) -> None:
    rows = bytes([1, 2, 3, 4, 5, 6, 0, 0]) + bytes([7, 8, 9, 10, 11, 12, 0, 0])  # two pixels and padding
    first, second = [[3, 2, 1], [6, 5, 4]], [[9, 8, 7], [12, 11, 10]]
    expected = [second, first] if flip else [first, second]
    assert read(tmp_path, make_bmp(2, height, 24, rows)).tolist() == expected


@pytest.mark.parametrize("header_bytes", [12, 40, 108, 124])
def test_bmp_palettes(header_bytes: int, tmp_path: Path) -> None:
    entry = b"\x01\x02\x03" if header_bytes == 12 else b"\x01\x02\x03\0"
    palette = bytes(len(entry)) + entry + bytes(len(entry)) * (14 if header_bytes == 12 else 0)
    colours = 0 if header_bytes == 12 else 2
    data = make_bmp(3, 1, 4, b"\x10\x10\0\0", palette=palette, header_bytes=header_bytes, colours=colours)
    assert read(tmp_path, data).tolist() == [[[3, 2, 1], [0, 0, 0], [3, 2, 1]]]


RGBA_MASKS = struct.pack("<IIII", 0xFF, 0xFF00, 0xFF0000, 0xFF000000)


@pytest.mark.parametrize(
    ("pixel", "options", "expected"),
    [
        (b"\x01\x02\x03\x00", {}, [3, 2, 1]),
        (b"\x01\x02\x03\xff", {}, [3, 2, 1]),
        (b"\x01\x02\x03\x00", {"compression": 3, "masks": RGBA_MASKS[:12]}, [1, 2, 3]),
        (b"\x01\x02\x03\xff", {"compression": 3, "masks": RGBA_MASKS, "header_bytes": 124}, [1, 2, 3]),
        (b"\x01\x02\x03\x00", {"compression": 3, "masks": RGBA_MASKS, "header_bytes": 56}, "1 of its 1 pixels are"),
        (b"\x01\x02\x03\x80", {}, "1 of its 1 pixels are transparent"),
        (b"\x01\x02\x03\x80", {"compression": 3, "masks": struct.pack("<III", 7, 56, 448)}, "no whole bytes"),
        (b"\x01\x02\x03\x80", {"compression": 3, "masks": struct.pack("<III", 255, 255, 255)}, "no whole bytes"),
    ],
)
def test_bmp_of_32_bits(pixel: bytes, options: dict[str, Any], expected: list[int] | str, tmp_path: Path) -> None:
    data = make_bmp(1, 1, 32, pixel, **options)
    if isinstance(expected, str):
        assert expected in refusal(tmp_path, data)
    else:
        assert read(tmp_path, data).tolist() == [[expected]]


# --- 16 bits ---


def scaled(words: np.ndarray, low: float, high: float) -> np.ndarray:
    """What the range is documented to mean."""
    share = np.clip((words.astype(float) - low) / (high - low), 0, 1)
    return np.round(255 * share).astype(np.uint8)


GREY_WORDS = WORDS[..., [0, 0, 0]]


@pytest.mark.parametrize("value_range", [(0, 65535), (1000, 30000), (0, 4095), (-5, 70000), (0.5, 1.5)])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encode(WORDS[..., 0], "PNG"), GREY_WORDS),
        (encode(WORDS[..., 0], "TIFF"), GREY_WORDS),
        (encode(WORDS[..., 0], "TIFF", compression="tiff_lzw"), GREY_WORDS),
        (tiff_of(WORDS[..., 0], ">"), GREY_WORDS),
        (tiff_of(WORDS), WORDS),
        (tiff_of(WORDS, ">"), WORDS),
        (png_16_bit(WORDS, (0, 1, 2, 3, 4)), WORDS),
    ],
    ids=["grey-png", "grey-tiff", "grey-lzw", "grey-big-endian", "rgb-tiff", "rgb-big-endian", "rgb-png"],
)
def test_range_of_16_bits(data: bytes, words: np.ndarray, value_range: tuple[float, float], tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(tmp_path, data, value_range), scaled(words, *value_range))


@pytest.mark.parametrize("filters", [(0,), (1,), (2,), (3,), (4,), (4, 3, 2, 1, 0)])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_filters_of_16_bit_png(channels: int, filters: tuple[int, ...], tmp_path: Path) -> None:
    words = WORDS[..., [0, 1, 2, 0]][..., :channels].copy()
    if channels != 3:
        words[..., -1] = 65535
    image = read(tmp_path, png_16_bit(words, filters), (0, 65535))
    np.testing.assert_array_equal(image, scaled(words[..., [0, 0, 0] if channels == 2 else [0, 1, 2]], 0, 65535))


def test_interlaced_16_bit_png(tmp_path: Path) -> None:
    """5 x 3: passes of 1x1, 1x1, none, 1x1, 1x3, 2x2 and 1x5 pixels (rows x columns), as in an 8-bit one."""
    words = WORDS[:3, :5]
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    body = b"".join(
        b"\0" + row.astype(">u2").tobytes() for y, x, dy, dx in passes for row in words[y::dy, x::dx] if row.size
    )
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 3, 16, 2, 0, 0, 1))
    data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(body)) + png_chunk(b"IEND", b"")
    np.testing.assert_array_equal(read(tmp_path, data, (0, 65535)), scaled(words, 0, 65535))


def test_16_bits_without_a_range_or_with_none_that_can_be(tmp_path: Path) -> None:
    data = tiff_of(WORDS)
    assert refusal(tmp_path, data) == (
        "a: 16-bit, where 8-bit images are read unless data.value_range says what is black and white "
        "(data.value_range=0,65535)"
    )
    for bad in ((5, 5), (9, 1)):
        with pytest.raises(ConfigError, match="black must be less than white"):
            read(tmp_path, data, bad)
    transparent = WORDS[..., [0, 1, 2, 0]].copy()
    transparent[..., 3] = 65535
    transparent[3, 4:9, 3] = 65534
    assert "5 of its 960 pixels are transparent" in refusal(tmp_path, tiff_of(transparent), (0, 65535))
    np.testing.assert_array_equal(read(tmp_path, tiff_of(picture()), (0, 10)), picture())  # for 16 bits only
