from __future__ import annotations

import colorsys

import numpy as np
import pytest
import torch

from s4al.trainer.learners.phtps import (
    Spline,
    draw_spline,
    photometric,
    seen_pixels,
    shift_hsv,
    to_hsv,
    to_rgb,
    valid_pixels,
    warp,
    warp_grid,
)

POINTS = torch.tensor([[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]], dtype=torch.float64)


def grid_of(spline: Spline, height: int = 30, width: int = 40) -> torch.Tensor:
    return warp_grid(spline, torch.empty(len(spline.centres_BP2), 1, height, width))


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


@pytest.mark.parametrize("points", ["published", "quadrants"])
def test_the_inverse_leads_back(points):
    """The spline through the same points the other way round is off by 0.016 of the image in the median."""
    spline = draw_spline(200, np.random.default_rng(0), sigma=0.1, points=points)
    start = torch.rand(200, 300, 2, generator=torch.Generator().manual_seed(0))
    there = spline(start)
    inside = ((there > 0) & (there < 1)).all(dim=2)
    error = (spline.invert(there) - start).norm(dim=2)[inside]
    assert (error < 1e-3).float().mean() > 0.999 and error.median() < 1e-5
    there_and_back = spline(spline.invert(there[:, :50]))
    found = (spline.invert(there[:, :50]) > -9).all(dim=2)
    torch.testing.assert_close(there_and_back[found], there[:, :50][found], atol=2e-4, rtol=0)


def test_slopes_are_those_of_the_spline():
    spline = draw_spline(1, np.random.default_rng(1), sigma=0.1, points="quadrants")
    point = torch.rand(1, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.autograd.functional.jacobian(lambda p: spline(p)[0, 0], point)[:, 0, 0].T
    torch.testing.assert_close(spline.slopes(point)[0, 0], expected)


def test_a_point_that_nothing_leads_to_is_far_outside():
    """x is the sum of four r^2 ln r, none of which is below -1 / (2 e), and a tenth of x: it is nowhere -1."""
    weights = torch.tensor([[[1.0, 0.0]] * 4 + [[0.0, 0.0], [0.1, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    points = torch.tensor([[[-1.0, 0.5], [0.0, 0.5]]], dtype=torch.float64)
    assert Spline(POINTS, weights).invert(points)[0, 0].tolist() == [-9.0, -9.0]


def test_a_mask_is_seen_where_all_sources_are_in_it():
    grid = grid_of(Spline.through(POINTS, POINTS + torch.tensor([0.25, 0.0])), 4, 8)  # fetched two columns to the right
    mask = torch.ones(1, 4, 8, dtype=torch.bool)
    mask[0, :, 4] = False
    assert seen_pixels(mask, grid)[0, 0].tolist() == [True, True, False, True, True, True, False, False]


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
