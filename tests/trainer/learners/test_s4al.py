from __future__ import annotations

import numpy as np
import pytest
import torch

from s4al.config import LearnerConfig
from s4al.trainer.learners import s4al
from s4al.trainer.learners.mean_teacher import ramp
from s4al.trainer.learners.s4al import rare_classes, weighted_loss
from s4al.trainer.learners.unlabelled.pseudo import confident_share, pseudo_label
from s4al.trainer.learners.unlabelled.views import View
from tests.tiny import tiny_config

IGNORE = 255


def test_pseudo_labels_are_the_argmax_and_true_labels_win_with_confidence_1():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]]).log_softmax(0).view(1, 2, 1, 2)  # classes 0 and 1
    truth = torch.tensor([[[IGNORE, 0]]])
    view = pseudo_label(torch.zeros(1, 3, 1, 2), logits, truth, align_corners=False)
    assert view.label_BHW.tolist() == [[[0, 0]]]
    assert view.known_BHW.tolist() == [[[False, True]]]
    assert view.confidence_BHW.flatten().tolist() == pytest.approx([float(torch.tensor(2.0).sigmoid()), 1.0])


def test_void_pixels_that_somebody_saw_are_not_labelled_by_the_teacher():
    logits = torch.tensor([[2.0, 9.0], [0.0, 1.0]]).log_softmax(0).view(1, 2, 1, 2)
    view = pseudo_label(torch.zeros(1, 3, 1, 2), logits, torch.tensor([[[IGNORE, 254]]]), align_corners=False)
    assert view.label_BHW.tolist() == [[[0, IGNORE]]] and view.known_BHW.tolist() == [[[False, False]]]
    assert view.confidence_BHW[0, 0, 1] == 0 and confident_share(view, 0.9).tolist() == [0.0]


def test_eta_by_hand():
    """Image 0: 2 of 4 pixels are sure, all count. Image 1: 1 of 2, the rest is ignored with confidence 0."""
    label = torch.tensor([[[0, 1], [1, 1]], [[0, 1], [IGNORE, IGNORE]]])
    confidence = torch.tensor([[[0.97, 0.98], [0.96, 0.5]], [[0.99, 0.2], [0.0, 0.0]]])
    view = View(torch.zeros(2, 3, 2, 2), label, confidence, torch.zeros(2, 2, 2, dtype=torch.bool))
    assert confident_share(view, 0.97).tolist() == [0.5, 0.5]
    nothing = view._replace(label_BHW=torch.full_like(label, IGNORE), confidence_BHW=torch.zeros(2, 2, 2))
    assert confident_share(nothing, 0.97).tolist() == [0.0, 0.0]


def test_the_weighted_loss_by_hand():
    """(2 * 0.5 * 0.25 + 1 * 1 * 0.25 + 3 * 0.5 * 1) over the three pixels that are not 0."""
    loss = torch.tensor([[[2.0, 1.0]], [[3.0, 0.0]]])
    confidence = torch.tensor([[[0.5, 1.0]], [[0.5, 0.0]]])
    view = View(torch.zeros(2, 3, 1, 2), torch.zeros(2, 1, 2).long(), confidence, confidence == 1)
    assert weighted_loss(loss, view, torch.tensor([0.25, 1.0])).item() == pytest.approx(2.0 / 3)
    assert weighted_loss(torch.zeros_like(loss), view, torch.ones(2)).item() == 0


def test_rare_classes_are_likelier_and_absent_ones_never():
    chance = rare_classes(np.array([400, 100, 0, 25]))
    assert chance == pytest.approx(np.array([1, 2, 0, 4]) / 7)


def _drawn(adapter, **learner):
    config = tiny_config()
    settings = LearnerConfig.model_validate({"name": "s4al", **learner})
    data = config.data.model_copy(update={"adapter": adapter})
    config = config.model_copy(update={"learner": settings, "data": data})
    targets = s4al_targets()
    setting = s4al.Setting(config, 1, 5, targets, [], 10, None, None)  # type: ignore[arg-type]
    return s4al._class_drawer(setting)(400, np.random.default_rng(0))


def s4al_targets():
    from s4al.trainer.targets import Targets

    labels = np.full((3, 10, 10), IGNORE, np.uint8)
    labels[0, :4], labels[0, 4:5], labels[1, 0, 0] = 0, 1, 3  # 40 pixels of 0, 10 of 1, 1 of 3; row 2 is not labelled
    labels[2] = 4
    labels[0, 9] = 254  # void
    return Targets(labels, [0], [1], [1, 2])


def test_classes_are_drawn_by_the_labels_of_labelled_pixels():
    drawn = _drawn("scenes", balance_classes=2)
    assert drawn.shape == (400, 2) and set(drawn.ravel().tolist()) == {0, 1, 3}
    assert all(len(set(row)) == 2 for row in drawn.tolist())
    counts = np.bincount(drawn.ravel())
    assert counts[3] > counts[1] > counts[0]
    assert _drawn("scenes", balance_classes=5).shape == (400, 3)  # not more than there are


def test_the_published_lists():
    drawn = _drawn("camvid", balance="published")
    assert drawn.shape == (400, 5)
    assert all(set(row[:3]) <= {0, 1, 3, 4, 5} and set(row[3:]) <= {2, 6, 7, 8, 9, 10} for row in drawn.tolist())
    assert _drawn("cityscapes", balance="published").shape == (400, 6)


def test_the_ramp_by_hand():
    assert ramp(0.0, 0.0) == ramp(0.5, 0.5) == ramp(0.9, 0.5) == 1.0
    assert ramp(0.0, 0.5) == pytest.approx(np.exp(-5)) and ramp(0.25, 0.5) == pytest.approx(np.exp(-5 / 4))
