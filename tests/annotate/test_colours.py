"""Colours that all people can tell apart."""

from __future__ import annotations

import numpy as np
import pytest

from s4al.annotate.colours import ALIKE, alike, as_seen, distances, next_colour, told_apart


def test_grey_is_seen_alike_by_all() -> None:
    grey_VCL = as_seen(np.array([[0, 0, 0], [119, 119, 119], [255, 255, 255]], np.uint8))
    np.testing.assert_allclose(grey_VCL, np.broadcast_to(grey_VCL[0], grey_VCL.shape), atol=0.01)
    np.testing.assert_allclose(grey_VCL[0, :, 0], [0, 56.9, 100], atol=0.2)  # OKLab lightness
    np.testing.assert_allclose(grey_VCL[..., 1:], 0, atol=0.01)


@pytest.mark.parametrize(
    ("a", "b", "mixed_up"),
    [
        ((255, 0, 0), (0, 0, 255), False),
        ((190, 60, 30), (110, 110, 30), True),  # red and olive: alike without the long cones
        ((70, 130, 180), (72, 132, 181), True),  # alike for everybody
        ((0, 0, 0), (255, 255, 255), False),
    ],
)
def test_pairs_that_somebody_mixes_up(a: tuple[int, ...], b: tuple[int, ...], mixed_up: bool) -> None:
    palette = np.array([a, b], np.uint8)
    assert alike(palette) == ([(0, 1)] if mixed_up else [])


@pytest.mark.parametrize("count", [1, 3, 11])
def test_few_colours_are_told_apart_by_all(count: int) -> None:
    colours = told_apart(count)
    assert colours.shape == (count, 3)
    assert alike(colours) == []


@pytest.mark.parametrize("count", [60, 254])
def test_many_colours_are_all_different(count: int) -> None:
    assert len(np.unique(told_apart(count), axis=0)) == count


def test_next_colour_is_unlike_all_there_are() -> None:
    palette = np.zeros((0, 3), np.uint8)
    for _ in range(12):
        colour = np.array([next_colour(palette)], np.uint8)
        if len(palette):
            assert distances(colour, palette).min() > ALIKE
        palette = np.concatenate([palette, colour])


def test_a_new_colour_is_found_beside_the_most_classes() -> None:
    palette = told_apart(253)
    assert list(next_colour(palette)) not in palette.tolist()
