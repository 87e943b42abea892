from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from s4al.config import EvaluationConfig, resolve
from s4al.errors import ConfigError
from s4al.trainer.evaluation import _windows, predict


class Pixelwise(nn.Module):
    """Logits at full size that know nothing of a pixel's neighbours."""

    align_corners = False

    def forward(self, image):
        return image * 3


@pytest.mark.parametrize(
    ("length", "window", "overlap", "starts"),
    [(10, 10, 0.5, [0]), (20, 10, 0.0, [0, 10]), (21, 10, 0.0, [0, 6, 11]), (2048, 768, 1 / 3, [0, 427, 853, 1280])],
)
def test_windows_reach_from_end_to_end_and_overlap_enough(length, window, overlap, starts):
    found = _windows(length, window, overlap)
    assert [each.start for each in found] == pytest.approx(starts, abs=1)
    assert found[0].start == 0 and found[-1].stop == length
    assert all(b.start - a.start <= window * (1 - overlap) + 1 for a, b in itertools.pairwise(found))


def test_windows_change_nothing_for_a_network_that_sees_single_pixels():
    image = torch.randn(2, 3, 24, 37)
    whole = predict(Pixelwise(), image, EvaluationConfig())  # type: ignore[arg-type]
    windows = predict(Pixelwise(), image, EvaluationConfig(window_height=10, window_width=16))  # type: ignore[arg-type]
    assert torch.equal(whole.argmax(dim=1), windows.argmax(dim=1))
    share = windows / windows.sum(dim=1, keepdim=True)
    torch.testing.assert_close(share, (image * 3).softmax(dim=1))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["evaluation.window_height=100"], "must both be given"),
        (["evaluation.window_height=900", "evaluation.window_width=900"], "larger than the network's input"),
    ],
)
def test_windows_that_do_not_fit_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        resolve("camvid", overrides=overrides)
