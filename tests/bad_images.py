"""Image files as the world sends them, made by code, each with the verdict the decoder must give.

A verdict is None (accepted) or a piece of the reason. `CORPUS` holds files that are bytes; `make_special_files` adds
what only a file system can hold.
"""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 24, 40


def picture() -> np.ndarray:
    """(24, 40, 3) uint8, smooth enough to survive JPEG, with no two pixels alike and no symmetry."""
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([rows * 10, cols * 6, 255 - rows * 4 - cols * 2], axis=2).astype(np.uint8)


def encode(pixels: np.ndarray | Image.Image, format: str, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def raw_png(width: int, height: int, bits: int, colour: int, pixels: bytes, *extra: bytes, end: bool = True) -> bytes:
    """A PNG chunk by chunk: `pixels` are filter bytes and samples before compression, `extra` goes before them."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(pixels)) if pixels else b""
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + body + (png_chunk(b"IEND", b"") if end else b"")


def _jpeg(**options: Any) -> bytes:
    return encode(picture(), "JPEG", quality=92, **options)


def _png(**options: Any) -> bytes:
    return encode(picture(), "PNG", **options)


def _cut(data: bytes, percent: int) -> bytes:
    return data[: len(data) * percent // 100]


def _flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return exif.tobytes()


def _patch_frame(data: bytes, *, code: int = 0xC0, bits: int = 8, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    """Rewrite the start-of-frame segment of a baseline JPEG."""
    at = data.index(b"\xff\xc0")
    return data[:at] + struct.pack(">BBHBHH", 0xFF, code, 17, bits, height, width) + data[at + 9 :]


def _many_scans() -> bytes:
    data = _jpeg(progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 120 + b"\xff\xd9"


def _ycck() -> bytes:
    data = encode(Image.fromarray(picture()).convert("CMYK"), "JPEG")
    at = data.index(b"Adobe") + 11
    return data[:at] + b"\x02" + data[at + 1 :]


def _palette(**options: Any) -> bytes:
    return encode(Image.fromarray(picture()).quantize(64), "PNG", **options)


def _rgba() -> Image.Image:
    image = Image.fromarray(picture()).convert("RGBA")
    image.putalpha(128)
    return image


def _frames(count: int) -> dict[str, Any]:
    return {"save_all": True, "append_images": [Image.fromarray(np.roll(picture(), i, 0)) for i in range(1, count)]}


def _interlaced() -> bytes:
    """5 x 3 grey, Adam7: passes of 1x1, 1x1, none, 1x1, 1x3, 2x2 and 1x5 (rows x columns), a filter byte a row."""
    rows = [1, 1, 1, 3, 2, 2, 5]
    pixels = b"".join(b"\0" + bytes(range(10, 10 + n)) for n in rows)
    data = raw_png(5, 3, 8, 0, pixels)
    header = struct.pack(">IIBBBBB", 5, 3, 8, 0, 0, 0, 1)
    return data[:8] + png_chunk(b"IHDR", header) + data[33:]


def _bomb(kind: bytes, prefix: bytes) -> bytes:
    """A valid picture with an ancillary chunk that unpacks to 64 MB."""
    chunk = png_chunk(kind, prefix + zlib.compress(bytes(2**26), 9))
    return raw_png(2, 2, 8, 0, bytes(6), chunk)


def _corpus() -> dict[str, tuple[bytes, str | None]]:
    jpeg, png = _jpeg(), _png()
    scan = (jpeg.index(b"\xff\xda") + len(jpeg)) // 2
    pixels_at = png.index(b"IDAT") + 40
    short = raw_png(40, 24, 8, 0, bytes(41 * 20))  # four rows missing, every checksum right
    broken = raw_png(40, 24, 8, 0, b"", png_chunk(b"IDAT", b"not zlib at all"))
    grey = Image.fromarray(picture()).convert("L")
    files: dict[str, tuple[bytes, str | None]] = {
        # accepted
        "rgb.png": (png, None),
        "rgb.jpg": (jpeg, None),
        "png-named.jpg": (png, None),
        "jpeg-named.png": (jpeg, None),
        "grey.png": (encode(grey, "PNG"), None),
        "grey.jpg": (encode(grey, "JPEG"), None),
        "palette.png": (_palette(), None),
        "palette-4-bit.png": (encode(Image.fromarray(picture()).quantize(9), "PNG"), None),
        "one-bit.png": (encode(grey.convert("1"), "PNG"), None),
        "progressive.jpg": (_jpeg(progressive=True), None),
        "interlaced.png": (_interlaced(), None),
        "444.jpg": (_jpeg(subsampling=0), None),
        "trailing-bytes.png": (png + b"more", None),
        "trailing-bytes.jpg": (jpeg + b"more", None),
        "preview-behind.jpg": (jpeg + jpeg, None),
        "scan-rot.jpg": (_flip(jpeg, scan), "premature end of data"),
        "1-x-1.png": (raw_png(1, 1, 8, 0, bytes(2)), None),
        "1-x-20000.png": (raw_png(1, 20000, 8, 0, bytes(40000)), None),
        "exif-1.jpg": (_jpeg(exif=_exif(1)), None),
        "cut-and-closed.jpg": (jpeg[:scan] + b"\xff\xd9", "premature end of data"),
        "corrupt-exif.jpg": (_jpeg(exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"), None),
        "exif-0.jpg": (_jpeg(exif=_exif(0)), None),
        "bmp.png": (encode(picture(), "BMP"), None),
        "webp.png": (encode(picture(), "WEBP"), None),
        "lossless.webp": (encode(picture(), "WEBP", lossless=True), None),
        "tiff.png": (encode(picture(), "TIFF"), None),
        "lzw.tif": (encode(picture(), "TIFF", compression="tiff_lzw"), None),
        "opaque-rgba.png": (encode(Image.fromarray(picture()).convert("RGBA"), "PNG"), None),
        "opaque-la.png": (encode(grey.convert("LA"), "PNG"), None),
        "unused-transparent.png": (_png(transparency=(1, 2, 3)), None),  # no pixel has that colour
        # cut, empty, damaged
        "zero-byte.png": (b"", "the file is empty"),
        "one-byte.png": (b"\x89", "not a JPEG, PNG"),
        "signature-only.png": (png[:8], "ends early"),
        "start-only.jpg": (jpeg[:2], "ends early"),
        **{f"cut-{p}.jpg": (_cut(jpeg, p), "ends early") for p in (25, 50, 90, 99)},
        **{f"cut-{p}.png": (_cut(png, p), "ends early") for p in (25, 50, 90, 99)},
        "no-end.jpg": (jpeg[:-2], "ends early"),
        "no-end.png": (png[:-12], "ends early"),
        "no-pixels.png": (raw_png(4, 4, 8, 0, b""), "holds no pixels"),
        "no-pixels.jpg": (b"\xff\xd8\xff\xd9", "holds no pixels"),
        "pixel-rot.png": (_flip(png, pixels_at), "checksum of its 'IDAT' chunk"),
        "header-rot.png": (_flip(png, 18), "checksum of its 'IHDR' chunk"),
        "rows-missing.png": (short, "ends early: 820 of 984 bytes of pixels"),
        "not-zlib.png": (broken, "cannot be unpacked"),
        "huge-chunk.png": (png[:33] + b"\xff\xff\xff\xff" + png[37:], "ends early"),
        "first-chunk.png": (png[:8] + png[33:], "not a PNG header"),
        "short-frame.jpg": (b"\xff\xd8\xff\xc0\x00\x04\x08\x00\xff\xd9", "frame header is too short"),
        # other types
        "page.png": (b"<!DOCTYPE html><html>404 not found</html>", "HTML"),
        "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        "text.png": (b"version https://git-lfs\noid sha256:0\n", "not a JPEG, PNG"),
        "postscript.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "an EPS"),
        "document.jpg": (b"%PDF-1.7\n", "a PDF"),
        "gif.png": (encode(grey, "GIF"), "a GIF"),
        "animated-gif.png": (encode(picture(), "GIF", **_frames(3)), "a GIF"),
        "animated-webp.png": (encode(picture(), "WEBP", **_frames(3)), "animated"),
        "float-tiff.png": (encode(grey.convert("F"), "TIFF"), "floating-point"),
        "multi-page-tiff.png": (encode(picture(), "TIFF", **_frames(2)), "several pages"),
        # pictures of a kind that is not read
        "cmyk.jpg": (encode(Image.fromarray(picture()).convert("CMYK"), "JPEG"), "CMYK"),
        "ycck.jpg": (_ycck(), "CMYK"),
        "rgba.png": (encode(_rgba(), "PNG"), "960 of its 960 pixels are transparent"),
        "la.png": (encode(_rgba().convert("LA"), "PNG"), "960 of its 960 pixels are transparent"),
        "palette-transparent.png": (_palette(transparency=3), "pixels are transparent"),
        "grey-transparent.png": (
            encode(grey, "PNG", transparency=int(np.asarray(grey)[5, 5])),
            "pixels are transparent",
        ),
        "rgb-transparent.png": (_png(transparency=(0, 0, 255)), "1 of its 960 pixels are transparent"),
        "16-bit-grey.png": (encode(picture()[..., 0].astype(np.uint16) * 257, "PNG"), "16-bit, where"),
        "16-bit-rgb.png": (raw_png(2, 2, 16, 2, bytes(26)), "data.value_range"),
        "12-bit.jpg": (_patch_frame(jpeg, code=0xC1, bits=12), "12-bit"),
        "arithmetic.jpg": (_patch_frame(jpeg, code=0xC9), "arithmetic"),
        "lossless.jpg": (_patch_frame(jpeg, code=0xC3), "lossless"),
        "animated.png": (_png(**_frames(3)), "animated"),
        "two-frames.jpg": (_patch_frame(jpeg)[:-2] + jpeg[jpeg.index(b"\xff\xc0") :], "hierarchical"),
        # sizes and bombs
        "0-x-4.png": (raw_png(0, 4, 8, 0, bytes(4)), "its size is 0 x 4"),
        "0-rows.jpg": (_patch_frame(jpeg, height=0), "its size is 40 x 0"),
        "60000-x-60000.png": (raw_png(60000, 60000, 8, 0, bytes(100)), "60000 x 60000 (limit 40 megapixels"),
        "65000-x-65000.jpg": (_patch_frame(jpeg, height=65000, width=65000), "65000 x 65000 (limit 40 megapixels"),
        "100-megapixels.png": (raw_png(10000, 10000, 1, 0, bytes(1251 * 10000)), "10000 x 10000 (limit 40"),
        "text-bomb.png": (_bomb(b"zTXt", b"Comment\0\0"), "cannot be decoded"),
        "scan-bomb.jpg": (_many_scans(), "more than 100 progressive scans"),
    }
    return files


CORPUS = _corpus()
# turned upright, unless a mask says otherwise
EXIF_TURNED = {f"exif-{n}.jpg": (_jpeg(exif=_exif(n)), "EXIF orientation") for n in range(2, 9)}


def mutations(count: int, seed: int) -> Iterator[bytes]:
    """Files of the corpus with bytes changed, dropped or doubled; most PNGs get right checksums again."""
    dice = random.Random(seed)
    seeds = [data for data, _ in {**CORPUS, **EXIF_TURNED}.values() if 0 < len(data) < 5000]
    for _ in range(count):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.choice((1, 2, 4, 16))):
            at, other, length = dice.randrange(len(data)), dice.randrange(len(data)), dice.randrange(1, 20)
            match dice.randrange(6):
                case 0:
                    del data[at : at + length]
                case 1:
                    data[at:at] = data[other : other + length]
                case _:
                    data[at] = dice.randrange(256)
            data = data or bytearray(1)
        yield _with_checksums(bytes(data)) if dice.random() < 0.7 else bytes(data)


def _with_checksums(data: bytes) -> bytes:
    fixed, position = data[:8], 8
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4])
        if end > len(data):
            break
        fixed += data[position : end - 4] + struct.pack(">I", zlib.crc32(data[position + 4 : end - 4]))
        position = end
    return fixed + data[position:]


def make_special_files(folder: Path) -> dict[str, str]:
    """Things that are no regular files. Returns `{name: piece of the reason}`."""
    os.mkfifo(folder / "fifo.png")
    (folder / "folder.png").mkdir()
    (folder / "broken-link.png").symlink_to("nowhere.png")
    (folder / "circle.png").symlink_to("circle.png")
    return {
        "fifo.png": "not a regular file",
        "folder.png": "not a regular file",
        "broken-link.png": "cannot be read",
        "circle.png": "cannot be read",
        "missing.png": "cannot be read",
    }
