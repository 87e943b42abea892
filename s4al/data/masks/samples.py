"""What a mask file holds, before anybody says what it means: its raw samples, and how many pixels have each.

The one place that knows which formats masks may have: those that give back exactly what was written. What the samples
mean is the business of `data.masks.reader` and `data.masks.encoding`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4al.data.decode import SAVE_OPAQUE
from s4al.data.headers import Header, Refused, check_pixel_data, read_header
from s4al.data.images import DECODE_ERRORS, larger_limit, one_line, read_bytes
from s4al.data.palettes import Colour
from s4al.errors import MaskError

MASK_FORMATS = ("PNG", "BMP", "TIFF")  # lossless; `read_header` refuses the TIFFs that hold JPEG data
MAX_VALUES_KEPT = 2048  # of one file; a photograph that was taken for a mask has millions of colours

_MODE_NAMES = {"palette": "palette", "rgb": "RGB", "rgb+alpha": "RGBA", "grey+alpha": "grey with alpha"}


@dataclass(frozen=True, eq=False)
class Samples:
    """The decoded samples of one mask.

    Attributes
    ----------
    kind : "values" are grey samples, "palette" are indices of a palette, "colours" are packed RGB.
    pixels_HW : uint8 or uint16 for values, uint8 for a palette, uint32 0xRRGGBB for colours.
    mode : the kind in words, for messages.
    palette_P : uint32, packed colour of each index; empty where there is no palette.
    clear_P : bool, the palette's indices that are not opaque; as long as the palette.
    white : the grey sample that is shown as white: 1 of 1-bit pictures, 255 of 8-bit ones; 0 of 16-bit grey, which has
        no colour.
    """

    kind: Literal["values", "palette", "colours"]
    pixels_HW: NDArray[np.unsignedinteger]
    mode: str
    palette_P: NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, np.uint32))
    clear_P: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    white: int = 255

    def as_values(self) -> NDArray[np.unsignedinteger]:
        """(H, W) samples to be read by value: indices of a palette, and the grey of an RGB picture without colours.

        Raises Refused for a picture with colours.
        """
        if self.kind != "colours":
            return self.pixels_HW
        grey_HW = self.pixels_HW & 255
        coloured_HW = grey_HW * 0x010101 != self.pixels_HW
        if coloured_HW.any():
            first = tuple(np.argwhere(coloured_HW)[0].tolist())
            colour = colour_text(unpack(int(self.pixels_HW[first])))
            raise Refused(f"an {self.mode} picture with colours ({colour} at {first}), and the masks are read by value")
        return grey_HW.astype(np.uint8)

    def as_colours(self) -> NDArray[np.uint32]:
        """(H, W) uint32 packed RGB: of a palette its colours, of grey samples the grey that is shown.

        Raises Refused for 16-bit grey and where a palette's colour is transparent or missing.
        """
        if self.kind == "colours":
            return self.pixels_HW.astype(np.uint32, copy=False)
        if self.kind == "palette":
            self._check_palette()
            return self.palette_P[self.pixels_HW]
        if not self.white:
            raise Refused(f"a {self.mode} picture, and the masks are read by colour")
        shown = (np.arange(256) * (255 // self.white)).clip(max=255).astype(np.uint32) * 0x010101
        return shown[self.pixels_HW]

    def _check_palette(self) -> None:
        top = int(self.pixels_HW.max())
        if top >= len(self.palette_P):
            raise Refused(f"holds index {top}, and its palette has {len(self.palette_P)} colours")
        clear = int(np.count_nonzero(self.clear_P[self.pixels_HW]))
        if clear:
            raise Refused(f"{clear:,} pixels are transparent; a mask is opaque", SAVE_OPAQUE)


@dataclass(frozen=True)
class MaskSample:
    """What was found in one mask.

    Attributes
    ----------
    name : what messages call the file.
    format, mode : in words, such as "PNG" and "8-bit grey".
    values : raw sample, or RGB of colour masks -> pixels. The `MAX_VALUES_KEPT` most frequent ones.
    num_values : how many different ones there are.
    palette : of palette masks, the colours of the indices used.
    white : the grey sample that is shown as white; 0 where values have no grey.
    """

    name: str
    format: str
    mode: str
    height: int
    width: int
    values: dict[int | Colour, int]
    num_values: int
    palette: dict[int, Colour] = field(default_factory=dict)
    white: int = 0

    @property
    def num_pixels(self) -> int:
        return self.height * self.width

    @cached_property
    def by_value(self) -> dict[int, int] | None:
        """Raw sample -> pixels, also of an RGB picture that holds grey only; None of a picture with colours."""
        found: dict[int, int] = {}
        for value, count in self.values.items():
            if not isinstance(value, int):
                if len(set(value)) > 1:
                    return None
                value = value[0]
            found[value] = count
        return found

    @cached_property
    def by_colour(self) -> dict[Colour, int] | None:
        """RGB -> pixels, of palette masks through their palette; None where a sample has no colour."""
        found: dict[Colour, int] = {}
        for value, count in self.values.items():
            colour = value
            if isinstance(value, int):
                grey = value * 255 // self.white if self.white else -1
                colour = (grey, grey, grey) if self.white else self.palette.get(value)
            if not isinstance(colour, tuple):
                return None
            found[colour] = found.get(colour, 0) + count
        return found


def sample_mask(path: Path, name: str, *, max_megapixels: float) -> MaskSample:
    """Read one mask and count its samples.

    Parameters
    ----------
    name : what messages call the file.
    max_megapixels : limit on height x width, checked before anything is decoded.

    Raises
    ------
    MaskError : the file cannot be used as a mask, whatever its samples mean.
    """
    try:
        data, _ = read_bytes(path, name, max_megapixels, None)
        header = read_header(data)
        if header.height * header.width > max_megapixels * 1e6:
            limit = f"limit {max_megapixels:g} megapixels, data.max_megapixels"
            raise Refused(f"it is {header.width} x {header.height} ({limit})", larger_limit(header))
        samples = read_samples(data, header)
    except Refused as refusal:
        raise MaskError(f"mask {name}: {str(refusal).removesuffix('.')}.", remedy=refusal.remedy) from refusal
    return _count(samples, name, header)


def _count(samples: Samples, name: str, header: Header) -> MaskSample:
    found, counts = np.unique(samples.pixels_HW, return_counts=True)
    kept = np.sort(np.argsort(-counts, kind="stable")[:MAX_VALUES_KEPT])
    pairs = zip(found[kept].tolist(), counts[kept].tolist(), strict=True)
    values = {unpack(value) if samples.kind == "colours" else value: count for value, count in pairs}
    used = [int(index) for index in found if index < len(samples.palette_P) and not samples.clear_P[index]]
    palette = {index: unpack(int(samples.palette_P[index])) for index in used}
    return MaskSample(
        name=name,
        format=header.format,
        mode=samples.mode,
        height=header.height,
        width=header.width,
        values=values,
        num_values=len(found),
        palette=palette,
        white=samples.white if samples.kind == "values" else 0,
    )


def read_samples(data: bytes, header: Header) -> Samples:
    """Decode the bytes of one mask. Raises Refused for formats and modes that hold no classes, and damaged files."""
    check_mask_header(header)
    check_pixel_data(data, header)
    try:
        with Image.open(io.BytesIO(data), formats=MASK_FORMATS) as picture:
            samples = _decode(picture, header)
    except Refused:
        raise
    except DECODE_ERRORS as error:
        raise Refused(one_line(error)) from error
    if samples.pixels_HW.shape != (header.height, header.width):
        raise Refused("its orientation tag turns it; a mask is stored as it is shown")
    return samples


def check_mask_header(header: Header) -> None:
    """Raise Refused where a mask's format or mode cannot hold classes."""
    if header.format not in MASK_FORMATS:
        raise Refused(
            f"a {'WebP' if header.format == 'WEBP' else header.format}, which does not keep class ids exactly: its "
            "colours are not the labels'. Masks are PNG, BMP or TIFF files",
            "Export the masks again without loss, as PNG, TIFF or BMP: converting these does not help.",
        )
    if header.height < 1 or header.width < 1:
        raise Refused(f"its size is {header.width} x {header.height}")
    if header.animated:
        raise Refused("animated (single pictures are read)")
    if header.bits > 8 and not (header.mode == "grey" and header.bits == 16):
        raise Refused(f"a {header.bits}-bit {_mode_name(header)} picture; a mask is 8- or 16-bit grey, or 8-bit colour")
    if header.mode == "cmyk":
        raise Refused("a CMYK picture; a mask is grey, palette or RGB", "Save them as RGB.")
    if header.orientation in range(2, 9):
        raise Refused(f"a TIFF with the orientation {header.orientation}; save it the way it lies on its image")


def _mode_name(header: Header) -> str:
    if header.mode == "grey":
        return "1-bit" if header.bits == 1 else f"{header.bits}-bit grey"
    return _MODE_NAMES.get(header.mode, header.mode)


def _decode(picture: Image.Image, header: Header) -> Samples:
    """Pillow's modes, not the header's, decide from here: it opens a BMP whose palette is grey as grey."""
    mode = _mode_name(header)
    if header.transparent and picture.mode == "RGB":  # a colour key
        picture = picture.convert("RGBA")
    samples = np.asarray(picture)
    match picture.mode:
        case "1":
            return Samples("values", samples.astype(np.uint8), "1-bit", white=1)
        case "L":
            # Pillow spreads 2- and 4-bit grey over 0..255, as pictures want it; class ids want it undone
            step = 255 // (2**header.bits - 1) if header.mode == "grey" and header.format != "BMP" else 1
            mode = "8-bit grey" if header.mode == "palette" else mode
            return Samples("values", samples // step if step > 1 else samples, mode, white=255 // step)
        case "I;16" | "I;16B" | "I;16L" | "I;16N":
            return Samples("values", samples.astype(np.uint16), mode, white=0)
        case "P":
            return Samples("palette", samples, mode, *_palette(picture))
        case "LA":
            return Samples("values", _opaque(samples)[..., 0], mode)
        case "RGB" | "RGBA":
            return Samples("colours", pack(_opaque(samples)), mode)
        case other:
            raise Refused(f"a picture of the kind {other}; a mask is grey, palette or RGB")


def _palette(picture: Image.Image) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    colours = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    clear = np.zeros(len(colours), np.bool_)
    given = picture.info.get("transparency", b"")
    if isinstance(given, bytes):
        alpha = np.frombuffer(given[: len(clear)], np.uint8)
        clear[: len(alpha)] = alpha < 255
    elif given < len(clear):
        clear[given] = True
    return pack(colours), clear


def _opaque(samples_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The samples without their alpha, which may hide nothing."""
    if samples_HWC.shape[2] == 3:
        return samples_HWC
    clear = int(np.count_nonzero(samples_HWC[..., -1] != 255))
    if clear:
        raise Refused(f"{clear:,} pixels are transparent; a mask is opaque", SAVE_OPAQUE)
    return samples_HWC[..., :-1]


def pack(colours: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """(..., 3) uint8 RGB -> (...) uint32 0xRRGGBB."""
    packed = np.zeros(colours.shape[:-1], np.uint32)
    for channel in range(3):
        packed <<= 8
        packed |= colours[..., channel]
    return packed


def unpack(colour: int) -> Colour:
    return colour >> 16, colour >> 8 & 255, colour & 255


def colour_text(colour: Colour) -> str:
    """(128, 64, 0) -> "128,64,0", the form of `data.mask_values`."""
    return ",".join(map(str, colour))
