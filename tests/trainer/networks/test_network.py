from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import mobilenet_v2, resnet50
from torchvision.models.segmentation.deeplabv3 import ASPP

from s4al.config import ModelConfig, TrainerConfig
from s4al.trainer.networks.backbones import MobileNetV2Backbone, _StochasticBottleneck, build_backbone
from s4al.trainer.networks.build import build_network
from s4al.trainer.networks.network import DeepLabV3Plus

SMALL = ModelConfig(weights="none", representation_dim=32)


@pytest.fixture(scope="module")
def network() -> DeepLabV3Plus:
    torch.manual_seed(0)
    return build_network(SMALL, num_classes=11).eval()


@pytest.mark.parametrize(
    ("size", "low", "high"),
    [
        ((360, 480), (24, 90, 120), (320, 23, 30)),  # CamVid
        ((688, 688), (24, 172, 172), (320, 43, 43)),  # Cityscapes
        ((180, 240), (24, 45, 60), (320, 12, 15)),  # not divisible by 16
        ((97, 131), (24, 25, 33), (320, 7, 9)),
    ],
)
def test_mobilenet_feature_sizes(size: tuple[int, int], low: tuple[int, ...], high: tuple[int, ...]) -> None:
    with torch.device("meta"):
        maps = MobileNetV2Backbone()(torch.zeros(1, 3, *size))
    assert [tuple(x.shape[1:]) for x in maps] == [low, high]


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
def test_resnet_is_at_stride_8_with_a_linear_drop_path(name: str) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name, drop_path=0.1)
        low, high = backbone(torch.zeros(1, 3, 64, 104))
    assert low.shape[1:] == (256, 16, 26) and high.shape[1:] == (2048, 8, 13)
    assert backbone.atrous_rates == (12, 24, 36)
    rates = [module.p for path, module in backbone.named_modules() if path.endswith("drop_path")]
    assert len(rates) == {"resnet50": 16, "resnet101": 33}[name]
    assert rates[0] == 0.0 and rates[-1] == pytest.approx(0.1)
    assert torch.tensor(rates).diff().allclose(torch.tensor(0.1 / (len(rates) - 1)))


def test_stochastic_depth_drops_the_residual_branch_and_keeps_the_identity() -> None:
    block = _StochasticBottleneck(64, 16).train()
    block.drop_path.p = 1.0
    features = torch.rand(2, 64, 5, 5)
    assert torch.equal(block(features), features)
    block.drop_path.p = 0.0
    assert not torch.equal(block(features), features)


def test_mobilenet_dilates_only_its_last_block() -> None:
    backbone = MobileNetV2Backbone()
    dilations = {
        int(path.split(".")[1]): convolution.dilation[0]
        for path, convolution in backbone.named_modules()
        if isinstance(convolution, nn.Conv2d) and convolution.kernel_size == (3, 3)
    }
    assert dilations == {**dict.fromkeys(range(17), 1), 17: 2}
    assert len(backbone.features) == 18  # the 1280-channel convolution is gone


def test_backbones_compute_what_torchvision_computes() -> None:
    """Up to where the strides differ; the parameters have torchvision's names."""
    torch.manual_seed(0)
    image = torch.randn(1, 3, 32, 64)
    mobilenet, resnet = mobilenet_v2().eval(), resnet50().eval()
    with torch.device("meta"):
        our_mobilenet, our_resnet = MobileNetV2Backbone().eval(), build_backbone("resnet50", drop_path=0.1).eval()
    for ours, theirs in ((our_mobilenet, mobilenet), (our_resnet, resnet)):
        state = {key: value for key, value in theirs.state_dict().items() if key in ours.state_dict()}
        ours.load_state_dict(state, assign=True)
    with torch.no_grad():
        assert torch.equal(our_mobilenet(image)[0], mobilenet.features[:4](image))
        stem = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(image))))
        assert torch.equal(our_resnet(image)[0], resnet.layer1(stem))


def test_image_pooling_equals_torchvisions(network: DeepLabV3Plus) -> None:
    theirs = ASPP(320, (6, 12, 18)).eval()
    names = zip(theirs.convs[4].state_dict(), network.aspp.convs[4].state_dict().values(), strict=True)
    theirs.convs[4].load_state_dict(dict(names))
    features = torch.randn(2, 320, 7, 9)
    with torch.no_grad():
        assert torch.allclose(network.aspp.convs[4](features), theirs.convs[4](features), atol=1e-6)
        assert network.aspp(features).shape == (2, 256, 7, 9)


def test_outputs_are_at_stride_4(network: DeepLabV3Plus) -> None:
    image = torch.randn(2, 3, 90, 120)
    with torch.no_grad():
        logits, representation = network(image, with_representation=True)
        alone = network(image)
    assert logits.shape == (2, 11, 23, 30) and representation.shape == (2, 32, 23, 30)
    assert torch.equal(alone, logits)


def test_representation_head_runs_only_on_request(network: DeepLabV3Plus) -> None:
    calls = []
    hook = network.representation_head.register_forward_hook(lambda *_: calls.append(1))
    image = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        network(image)
        assert not calls
        network(image, with_representation=True)
        assert calls == [1]
    hook.remove()


def test_without_the_contrastive_loss_the_representation_head_has_no_gradient() -> None:
    network = build_network(SMALL, num_classes=3).train()
    network(torch.randn(2, 3, 32, 48)).sum().backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == name.startswith("representation_head."), name


def test_align_corners_is_a_switch() -> None:
    image = torch.randn(2, 3, 64, 96)
    outputs = {}
    for align_corners in (False, True):
        torch.manual_seed(0)
        model = SMALL.model_copy(update={"align_corners": align_corners, "dropout": 0.0})
        network = build_network(model, num_classes=3).train()
        assert network.align_corners is align_corners
        with torch.no_grad():
            low, high = network.backbone(image)
            context = F.interpolate(network.aspp(high), (16, 24), mode="bilinear", align_corners=align_corners)
            expected = network.class_head(torch.cat([context, network.low_level(low)], dim=1))
            outputs[align_corners] = network(image)
        assert torch.allclose(outputs[align_corners], expected, atol=1e-5)
    assert (outputs[False] - outputs[True]).abs().max() > 0.1


def test_parameter_groups_are_a_partition(network: DeepLabV3Plus) -> None:
    trainer = TrainerConfig(lr=0.01, head_lr_multiplier=10.0, weight_decay=1e-4, backbone_weight_decay_multiplier=0.5)
    backbone, new = network.parameter_groups(trainer)
    assert (backbone["lr"], new["lr"]) == (0.01, pytest.approx(0.1))
    assert (backbone["weight_decay"], new["weight_decay"]) == (pytest.approx(5e-5), 1e-4)
    assert {id(p) for p in backbone["params"]} == {id(p) for p in network.backbone.parameters()}
    assert len(backbone["params"]) + len(new["params"]) == len(list(network.parameters()))
    assert not {id(p) for p in backbone["params"]} & {id(p) for p in new["params"]}
    torch.optim.SGD([backbone, new], momentum=0.9, nesterov=True)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_is_the_only_noise_of_mobilenet(dropout: float) -> None:
    network = build_network(SMALL.model_copy(update={"dropout": dropout}), num_classes=3).train()
    image = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        assert torch.equal(network(image), network(image)) == (dropout == 0.0)
    network.eval()
    with torch.no_grad():
        assert torch.equal(network(image), network(image))


def test_training_step_is_deterministic() -> None:
    def gradient() -> torch.Tensor:
        torch.manual_seed(3)
        network = build_network(SMALL, num_classes=3).train()
        logits, representation = network(torch.randn(2, 3, 32, 48), with_representation=True)
        (logits.square().mean() + representation.square().mean()).backward()
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    torch.use_deterministic_algorithms(True)
    try:
        assert torch.equal(gradient(), gradient())
    finally:
        torch.use_deterministic_algorithms(False)


def test_batch_norms_fold_into_the_convolutions_before_them(network: DeepLabV3Plus) -> None:
    folded, image = copy.deepcopy(network), torch.randn(2, 3, 48, 64)
    for module in folded.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # one step in training mode gives statistics that matter
    with torch.no_grad():
        folded.train()(image)
        expected = folded.eval()(image)
        for module in folded.modules():
            children = list(module.named_children())
            for (name, convolution), (next_name, norm) in pairwise(children):
                if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    setattr(module, name, fuse_conv_bn_eval(convolution, norm))
                    setattr(module, next_name, nn.Identity())
        assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
        assert torch.allclose(folded(image), expected, atol=1e-3 * expected.abs().max().item())
