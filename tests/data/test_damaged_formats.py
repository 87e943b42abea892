"""BMP, TIFF, WebP and 16-bit PNG files that are hostile, cut or mutated: refused with a reason, or read; never more."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from s4al.data.headers import Refused, check_pixel_data, read_header
from s4al.data.images import load_image, stored_size
from s4al.errors import ImageError
from tests.bad_images import HEIGHT, WIDTH, encode, picture, png_chunk
from tests.make_images import WORDS, make_bmp, make_tiff, png_16_bit, read, refusal, tiff_of, tiled_tiff

IMAGE = Image.fromarray(picture())
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")


RGB_TAGS = {256: WIDTH, 257: HEIGHT, 258: [8, 8, 8], 262: 2, 277: 3, 278: HEIGHT}
PIXELS = picture().tobytes()


def tiff(**changed: Any) -> bytes:
    return make_tiff([PIXELS], RGB_TAGS | {int(name[1:]): value for name, value in changed.items()})


def five_pages_in_a_circle() -> bytes:
    return make_tiff([PIXELS], RGB_TAGS, next_page=8)


def patched(data: bytes, at: int, code: str, value: int) -> bytes:
    return data[:at] + struct.pack(code, value) + data[at + struct.calcsize(code) :]


WEBP = encode(picture(), "WEBP")
WEBP_LOSSLESS = encode(picture(), "WEBP", lossless=True)
WEBP_X = encode(IMAGE.convert("RGBA"), "WEBP", exif=b"Exif\0\0" + bytes(9))
BMP = encode(picture(), "BMP")

TIFF = tiff()
WEBP_CLEAR = encode(Image.new("RGBA", (4, 3), (1, 2, 3, 9)), "WEBP")
WEBP_CHUNKS = b"RIFF" + struct.pack("<I", 4 + 8 * 10001) + b"WEBP" + b"JUNK\0\0\0\0" * 10001
NUMBERS = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x80", b"\xff\xff\xff\x7f")

HOSTILE: dict[str, tuple[bytes, str]] = {
    "tiff of 5 channels": (make_tiff([PIXELS], RGB_TAGS | {258: [8] * 5, 277: 5}), "a TIFF of 5 channels"),
    "tiff of 4 channels without alpha": (tiff(t258=[8] * 4, t277=4), "a TIFF of 4 channels (RGB, grey and palette"),
    "tiff cmyk": (encode(IMAGE.convert("CMYK"), "TIFF"), "a TIFF in CMYK"),
    "tiff ycbcr": (tiff(t262=6), "a TIFF in YCbCr"),
    "tiff photometric": (tiff(t262=77), "photometric interpretation 77 does not exist"),
    "tiff transparent": (tiff_of(np.full((2, 2, 4), 9, np.uint8)), "4 of its 4 pixels are transparent"),
    "tiff float": (encode(np.zeros((2, 3), np.float32), "TIFF"), "floating-point samples"),
    "tiff signed": (tiff(t339=[2, 2, 2]), "signed or other samples"),
    "tiff of 32 bits": (tiff(t258=[32] * 3), "32-bit (8 and 16 bits are read)"),
    "tiff of mixed bits": (tiff(t258=[8, 8, 5]), "a TIFF of 3 channels with [8, 8, 5] bits"),
    "tiff jpeg": (encode(picture(), "TIFF", compression="jpeg"), "JPEG compression"),
    "tiff fax": (encode(IMAGE.convert("1"), "TIFF", compression="group4"), "fax compression"),
    "tiff unknown compression": (tiff(t259=4711), "unknown (4711) compression"),
    "tiff predictor": (tiff(t259=8, t317=3), "predictor 3"),
    "tiff low bit first": (tiff(t266=2), "begin with the low bit"),
    "tiff planar": (tiff(t284=7), "planar configuration 7"),
    "tiff pages": (encode(picture(), "TIFF", save_all=True, append_images=[IMAGE]), "several pages"),
    "tiff circle": (five_pages_in_a_circle(), "several pages"),
    "tiff next page nowhere": (make_tiff([PIXELS], RGB_TAGS, next_page=2**32 - 1), "several pages"),
    "bigtiff": (b"II+\0" + bytes(40), "a BigTIFF"),
    "tiff header only": (b"II*\0", "ends early"),
    "tiff directory beyond the end": (b"II*\0\xff\xff\xff\xff", "ends early"),
    "tiff of many tags": (b"II*\0\x08\0\0\0\xff\xff" + bytes(100), "ends early"),
    "tiff of 65535 tags": (b"II*\0\x08\0\0\0\xff\xff" + bytes(12 * 65535 + 4), "TIFF tag 257 is missing"),
    "tiff values beyond the end": (tiff(t273=list(range(9)))[:-2000], "ends early"),
    "tiff huge tag": (patched(TIFF, TIFF.index(struct.pack("<HH", 258, 4)) + 4, "<I", 2**32 - 1), "ends early"),
    "tiff tag type": (
        patched(tiff(), tiff().index(struct.pack("<HH", 257, 4)) + 2, "<H", 12),
        "tag 257 has the type 12",
    ),
    "tiff two heights": (tiff(t257=[5, 6]), "tag 257 has 2 values"),
    "tiff strip beyond the end": (tiff(t273=10**9), "ends early: pixels at byte 1,000,000,000"),
    "tiff strip too short": (tiff(t279=100), "ends early: 100 of 2,880 bytes of pixels from row 0 on"),
    "tiff strips missing": (tiff(t278=1), "1 offsets and 1 sizes for 24 strips"),
    "tiff no strips": (make_tiff([], RGB_TAGS), "0 offsets and 0 sizes"),
    "tiff tiles of nothing": (tiff(t322=0, t323=16, t324=8, t325=9), "its strips or tiles are 0 x 16"),
    "tiff rows per strip 0": (tiff(t278=0), "its strips or tiles are 40 x 0"),
    "tiff tile bomb": (tiff(t322=60000, t323=60000, t324=8, t325=9), "in tiles of 60000 x 60000, much larger"),
    "tiff 100 megapixels": (tiff(t256=10000, t257=10000, t278=10000), "it is 10000 x 10000 (limit 40 megapixels"),
    "tiff 0 x 24": (tiff(t256=0), "its size is 0 x 24"),
    "tiff deflate bomb": (make_tiff([b"not zlib"], RGB_TAGS | {259: 8}), "cannot be unpacked"),
    "tiff short palette": (tiff(t258=8, t262=3, t277=1, t320=[1, 2, 3]), "3 values in the palette of a 8-bit"),
    "tiff large lzw strip": (
        make_tiff([b"x"], {256: 6000, 257: 6000, 258: [8, 8, 8], 259: 5, 262: 2, 277: 3, 278: 6000}),
        "whose strips hold 108,000,000 bytes (limit 89,000,000",
    ),
    "bmp rle": (make_bmp(2, 2, 8, bytes(8), compression=1), "RLE-compressed"),
    "bmp jpeg": (make_bmp(2, 2, 24, bytes(16), compression=4), "JPEG-compressed"),
    "bmp compression": (make_bmp(2, 2, 24, bytes(16), compression=99), "compression 99 does not exist"),
    "bmp of 16 bits": (make_bmp(2, 2, 16, bytes(16)), "a BMP of 16 bits a pixel"),
    "bmp of 0 bits": (make_bmp(2, 2, 0, bytes(16)), "a BMP of 0 bits a pixel"),
    "bmp header size": (patched(BMP, 14, "<I", 41), "a BMP header of 41 bytes does not exist"),
    "bmp header beyond the end": (patched(BMP, 14, "<I", 124)[:80], "ends early"),
    "bmp pixels in the header": (patched(BMP, 10, "<I", 20), "begin inside its header"),
    "bmp pixels beyond the end": (patched(BMP, 10, "<I", 2**32 - 1), "ends early: 0 of 2,880"),
    "bmp width": (patched(BMP, 18, "<i", -40), "its size is -40 x 24"),
    "bmp height": (patched(BMP, 22, "<i", 0), "its size is 40 x 0"),
    "bmp least height": (patched(BMP, 22, "<i", -(2**31)), "ends early"),
    "bmp palette": (make_bmp(2, 1, 8, b"\0\5\0\0", palette=bytes(8), colours=2), "pixels of colour 5 with 2 colours"),
    "bmp no palette": (make_bmp(2, 1, 8, bytes(4)), "pixels of colour 0 with 0 colours"),
    "bmp signature only": (b"BM", "ends early"),
    "riff": (b"RIFF\x04\0\0\0WAVE", "a RIFF file that is not a WebP"),
    "webp only": (b"RIFF\x04\0\0\0WEBP", "holds no pixels"),
    "webp riff size": (patched(WEBP, 4, "<I", 2**32 - 1), "ends early"),
    "webp chunk size": (patched(WEBP, 16, "<I", 2**32 - 1), "ends early"),
    "webp chunk beyond the riff": (patched(WEBP, 4, "<I", 40), "ends early"),
    "webp interframe": (patched(WEBP, 20, "<B", WEBP[20] | 1), "key frame"),
    "webp start code": (patched(WEBP, 23, "<B", 0), "key frame"),
    "webp lossless signature": (patched(WEBP_LOSSLESS, 20, "<B", 0), "lossless header"),
    "webp version": (patched(WEBP_LOSSLESS, 24, "<B", WEBP_LOSSLESS[24] | 0xE0), "version 7"),
    "webp canvas": (patched(WEBP_X, 24, "<B", 99), "its canvas is 100 x 24, its picture 40 x 24"),
    "webp animated": (encode(picture(), "WEBP", save_all=True, append_images=[IMAGE.rotate(9)]), "animated"),
    "webp animation flag": (patched(WEBP_X, 20, "<B", 0x1A), "animated"),
    "webp transparent": (
        encode(Image.new("RGBA", (4, 3), (1, 2, 3, 9)), "WEBP"),
        "12 of its 12 pixels are transparent",
    ),
    "webp many chunks": (
        b"RIFF" + struct.pack("<I", 4 + 8 * 10001) + b"WEBP" + b"JUNK\0\0\0\0" * 10001,
        "10,000 chunks",
    ),
    "png filter": (png_16_bit(WORDS, (0,))[:33], "ends early"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refused(name: str, tmp_path: Path) -> None:
    data, reason = HOSTILE[name]
    path = tmp_path / "a"
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(ImageError) as caught:
        load_image(path, "a", max_megapixels=40)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reason in caught.value.what
    assert peak < 2**24


def test_filter_of_16_bit_png_that_does_not_exist(tmp_path: Path) -> None:
    rows = (b"\5" + bytes(12)) * 2
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    assert "PNG filter 5 does not exist" in refusal(tmp_path, data, (0, 1))


# --- cut and mutated files ---

SMALL = Image.fromarray(picture()[:9, :13])
SEEDS: dict[str, bytes] = {
    "bmp-24": encode(SMALL, "BMP"),
    "bmp-8": encode(SMALL.quantize(16), "BMP"),
    "bmp-32": encode(SMALL.convert("RGBA"), "BMP"),
    "tiff": encode(SMALL, "TIFF"),
    "tiff-lzw": encode(SMALL, "TIFF", compression="tiff_lzw"),
    "tiff-lzw-strips": encode(SMALL, "TIFF", compression="tiff_lzw", tiffinfo={278: 2, 317: 2}),
    "tiff-deflate": encode(SMALL, "TIFF", compression="tiff_adobe_deflate"),
    "tiff-packbits": encode(SMALL.convert("L"), "TIFF", compression="packbits"),
    "tiff-palette": encode(SMALL.quantize(4), "TIFF"),
    "tiff-tiles": tiled_tiff(np.asarray(SMALL), (16, 16), pack=True, planar=True),
    "tiff-16-bit": tiff_of(WORDS[:9, :13]),
    "webp": encode(SMALL, "WEBP"),
    "webp-lossless": encode(SMALL, "WEBP", lossless=True),
    "webp-alpha": encode(SMALL.convert("RGBA"), "WEBP", exif=b"Exif\0\0" + bytes(9)),
    "png-16-bit": png_16_bit(WORDS[:9, :13], (4, 1, 3)),
}


def outcome(path: Path, data: bytes) -> np.ndarray | None:
    """Pixels of the size that the header says, or None where the file was refused; any other exception is a failure."""
    path.write_bytes(data)
    try:
        image = load_image(path, "a", max_megapixels=1, value_range=(0, 65535)).pixels
    except ImageError as error:
        assert error.what.startswith("a: ") and "\n" not in error.what
        return None
    size = stored_size(path, "a", max_megapixels=1)
    assert image.dtype == np.uint8 and image.shape in ((*size, 3), (*size[::-1], 3))
    return image


@pytest.mark.parametrize("name", SEEDS)
def test_every_cut_is_refused_or_has_all_pixels(name: str, tmp_path: Path) -> None:
    data = SEEDS[name]
    whole = outcome(tmp_path / "a", data)
    assert whole is not None
    for length in range(0, len(data), 1 + len(data) // 400):
        image = outcome(tmp_path / "a", data[:length])
        assert image is None or np.array_equal(image, whole), length


PACKED_BLOCKS: dict[str, Callable[[bytes], bytes]] = {
    "lzw": lambda packed: make_tiff([packed], {**RGB_TAGS, 259: 5}),
    "deflate": lambda packed: make_tiff([packed], {**RGB_TAGS, 259: 8}),
    "packbits": lambda packed: make_tiff([packed], {**RGB_TAGS, 259: 32773}),
}


@pytest.mark.parametrize(("name", "code"), [("lzw", "tiff_lzw"), ("deflate", "tiff_adobe_deflate"), ("packbits",) * 2])
def test_packed_strips_that_end_early_are_no_black_rows(name: str, code: str, tmp_path: Path) -> None:
    """The file is whole and its directory right; only the packed bytes stop too soon."""
    saved = encode(picture(), "TIFF", compression=code)
    with Image.open(io.BytesIO(saved)) as image:
        (offset,), (count,) = image.tag_v2[273], image.tag_v2[279]  # type: ignore[attr-defined]
    packed = saved[offset : offset + count]
    np.testing.assert_array_equal(read(tmp_path, PACKED_BLOCKS[name](packed)), picture())
    for length in [*range(0, count - 12, 97), count - 12]:
        assert "early" in refusal(tmp_path, PACKED_BLOCKS[name](packed[:length]))


@pytest.mark.parametrize("name", ["webp", "webp-lossless"])
def test_webp_pixels_that_end_early(name: str, tmp_path: Path) -> None:
    """Both sizes in the file agree with what is left of it."""
    data, seen = SEEDS[name], 0
    whole = outcome(tmp_path / "a", data)
    for length in range(36, len(data)):
        cut = patched(patched(data[:length], 4, "<I", length - 8), 16, "<I", length - 20)
        image = outcome(tmp_path / "a", cut)
        seen += image is None
        assert image is None or np.array_equal(image, whole), length
    assert seen > 10


@pytest.mark.parametrize("name", SEEDS)
def test_mutated_files_are_read_or_refused_and_nothing_else(name: str, tmp_path: Path) -> None:
    dice, verdicts = random.Random(name), {"read": 0, "refused": 0}
    for _ in range(300):
        data = bytearray(SEEDS[name])
        for _ in range(dice.choice((1, 1, 2, 8))):
            at = dice.randrange(len(data))
            match dice.randrange(8):
                case 0:
                    del data[at : at + dice.randrange(1, 20)]
                case 1:
                    data[at:at] = data[: dice.randrange(20)]
                case 2:
                    data[at : at + 4] = dice.choice(
                        (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x80", b"\xff\xff\xff\x7f")
                    )
                case _:
                    data[at] ^= 1 << dice.randrange(8)
            data = data or bytearray(1)
        verdicts["refused" if outcome(tmp_path / "a", bytes(data)) is None else "read"] += 1
    assert verdicts["refused"] > 30


@pytest.mark.parametrize("name", SEEDS)
def test_what_the_header_accepts_the_check_of_the_pixels_accepts(name: str) -> None:
    check_pixel_data(SEEDS[name], read_header(SEEDS[name]))


@pytest.mark.parametrize("name", ["tiff strip too short", "tiff strip beyond the end", "tiff deflate bomb"])
def test_the_check_of_the_pixels_finds_what_is_missing(name: str) -> None:
    data, reason = HOSTILE[name]
    with pytest.raises(Refused, match=reason.partition(":")[0]):
        check_pixel_data(data, read_header(data))
