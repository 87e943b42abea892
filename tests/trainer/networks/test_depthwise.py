"""Depthwise convolutions leave autocast, and nothing else changes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from s4al.config import ModelConfig
from s4al.trainer.networks.build import build_network
from s4al.trainer.networks.depthwise import keep_depthwise_in_float32


def _two_layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4), nn.Conv2d(4, 2, 1))


def test_a_depthwise_layer_computes_in_float32_beside_one_in_bfloat16() -> None:
    network = _two_layers()
    image = torch.rand(1, 4, 9, 9)
    exact = network[0](image)
    keep_depthwise_in_float32(network)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network[0](image), exact)
        assert network(image).dtype == torch.bfloat16


def test_gradients_are_those_of_float32() -> None:
    plain, kept = _two_layers()[0], _two_layers()
    keep_depthwise_in_float32(kept)
    image = torch.rand(1, 4, 9, 9)
    plain(image).square().sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        kept[0](image).square().sum().backward()
    assert torch.equal(kept[0].weight.grad, plain.weight.grad)  # type: ignore[arg-type]


def test_types_stay_where_there_is_no_autocast() -> None:
    network = _two_layers().to(torch.float64)
    keep_depthwise_in_float32(network)
    assert network(torch.rand(1, 4, 9, 9, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "efficientnet_lite0"])
def test_a_network_keeps_its_parameters_and_can_be_copied(backbone: str) -> None:
    network = build_network(ModelConfig.model_validate({"backbone": backbone, "weights": "none"}), 5)
    before = network.state_dict()
    keep_depthwise_in_float32(network)
    keep_depthwise_in_float32(network)  # a second time changes nothing
    changed = [each for each in network.modules() if type(each).__name__.startswith("Float32")]
    assert len(changed) == {"mobilenet_v2": 17, "efficientnet_lite0": 16}[backbone]
    copied = copy.deepcopy(network).eval()
    assert list(copied.state_dict()) == list(before)
    image = torch.rand(1, 3, 64, 64)
    plain = build_network(ModelConfig.model_validate({"backbone": backbone, "weights": "none"}), 5).eval()
    plain.load_state_dict(before)
    assert torch.equal(copied(image), plain(image))
