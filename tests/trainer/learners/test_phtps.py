from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch

from s4al.trainer.learners.phtps import (
    Spline,
    draw_spline,
    photometric,
    shift_hsv,
    to_hsv,
    to_rgb,
    valid_pixels,
    warp,
    warp_grid,
)

POINTS = torch.tensor([[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]], dtype=torch.float64)


def grid_of(spline: Spline, height: int = 30, width: int = 40) -> torch.Tensor:
    return warp_grid([spline], torch.empty(len(spline.centres_BP2), 1, height, width))


def test_points_that_stay_are_the_identity_valid_everywhere():
    grid = grid_of(Spline.through(POINTS, POINTS))
    assert valid_pixels(grid).all()
    image = torch.rand(1, 3, 30, 40)
    torch.testing.assert_close(warp(image, grid), image, atol=1e-4, rtol=0)
    label = torch.arange(5).repeat(240).view(1, 1, 30, 40).float()
    assert torch.equal(warp(label, grid).round(), label)


def test_without_noise_the_published_points_are_the_identity_too():
    for points in ("published", "quadrants"):
        assert valid_pixels(grid_of(draw_spline(2, np.random.default_rng(0), sigma=0.0, points=points))).all()


def test_the_spline_goes_through_its_points_and_an_affine_map_stays_one():
    rng = torch.Generator().manual_seed(0)
    moved = POINTS + 0.1 * torch.randn(POINTS.shape, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(Spline.through(moved, POINTS)(moved), POINTS)
    matrix = torch.tensor([[0.9, 0.2], [-0.1, 1.1]], dtype=torch.float64)
    affine = Spline.through(POINTS, POINTS @ matrix + 0.05)
    anywhere = torch.rand(1, 50, 2, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(affine(anywhere), anywhere @ matrix + 0.05)


def test_a_shift_by_hand():
    grid = grid_of(Spline.through(POINTS, POINTS + torch.tensor([0.25, 0.0])), 4, 8)  # fetched two columns to the right
    ramp = torch.arange(8.0).expand(1, 1, 4, 8)
    assert warp(ramp, grid)[0, 0, 0].tolist() == pytest.approx([2, 3, 4, 5, 6, 7, 0, 0], abs=1e-4)
    assert valid_pixels(grid)[0, 0].tolist() == [True] * 6 + [False] * 2


def test_the_inverse_leads_back():
    spline = draw_spline(8, np.random.default_rng(3), sigma=0.03, points="quadrants")
    points = torch.rand(8, 200, 2, dtype=torch.float64) * 0.6 + 0.2
    there = spline(points)
    assert (spline.inverse()(there) - points).norm(dim=2).mean() < 0.2 * (there - points).norm(dim=2).mean()


def test_the_published_strength():
    """algorithms of the paper's code, simulated: median displacement 0.187 and 73 % valid, against 0.116 and 79 %."""
    for points, displacement, valid in (("published", 0.187, 0.73), ("quadrants", 0.116, 0.79)):
        spline = draw_spline(1500, np.random.default_rng(0), sigma=0.1, points=points)
        grid = grid_of(spline, 16, 16)
        still = grid_of(Spline.through(POINTS, POINTS), 16, 16)
        moved = ((grid - still) / 2).norm(dim=3)
        assert moved.median().item() == pytest.approx(displacement, rel=0.08)
        assert valid_pixels(grid).float().mean().item() == pytest.approx(valid, abs=0.06)


def test_hsv_is_the_standard_librarys():
    image = torch.rand(1, 3, 5, 7)
    image[0, :, 0, 0], image[0, :, 0, 1], image[0, :, 0, 2] = 0.0, 0.5, torch.tensor([1.0, 0.0, 0.0])
    found = torch.stack(to_hsv(image), dim=1)[0].flatten(1).T
    for pixel, hsv in zip(image[0].flatten(1).T.tolist(), found.tolist(), strict=True):
        assert hsv == pytest.approx(colorsys.rgb_to_hsv(*pixel), abs=1e-5)
    torch.testing.assert_close(to_rgb(*to_hsv(image)), image, atol=1e-6, rtol=0)


def test_the_hue_wraps_around():
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    one, zero = torch.ones(1), torch.zeros(1)
    for turn, expected in ((1 / 3, [0, 1, 0]), (-1 / 3, [0, 0, 1]), (1.0, [1, 0, 0])):
        found = shift_hsv(red, zero, one, torch.tensor([turn]), one)
        assert found.flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_value_and_saturation_are_not_clipped():
    image = torch.tensor([0.8, 0.4, 0.4]).view(1, 3, 1, 1)
    found = shift_hsv(image, torch.tensor([0.2]), torch.tensor([1.5]), torch.zeros(1), torch.tensor([2.0]))
    assert found.flatten().tolist() == pytest.approx([2.0, 0.5, 0.5])  # V (0.8 + 0.2) * 2, S 0.5 * 1.5


def test_photometric_keeps_to_each_image_and_permutes_all_alike():
    image = torch.rand(3, 3, 4, 4)
    found, again = (photometric(image, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(found, again) and found.shape == image.shape and not torch.equal(found, image)
    grey = torch.full((2, 3, 1, 1), 0.5)
    for seed in range(5):
        pixel = photometric(grey, np.random.default_rng(seed))
        assert pixel.amax(dim=1).allclose(pixel.amin(dim=1))  # grey stays grey
