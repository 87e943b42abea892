"""One network of every kind: what must hold for all of them is tested on these."""

from __future__ import annotations

from s4al.config import ModelConfig

NETWORKS = {
    "deeplabv3plus/mobilenet_v2": ModelConfig(weights="none"),
    "deeplabv3plus/resnet50": ModelConfig(weights="none", backbone="resnet50"),
    "deeplabv3plus/resnet101": ModelConfig(weights="none", backbone="resnet101"),
    "deeplabv3plus/resnet101-deep": ModelConfig(weights="none", backbone="resnet101-deep"),
    "deeplabv3plus/efficientnet_lite0": ModelConfig(weights="none", backbone="efficientnet_lite0"),
    "deeplabv3plus/efficientnet_lite2": ModelConfig(weights="none", backbone="efficientnet_lite2"),
    "deeplabv3/mobilenet_v2": ModelConfig(weights="none", name="deeplabv3"),
    "deeplabv3/resnet50": ModelConfig(weights="none", name="deeplabv3", backbone="resnet50"),
    "deeplabv2/resnet101": ModelConfig(weights="none", name="deeplabv2", backbone="resnet101"),
    "swiftnet": ModelConfig(weights="none", name="swiftnet", backbone="resnet18"),
    "unet/resnet18": ModelConfig(weights="none", name="unet", backbone="resnet18"),
    "smp:fpn/resnet18": ModelConfig(weights="none", name="smp:fpn/resnet18"),
}
# One of every kind of encoder that timm has: with batch norms that hold an activation, layer norms, attention.
ENCODERS = (
    *("tu-efficientnet_b0", "tu-mobilenetv3_small_050", "tu-regnety_002", "tu-convnext_atto", "mit_b0"),
    *("tu-resnest14d", "tu-hrnet_w18_small", "tu-efficientvit_b0"),
)
