from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from s4al.trainer.losses import cross_entropy, cross_entropy_map, divergence_map, labelled, mean_where, pixel_count

IGNORE = 255


def test_hand_computed() -> None:
    """Two classes, 2 x 2 pixels: logit differences 0 and ln 3, one pixel ignored."""
    logits = torch.zeros(1, 2, 2, 2)
    logits[0, 1, 0, 1] = math.log(3.0)
    label = torch.tensor([[[0, 0], [1, IGNORE]]])  # losses ln 2, ln 4, ln 2
    total = 4 * math.log(2.0)
    for reduction, count in (("all", 4), ("valid", 3)):
        loss = cross_entropy(logits, label, reduction=reduction, align_corners=False)
        assert loss.item() == pytest.approx(total / count, rel=1e-6)
        assert pixel_count(label, reduction).item() == count


@pytest.mark.parametrize("align_corners", [False, True])
def test_equals_torch_on_upsampled_logits(align_corners: bool) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 12, 15, requires_grad=True)
    label = torch.randint(5, (2, 45, 60))
    label[0, :30] = IGNORE
    full = F.interpolate(logits, (45, 60), mode="bilinear", align_corners=align_corners)
    expected = F.cross_entropy(full, label, ignore_index=IGNORE)
    loss = cross_entropy(logits, label, reduction="valid", align_corners=align_corners)
    assert torch.allclose(loss, expected)
    gradients = [torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (loss, expected)]
    assert torch.allclose(*gradients, atol=1e-8)


@pytest.mark.parametrize("reduction", ["all", "valid"])
def test_no_labelled_pixel_is_exactly_zero(reduction) -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = cross_entropy(logits, torch.full((2, 16, 16), IGNORE), reduction=reduction, align_corners=False)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None and torch.equal(logits.grad, torch.zeros_like(logits))


def test_void_is_ignored_like_what_nobody_looked_at() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(1, 5, 4, 4), torch.randint(5, (1, 8, 8))
    label[0, :2] = IGNORE
    void = torch.where(label == IGNORE, 254, label)
    for reduction in ("all", "valid"):
        losses = [cross_entropy(logits, each, reduction=reduction, align_corners=False) for each in (label, void)]
        assert torch.equal(*losses)
    assert torch.equal(labelled(void), label != IGNORE)


def test_class_zero_at_an_ignored_pixel_teaches_nothing() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    label = torch.tensor([[[IGNORE, 1], [2, 0]]])
    cross_entropy(logits, label, reduction="all", align_corners=False).backward()
    assert logits.grad is not None
    assert not logits.grad[0, :, 0, 0].any() and logits.grad[0, :, 0, 1].any()


def test_mean_of_two_ranks_with_a_common_normaliser_is_the_loss_of_both() -> None:
    """DDP averages gradients; with unequal numbers of labelled pixels only a shared count gives the global mean."""
    torch.manual_seed(0)
    logits, label = torch.randn(2, 4, 6, 6), torch.randint(4, (2, 24, 24))
    label[1, 5:] = IGNORE
    whole = cross_entropy(logits, label, reduction="valid", align_corners=False)
    common = (pixel_count(label[:1], "valid") + pixel_count(label[1:], "valid")) / 2
    ranks = [
        cross_entropy(logits[i : i + 1], label[i : i + 1], reduction="valid", align_corners=False, normaliser=common)
        for i in (0, 1)
    ]
    assert torch.allclose(torch.stack(ranks).mean(), whole)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_logits_are_summed_in_float32(dtype: torch.dtype) -> None:
    logits = (30.0 * torch.randn(1, 4, 8, 8)).to(dtype).requires_grad_()
    label = torch.randint(4, (1, 32, 32))
    loss = cross_entropy(logits, label, reduction="all", align_corners=False)
    expected = cross_entropy(logits.detach().float(), label, reduction="all", align_corners=False)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == expected.item()
    assert logits.grad is not None and logits.grad.dtype == dtype


def test_large_logits_do_not_overflow() -> None:
    logits = torch.tensor([1e4, -1e4]).view(1, 2, 1, 1)
    label = torch.ones(1, 1, 1, dtype=torch.long)
    assert cross_entropy(logits, label, reduction="all", align_corners=False).item() == pytest.approx(2e4)


def test_runs_in_deterministic_mode() -> None:
    logits = torch.randn(1, 4, 8, 8, requires_grad=True)
    label = torch.randint(4, (1, 30, 30))
    torch.use_deterministic_algorithms(True)
    try:
        gradients = [
            torch.autograd.grad(cross_entropy(logits, label, reduction="all", align_corners=False), logits)[0]
            for _ in range(2)
        ]
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(*gradients)


def test_the_map_sums_up_to_the_loss_and_is_zero_where_nothing_is_labelled() -> None:
    torch.manual_seed(1)
    logits, label = torch.randn(2, 5, 6, 7), torch.randint(5, (2, 6, 7))
    label[1, 2:] = IGNORE
    loss_BHW = cross_entropy_map(logits, label)
    assert (loss_BHW[label == IGNORE] == 0).all()
    expected = F.cross_entropy(logits, label, ignore_index=IGNORE, reduction="none")
    torch.testing.assert_close(loss_BHW, expected)
    torch.testing.assert_close(
        mean_where(loss_BHW, label != IGNORE), F.cross_entropy(logits, label, ignore_index=IGNORE)
    )


def test_divergence_is_cross_entropy_less_the_targets_entropy() -> None:
    torch.manual_seed(2)
    target, logits = torch.randn(2, 5, 3, 4).softmax(dim=1), torch.randn(2, 5, 3, 4)
    crossed = -(target * F.log_softmax(logits, dim=1)).sum(dim=1)
    entropy = -(target * target.log()).sum(dim=1)
    torch.testing.assert_close(divergence_map(target, logits), crossed - entropy)
    torch.testing.assert_close(divergence_map(target, target.log()), torch.zeros(2, 3, 4), atol=1e-6, rtol=0)
    sure = F.one_hot(torch.tensor([[[2]]]), 5).permute(0, 3, 1, 2).float()  # 0 ln 0 = 0
    assert divergence_map(sure, torch.zeros(1, 5, 1, 1)).item() == pytest.approx(math.log(5))


def test_a_mean_over_nothing_is_zero_without_gradient() -> None:
    values = torch.ones(1, 2, 2, requires_grad=True)
    mean = mean_where(values, torch.zeros(1, 2, 2, dtype=torch.bool))
    mean.backward()
    assert mean.item() == 0 and (values.grad == 0).all()
