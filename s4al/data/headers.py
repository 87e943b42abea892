"""What an image file says about itself, checked before any codec runs.

Pillow alone is not enough: it drops the low bytes of 16-bit RGB without a word, does not check the CRC of PNG pixels
(one flipped mask in ten loads with wrong classes), and warns about huge pictures only after opening them. A walk over
the chunks, markers or tags settles all of it, costs no decoding, and gives a reason a person understands.
"""

from __future__ import annotations

from s4al.data.formats.bmp import read_bmp
from s4al.data.formats.header import Header as Header
from s4al.data.formats.header import Refused as Refused
from s4al.data.formats.jpeg import read_jpeg
from s4al.data.formats.png import PNG_SIGNATURE, check_png_pixels, read_png
from s4al.data.formats.tiff import check_tiff_pixels, read_tiff
from s4al.data.formats.webp import read_webp

FORMATS = "JPEG, PNG, BMP, TIFF or WebP"
_READERS = {
    PNG_SIGNATURE: read_png,
    b"\xff\xd8": read_jpeg,
    b"BM": read_bmp,
    b"II*\0": read_tiff,
    b"MM\0*": read_tiff,
    b"II+\0": read_tiff,
    b"MM\0+": read_tiff,
    b"RIFF": read_webp,
}
_OTHER_FORMATS = {
    b"GIF8": "a GIF",
    b"%!PS": "an EPS",
    b"%PDF": "a PDF",
    b"\0\0\0\x0cjP": "a JPEG 2000",
    b"<": "HTML, SVG or XML text",
}


def read_header(data: bytes) -> Header:
    """Walk over all chunks, markers or tags of a whole file. Raises Refused."""
    if not data:
        raise Refused("the file is empty")
    for magic, reader in _READERS.items():
        if data.startswith(magic):
            return reader(data)
    kind = next((name for magic, name in _OTHER_FORMATS.items() if data.startswith(magic)), "something else")
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"):
        kind = "a HEIC or AVIF"
    raise Refused(f"not a {FORMATS} file (it is {kind})")


def check_pixel_data(data: bytes, header: Header) -> None:
    """See that all pixels of a lossless file are there, where a codec would take missing ones for black.

    Raises Refused. What JPEG and WebP hold cannot be checked without decoding it; of BMP `read_header` knows.
    """
    if header.format == "PNG":
        check_png_pixels(data, header)
    elif header.format == "TIFF":
        check_tiff_pixels(data)
