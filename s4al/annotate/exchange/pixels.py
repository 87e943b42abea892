"""Pictures of labels that came back: decoded only after their header agrees with the picture they are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s4al.annotate.exchange.contract import Picture, Unusable
from s4al.annotate.exchange.reading import Reading

if TYPE_CHECKING:
    from s4al.data.masks.samples import Samples


def label_samples(data: bytes, reading: Reading, picture: Picture) -> Samples:
    """The samples, by value or by colour, of a PNG, BMP or TIFF with the picture's size. Raises Unusable."""
    from s4al.data.headers import Refused, read_header
    from s4al.data.masks.samples import read_samples

    try:
        header = read_header(data)
        reading.canvas(picture, header.height, header.width)
        return read_samples(data, header)
    except Refused as refusal:
        raise Unusable(str(refusal).removesuffix(".")) from refusal
