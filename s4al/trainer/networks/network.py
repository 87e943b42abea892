"""Segmentation networks with a representation head; DeepLabv3+ is that of S4AL+ (arXiv 2210.08403, section 4).

Shape suffixes: B batch, C classes, D representation channels, H W image size, h w size at the network's stride.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation.deeplabv3 import ASPP

from s4al.config import TrainerConfig
from s4al.trainer.networks.backbones import Backbone

# Of RGB on the scale 0..1: the statistics torchvision's backbones were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_CHANNELS = 256  # of the ASPP and of both heads
_LOW_LEVEL_CHANNELS = 48


class SegmentationNetwork(nn.Module, ABC):
    """Class logits, and on request pixel representations, at a stride of the image.

    Attributes
    ----------
    stride : of the logits, in pixels of the image; their height and width are the image's divided by it, rounded up.
    align_corners : of every resize between the logits' grid and others: here, and in whoever brings the logits to full
        size. The default is False; the published code uses True.
    backbone : the pretrained part.
    difficulty : a branch that says where the logits are wrong, where there is one.
    """

    stride: int
    backbone: nn.Module
    class_head: nn.Module
    representation_head: nn.Module
    difficulty: nn.Module | None

    def __init__(self, *, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.difficulty = None

    @abstractmethod
    def features(self, image_BCHW: Tensor) -> Tensor:
        """What both heads see, at the stride of the logits."""

    @overload
    def forward(self, image_BCHW: Tensor) -> Tensor: ...
    @overload
    def forward(self, image_BCHW: Tensor, *, with_representation: Literal[True]) -> tuple[Tensor, Tensor]: ...
    @overload
    def forward(self, image_BCHW: Tensor, *, with_difficulty: Literal[True]) -> tuple[Tensor, Tensor]: ...

    def forward(
        self, image_BCHW: Tensor, *, with_representation: bool = False, with_difficulty: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """
        Parameters
        ----------
        image_BCHW : float, RGB, normalised with `IMAGENET_MEAN` and `IMAGENET_STD`.
        with_representation : also compute the representation head; only the contrastive loss needs it.
        with_difficulty : also run the difficulty branch, which the network must have.

        Returns
        -------
        logits_BChw, or `(logits_BChw, representation_BDhw)`, the representations not normalised, or `(logits_BChw,
        difficulty_B1rs)`, see `DifficultyBranch`.
        """
        features = self.features(image_BCHW)
        logits_BChw = self.class_head(features)
        if with_representation:
            return logits_BChw, self.representation_head(features)
        if with_difficulty:
            assert self.difficulty is not None
            return logits_BChw, self.difficulty(logits_BChw)
        return logits_BChw

    def parameter_groups(self, trainer: TrainerConfig) -> list[dict[str, Any]]:
        """Two groups for the optimiser, with `lr` and `weight_decay`: the pretrained backbone, and all new layers."""
        new = [parameter for name, parameter in self.named_parameters() if not name.startswith("backbone.")]
        return [
            {
                "params": list(self.backbone.parameters()),
                "lr": trainer.lr,
                "weight_decay": trainer.weight_decay * trainer.backbone_weight_decay_multiplier,
            },
            {
                "params": new,
                "lr": trainer.lr * trainer.head_lr_multiplier,
                "weight_decay": trainer.weight_decay,
            },
        ]

    def resize(self, x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=self.align_corners)


class DeepLabV3Plus(SegmentationNetwork):
    """The network of S4AL+: ASPP and low-level features, one 3x3 convolution in each head, at stride 4."""

    stride = 4

    def __init__(
        self, backbone: Backbone, *, num_classes: int, representation_dim: int, dropout: float, align_corners: bool
    ) -> None:
        super().__init__(align_corners=align_corners)
        self.backbone = backbone
        self.aspp = _build_aspp(backbone.high_channels, backbone.atrous_rates, dropout)
        self.low_level = nn.Sequential(*_conv_bn_relu(backbone.low_channels, _LOW_LEVEL_CHANNELS, kernel_size=1))
        self.class_head = build_head(_CHANNELS + _LOW_LEVEL_CHANNELS, num_classes)
        self.representation_head = build_head(_CHANNELS + _LOW_LEVEL_CHANNELS, representation_dim)

    def features(self, image_BCHW: Tensor) -> Tensor:
        low, high = self.backbone(image_BCHW)
        return torch.cat([self.resize(self.aspp(high), low), self.low_level(low)], dim=1)


class DeepLabV3(SegmentationNetwork):
    """ASPP and a head of one 3x3 convolution, at the stride of the backbone (Chen et al. 2017)."""

    def __init__(
        self, backbone: Backbone, *, num_classes: int, representation_dim: int, dropout: float, align_corners: bool
    ) -> None:
        super().__init__(align_corners=align_corners)
        self.backbone, self.stride = backbone, backbone.high_stride
        self.aspp = _build_aspp(backbone.high_channels, backbone.atrous_rates, dropout)
        self.class_head = build_head(_CHANNELS, num_classes)
        self.representation_head = build_head(_CHANNELS, representation_dim)

    def features(self, image_BCHW: Tensor) -> Tensor:
        return self.aspp(self.backbone(image_BCHW)[1])


class DeepLabV2(SegmentationNetwork):
    """Four dilated 3x3 classifiers whose logits are summed, at the stride of the backbone (Chen et al. 2016)."""

    def __init__(
        self, backbone: Backbone, *, num_classes: int, representation_dim: int, dropout: float, align_corners: bool
    ) -> None:
        super().__init__(align_corners=align_corners)
        self.backbone, self.stride = backbone, backbone.high_stride
        self.dropout = nn.Dropout(dropout)
        self.class_head = _SummedClassifiers(backbone.high_channels, num_classes)
        self.representation_head = build_head(backbone.high_channels, representation_dim)

    def features(self, image_BCHW: Tensor) -> Tensor:
        return self.dropout(self.backbone(image_BCHW)[1])


class _SummedClassifiers(nn.ModuleList):
    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, num_classes, 3, padding=rate, dilation=rate) for rate in (6, 12, 18, 24)
        )

    def forward(self, features: Tensor) -> Tensor:
        return torch.stack([classifier(features) for classifier in self]).sum(dim=0)


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


def build_head(in_channels: int, out_channels: int) -> nn.Sequential:
    """3x3 convolution, then 1x1 (one 3x3, not the two of the original DeepLabv3+)."""
    return nn.Sequential(
        *_conv_bn_relu(in_channels, _CHANNELS, kernel_size=3),
        nn.Conv2d(_CHANNELS, out_channels, 1),
    )


def _conv_bn_relu(in_channels: int, out_channels: int, kernel_size: int) -> list[nn.Module]:
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(out_channels), nn.ReLU()]
