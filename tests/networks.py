"""One network of every kind: what must hold for all of them is tested on these."""

from __future__ import annotations

from s4al.config import ModelConfig

NETWORKS = {
    "deeplabv3plus/mobilenet_v2": ModelConfig(weights="none"),
    "deeplabv3plus/resnet50": ModelConfig(weights="none", backbone="resnet50"),
    "deeplabv3plus/resnet101": ModelConfig(weights="none", backbone="resnet101"),
    "deeplabv3plus/resnet101-deep": ModelConfig(weights="none", backbone="resnet101-deep"),
    "deeplabv3/mobilenet_v2": ModelConfig(weights="none", name="deeplabv3"),
    "deeplabv3/resnet50": ModelConfig(weights="none", name="deeplabv3", backbone="resnet50"),
    "deeplabv2/resnet101": ModelConfig(weights="none", name="deeplabv2", backbone="resnet101"),
    "swiftnet": ModelConfig(weights="none", name="swiftnet", backbone="resnet18"),
    "unet/resnet18": ModelConfig(weights="none", name="unet", backbone="resnet18"),
    "smp:fpn/resnet18": ModelConfig(weights="none", name="smp:fpn/resnet18"),
}
