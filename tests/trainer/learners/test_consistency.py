"""The losses of one-way consistency on a network that is one 1x1 convolution, so that everything can be worked out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from s4al.config import set_values
from s4al.trainer.distributed import launch_fabric
from s4al.trainer.learners.all import LEARNERS
from s4al.trainer.learners.consistency import PhTPS, annealing_threshold, with_truth
from s4al.trainer.learners.learner import Setting, Step
from s4al.trainer.learners.phtps import Spline
from s4al.trainer.learners.unlabelled.views import rgb as rgb_of
from s4al.trainer.learners.unlabelled.views import standardise
from tests.tiny import tiny_config

IGNORE, CLASSES = 255, 3


@pytest.fixture(scope="module")
def fabric():
    return launch_fabric("cpu", "32-true")


class Pixelwise(nn.Module):
    """Logits at full size, pixel by pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, CLASSES, 1)

    def forward(self, image):
        return self.backbone(image)


def make(fabric, *overrides):
    config = set_values(tiny_config(), overrides)
    torch.manual_seed(0)
    setting = Setting(config, 0, CLASSES, None, [], 10, fabric, lambda number: Pixelwise())  # type: ignore[arg-type]
    learner = LEARNERS[config.learner.name](setting)
    learner.ready(learner.trained)
    return learner


def images(count=4, height=12, width=16):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, height, width, generator=generator)


def unknown(rgb):
    return torch.full((len(rgb), *rgb.shape[2:]), IGNORE)


def consistency(learner, rgb, truth=None, seed=0):
    loss, share = learner.consistency(rgb, unknown(rgb) if truth is None else truth, np.random.default_rng(seed))
    return loss, share.item()


@pytest.mark.parametrize("name", ["cutmix", "cutmix-star"])
@pytest.mark.parametrize("teacher", ["simple", "mean"])
def test_a_pixelwise_network_is_consistent_under_cutmix(fabric, name, teacher):
    """What a network says of a pixel does not depend on its neighbours: mixing changes nothing, the loss is 0."""
    learner = make(
        fabric,
        f"learner.name={name}",
        f"learner.teacher={teacher}",
        *(["learner.confidence_threshold=0"] if "star" in name else []),
    )
    loss, share = consistency(learner, images())
    assert loss.item() == pytest.approx(0, abs=1e-6) and share == 1


def test_phtps_without_perturbation_is_zero_and_valid_everywhere(fabric, monkeypatch):
    monkeypatch.setattr("s4al.trainer.learners.consistency.photometric", lambda rgb, rng: rgb)
    for variant in ("1w-ps", "1w-pt", "2w-p1", "1w-p2"):
        learner = make(
            fabric, "learner.name=phtps", "learner.teacher=simple", f"learner.variant={variant}", "learner.warp_sigma=0"
        )
        loss, share = consistency(learner, images())
        assert loss.item() == pytest.approx(0, abs=1e-5) and share == 1


def test_phtps_of_a_pixelwise_network_knows_no_geometry(fabric, monkeypatch):
    """Warping images or warping what is said of them is the same for it, up to interpolation."""
    monkeypatch.setattr("s4al.trainer.learners.consistency.photometric", lambda rgb, rng: rgb)
    smooth = nn.functional.interpolate(images(4, 3, 4), (48, 64), mode="bicubic").clamp(0, 1)
    for variant in ("1w-ps", "1w-pt", "1w-p2"):
        learner = make(
            fabric,
            "learner.name=phtps",
            "learner.teacher=simple",
            f"learner.variant={variant}",
            "learner.warp_points=quadrants",
            "learner.warp_sigma=0.05",
        )
        loss, share = consistency(learner, smooth)
        shuffled, _ = consistency(learner, smooth.flip(0))
        assert 0.3 < share < 1
        assert 0 <= loss.item() < 1e-3 and shuffled.item() < 1e-3


def test_1w_p2_counts_what_both_saw(fabric, monkeypatch):
    """Of eight columns the teacher sees the last five, the student the last six, as columns 0 to 5 of its image: 1 to 5
    count. Where the teacher's map would be fetched from, columns -1 to 6, lies in the image for two more."""
    monkeypatch.setattr("s4al.trainer.learners.consistency.photometric", lambda rgb, rng: rgb)
    points = torch.tensor([[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]], dtype=torch.float64)
    shifts = iter([3 / 8, 2 / 8])
    monkeypatch.setattr(
        "s4al.trainer.learners.consistency.draw_spline",
        lambda *_, **__: Spline.through(points, points + torch.tensor([next(shifts), 0.0])),
    )
    learner = make(fabric, "learner.name=phtps", "learner.variant=1w-p2")
    loss, share = consistency(learner, images(1, 4, 8))
    assert share == pytest.approx(5 / 8) and loss.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("variant", "reverse"), [("1w-ps", False), ("1w-pt", True), ("2w-p1", True)])
def test_the_direction_of_the_divergence(fabric, monkeypatch, variant, reverse):
    """The clean image is black and the perturbed one white, so that both predictions are known."""
    monkeypatch.setattr("s4al.trainer.learners.consistency.photometric", lambda rgb, rng: torch.ones_like(rgb))
    settings = ("learner.teacher=simple", f"learner.variant={variant}", "learner.warp_sigma=0")
    learner = make(fabric, "learner.name=phtps", *settings)
    black = torch.zeros(2, 3, 4, 4)
    clean, seen = (learner.trained(standardise(each))[0, :, 0, 0].softmax(0) for each in (black, black + 1))
    target, learnt = (seen, clean) if reverse else (clean, seen)
    loss, _ = consistency(learner, black)
    assert loss.item() == pytest.approx((target * (target / learnt).log()).sum().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("variant", "remembered"), [("1w-ps", "clean"), ("1w-pt", "clean"), ("2w-p1", "clean"), ("1w-p2", "perturbed")]
)
def test_batch_norm_remembers_one_pass(fabric, monkeypatch, variant, remembered):
    monkeypatch.setattr("s4al.trainer.learners.consistency.photometric", lambda rgb, rng: torch.ones_like(rgb))
    settings = ("learner.teacher=simple", f"learner.variant={variant}", "learner.warp_sigma=0")
    learner = make(fabric, "learner.name=phtps", *settings)
    norm = nn.BatchNorm2d(3, momentum=1.0)
    learner.trained.backbone = nn.Sequential(norm, learner.trained.backbone)
    consistency(learner, torch.zeros(2, 3, 4, 4))
    assert norm.num_batches_tracked == 1
    shown = torch.full((1, 3, 1, 1), 0.0 if remembered == "clean" else 1.0)
    torch.testing.assert_close(norm.running_mean, standardise(shown).flatten(), atol=1e-4, rtol=0)


def gradient_paths(learner, rgb):
    """For every forward pass: was it allowed a gradient, and was its image the clean one?"""
    calls = []

    class Spy(nn.Module):
        def forward(self, image):
            output = learner.trained(image)
            calls.append((output.requires_grad, bool(torch.allclose(image, learner_input))))
            return output

    learner_input = standardise(rgb)
    learner.student = Spy()
    loss, _ = consistency(learner, rgb)
    return loss, calls


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("1w-ps", {(False, True), (True, False)}),
        ("1w-pt", {(False, False), (True, True)}),
        ("2w-p1", {(True, True), (True, False)}),
        ("1w-p2", {(False, False), (True, False)}),
    ],
)
def test_who_sees_the_perturbed_image_and_who_takes_the_gradient(fabric, variant, expected):
    learner = make(fabric, "learner.name=phtps", "learner.teacher=simple", f"learner.variant={variant}")
    loss, calls = gradient_paths(learner, images())
    assert set(calls) == expected
    loss.backward()
    assert learner.trained.backbone.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["cutmix", "cutmix-star", "phtps", "mean-teacher", "s4al"])
def test_the_gradient_through_a_mean_teacher_is_exactly_none(fabric, name):
    learner = make(fabric, f"learner.name={name}")
    batch = {
        "image": torch.randint(256, (4, 12, 16, 3), dtype=torch.uint8),
        "label": torch.full((4, 12, 16), 1, dtype=torch.uint8),
        "rows": [0, 1, 2, 3],
        "counts": [2, 2],
    }
    batch["label"][2:] = IGNORE
    losses = learner.losses(batch, _step(epoch=9))
    losses.total.backward()
    assert learner.trained.backbone.weight.grad is not None
    assert all(parameter.grad is None for parameter in learner.teacher.network.parameters())


def _step(epoch=0, progress=0.5):
    from s4al.trainer.draw import Key

    return Step(7, epoch, progress, Key(0, 0, 7))


def test_uda_by_hand(fabric, monkeypatch):
    monkeypatch.setattr("s4al.trainer.learners.consistency.photometric", lambda rgb, rng: rgb)
    learner = make(fabric, "learner.name=uda", "learner.temperature=0.5", "learner.confidence_threshold=0.6")
    with torch.no_grad():
        learner.trained.backbone.weight.zero_()
        learner.trained.backbone.bias.copy_(torch.tensor([1.5, 0.5, 0.0]))
    p, sharp = torch.tensor([1.5, 0.5, 0.0]).softmax(0), torch.tensor([3.0, 1.0, 0.0]).softmax(0)
    expected = (sharp * (sharp / p).log()).sum()
    loss, share = consistency(learner, images())
    assert p.max() > 0.6 and share == 1 and loss.item() == pytest.approx(expected.item(), rel=1e-5)
    with torch.no_grad():
        learner.trained.backbone.bias.zero_()  # nobody is sure of anything
    assert consistency(learner, images()) == (0, 0)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0.25, 0.625, 1.0]),
        ("exp", [0.25 + 0.75 * math.exp(-5), 0.25 + 0.75 * math.exp(-2.5), 1.0]),
        ("log", [0.25, 0.25 + 0.75 * (1 - math.exp(-2.5)), 0.25 + 0.75 * (1 - math.exp(-5))]),
    ],
)
def test_annealing_thresholds(schedule, expected):
    assert [annealing_threshold(schedule, t, 4) for t in (0, 0.5, 1)] == pytest.approx(expected)


def test_annealing_leaves_out_what_is_known_too_well(fabric):
    learner = make(fabric, "learner.name=uda", "learner.annealing=linear")
    logits = torch.tensor([[5.0, 0, 0], [0, 0.2, 0]]).T.view(1, CLASSES, 1, 2)  # the labels' p: 0.987 and 0.379
    label = torch.tensor([[[0, 1]]])
    losses = [-math.log(float(logits[0, :, 0, i].softmax(0)[i])) for i in (0, 1)]
    early, middle, late = (learner.learn_labels(logits, label, _step(progress=t)).item() for t in (0.0, 0.5, 1.0))
    assert early == 0  # both are better than a guess
    assert middle == pytest.approx(losses[1], rel=1e-4)
    assert late == pytest.approx(sum(losses) / 2, rel=1e-4)


def test_labels_of_regions_are_the_target_there():
    logits = torch.randn(1, CLASSES, 2, 2)
    truth = torch.tensor([[[2, IGNORE], [IGNORE, 0]]])
    probability = with_truth(logits, truth).softmax(dim=1)
    assert probability[0, :, 0, 0].tolist() == pytest.approx([0, 0, 1], abs=1e-6)
    assert probability[0, :, 1, 1].tolist() == pytest.approx([1, 0, 0], abs=1e-6)
    torch.testing.assert_close(probability[0, :, 0, 1], logits[0, :, 0, 1].softmax(0))


@pytest.mark.parametrize("name", ["cutmix", "phtps", "uda"])
def test_labels_of_regions_change_the_loss(fabric, name):
    learner = make(fabric, f"learner.name={name}")
    rgb = images()
    truth = unknown(rgb)
    truth[:, 3:9, 4:12] = 2
    assert consistency(learner, rgb, truth)[0] > consistency(learner, rgb)[0] + 1e-3


@pytest.mark.parametrize(
    "overrides",
    [
        ("learner.name=cutmix",),
        ("learner.name=cutmix-star", "learner.confidence_threshold=0"),
        *(
            ("learner.name=phtps", "learner.teacher=simple", f"learner.variant={variant}")
            for variant in ("1w-ps", "1w-pt", "2w-p1", "1w-p2")
        ),
        ("learner.name=uda", "learner.confidence_threshold=0"),
    ],
    ids=" ".join,
)
def test_void_pixels_teach_nothing_wherever_they_go(fabric, overrides):
    """No loss where all is void, and fewer pixels that count where the left half is."""
    learner = make(fabric, *overrides)
    loss, share = consistency(learner, images(), torch.full((4, 12, 16), 254))
    assert loss == 0 and share == 0
    truth = unknown(images())
    truth[:, :, :8] = 254
    assert 0 < consistency(learner, images(), truth)[1] < consistency(learner, images())[1]


def test_void_goes_where_its_pixels_go(fabric):
    """CutMix: what is learnt at a pixel is the other image's where the box is, void with it."""
    learner = make(fabric, "learner.name=cutmix")
    truth = torch.full((2, 12, 16), 2)
    truth[0] = 254
    loss, share = consistency(learner, images(2), truth)
    assert share == pytest.approx(0.5, abs=0.01)  # a pair exchanges one box: one image's worth is left
    everywhere, _ = consistency(learner, images(2), torch.full((2, 12, 16), 2))
    assert 0 < loss < 2 * everywhere


def test_cps_leaves_void_out(fabric):
    learner = make(fabric, "learner.name=cps", "learner.mix=none")
    generator = torch.Generator().manual_seed(4)
    logits = [torch.randn(1, CLASSES, 2, 2, generator=generator) for _ in range(2)]
    truth = torch.tensor([[[254, IGNORE], [254, 1]]])
    loss, _ = learner._teach_each_other(logits, learner._labels(logits, truth))
    expected = 0.0
    for mine, other in (logits, logits[::-1]):
        said = int(other[0, :, 0, 1].argmax())
        expected += (-mine[0, :, 0, 1].log_softmax(0)[said] - mine[0, :, 1, 1].log_softmax(0)[1]) / 2
    assert loss.item() == pytest.approx(float(expected), rel=1e-5)


def test_phtps_unlabelled_images_are_all_images():
    from s4al.trainer.targets import Targets

    targets = Targets(np.zeros((6, 2, 2), np.uint8), [0, 1], [], [2, 3, 4, 5])
    labelled, unlabelled = PhTPS.parts(targets, tiny_config(), 0)
    assert list(unlabelled[0].rows) == [0, 1, 2, 3, 4, 5] and unlabelled[0].hidden == {0, 1}
    assert list(labelled[0].rows) == [0, 1]


def batch_of(labelled, unlabelled):
    image = torch.randint(256, (labelled + unlabelled, 12, 16, 3), generator=torch.Generator().manual_seed(2))
    label = torch.full((labelled + unlabelled, 12, 16), 1, dtype=torch.uint8)
    label[labelled:] = IGNORE
    counts = [labelled, unlabelled] if unlabelled else [labelled]
    return {"image": image.to(torch.uint8), "label": label, "rows": list(range(len(label))), "counts": counts}


class TwoSizes(nn.Module):
    """Logits at half size."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, CLASSES, 2, stride=2)

    def forward(self, image):
        return self.backbone(image)


def test_equal_compares_at_full_size(fabric):
    learner = make(fabric, "learner.name=equal")
    learner.student = TwoSizes()
    batch = batch_of(2, 0)
    terms = learner.losses(batch, _step()).terms
    image = standardise(rgb_of(batch["image"]))
    full = [learner.full_size(learner.student(each), batch["label"]) for each in (image, image.flip(-1))]
    expected = 2 * (full[0] - full[1].flip(-1)).square().mean()
    assert terms["consistency"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("mix", "unlabelled", "has_loss"), [("none", 0, True), ("cutmix", 0, False), ("cutmix", 2, True)]
)
def test_with_cutmix_labelled_images_have_no_cross_loss(fabric, mix, unlabelled, has_loss):
    learner = make(fabric, "learner.name=cps", f"learner.mix={mix}")
    terms = learner.losses(batch_of(2, unlabelled), _step()).terms
    assert (terms["cross_pseudo"] > 0) == has_loss
