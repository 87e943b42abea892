from __future__ import annotations

import torch

from s4al.data.masks import IGNORE
from s4al.trainer.learners.mean_teacher import pixel_weights
from s4al.trainer.learners.unlabelled.views import View


def test_weights_by_hand():
    """Two of three guesses are sure and none of one: two of four in all. True labels count fully beside either."""
    view = View(
        torch.zeros(2, 3, 2, 2),
        torch.tensor([[[0, 1], [1, 2]], [[0, 1], [IGNORE, 2]]]),
        torch.tensor([[[1.0, 0.97], [0.98, 0.5]], [[1.0, 0.2], [0.0, 1.0]]]),
        torch.tensor([[[True, False], [False, False]], [[True, False], [False, True]]]),
    )
    adaptive, share = pixel_weights(view, fixed=False, threshold=0.97)
    torch.testing.assert_close(share, torch.tensor(0.5))
    torch.testing.assert_close(adaptive[0], torch.tensor([[1.0, 0.5], [0.5, 0.5]]))
    assert adaptive[1, 0].tolist() == [1.0, 0.5] and adaptive[1, 1, 1] == 1.0
    fixed, same = pixel_weights(view, fixed=True, threshold=0.97)
    assert torch.equal(same, share)
    assert fixed[0].tolist() == [[1.0, 1.0], [1.0, 0.0]]
    assert fixed[1].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    nothing = view._replace(label_BHW=torch.full((2, 2, 2), IGNORE), known_BHW=torch.zeros(2, 2, 2, dtype=torch.bool))
    assert pixel_weights(nothing, fixed=False, threshold=0.97)[1] == 0
