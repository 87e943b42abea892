from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from s4al.config import ReCoConfig
from s4al.trainer.learners import reco
from s4al.trainer.learners.reco import reco_loss
from tests.trainer.learners.reco_reference import reco_loss_reference

IGNORE = 255
PAPER = ReCoConfig()  # tau 0.5, Q 128, K 256
SMALL = ReCoConfig(num_queries=32, num_negatives=16)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unsure(label_BHW: Tensor, num_classes: int) -> Tensor:
    """Probabilities under which every pixel is hard."""
    batch, height, width = label_BHW.shape
    return torch.full((batch, num_classes, height, width), 1.0 / num_classes)


def paint(label_BHW: Tensor, vectors: dict[int, list[float]]) -> Tensor:
    """Representations that depend on the label only, (B, D, H, W) with gradient."""
    dimension = len(next(iter(vectors.values())))
    map_BHWD = torch.zeros(*label_BHW.shape, dimension)
    for label, vector in vectors.items():
        map_BHWD[label_BHW == label] = torch.tensor(vector)
    return map_BHWD.permute(0, 3, 1, 2).contiguous().requires_grad_()


def two_halves(batch: int = 2, side: int = 8) -> Tensor:
    label = torch.zeros(batch, side, side, dtype=torch.long)
    label[:, :, side // 2 :] = 1
    return label


def problem(seed: int = 0, num_classes: int = 4, batch: int = 2, dimension: int = 8, side: int = 12):
    """A random, class-dependent problem with ignored pixels, easy pixels and an absent class."""
    torch.manual_seed(seed)
    label = torch.randint(num_classes - 1, (batch, side, side))
    centre = torch.randn(num_classes, dimension)
    representation = (centre[label] + 0.7 * torch.randn(batch, side, side, dimension)).permute(0, 3, 1, 2)
    label[:, :3] = IGNORE
    probability = torch.softmax(6.0 * torch.randn(batch, num_classes, side, side), dim=1)
    return representation.contiguous().requires_grad_(), label, probability


# -- values known in closed form --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zero", "one", "expected"),
    [
        ([1.0, 0.0], [1.0, 0.0], 5.549),  # all alike: ln(1 + K)
        ([1.0, 0.0], [-1.0, 0.0], 1.739),  # antipodal, the least value: ln(1 + K exp(-4))
        ([1.0, 0.0], [0.0, 1.0], 3.574),  # orthogonal: ln(1 + K exp(-2))
        ([3.0, 0.0], [0.0, 0.2], 3.574),  # lengths do not matter
    ],
)
def test_separation_of_two_classes(zero: list[float], one: list[float], expected: float) -> None:
    label = two_halves()
    loss = reco_loss(paint(label, {0: zero, 1: one}), label, unsure(label, 2), config=PAPER, generator=generator())
    assert loss.item() == pytest.approx(expected, abs=5e-4)


def test_ignored_pixels_are_neither_queries_nor_keys_nor_in_prototypes() -> None:
    label = two_halves()
    label[:, ::2] = IGNORE
    vectors = {0: [1.0, 0.0, 0.0], 1: [-1.0, 0.0, 0.0], IGNORE: [0.0, 50.0, 70.0]}
    representation = paint(label, vectors)
    loss = reco_loss(representation, label, unsure(label, 2), config=PAPER, generator=generator())
    loss.backward()
    assert loss.item() == pytest.approx(math.log(1 + 256 * math.exp(-4)), abs=1e-5)
    assert representation.grad is not None
    assert not representation.grad.permute(0, 2, 3, 1)[label == IGNORE].any()


def test_ignore_does_not_become_class_zero() -> None:
    label = torch.full((2, 8, 8), IGNORE)
    label[:, :, 4:] = 1  # one class only; an ignored half read as class 0 would make it two
    representation = paint(label, {1: [1.0, 0.0], IGNORE: [0.0, 1.0]})
    assert reco_loss(representation, label, unsure(label, 2), config=SMALL, generator=generator()).item() == 0.0


def test_prototypes_include_easy_pixels_and_easy_classes_count_in_the_divisor() -> None:
    label = two_halves(batch=1, side=8)
    probability = unsure(label, 2)
    probability[:, 1] = torch.where(label == 1, 1.0, 0.0)  # class 1: all easy
    probability[:, 0, :6] = torch.where(label[:, :6] == 0, 0.99, 0.0)  # class 0: rows 6 and 7 hard, 24 pixels easy
    representation = paint(label, {0: [0.0, 1.0, 0.0], 1: [0.0, 0.0, 1.0]}).detach()
    representation[:, :, 6:, :4] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]  # the 8 hard pixels
    representation.requires_grad_()
    loss = reco_loss(representation, label, probability, config=SMALL, generator=generator())
    cosine = 8 / math.hypot(8, 24)  # of (1, 0, 0) with the mean (8, 24, 0) / 32; negatives are orthogonal
    assert loss.item() == pytest.approx(math.log(1 + 16 * math.exp(-cosine / 0.5)) / 2, abs=1e-5)
    loss.backward()
    assert representation.grad is not None
    assert representation.grad[:, :, 6:, :4].any()
    assert not representation.grad[:, :, :6].any() and not representation.grad[:, :, :, 4:].any()


@pytest.mark.parametrize("case", ["all ignored", "one class", "all easy"])
def test_nothing_to_contrast_is_zero_with_zero_gradient(case: str) -> None:
    label = two_halves()
    probability = unsure(label, 2)
    if case == "all ignored":
        label[:] = IGNORE
    elif case == "one class":
        label[:] = 1
    else:
        probability = F.one_hot(label, 2).permute(0, 3, 1, 2).float()
    representation = torch.randn(2, 5, 8, 8, requires_grad=True)
    loss = reco_loss(representation, label, probability, config=SMALL, generator=generator())
    loss.backward()
    assert loss.item() == 0.0
    assert representation.grad is not None and torch.equal(representation.grad, torch.zeros_like(representation))


def test_threshold_is_strict() -> None:
    label = two_halves()
    representation = torch.randn(2, 5, 8, 8)
    config = ReCoConfig(strong_threshold=0.5, num_queries=4, num_negatives=4)
    assert reco_loss(representation, label, unsure(label, 2), config=config).item() == 0.0  # exactly 0.5 is easy


# -- draws -----------------------------------------------------------------------------------------------------------


def test_negative_classes_follow_the_class_graph() -> None:
    torch.manual_seed(1)
    prototype = F.normalize(torch.randn(5, 3), dim=1)
    count = torch.tensor([10, 4, 0, 7, 1])  # class 2 is absent
    weight = reco._confusion(prototype, count, temperature=0.5)
    drawn = reco._draw_classes(weight, 200_000, generator())
    for c in (0, 1, 3, 4):
        others = [n for n in (0, 1, 3, 4) if n != c]
        share = torch.softmax(prototype[others] @ prototype[c] / 0.5, dim=0)
        frequency = torch.bincount(drawn[c], minlength=5) / 200_000
        assert frequency[c] == 0 and frequency[2] == 0
        assert torch.allclose(frequency[others], share, atol=5 * math.sqrt(0.25 / 200_000))


def test_pixels_are_drawn_uniformly_from_their_class_only() -> None:
    class_P = torch.tensor([1, 3, 0, 1, 3, 1, 2, 3, 1, 0])  # class 3 = ignored
    pixels = reco._PixelsByClass.sort(class_P, num_classes=3)
    drawn = pixels.draw(torch.ones(40_000, dtype=torch.long), generator())
    frequency = torch.bincount(drawn, minlength=10) / 40_000
    assert torch.equal(frequency > 0, class_P == 1)
    assert torch.allclose(frequency[class_P == 1], torch.full((4,), 0.25), atol=5 * math.sqrt(0.1875 / 40_000))
    assert set(pixels.draw(torch.full((1000,), 2), generator()).tolist()) == {6}


def test_ends_of_the_unit_interval_stay_in_their_class(monkeypatch: pytest.MonkeyPatch) -> None:
    highest = 1.0 - 2.0**-53
    monkeypatch.setattr(torch, "rand", lambda shape, **kwargs: torch.full(shape, highest, dtype=torch.float64))
    class_P = torch.tensor([0] * 49_999 + [1])
    pixels = reco._PixelsByClass.sort(class_P, num_classes=2)
    assert pixels.draw(torch.tensor([0, 1]), None).tolist() == [49_998, 49_999]
    weight = torch.tensor([[0.0, 0.3, 0.7, 0.0], [1.0, 0.0, 2.2, 0.0]] * 2, dtype=torch.float64)
    assert reco._draw_classes(weight, 1, None).tolist() == [[2]] * 4
    monkeypatch.setattr(torch, "rand", lambda shape, **kwargs: torch.zeros(shape, dtype=torch.float64))
    assert reco._draw_classes(weight, 1, None).tolist() == [[1], [0]] * 2


def test_every_query_has_negatives_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    original = reco._PixelsByClass.draw

    def spy(self: reco._PixelsByClass, wanted: Tensor, rng: torch.Generator | None) -> Tensor:
        drawn = original(self, wanted, rng)
        seen.append(drawn)
        return drawn

    monkeypatch.setattr(reco._PixelsByClass, "draw", spy)
    representation, label, probability = problem()
    reco_loss(representation, label, probability, config=SMALL, generator=generator())
    query_CQ, negative_CQK = seen
    assert query_CQ.shape == (4, 32) and negative_CQK.shape == (4, 32, 16)
    for c in range(3):  # class 3 is absent
        assert (label.flatten()[query_CQ[c]] == c).all()
        labels = label.flatten()[negative_CQK[c]]
        assert ((labels != c) & (labels != IGNORE)).all()
        assert len({tuple(row) for row in negative_CQK[c].tolist()}) == 32
        assert len({tuple(row) for row in labels.tolist()}) > 16  # of 2 ** 16 sequences of the two other classes
    keys = torch.zeros(label.numel(), dtype=torch.bool)
    keys[negative_CQK[:3].flatten()] = True
    assert torch.equal(keys, label.flatten() != IGNORE)  # easy pixels are keys as well


def test_labels_are_sampled_down_like_interpolate_nearest() -> None:
    label = torch.randint(7, (2, 45, 61))
    label[0, :20] = IGNORE
    expected = F.interpolate(label[:, None].double(), (12, 16), mode="nearest")[:, 0].long()
    expected[expected == IGNORE] = 7
    assert torch.equal(reco._class_of_pixels(label, torch.Size((12, 16)), 7), expected.flatten())


# -- against the reference -------------------------------------------------------------------------------------------


def test_same_expected_value_and_gradient_as_the_reference() -> None:
    representation, label, probability = problem()
    config, trials = ReCoConfig(num_queries=16, num_negatives=8), 120
    values, gradients = np.zeros((2, trials)), torch.zeros(2, trials, *representation.shape)
    for trial in range(trials):
        losses = (
            reco_loss(representation, label, probability, config=config, generator=generator(trial)),
            reco_loss_reference(representation, label, probability, config=config, rng=np.random.default_rng(trial)),
        )
        for which, loss in enumerate(losses):
            values[which, trial] = loss.item()
            (gradients[which, trial],) = torch.autograd.grad(loss, representation)
    error = math.sqrt(sum(row.var(ddof=1) / trials for row in values))
    assert abs(values[0].mean() - values[1].mean()) < 4 * error
    assert 0.5 < values[0].std() / values[1].std() < 2.0  # independent negatives: neither more nor less spread
    mean, variance = gradients.mean(dim=1), gradients.var(dim=1).sum(dim=0) / trials
    touched = variance > 0
    assert torch.equal(mean[0] != 0, mean[1] != 0)  # the same pixels are queries
    score = (mean[0] - mean[1])[touched] / variance[touched].sqrt()
    assert score.square().mean() < 1.5  # 1 where the expectations agree


def test_product_with_sampled_keys_and_its_gradient() -> None:
    torch.manual_seed(0)
    query = torch.randn(2, 3, 5, dtype=torch.double, requires_grad=True)
    key, index = torch.randn(7, 5, dtype=torch.double), torch.randint(7, (2, 3, 4))
    expected = torch.einsum("cqd,cqkd->cqk", query, key[index])
    assert torch.allclose(reco._DotWithKeys.apply(query, key, index), expected)
    assert torch.autograd.gradcheck(lambda q: reco._DotWithKeys.apply(q, key, index), (query,))


# -- gradients -------------------------------------------------------------------------------------------------------


def test_gradient_reaches_hard_pixels_only() -> None:
    representation, label, probability = problem()
    config = ReCoConfig(num_queries=2000, num_negatives=4)  # every hard pixel is drawn (missed with probability 1e-10)
    reco_loss(representation, label, probability, config=config, generator=generator()).backward()
    own = probability.gather(1, label.clamp(max=3)[:, None])[:, 0]
    hard = (label != IGNORE) & (own < config.strong_threshold)
    assert representation.grad is not None
    assert torch.equal(representation.grad.abs().sum(dim=1) > 0, hard)


def test_probability_gets_no_gradient() -> None:
    representation, label, _ = problem()
    logits = torch.randn(2, 4, 12, 12, requires_grad=True)
    reco_loss(representation, label, logits.softmax(1), config=SMALL, generator=generator()).backward()
    assert logits.grad is None


def test_half_precision_input_is_computed_in_float32() -> None:
    representation, label, probability = problem()
    half = representation.detach().bfloat16().requires_grad_()
    loss = reco_loss(half, label, probability.bfloat16(), config=SMALL, generator=generator())
    same = reco_loss(half.detach().float(), label, probability.bfloat16().float(), config=SMALL, generator=generator())
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == same.item()
    assert half.grad is not None and half.grad.dtype == torch.bfloat16 and half.grad.isfinite().all()


def test_zero_vectors_give_finite_loss_and_gradient() -> None:
    label = two_halves()
    representation = torch.zeros(2, 3, 8, 8, requires_grad=True)
    loss = reco_loss(representation, label, unsure(label, 3), config=SMALL, generator=generator())
    loss.backward()
    assert loss.item() == pytest.approx(math.log(17), abs=1e-5)
    assert representation.grad is not None and representation.grad.isfinite().all()


def test_values_that_are_not_finite_surface_as_a_loss_that_is_not() -> None:
    representation, label, probability = problem()
    broken = representation.detach().clone()
    broken[0, 0, 5, 5] = math.nan
    assert math.isnan(reco_loss(broken, label, probability, config=SMALL, generator=generator()).item())


# -- determinism and speed -------------------------------------------------------------------------------------------


def test_a_generator_decides_everything_also_in_deterministic_mode() -> None:
    representation, label, probability = problem()

    def run(seed: int) -> tuple[Tensor, Tensor]:
        loss = reco_loss(representation, label, probability, config=PAPER, generator=generator(seed))
        return loss.detach(), torch.autograd.grad(loss, representation)[0]

    torch.use_deterministic_algorithms(True)
    try:
        first, again, other = run(5), run(5), run(6)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_memory_format_does_not_change_the_result() -> None:
    representation, label, probability = problem()
    other = representation.detach().contiguous(memory_format=torch.channels_last)
    losses = [reco_loss(x, label, probability, config=SMALL, generator=generator()) for x in (representation, other)]
    assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-6)


class NoSynchronisation(TorchDispatchMode):
    """Fails on operations whose result, or its shape, the host would have to wait for."""

    WAITING = ("_local_scalar_dense", "item", "nonzero", "masked_select", "unique", "bincount", "repeat_interleave")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        assert not any(word in name for word in self.WAITING), name
        if name.startswith("index"):
            flat = [x for arg in args for x in (arg if isinstance(arg, (list, tuple)) else [arg])]
            assert not any(isinstance(x, Tensor) and x.dtype in (torch.bool, torch.uint8) for x in flat[1:]), name
        return func(*args, **(kwargs or {}))


def test_the_host_never_waits() -> None:
    representation, label, probability = problem()
    with NoSynchronisation():
        reco_loss(representation, label, probability, config=SMALL, generator=generator()).backward()


@pytest.mark.parametrize("waiting", [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: x.bool().nonzero()])
def test_the_guard_sees_waiting(waiting) -> None:
    with NoSynchronisation(), pytest.raises(AssertionError):
        waiting(torch.randn(4))


def test_number_of_operations_depends_on_neither_classes_nor_queries_nor_images() -> None:
    class Count(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.calls += 1
            return func(*args, **(kwargs or {}))

    def calls(num_classes: int, batch: int, config: ReCoConfig) -> int:
        representation, label, probability = problem(num_classes=num_classes, batch=batch)
        with Count() as counter:
            reco_loss(representation, label, probability, config=config, generator=generator()).backward()
        return counter.calls

    assert calls(4, 2, SMALL) == calls(9, 5, ReCoConfig(num_queries=7, num_negatives=40))


def test_everything_stays_on_the_device() -> None:
    """On the device without memory, arithmetic with tensors of another device, or on values, is an error."""
    representation = torch.randn(2, 8, 12, 12, device="meta", requires_grad=True)
    label = torch.zeros(2, 48, 48, dtype=torch.long, device="meta")
    loss = reco_loss(representation, label, torch.rand(2, 4, 12, 12, device="meta"), config=SMALL)
    loss.backward()
    assert loss.device.type == "meta" and loss.shape == ()
    assert representation.grad is not None and representation.grad.shape == representation.shape
