"""DeepLabv3+ with a representation head, the network of S4AL+ (arXiv 2210.08403, section 4).

Shape suffixes: B batch, C classes, D representation channels, H W image size, h w size at stride 4.
"""

from __future__ import annotations

from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation.deeplabv3 import ASPP

from s4al.config import ModelConfig
from s4al.trainer.backbones import Backbone, build_backbone
from s4al.trainer.weights import load_backbone_weights

# Of RGB on the scale 0..1: the statistics torchvision's backbones were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_CHANNELS = 256  # of the ASPP and of both heads
_LOW_LEVEL_CHANNELS = 48


class DeepLabV3Plus(nn.Module):
    """Class logits, and on request pixel representations, at stride 4.

    `align_corners` holds for every resize between the stride-4 grid and others: here in the decoder, and in whoever
    brings the logits to full size. The default is False; the published code uses True.
    """

    def __init__(
        self, backbone: Backbone, *, num_classes: int, representation_dim: int, dropout: float, align_corners: bool
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.backbone = backbone
        self.aspp = _build_aspp(backbone.high_channels, backbone.atrous_rates, dropout)
        self.low_level = nn.Sequential(*_conv_bn_relu(backbone.low_channels, _LOW_LEVEL_CHANNELS, kernel_size=1))
        self.class_head = _build_head(num_classes)
        self.representation_head = _build_head(representation_dim)

    @overload
    def forward(self, image_BCHW: Tensor, with_representation: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, image_BCHW: Tensor, with_representation: Literal[True]) -> tuple[Tensor, Tensor]: ...

    def forward(self, image_BCHW: Tensor, with_representation: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """
        Parameters
        ----------
        image_BCHW : float, RGB, normalised with `IMAGENET_MEAN` and `IMAGENET_STD`.
        with_representation : also compute the representation head; only the contrastive loss needs it.

        Returns
        -------
        logits_BChw, or `(logits_BChw, representation_BDhw)`; the representations are not normalised.
        """
        low, high = self.backbone(image_BCHW)
        context = F.interpolate(self.aspp(high), low.shape[-2:], mode="bilinear", align_corners=self.align_corners)
        features = torch.cat([context, self.low_level(low)], dim=1)
        logits_BChw = self.class_head(features)
        if not with_representation:
            return logits_BChw
        return logits_BChw, self.representation_head(features)

    def parameter_groups(self, lr: float, head_multiplier: float) -> list[dict[str, Any]]:
        """Two groups for the optimiser: the pretrained backbone at `lr`, all new layers at `lr * head_multiplier`."""
        new = [parameter for name, parameter in self.named_parameters() if not name.startswith("backbone.")]
        return [
            {"params": list(self.backbone.parameters()), "lr": lr},
            {"params": new, "lr": lr * head_multiplier},
        ]


class _ImagePooling(nn.Sequential):
    """The ASPP's image-level branch.

    torchvision's own pools adaptively and resizes bilinearly, neither of which has a deterministic backward on CUDA; a
    mean and an expansion of its 1x1 result give the same values.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__(*_conv_bn_relu(in_channels, _CHANNELS, kernel_size=1))

    def forward(self, input: Tensor) -> Tensor:
        pooled = super().forward(input.mean(dim=(2, 3), keepdim=True))
        return pooled.expand(-1, -1, input.shape[2], input.shape[3])


def _build_aspp(in_channels: int, atrous_rates: tuple[int, int, int], dropout: float) -> ASPP:
    aspp = ASPP(in_channels, atrous_rates, _CHANNELS)
    aspp.convs[-1] = _ImagePooling(in_channels)
    aspp.project[-1] = nn.Dropout(dropout)
    return aspp


def _build_head(out_channels: int) -> nn.Sequential:
    """3x3 convolution, then 1x1 (one 3x3, not the two of the original DeepLabv3+)."""
    return nn.Sequential(
        *_conv_bn_relu(_CHANNELS + _LOW_LEVEL_CHANNELS, _CHANNELS, kernel_size=3),
        nn.Conv2d(_CHANNELS, out_channels, 1),
    )


def _conv_bn_relu(in_channels: int, out_channels: int, kernel_size: int) -> list[nn.Module]:
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(out_channels), nn.ReLU()]


def build_network(model: ModelConfig, num_classes: int, *, pretrained: bool = True) -> DeepLabV3Plus:
    """The network of a configuration; layers without pretrained weights are initialised from torch's global generator.

    Parameters
    ----------
    num_classes : number of classes, ignore not counted.
    pretrained : load the backbone weights that `model.weights` names. False where a checkpoint is loaded anyway.

    Raises
    ------
    DataError : the weights cannot be fetched, read, or do not fit.
    """
    backbone = build_backbone(model.backbone, drop_path=model.drop_path)
    if pretrained:
        load_backbone_weights(backbone, model.backbone, model.weights)
    return DeepLabV3Plus(
        backbone,
        num_classes=num_classes,
        representation_dim=model.representation_dim,
        dropout=model.dropout,
        align_corners=model.align_corners,
    )
