"""Colours for formats that know a class by its colour: the run's own where they serve, each once, none black."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from s4al.data.palettes import Colour, distinct_palette

_BLACK = (0, 0, 0)  # means "not painted"


def class_colours(palette: NDArray[np.uint8]) -> list[Colour]:
    """For each of the C classes a colour of its own that is not black.

    Parameters
    ----------
    palette : uint8 (C, 3), the run's. A colour that is black or taken by an earlier class is replaced.
    """
    spare = iter([tuple(colour) for colour in distinct_palette(4 * len(palette)).tolist()])
    own = [tuple(colour) for colour in palette.tolist()]
    colours: list[Colour] = []
    for colour in own:
        while colour == _BLACK or colour in colours:
            colour = next(other for other in spare if other not in own)
        colours.append(colour)
    return colours


def hex_text(colour: Colour) -> str:
    """(128, 64, 0) -> "#804000"."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
