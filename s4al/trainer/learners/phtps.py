"""The perturbation of one-way consistency: photometric in HSV, geometric by a thin-plate spline.

Grubišić, Oršić & Šegvić, "Revisiting consistency for semi-supervised semantic segmentation", section 3; ranges and
order of the published code. Shape suffixes: B batch, H W image size, P control points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

# Two by two control points, in image sizes. The published formula was meant for the centres of the quadrants and gives
# points that partly lie outside, which makes the warp stronger.
_AXIS = {"published": (0.75, 1.25), "quadrants": (0.25, 0.75)}
# Of the inversion, in image sizes: where the warp folds, a step could be of any length, or lead nowhere.
_NEWTON_STEPS, _LONGEST_STEP, _FLAT, _MISSED, _OUTSIDE, _TINY = 6, 0.5, 1e-3, 1e-4, -9.0, 1e-12


@dataclass(frozen=True)
class Spline:
    """Backward warps of a batch: where each point of the result comes from, in (x, y) from 0 to 1.

    Attributes
    ----------
    centres_BP2 : float64, points of the result.
    weights_BN2 : float64, P radial weights, then constant, x and y, of the map from there to where they come from.
    """

    centres_BP2: Tensor
    weights_BN2: Tensor

    @classmethod
    def through(cls, centres_BP2: Tensor, sources_BP2: Tensor) -> Spline:
        """The thin-plate spline, U(r) = r^2 ln r, with f(centre) = source for every pair; the identity where all are
        equal. Centres on one line, which have no single spline, raise torch.linalg.LinAlgError.
        """
        count, points, _ = centres_BP2.shape
        affine_BP3 = F.pad(centres_BP2, (1, 0), value=1.0)
        system = centres_BP2.new_zeros(count, points + 3, points + 3)
        system[:, :points, :points] = _radial(torch.cdist(centres_BP2, centres_BP2))
        system[:, :points, points:] = affine_BP3
        system[:, points:, :points] = affine_BP3.transpose(1, 2)
        return cls(centres_BP2, torch.linalg.solve(system, F.pad(sources_BP2, (0, 0, 0, 3))))

    def invert(self, points_BQ2: Tensor) -> Tensor:
        """Where the spline leads to points, float (B, Q, 2); far outside of the image where nothing leads there.

        A thin-plate spline's inverse is none. The one through the same points the other way round is off by 0.016 of
        the image in the median and by 0.1 at the 95th percentile; Newton's method goes on from there.
        """
        found_BQ2 = Spline.through(self(self.centres_BP2), self.centres_BP2)(points_BQ2)
        for _ in range(_NEWTON_STEPS):
            slopes_BQ22 = self.slopes(found_BQ2)
            (a, b), (c, d) = (row.unbind(dim=2) for row in slopes_BQ22.unbind(dim=2))
            determinant = a * d - b * c
            determinant = torch.where(
                determinant.abs() < _FLAT, torch.copysign(a.new_tensor(_FLAT), determinant), determinant
            )
            x, y = (points_BQ2 - self(found_BQ2)).unbind(dim=2)
            step_BQ2 = torch.stack([x * d - y * c, y * a - x * b], dim=2) / determinant.unsqueeze(2)
            found_BQ2 = found_BQ2 + step_BQ2.clamp(-_LONGEST_STEP, _LONGEST_STEP)
        met_BQ1 = (self(found_BQ2) - points_BQ2).norm(dim=2, keepdim=True) <= _MISSED
        return torch.where(met_BQ1, found_BQ2, _OUTSIDE)

    def slopes(self, points_BQ2: Tensor) -> Tensor:
        """(B, Q, 2, 2): [i, j] is how much coordinate j of the spline grows with coordinate i of a point."""
        centres, weights = self.centres_BP2.to(points_BQ2), self.weights_BN2.to(points_BQ2)
        offset_BQP2 = points_BQ2[:, :, None] - centres[:, None]
        # The gradient of r^2 ln r is (2 ln r + 1) times the offset.
        slope_BQP1 = offset_BQP2.square().sum(dim=3, keepdim=True).clamp(min=_TINY).log() + 1
        radial_BQ22 = (slope_BQP1 * offset_BQP2).transpose(2, 3) @ weights[:, None, :-3]
        return radial_BQ22 + weights[:, None, -2:]

    def __call__(self, points_BQ2: Tensor) -> Tensor:
        """Of any float dtype and on any device."""
        centres, weights = self.centres_BP2.to(points_BQ2), self.weights_BN2.to(points_BQ2)
        distance_BQP = (points_BQ2[:, :, None] - centres[:, None]).norm(dim=3)
        return torch.cat([_radial(distance_BQP), F.pad(points_BQ2, (1, 0), value=1.0)], dim=2) @ weights


def _radial(distance: Tensor) -> Tensor:
    return torch.xlogy(distance.square(), distance)


def draw_spline(
    count: int, rng: np.random.Generator, *, sigma: float, points: Literal["published", "quadrants"]
) -> Spline:
    """Four control points, each displaced by N(0, sigma) along both axes; they show what was at their old places."""
    axis = _AXIS[points]
    still_42 = torch.tensor([[x, y] for y in axis for x in axis], dtype=torch.float64)
    moved_B42 = still_42 + torch.from_numpy(rng.normal(0.0, sigma, (count, 4, 2)))
    return Spline.through(moved_B42, still_42.expand(count, 4, 2))


def warp_grid(spline: Spline, like_BXHW: Tensor, back: Spline | None = None) -> Tensor:
    """float32 (B, H, W, 2) for `warp`: the pixels of a result, sent through a spline and then back through another."""
    (height, width), device = like_BXHW.shape[-2:], like_BXHW.device
    y, x = torch.meshgrid(
        (torch.arange(height, device=device) + 0.5) / height,
        (torch.arange(width, device=device) + 0.5) / width,
        indexing="ij",
    )
    count = len(spline.centres_BP2)
    points_BQ2 = spline(torch.stack([x, y], dim=-1).view(1, -1, 2).expand(count, -1, 2))
    if back:
        points_BQ2 = back.invert(points_BQ2)
    return (2 * points_BQ2 - 1).view(count, height, width, 2)


def warp(maps_BXHW: Tensor, grid_BHW2: Tensor) -> Tensor:
    """Bilinear, zeros outside; float (B, X, H, W) of any number of channels."""
    grid = grid_BHW2.to(maps_BXHW.dtype)
    return F.grid_sample(maps_BXHW, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def valid_pixels(grid_BHW2: Tensor) -> Tensor:
    """Bool (B, H, W): pixels all of whose bilinear sources are in the image, to a thousandth of a pixel."""
    height, width = grid_BHW2.shape[1:3]
    reach = torch.tensor([1 - (1 - 2e-3) / width, 1 - (1 - 2e-3) / height], device=grid_BHW2.device)
    return (grid_BHW2.abs() <= reach).all(dim=3)


def seen_pixels(seen_BHW: Tensor, grid_BHW2: Tensor) -> Tensor:
    """Bool (B, H, W): the pixels of a warped mask all of whose bilinear sources are in the image and in the mask."""
    whole_BHW = warp(seen_BHW.unsqueeze(1).float(), grid_BHW2).squeeze(1) >= 1 - 1e-3
    return whole_BHW & valid_pixels(grid_BHW2)


def photometric(rgb_B3HW: Tensor, rng: np.random.Generator) -> Tensor:
    """Value, saturation, hue, value again, then the channels permuted, one permutation for the batch; not clipped."""
    count = len(rgb_B3HW)
    add_value, hue = rng.uniform(-0.25, 0.25, count), rng.uniform(-0.1, 0.1, count)
    saturation, value = rng.uniform(0.25, 2.0, (2, count))
    parameters = torch.from_numpy(np.stack([add_value, saturation, hue, value])).to(rgb_B3HW)
    order = rng.permutation(3).tolist()
    return shift_hsv(rgb_B3HW, *parameters)[:, order]


def shift_hsv(rgb_B3HW: Tensor, add_value: Tensor, saturation: Tensor, hue: Tensor, value: Tensor) -> Tensor:
    """V + add_value, S * saturation, H + hue (in turns, modulo 1), V * value; a number an image, shape (B,)."""
    h_BHW, s_BHW, v_BHW = to_hsv(rgb_B3HW)
    v_BHW = (v_BHW + add_value.view(-1, 1, 1)) * value.view(-1, 1, 1)
    h_BHW = (h_BHW + hue.view(-1, 1, 1)) % 1.0
    return to_rgb(h_BHW, s_BHW * saturation.view(-1, 1, 1), v_BHW)


def to_hsv(rgb_B3HW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in turns (0 for greys), saturation, value."""
    value, brightest = rgb_B3HW.max(dim=1)
    chroma = value - rgb_B3HW.amin(dim=1)
    red, green, blue = rgb_B3HW.unbind(dim=1)
    safe = torch.where(chroma > 0, chroma, 1.0)
    sixth = torch.stack([(green - blue) / safe, 2 + (blue - red) / safe, 4 + (red - green) / safe], dim=1)
    hue = sixth.gather(1, brightest.unsqueeze(1)).squeeze(1) / 6 % 1.0
    return hue, chroma / torch.where(value > 0, value, 1.0), value


def to_rgb(hue_BHW: Tensor, saturation_BHW: Tensor, value_BHW: Tensor) -> Tensor:
    """The inverse of `to_hsv`; saturation and value may be above 1, and the result then is."""
    channels = []
    for shift in (5, 3, 1):
        k = (shift + 6 * hue_BHW) % 6
        channels.append(value_BHW - value_BHW * saturation_BHW * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(channels, dim=1)
