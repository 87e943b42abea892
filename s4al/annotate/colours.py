"""Colours that people can tell apart, those included who see fewer of them.

Distances are Euclidean in OKLab (Ottosson 2020), times 100: about 2 is the least that can be seen side by side. Seeing
with one kind of cone missing is simulated as Machado, Oliveira and Fernandes (2009) do for full severity.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

ALIKE = 6.0  # colours nearer than this are mixed up in small patches

_CONE_MISSING = np.array(
    [
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ]
)  # of long, middle and short waves, on linear RGB
_LINEAR_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_CONES_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def as_seen(colours: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(4, C, 3) OKLab times 100 of uint8 (C, 3) sRGB: as most people see them, then without one kind of cone each."""
    share = colours.reshape(-1, 3).astype(np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.concatenate([linear[None], np.einsum("kij,cj->kci", _CONE_MISSING, linear)]).clip(0, 1)
    return 100 * np.cbrt(seen @ _LINEAR_TO_CONES.T) @ _CONES_TO_OKLAB.T


def distances(colours: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(C, D): how far apart two colours are for whoever sees them as the most alike."""
    a_VCL, b_VDL = as_seen(colours), as_seen(others)
    return np.linalg.norm(a_VCL[:, :, None] - b_VDL[:, None], axis=-1).min(axis=0)


def alike(palette: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Pairs of classes whose colours somebody may mix up. `palette` is uint8 (C, 3)."""
    apart_CC = distances(palette, palette)
    return [(a, b) for a, b in itertools.combinations(range(len(palette)), 2) if apart_CC[a, b] < ALIKE]


def next_colour(palette: NDArray[np.uint8]) -> tuple[int, int, int]:
    """The colour that is farthest from all of uint8 (C, 3), of those that are neither near black nor near white."""
    choices = _candidates()
    if len(palette) == 0:
        return _rgb(choices[0])
    return _rgb(choices[int(distances(choices, palette.reshape(-1, 3)).min(axis=1).argmax())])


@lru_cache(maxsize=4)
def told_apart(count: int) -> NDArray[np.uint8]:
    """uint8 (count, 3), count at most 254: each colour as far as can be from those before it, for all eyes."""
    choices = _candidates()
    chosen = [0]
    nearest_N = distances(choices, choices[:1])[:, 0]
    for _ in range(count - 1):
        chosen.append(int(nearest_N.argmax()))
        nearest_N = np.minimum(nearest_N, distances(choices, choices[chosen[-1:]])[:, 0])
    return choices[chosen[:count]]


@lru_cache(maxsize=1)
def _candidates() -> NDArray[np.uint8]:
    """(N, 3) uint8, more than there can be classes: a grid of RGB, without what is lost on black, white or grey
    pictures. The first is an orange.
    """
    levels = (0, 36, 73, 109, 146, 182, 219, 255)
    grid = np.array([(230, 120, 0), *itertools.product(levels, repeat=3)], np.uint8)
    lightness, a, b = as_seen(grid)[0].T
    return grid[(lightness > 35) & (lightness < 95) & (np.hypot(a, b) > 4)]


def _rgb(colour: NDArray[np.uint8]) -> tuple[int, int, int]:
    red, green, blue = colour.tolist()
    return red, green, blue
