"""Teachers: the moving average of a student, or the student itself; and batch norm that only looks."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MeanTeacher:
    """The exponential moving average of a student's parameters (Tarvainen & Valpola 2017).

    Its decay warms up, min(1 - 1 / (t + 1), decay) after step t: 0, 0.5, 0.667 ... (S4AL, ReCo). With a constant one
    (PhTPS), a teacher of random weights would keep batch norm's first variances, all 1, for hundreds of steps.

    Parameters
    ----------
    student : copied as it is.
    decay : of the average, a step.
    buffers : average the statistics of batch norm as well, and predict with them (PhTPS). Without, the teacher keeps
        its own: it labels in training mode, with the statistics of the batch and with dropout (French et al., ClassMix,
        S4AL, ReCo).
    """

    def __init__(self, student: nn.Module, *, decay: float, buffers: bool) -> None:
        self._decay, self._buffers = decay, buffers
        self.network = copy.deepcopy(student).requires_grad_(False)
        self.network.train(not buffers)

    def decay_at(self, step: int) -> float:
        return min(1.0 - 1.0 / (step + 1), self._decay)

    @torch.no_grad()
    def follow(self, student: nn.Module, step: int) -> None:
        """Move towards the student, after its step `step`."""
        get_ema_multi_avg_fn(self.decay_at(step))(self._averaged(self.network), self._averaged(student), step)

    @torch.no_grad()
    def adopt_statistics(self, student: nn.Module) -> None:
        """Take over batch norm's statistics, for as long as the teacher has seen no image itself."""
        for mine, its in zip(self.network.buffers(), student.buffers(), strict=True):
            mine.copy_(its)

    def _averaged(self, network: nn.Module) -> list[Tensor]:
        buffers = [each for each in network.buffers() if each.is_floating_point()] if self._buffers else []
        return [*network.parameters(), *buffers]


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Batch norm of a network in training mode uses the batch's statistics, and does not remember them."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    tracked = [norm.track_running_stats for norm in norms]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, track in zip(norms, tracked, strict=True):
            norm.track_running_stats = track
