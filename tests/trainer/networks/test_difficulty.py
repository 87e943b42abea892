"""DEAL's branch and loss, and EquAL's, against hand-computed values."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from s4al.trainer.learners.equal import mutual_distance
from s4al.trainer.networks.difficulty import DifficultyBranch, difficulty_loss


def branch(scale: float = 1.0, num_classes: int = 3) -> DifficultyBranch:
    torch.manual_seed(0)
    return DifficultyBranch(num_classes, scale=scale, align_corners=False)


def test_without_attention_the_branch_is_a_weighted_sum_of_probabilities():
    net, logits = branch(), torch.randn(2, 3, 4, 5)
    expected = torch.einsum("bchw,c->bhw", logits.softmax(dim=1), net.classifier.weight[0, :, 0, 0])
    torch.testing.assert_close(net(logits).squeeze(1), expected + net.classifier.bias)


def test_attention_looks_at_pixels_of_the_same_class():
    """Two pixels sure of class 0, one sure of class 1: worked out by hand."""
    net = branch(num_classes=2)
    with torch.no_grad():
        net.attention_weight.fill_(1.0)
        net.classifier.weight.copy_(torch.tensor([1.0, 0.0]).view(1, 2, 1, 1))
        net.classifier.bias.zero_()
    logits = torch.tensor([[100.0, 100.0, -100.0], [-100.0, -100.0, 100.0]]).view(1, 2, 1, 3)
    e = math.e
    of_class_0 = 2 * e / (2 * e + 1)  # the energy of a pair is 1 where the classes agree, 0 elsewhere
    of_class_1 = 2 / (2 + e)
    expected = torch.tensor([1 + of_class_0, 1 + of_class_0, of_class_1]).view(1, 1, 1, 3)
    torch.testing.assert_close(net(logits), expected)


def test_the_branch_works_at_its_own_stride():
    assert branch(scale=4 / 6)(torch.randn(1, 3, 90, 120)).shape == (1, 1, 60, 80)
    assert branch(scale=4 / 8)(torch.randn(1, 3, 172, 172)).shape == (1, 1, 86, 86)
    assert branch(scale=0.01)(torch.randn(1, 3, 4, 4)).shape == (1, 1, 1, 1)


def test_the_attentions_weight_is_learnt():
    net = branch()
    net(torch.randn(1, 3, 4, 4)).sum().backward()
    assert net.attention_weight.grad is not None and net.attention_weight.grad.abs() > 0


def test_the_loss_is_a_mean_over_right_and_a_mean_over_wrong_pixels():
    difficulty = torch.tensor([[[0.5, -1.0, 2.0, 0.0]]])
    predicted, label = torch.tensor([[[0, 1, 2, 0]]]), torch.tensor([[[0, 1, 0, 255]]])
    weights = torch.tensor([1 / math.sqrt(4), 1 / math.sqrt(2)])
    weights /= weights.sum()
    entropies = binary_cross_entropy_with_logits(difficulty[0, 0], torch.tensor([0.0, 0.0, 1.0, 0.0]), reduction="none")
    expected = weights[0] * entropies[[0, 1, 3]].mean() + weights[1] * entropies[2]
    torch.testing.assert_close(difficulty_loss(difficulty, predicted, label), expected)
    weights = torch.tensor([1 / math.sqrt(3), 1 / math.sqrt(2)])
    weights /= weights.sum()
    expected = weights[0] * entropies[[0, 1]].mean() + weights[1] * entropies[2]
    torch.testing.assert_close(difficulty_loss(difficulty, predicted, label, unknown_is_easy=False), expected)
    void = torch.where(label == 255, 254, label)  # somebody looked: easy, whatever else is unknown
    for unknown_is_easy in (True, False):
        torch.testing.assert_close(
            difficulty_loss(difficulty, predicted, void, unknown_is_easy=unknown_is_easy),
            difficulty_loss(difficulty, predicted, label),
        )


@pytest.mark.parametrize("label", [0, 1, 255])
def test_batches_with_one_kind_of_pixel_give_a_finite_loss_and_gradient(label):
    difficulty = torch.zeros(1, 2, 2, requires_grad=True)
    loss = difficulty_loss(difficulty, torch.zeros(1, 2, 2).long(), torch.full((1, 2, 2), label), unknown_is_easy=False)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(difficulty.grad).all()
    assert (loss == 0) == (label == 255)


def test_mutual_distance_pulls_both_sides_by_as_much():
    first = torch.tensor([[1.0, 2.0]], requires_grad=True)
    second = torch.tensor([[0.0, 4.0]], requires_grad=True)
    distance = mutual_distance(first, second)
    distance.backward()
    assert distance.item() == pytest.approx(2 * (1 + 4) / 2)
    torch.testing.assert_close(first.grad, torch.tensor([[1.0, -2.0]]))  # 2 (a - b) / 2 numbers
    torch.testing.assert_close(second.grad, -first.grad)
