"""Every network that a configuration can name: sizes, both heads, and training on images of any size."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from s4al.config import ModelConfig, TrainerConfig
from s4al.errors import ConfigError
from s4al.trainer.networks.build import build_network
from s4al.trainer.networks.swiftnet import _grid_means
from tests.networks import NETWORKS


def build(name: str, num_classes: int = 5, **settings):
    return build_network(NETWORKS[name].model_copy(update=settings), num_classes, pretrained=False)


@pytest.mark.parametrize(
    ("name", "stride"),
    [
        ("deeplabv3plus/mobilenet_v2", 4),
        ("deeplabv3plus/resnet50", 4),
        ("deeplabv3plus/resnet101-deep", 4),
        ("deeplabv3/mobilenet_v2", 16),
        ("deeplabv3/resnet50", 8),
        ("deeplabv2/resnet101", 8),
        ("swiftnet", 4),
        ("unet/resnet18", 1),
        ("smp:fpn/resnet18", 4),
    ],
)
@pytest.mark.parametrize("size", [(360, 480), (97, 131)])
def test_logits_and_representations_are_at_the_networks_stride(name, stride, size):
    with torch.device("meta"):
        network = build(name, representation_dim=7).eval()
        logits, representation = network(torch.zeros(1, 3, *size), with_representation=True)
    low = tuple(-(-side // stride) for side in size)
    assert network.stride == stride
    assert logits.shape == (1, 5, *low) and representation.shape == (1, 7, *low)


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_are_pretrained_or_new_and_all_but_the_representation_head_learn(name):
    torch.manual_seed(0)
    network = build(name, representation_dim=4).train()
    backbone, new = network.parameter_groups(TrainerConfig())
    assert len(backbone["params"]) + len(new["params"]) == len(list(network.parameters()))
    network(torch.randn(2, 3, 64, 96)).square().mean().backward()
    unused = {path.split(".")[0] for path, parameter in network.named_parameters() if parameter.grad is None}
    assert unused <= {"representation_head"}


def test_a_deep_stem_is_three_convolutions_and_fits_the_rest():
    with torch.device("meta"):
        network = build("deeplabv3plus/resnet101-deep")
    widths = [m.out_channels for m in network.backbone.conv1 if isinstance(m, nn.Conv2d)]
    assert widths == [64, 64, 128] and network.backbone.layer1[0].conv1.in_channels == 128


@pytest.mark.parametrize(("height", "width", "rows", "columns"), [(12, 15, 8, 10), (2, 3, 8, 12), (7, 5, 2, 1)])
def test_grid_means_are_adaptive_average_pooling(height, width, rows, columns):
    x = torch.randn(2, 3, height, width)
    torch.testing.assert_close(_grid_means(x, rows, columns), F.adaptive_avg_pool2d(x, (rows, columns)))


def test_padding_for_an_encoder_changes_nothing_of_an_image_that_fits():
    network = build("unet/resnet18").eval()
    image = torch.randn(1, 3, 64, 96)
    model = nn.Sequential(network.backbone, network.decoder, network.class_head)
    with torch.no_grad():
        torch.testing.assert_close(network(image), model[2](model[1](model[0](image))))


@pytest.mark.parametrize("name", ["smp:unet/nothing", "smp:nothing/resnet18"])
def test_a_network_that_the_library_has_not_is_refused(name):
    with pytest.raises(ConfigError, match=r"segmentation-models-pytorch cannot make smp:"):
        build_network(ModelConfig(name=name, weights="none"), 3)


def test_a_deep_stem_has_no_imagenet_weights_to_fetch():
    with pytest.raises(ValueError, match="resnet50-deep has no ImageNet weights"):
        ModelConfig(backbone="resnet50-deep")
