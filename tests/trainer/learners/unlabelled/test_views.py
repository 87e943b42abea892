from __future__ import annotations

import numpy as np
import pytest
import torch

from s4al.trainer.batches import normalise
from s4al.trainer.learners.unlabelled.views import View, flip, jitter, rescale, rgb, standardise

IGNORE = 255


class Fixed:
    """Stands for a generator whose draws are known."""

    def __init__(self, *draws):
        self._draws = list(draws)

    def uniform(self, low, high, size):
        return np.broadcast_to(np.asarray(self._draws.pop(0), float), size)

    def random(self, size):
        return np.broadcast_to(np.asarray(self._draws.pop(0), float), size)


def view(height=6, width=8, count=2):
    """Images whose red is the column and whose green is the row, and labels that tell the pixel's number."""
    column = torch.arange(width).expand(count, height, width)
    row = torch.arange(height).view(1, -1, 1).expand(count, height, width)
    image = torch.stack([column / 10, row / 10, torch.zeros_like(column, dtype=torch.float32)], dim=1)
    number = row * width + column
    return View(image, number, number / 100, number % 3 == 0)


def test_rgb_and_standardise_are_normalise():
    image = torch.randint(256, (2, 5, 4, 3), dtype=torch.uint8)
    torch.testing.assert_close(standardise(rgb(image)), normalise(image), rtol=1e-5, atol=1e-5)
    assert rgb(image).min() >= 0 and rgb(image).max() <= 1


def test_rescale_by_one_is_the_identity():
    given = view()
    for found, expected in zip(rescale(given, 1.0, 1.0, np.random.default_rng(0)), given, strict=True):
        torch.testing.assert_close(found, expected)


def test_twice_the_size_shows_every_pixel_four_times_from_the_offset_on():
    given = view(count=1)
    found = rescale(given, 0, 0, Fixed(2.0, [[0.0, 0.5]]))  # no row, half of the 8 spare columns: starts at column 2
    expected = given.label_BHW[:, :3, 2:6].repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.equal(found.label_BHW, expected)
    torch.testing.assert_close(found.confidence_BHW, expected / 100)
    assert found.rgb_B3HW[0, 0, 0, 1:3].tolist() == pytest.approx([0.225, 0.275])  # bilinear between columns 2 and 3


def test_half_the_size_fills_up_with_the_mirrored_image_and_ignore():
    found = rescale(view(count=1), 0, 0, Fixed(0.5, [[0.0, 0.0]]))
    assert (found.label_BHW[0, :3, :4] != IGNORE).all()
    assert (found.label_BHW[0, 3:] == IGNORE).all() and (found.label_BHW[0, :, 4:] == IGNORE).all()
    assert (found.confidence_BHW[found.label_BHW == IGNORE] == 0).all()
    red = found.rgb_B3HW[0, 0, 0]
    # A triangle over four columns, 1/4 3/4 3/4 1/4, less what is beyond the edge: (3/4 * 0 + 3/4 * 1 + 1/4 * 2) * 4/7.
    torch.testing.assert_close(red, torch.tensor([5 / 7, 2.5, 4.5, 44 / 7, 44 / 7, 4.5, 2.5, 5 / 7]) / 10)


def test_a_small_image_has_no_aliases():
    stripes = view(count=1)._replace(rgb_B3HW=(torch.arange(8) % 2).float().expand(1, 3, 6, 8))
    found = rescale(stripes, 0, 0, Fixed(0.25, [[0.0, 0.0]]))
    assert (found.rgb_B3HW - 0.5).abs().max() < 0.1  # every fourth pixel alone is 0 or 1


def test_mirrors_go_on_beyond_the_first():
    found = rescale(view(2, 8, 1), 0, 0, Fixed(0.25, [[0.0, 0.0]]))  # 8 columns become 2
    first, second = found.rgb_B3HW[0, 0, 0, :2].tolist()
    assert found.rgb_B3HW[0, 0, 0].tolist() == [first, second, second, first, first, second, second, first]


def test_image_label_and_confidence_stay_together():
    given = view(48, 64, 4)
    found = rescale(given, 0.6, 1.8, np.random.default_rng(1))
    known = found.label_BHW != IGNORE
    pixel = (found.rgb_B3HW[:, 1] * 10 * 64 + found.rgb_B3HW[:, 0] * 10)[known]
    row, column = (found.label_BHW[known] // 64, found.label_BHW[known] % 64)
    assert (found.rgb_B3HW[:, 1][known] * 10 - row).abs().max() <= 0.51
    assert (found.rgb_B3HW[:, 0][known] * 10 - column).abs().max() <= 0.51
    assert pixel.numel() > 4 * 48 * 64 * 0.3
    torch.testing.assert_close(found.confidence_BHW[known], found.label_BHW[known] / 100)
    assert torch.equal(found.known_BHW[known], found.label_BHW[known] % 3 == 0)


def test_flip_mirrors_the_chosen_images_only():
    given = view()
    found = flip(given, 0.5, Fixed([0.4, 0.6]))
    for each, before in zip(found, given, strict=True):
        assert torch.equal(each[0], before[0].flip(-1)) and torch.equal(each[1], before[1])


def test_jitter_by_hand():
    image = torch.tensor([0.2, 0.4]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    found = jitter(image, 0.25, Fixed(0.0, [[1.25], [0.8]]))  # bright: 0.25, 0.5; grey mean 0.375
    assert found[0, 0, 0].tolist() == pytest.approx([0.375 - 0.125 * 0.8, 0.375 + 0.125 * 0.8])
    assert torch.equal(jitter(image, 0.25, Fixed(0.9, [[1.25], [0.8]])), image)
    assert jitter(image * 2, 0.25, np.random.default_rng(0)).max() <= 1
