"""Masks of every encoding people have, read as train ids; what is no mask is refused with a reason."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s4al.data.headers import Header
from s4al.data.masks import IGNORE, MaskCode, identity_code, read_mask
from s4al.data.masks import samples as mask_samples
from s4al.data.masks.samples import MAX_VALUES_KEPT, sample_mask
from s4al.errors import MaskError
from tests.bad_images import encode, png_chunk, raw_png

ROAD, CAR, SKY, BLACK = (128, 64, 128), (64, 0, 128), (200, 200, 200), (0, 0, 0)
IDS = np.array([[0, 1, 2], [255, 2, 0]], np.uint8)
RGB = np.array([[ROAD, CAR, SKY], [BLACK, SKY, ROAD]], np.uint8)


def code_by_value(mapping: dict[int, int]) -> MaskCode:
    values = np.full(2**16, -1, np.int16)
    for value, id in mapping.items():
        values[value] = id
    return MaskCode(values, class_names=("road", "car", "sky"))


def code_by_colour() -> MaskCode:
    colours = {ROAD: 0, CAR: 1, SKY: 2, BLACK: IGNORE}
    return MaskCode(np.full(2**16, -1, np.int16), colours, ("road", "car", "sky"))


def write(folder: Path, data: bytes, name: str = "0412.png") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def png(pixels: np.ndarray, **options: object) -> bytes:
    return encode(pixels, "PNG", **options)


def palette_png(indices: np.ndarray, colours: list[tuple[int, int, int]], **options: object) -> bytes:
    image = Image.fromarray(indices)
    image.putpalette([channel for colour in colours for channel in colour])
    return encode(image, "PNG", **options)


def with_alpha(rgb: np.ndarray, alpha: int = 255) -> np.ndarray:
    return np.dstack([rgb, np.full(rgb.shape[:2], alpha, np.uint8)])


def grey_rgb(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


PALETTE_BYTES = palette_png(np.array([[1, 2, 0], [3, 0, 1]], np.uint8), [SKY, ROAD, CAR, BLACK])
BINARY = np.array([[0, 255, 0], [255, 255, 0]], np.uint8)
BITS = Image.fromarray(BINARY == 255)
BINARY_CODE = code_by_value({0: 0, 255: 1})
BLACK_WHITE = MaskCode(np.full(2**16, -1, np.int16), {BLACK: 0, (255, 255, 255): 1}, ("ground", "thing"))

READ = {
    "8-bit grey": (png(IDS), identity_code(3), IDS),
    "16-bit grey": (png(IDS.astype(np.uint16) * 257), code_by_value({0: 0, 257: 1, 514: 2, 65535: 255}), IDS),
    "grey with opaque alpha": (encode(Image.fromarray(IDS).convert("LA"), "PNG"), identity_code(3), IDS),
    "palette by index": (PALETTE_BYTES, code_by_value({1: 0, 2: 1, 0: 2, 3: 255}), IDS),
    "palette by colour": (PALETTE_BYTES, code_by_colour(), IDS),
    "RGB by colour": (png(RGB), code_by_colour(), IDS),
    "opaque RGBA by colour": (png(with_alpha(RGB)), code_by_colour(), IDS),
    "RGB that is grey, by value": (png(grey_rgb(IDS)), identity_code(3), IDS),
    "RGBA that is grey, by value": (png(with_alpha(grey_rgb(IDS))), identity_code(3), IDS),
    "black and white RGB, by value": (png(grey_rgb(BINARY)), BINARY_CODE, BINARY // 255),
    "black and white RGB, by colour": (png(grey_rgb(BINARY)), BLACK_WHITE, BINARY // 255),
    "black and white grey, by colour": (png(BINARY), BLACK_WHITE, BINARY // 255),
    "1-bit, by value": (encode(BITS, "PNG"), identity_code(2), BINARY // 255),
    "1-bit, by colour": (encode(BITS, "PNG"), BLACK_WHITE, BINARY // 255),
    "2-bit grey, by value": (raw_png(3, 2, 2, 0, b"\0\x18" + b"\0\x90"), identity_code(3), [[0, 1, 2], [2, 1, 0]]),
}


@pytest.mark.parametrize("kind", READ)
def test_encodings(kind: str, tmp_path: Path) -> None:
    data, code, expected = READ[kind]
    mask_HW = read_mask(write(tmp_path, data), code, 3, (2, 3))
    assert mask_HW.dtype == np.uint8
    np.testing.assert_array_equal(mask_HW, expected)


REFUSED = {
    "transparent": (png(with_alpha(RGB, 254)), code_by_colour(), "6 pixels are transparent"),
    "transparent grey": (encode(Image.new("LA", (3, 2)), "PNG"), identity_code(3), "6 pixels are transparent"),
    "RGB colour key": (png(RGB, transparency=SKY), code_by_colour(), "2 pixels are transparent"),
    "transparent palette, by colour": (
        palette_png(np.array([[0, 1, 1], [0, 0, 0]], np.uint8), [ROAD, CAR], transparency=1),
        code_by_colour(),
        "2 pixels are transparent",
    ),
    "index beyond its palette": (
        raw_png(3, 2, 8, 3, b"\0\0\0\0\0\0\5\0", png_chunk(b"PLTE", bytes(ROAD))),
        code_by_colour(),
        "holds index 5, and its palette has 1 colours",
    ),
    "colours, by value": (png(RGB), identity_code(3), "an RGB picture with colours (128,64,128 at (0, 0))"),
    "16-bit grey, by colour": (png(IDS.astype(np.uint16)), code_by_colour(), "a 16-bit grey picture"),
    "16-bit RGB": (raw_png(3, 2, 16, 2, bytes(2 * 19)), code_by_colour(), "a 16-bit RGB picture"),
    "16-bit RGBA": (raw_png(3, 2, 16, 6, bytes(2 * 25)), code_by_colour(), "a 16-bit RGBA picture"),
    "16-bit grey with alpha": (raw_png(3, 2, 16, 4, bytes(2 * 13)), identity_code(3), "a 16-bit grey with alpha"),
    "JPEG": (
        encode(RGB, "JPEG"),
        code_by_colour(),
        "a JPEG, which does not keep class ids exactly: its colours are not",
    ),
    "no pixels": (raw_png(0, 2, 8, 0, b"\0\0"), identity_code(3), "its size is 0 x 2"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_holds_no_classes(kind: str, tmp_path: Path) -> None:
    data, code, reason = REFUSED[kind]
    with pytest.raises(MaskError) as caught:
        read_mask(write(tmp_path, data), code, 3, (2, 3))
    assert caught.value.what.startswith("mask 0412.png: ") and reason in caught.value.what
    assert caught.value.what.endswith(".") and not caught.value.what.endswith("..")


@pytest.mark.parametrize(("format", "said"), [("WEBP", "a WebP"), ("JPEG", "a JPEG")])
def test_lossy_formats_hold_no_labels(format: str, said: str) -> None:
    header = Header(format, 2, 3, 8, "rgb")  # pyright: ignore[reportArgumentType]
    with pytest.raises(mask_samples.Refused, match=f"{said}, which does not keep class ids exactly"):
        mask_samples.check_mask_header(header)


@pytest.mark.parametrize(
    ("format", "pixels", "mode", "bits"),
    [
        ("BMP", IDS, "palette", 8),
        ("BMP", RGB, "rgb", 8),
        ("BMP", BINARY == 255, "palette", 1),
        ("TIFF", IDS, "grey", 8),
        ("TIFF", RGB, "rgb", 8),
        ("TIFF", IDS.astype(np.uint16) * 257, "grey", 16),
        ("TIFF", BINARY == 255, "grey", 1),
    ],
)
def test_bmp_and_tiff_give_what_was_written(format: str, pixels: np.ndarray, mode: str, bits: int) -> None:
    header = Header(format, 2, 3, bits, mode)  # pyright: ignore[reportArgumentType]
    samples = mask_samples.read_samples(encode(pixels, format), header)
    expected = mask_samples.pack(pixels) if mode == "rgb" else pixels
    np.testing.assert_array_equal(samples.pixels_HW, expected)
    if bits <= 8 and mode != "rgb":
        assert samples.as_colours().max() == 0xFFFFFF  # 255, and the 1 of one bit, are shown as white


def test_unknown_colour_is_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    rgb = RGB.copy()
    rgb[0, 2] = rgb[1, 0] = (66, 2, 127)
    with pytest.raises(MaskError) as caught:
        read_mask(write(tmp_path, png(rgb)), code_by_colour(), 3, (2, 3))
    assert caught.value.what == (
        "mask 0412.png: holds colour 66,2,127 at 2 pixels, first at (0, 2), which has no meaning in data.mask_values; "
        "the nearest known colour is 64,0,128 = car."
    )


def test_unknown_value_of_a_mapping(tmp_path: Path) -> None:
    code = code_by_value({7: 0, 300: 1, 9: 255})
    with pytest.raises(MaskError) as caught:
        read_mask(write(tmp_path, png(np.array([[7, 300, 8], [9, 8, 7]], np.uint16))), code, 3, (2, 3))
    assert "holds class 8 at 2 pixels, first at (0, 2); this run has classes 7, 300 and 9 = unlabelled." in str(
        caught.value
    )


def test_two_megapixels_by_colour_take_no_time(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    blocks = generator.integers(0, 4, (25, 50))
    ids = np.kron(blocks, np.ones((40, 40), np.int64))
    rgb = np.array([ROAD, CAR, SKY, BLACK], np.uint8)[ids]
    path, code = write(tmp_path, png(rgb)), code_by_colour()
    first = read_mask(path, code, 3, (1000, 2000))  # makes the table
    np.testing.assert_array_equal(first, np.array([0, 1, 2, 255])[ids])
    started = time.process_time()
    read_mask(path, code, 3, (1000, 2000))
    assert time.process_time() - started < 0.4  # 0.1 s where nothing else runs


# --- what a mask holds, before it means anything ---


def test_samples_of_grey(tmp_path: Path) -> None:
    sample = sample_mask(write(tmp_path, png(IDS)), "masks/0412.png", max_megapixels=1)
    assert (sample.name, sample.format, sample.mode) == ("masks/0412.png", "PNG", "8-bit grey")
    assert (sample.height, sample.width, sample.num_pixels, sample.num_values) == (2, 3, 6, 4)
    assert sample.values == sample.by_value == {0: 2, 1: 1, 2: 2, 255: 1}
    assert sample.by_colour == {(0, 0, 0): 2, (1, 1, 1): 1, (2, 2, 2): 2, (255, 255, 255): 1}


def test_samples_of_a_palette(tmp_path: Path) -> None:
    sample = sample_mask(write(tmp_path, PALETTE_BYTES), "m", max_megapixels=1)
    assert sample.mode == "palette"
    assert sample.by_value == {0: 2, 1: 2, 2: 1, 3: 1}
    assert sample.palette == {0: SKY, 1: ROAD, 2: CAR, 3: BLACK}
    assert sample.by_colour == {SKY: 2, ROAD: 2, CAR: 1, BLACK: 1}


def test_samples_of_colours(tmp_path: Path) -> None:
    sample = sample_mask(write(tmp_path, png(with_alpha(RGB))), "m", max_megapixels=1)
    assert sample.mode == "RGBA"
    assert sample.values == sample.by_colour == {ROAD: 2, CAR: 1, SKY: 2, BLACK: 1}
    assert sample.by_value is None
    grey = sample_mask(write(tmp_path, png(grey_rgb(BINARY))), "m", max_megapixels=1)
    assert grey.by_value == {0: 3, 255: 3}


def test_samples_of_16_bits_have_no_colour(tmp_path: Path) -> None:
    sample = sample_mask(write(tmp_path, png(np.array([[0, 1000]], np.uint16))), "m", max_megapixels=1)
    assert (sample.mode, sample.by_value, sample.by_colour) == ("16-bit grey", {0: 1, 1000: 1}, None)
    empty = sample_mask(write(tmp_path, png(np.zeros((2, 2), np.uint16))), "m", max_megapixels=1)
    assert empty.by_colour is None


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_samples_have_the_colours_that_are_read(bits: int, tmp_path: Path) -> None:
    top = 2**bits - 1
    path = write(tmp_path, raw_png(1, 2, bits, 0, bytes([0, 0, 0, top << 8 - bits])))
    sample = sample_mask(path, "m", max_megapixels=1)
    assert (sample.by_value, sample.by_colour) == ({0: 1, top: 1}, {BLACK: 1, (255, 255, 255): 1})
    np.testing.assert_array_equal(read_mask(path, BLACK_WHITE, 2, (2, 1)), [[0], [1]])


def test_samples_of_a_photograph_are_bounded(tmp_path: Path) -> None:
    noise = np.arange(64 * 64, dtype=np.uint32).reshape(64, 64)
    rgb = np.stack([noise >> 8, noise & 255, noise * 0 + 7], axis=2).astype(np.uint8)
    sample = sample_mask(write(tmp_path, png(rgb)), "m", max_megapixels=1)
    assert (sample.num_values, len(sample.values)) == (64 * 64, MAX_VALUES_KEPT)


def test_large_masks_are_refused_before_decoding(tmp_path: Path) -> None:
    path = write(tmp_path, raw_png(2000, 2000, 8, 0, bytes(9)))
    with pytest.raises(
        MaskError, match=r"mask m: it is 2000 x 2000 \(limit 1 megapixels, data.max_megapixels\)"
    ) as caught:
        sample_mask(path, "m", max_megapixels=1)
    assert caught.value.remedy == "Set data.max_megapixels=4."
    huge = write(tmp_path, raw_png(10_000, 9_000, 8, 0, bytes(9)), "huge.png")
    with pytest.raises(MaskError) as caught:
        sample_mask(huge, "m", max_megapixels=1)
    assert caught.value.remedy == "Make them smaller, or cut them up: up to 89 megapixels can be read."
    with pytest.raises(MaskError, match=r"mask m: cannot be read \(No such file or directory\)\."):
        sample_mask(tmp_path / "absent.png", "m", max_megapixels=1)
