"""From the name of a network to the network."""

from __future__ import annotations

from s4al.config import ModelConfig
from s4al.trainer.networks.backbones import build_backbone
from s4al.trainer.networks.difficulty import DifficultyBranch
from s4al.trainer.networks.network import DeepLabV2, DeepLabV3, DeepLabV3Plus, SegmentationNetwork
from s4al.trainer.networks.smp_network import build_smp
from s4al.trainer.networks.swiftnet import SwiftNet
from s4al.trainer.networks.weights import load_backbone_weights

_DEEPLABS = {"deeplabv3plus": DeepLabV3Plus, "deeplabv3": DeepLabV3, "deeplabv2": DeepLabV2}


def build_network(model: ModelConfig, num_classes: int, *, pretrained: bool = True) -> SegmentationNetwork:
    """The network of a configuration; layers without pretrained weights are initialised from torch's global generator.

    Parameters
    ----------
    num_classes : number of classes, ignore not counted.
    pretrained : load the backbone weights that `model.weights` names. False where a checkpoint is loaded anyway.

    Raises
    ------
    DataError : the weights cannot be fetched, read, or do not fit.
    ConfigError : segmentation-models-pytorch is not installed, or has no such network.
    """
    network = _build(model, num_classes, pretrained)
    if model.difficulty_stride:
        scale = network.stride / model.difficulty_stride
        network.difficulty = DifficultyBranch(num_classes, scale=scale, align_corners=model.align_corners)
    return network


def _build(model: ModelConfig, num_classes: int, pretrained: bool) -> SegmentationNetwork:
    heads = {
        "num_classes": num_classes,
        "representation_dim": model.representation_dim,
        "align_corners": model.align_corners,
    }
    name = f"smp:unet/{model.backbone}" if model.name == "unet" else model.name
    if name.startswith("smp:"):
        return build_smp(name, weights=model.weights if pretrained else "none", **heads)
    if model.name == "swiftnet":
        network = SwiftNet(**heads)
    else:
        backbone = build_backbone(model.backbone, drop_path=model.drop_path)
        network = _DEEPLABS[model.name](backbone, dropout=model.dropout, **heads)
    if pretrained:
        load_backbone_weights(network.backbone, model.backbone, model.weights)
    return network
