"""Superpixels: whole, of three sizes, along the edges of bright and of dark pictures, and never many pixels of work."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label

from s4al.annotate.page.superpixels import SEGMENT_PIXELS, superpixels


def noise(height: int, width: int, *, low: int = 60, high: int = 72) -> np.ndarray:
    return np.random.default_rng(0).integers(low, high, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (3, 2), (20, 26), (45, 60), (128, 128)])
def test_every_pixel_has_a_segment_and_every_segment_pixels(height: int, width: int) -> None:
    segments, step = superpixels(noise(height, width))
    assert step == 1
    assert segments.dtype == np.uint16
    assert segments.shape == (3, height, width)
    for level in segments:
        np.testing.assert_array_equal(np.unique(level), np.arange(level.max() + 1))
        assert label(level + 1, connectivity=1).max() == level.max() + 1  # each hangs together


def test_sizes_are_coarse_to_fine_on_a_noisy_surface_too() -> None:
    segments, _ = superpixels(noise(45, 60))
    counts = [int(level.max()) + 1 for level in segments]
    for count, pixels in zip(counts, SEGMENT_PIXELS, strict=True):
        assert 0.2 < count * pixels / (45 * 60) < 1.5  # SLIC joins what is no larger than noise


@pytest.mark.parametrize(("dark", "bright"), [(20, 230), (6, 14), (240, 252)], ids=["plain", "dark", "bright"])
def test_segments_end_at_edges(dark: int, bright: int) -> None:
    """A disc: hardly any segment has pixels of both sides, however weak the contrast."""
    y, x = np.mgrid[:60, :60]
    inside = (y - 28) ** 2 + (x - 31) ** 2 < 18**2
    image = np.where(inside, bright, dark).astype(np.uint8)[..., None].repeat(3, axis=2)
    segments, _ = superpixels(image)
    for level in segments:
        share = np.bincount(level.ravel(), inside.ravel()) / np.bincount(level.ravel())
        mixed = np.minimum(share, 1 - share)[level]  # of a pixel's segment, what is on the other side
        assert mixed.mean() < 0.02


@pytest.mark.parametrize(("height", "width", "step"), [(192, 256, 1), (193, 256, 2), (1000, 1500, 6), (4000, 1, 1)])
def test_large_regions_are_seen_at_a_fraction(height: int, width: int, step: int) -> None:
    segments, found = superpixels(np.zeros((height, width, 3), np.uint8))
    assert found == step
    assert segments.shape == (3, -(-height // step), -(-width // step))
