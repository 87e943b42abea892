"""Overlays and legends: what colour is where, and that every name finds room."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from s4al.data.palettes import distinct_palette
from s4al.scorer import overlay
from s4al.scorer.overlay import draw_legend, draw_overlay

NAMES = ("road", "car", "sky")
PALETTE = np.array([(200, 0, 0), (0, 200, 0), (0, 0, 200)], np.uint8)


def halves(height: int, width: int) -> np.ndarray:
    """Class 0 to the left, class 2 to the right."""
    label = np.zeros((height, width), np.uint8)
    label[:, width // 2 :] = 2
    return label


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 100, np.uint8)


def drawn(picture: np.ndarray, label: np.ndarray) -> np.ndarray:
    share_C = np.bincount(label.ravel(), minlength=3) / label.size
    return np.asarray(draw_overlay(picture, label, NAMES, PALETTE, share_C))


@pytest.mark.parametrize("label_size", [(400, 600), (800, 1200), (100, 150)])
def test_half_the_colour_lies_over_the_picture(label_size: tuple[int, int]) -> None:
    image = drawn(grey(400, 600), halves(*label_size))
    assert image.shape[1] == 600
    assert (image[:400, :300] == (150, 50, 50)).all()
    assert (image[:400, 300:] == (50, 50, 150)).all()


def test_the_legend_names_what_is_there_and_nothing_else() -> None:
    legend = drawn(grey(400, 600), halves(400, 600))[400:]
    colours = {tuple(colour) for colour in legend.reshape(-1, 3).tolist()}
    assert colours >= {(200, 0, 0), (0, 0, 200), (0, 0, 0), (255, 255, 255)}
    assert (0, 200, 0) not in colours


@pytest.mark.parametrize(("size", "factor"), [((1, 1), 384), ((64, 48), 6), ((300, 200), 1)])
def test_small_pictures_are_enlarged_pixel_by_pixel(size: tuple[int, int], factor: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    image = drawn(picture, np.zeros(size, np.uint8))
    shown = image[: factor * size[0], : factor * size[1]]
    blended = np.asarray(Image.blend(Image.fromarray(picture), Image.new("RGB", size[::-1], (200, 0, 0)), 0.5))
    np.testing.assert_array_equal(shown, blended.repeat(factor, 0).repeat(factor, 1))
    assert image.shape[1] >= 384


def test_the_largest_class_comes_first_and_the_rest_is_summed_up() -> None:
    share_C = np.arange(1, 151) / np.arange(1, 151).sum()
    lines = overlay._present([f"class {i}" for i in range(150)], distinct_palette(150), share_C)
    assert len(lines) == 30
    assert lines[0].name == "149 class 149"
    assert lines[-1] == (None, "121 more", f"{100 * share_C[:121].sum():.1f} %")
    names = [line.name for line in overlay._present(NAMES, PALETTE, np.array([0.2, 0.0, 0.8]))]
    assert names == ["2 sky", "0 road"]


def test_a_class_of_a_few_pixels_is_not_called_none() -> None:
    lines = overlay._present(NAMES, PALETTE, np.array([0.99999, 0.0, 0.00001]))
    assert [line.figure for line in lines] == ["100.0 %", "< 0.1 %"]


def test_long_names_are_cut_and_leave_the_figure_free() -> None:
    font = overlay._font(15, "x")
    cut = overlay._cut("a very long name of a class that nobody reads", font, 120)
    assert cut.startswith("a very")
    assert cut.endswith("...")
    assert font.getlength(cut) <= 120
    assert overlay._cut("car", font, 120) == "car"
    assert overlay._cut("car", font, 0) == "..."


def test_characters_that_no_font_has_become_question_marks() -> None:
    own = overlay._font(15, "plain")
    assert overlay._drawable("plain name", own) == "plain name"
    assert overlay._drawable("café", own) == "cafe"
    assert overlay._drawable("line\nbreak\u202e", own) == "line?break?"
    assert overlay._drawable("日本", own) == "??"


@pytest.mark.parametrize("count", [1, 3, 24, 150, 254])
def test_a_legend_shows_every_class(count: int) -> None:
    palette = distinct_palette(count)
    image = draw_legend([f"class {index}" for index in range(count)], palette)
    colours = {tuple(colour) for colour in np.asarray(image).reshape(-1, 3).tolist()}
    assert colours >= {tuple(colour) for colour in palette.tolist()}
