"""SwiftNet on ResNet-18 (Oršić & Šegvić 2021), the small network of the one-way-consistency paper.

As in that paper's code, skip connections are taken after the ReLU of each stage, where torchvision's stages end; the
original takes them before. Shape suffixes: B batch, H W size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, ResNet

from s4al.trainer.networks.network import SegmentationNetwork, build_head

_CHANNELS = 128  # of the decoder
_POOL_CHANNELS, _POOL_ROWS = 42, (8, 4, 2)


class ResNet18Stages(nn.Module):
    """Feature maps of 64, 128, 256 and 512 channels at strides 4, 8, 16 and 32, under torchvision's names."""

    def __init__(self) -> None:
        super().__init__()
        classifier = ResNet(BasicBlock, [2, 2, 2, 2])
        self.conv1, self.bn1, self.relu, self.maxpool = (
            classifier.conv1, classifier.bn1, classifier.relu, classifier.maxpool,
        )  # fmt: skip
        self.layer1, self.layer2 = classifier.layer1, classifier.layer2
        self.layer3, self.layer4 = classifier.layer3, classifier.layer4

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        maps = [self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(image_BCHW)))))]
        for layer in (self.layer2, self.layer3, self.layer4):
            maps.append(layer(maps[-1]))
        return maps


class SwiftNet(SegmentationNetwork):
    """Spatial pyramid pooling on the deepest map, then three steps up a ladder to stride 4."""

    stride = 4

    def __init__(self, *, num_classes: int, representation_dim: int, align_corners: bool) -> None:
        super().__init__(align_corners=align_corners)
        self.backbone = ResNet18Stages()
        self.pyramid = _PyramidPooling(512, align_corners)
        self.laterals = nn.ModuleList(nn.Sequential(*_bn_relu_conv(width, _CHANNELS)) for width in (256, 128, 64))
        self.blends = nn.ModuleList(nn.Sequential(*_bn_relu_conv(_CHANNELS, _CHANNELS, 3)) for _ in range(3))
        self.class_head = nn.Sequential(*_bn_relu_conv(_CHANNELS, num_classes, bias=True))
        self.representation_head = build_head(_CHANNELS, representation_dim)

    def features(self, image_BCHW: Tensor) -> Tensor:
        *skips, deepest = self.backbone(image_BCHW)
        x = self.pyramid(deepest)
        for skip, lateral, blend in zip(reversed(skips), self.laterals, self.blends, strict=True):
            x = blend(lateral(skip) + self.resize(x, skip))
        return x


class _PyramidPooling(nn.Module):
    """Means over grids of 8, 4 and 2 rows, with as many columns as the shape of the map asks for."""

    def __init__(self, in_channels: int, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.reduce = nn.Sequential(*_bn_relu_conv(in_channels, _CHANNELS))
        self.levels = nn.ModuleList(nn.Sequential(*_bn_relu_conv(_CHANNELS, _POOL_CHANNELS)) for _ in _POOL_ROWS)
        self.fuse = nn.Sequential(*_bn_relu_conv(_CHANNELS + len(_POOL_ROWS) * _POOL_CHANNELS, _CHANNELS))

    def forward(self, features: Tensor) -> Tensor:
        x = self.reduce(features)
        height, width = x.shape[-2:]
        pooled = [x]
        for rows, level in zip(_POOL_ROWS, self.levels, strict=True):
            columns = max(1, round(rows * width / height))
            means = level(_grid_means(x, rows, columns))
            pooled.append(F.interpolate(means, (height, width), mode="bilinear", align_corners=self.align_corners))
        return self.fuse(torch.cat(pooled, dim=1))


def _grid_means(x: Tensor, rows: int, columns: int) -> Tensor:
    """Adaptive average pooling as two matrix products: its gradient is deterministic, and it can be exported."""
    height, width = x.shape[-2:]
    return _means(height, rows, x) @ x @ _means(width, columns, x).T


def _means(length: int, cells: int, like: Tensor) -> Tensor:
    """(cells, length): row i averages from floor(i L / n) to ceil((i + 1) L / n)."""
    matrix = torch.zeros(cells, length)
    for cell in range(cells):
        first, last = cell * length // cells, -(-(cell + 1) * length // cells)
        matrix[cell, first:last] = 1 / (last - first)
    return matrix.to(like)


def _bn_relu_conv(in_channels: int, out_channels: int, kernel_size: int = 1, *, bias: bool = False) -> list[nn.Module]:
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)
    return [nn.BatchNorm2d(in_channels), nn.ReLU(), convolution]
