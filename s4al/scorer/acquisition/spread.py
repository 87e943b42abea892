"""How the regions of a round must be spread over the images, and how much of a budget is left.

Suffix M: candidate regions, of all images together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Spread:
    """How the chosen regions must be spread, so that near-duplicates are not asked for.

    Attributes
    ----------
    most_per_image : regions of one image at most, 0 for any number.
    min_distance : between the centres of two regions of one image, in cells of the grid; 2 keeps neighbours out.
    cols : of the grid.
    """

    most_per_image: int = 0
    min_distance: float = 0.0
    cols: int = 1


ANYWHERE = Spread()


class Room:
    """What may still be taken beside what was.

    Parameters
    ----------
    image_M, region_M : where each candidate is; see `Candidates`.
    pixels_M : what each costs.
    """

    def __init__(
        self,
        image_M: NDArray[np.integer],
        region_M: NDArray[np.integer],
        pixels_M: NDArray[np.int64],
        spread: Spread = ANYWHERE,
    ) -> None:
        self._image_M, self._region_M, self.pixels_M, self._spread = image_M, region_M, pixels_M, spread
        self._taken: dict[int, list[tuple[int, int]]] = {}

    def fits(self, index: int) -> bool:
        """False where the image has enough regions, or one that is too near."""
        spread, taken = self._spread, self._taken.get(int(self._image_M[index]), [])
        if spread.most_per_image and len(taken) >= spread.most_per_image:
            return False
        row, col = self._cell(index)
        return all(math.hypot(row - r, col - c) >= spread.min_distance for r, c in taken)

    def take(self, index: int) -> None:
        self._taken.setdefault(int(self._image_M[index]), []).append(self._cell(index))

    def spend(self, order: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
        """In that order whatever fits, until the next one would break the budget (pixels)."""
        if not (self._spread.most_per_image or self._spread.min_distance):
            return order[: np.searchsorted(np.cumsum(self.pixels_M[order]), budget, side="right")]
        chosen: list[int] = []
        for index in order:
            if not self.fits(index):
                continue
            if self.pixels_M[index] > budget:
                break
            self.take(index)
            budget -= int(self.pixels_M[index])
            chosen.append(int(index))
        return np.array(chosen, np.int64)

    def _cell(self, index: int) -> tuple[int, int]:
        return divmod(int(self._region_M[index]), self._spread.cols)
