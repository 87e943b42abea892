"""The figures of a step, on their way to the host."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Figures:
    """What a step says of itself; reading it is the only place where a training waits for its device.

    Parameters
    ----------
    number : of the step.
    lr : its learning rate.
    rows : of the training cache, that it saw.
    names : of the figures.
    values : float (F,), on the device.
    """

    def __init__(self, number: int, lr: float, rows: Sequence[int], names: Sequence[str], values: Tensor) -> None:
        self.number, self.lr, self.rows = number, lr, rows
        self._names, self._values = names, values.to("cpu", non_blocking=True)
        self._arrived = torch.cuda.Event() if values.is_cuda else None
        if self._arrived:
            self._arrived.record()

    def read(self) -> dict[str, float]:
        """The figures by name, once they are there."""
        if self._arrived:
            self._arrived.synchronize()
        return dict(zip(self._names, self._values.tolist(), strict=True))
