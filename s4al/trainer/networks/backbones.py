"""Backbones: two feature maps of an image, made of torchvision's or timm's parts under their parameter names.

Every backbone maps `image_BCHW` to `(low, high)`: `low` at stride 4 for the decoder's detail, `high` for the ASPP.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual, MobileNetV2
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import StochasticDepth

from s4al.errors import ConfigError
from s4al.packaged_weights import INSTALL

# (expansion, channels, repeats, stride). torchvision's table, but the 160-channel stage keeps its resolution.
_MOBILENET_V2_OS16 = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 1],
    [6, 320, 1, 1],
]
_LAST_24_CHANNEL_BLOCK = 3  # index in `features`: the stem is 0, the 16-channel block 1, the 24-channel blocks 2 and 3
_RESNET_BLOCKS = {"resnet50": [3, 4, 6, 3], "resnet101": [3, 4, 23, 3]}
_DEEP = "-deep"  # suffix of the names of ResNets with a deep stem
_LITE_LOW_STAGE = 1  # of EfficientNet-Lite's seven: the last at stride 4


class Backbone(nn.Module, ABC):
    """What the decoder needs to know of a backbone.

    Attributes
    ----------
    low_channels, high_channels : channels of the two feature maps.
    high_stride : of the high-level map, in pixels of the image.
    atrous_rates : dilations of the ASPP that suit the stride of the high-level map.
    """

    low_channels: int
    high_channels: int
    high_stride: int
    atrous_rates: tuple[int, int, int]

    @abstractmethod
    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised images -> (low-level, high-level) feature maps."""


class MobileNetV2Backbone(Backbone):
    """MobileNetV2 at output stride 16: `(24 channels at stride 4, 320 channels at stride 16)`.

    As in the author-derived code of S4AL+, the 160-channel stage loses its stride without being dilated, and only the
    last block is dilated (2). A textbook conversion would dilate from the second 160-channel block on.
    """

    low_channels = 24
    high_channels = 320
    high_stride = 16
    atrous_rates = (6, 12, 18)

    def __init__(self) -> None:
        super().__init__()
        classifier = MobileNetV2(inverted_residual_setting=_MOBILENET_V2_OS16)
        self.features = classifier.features[:-1]  # without the 1280-channel convolution
        _dilate_depthwise(self.features[-1], dilation=2)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        features = low = image_BCHW
        for index, block in enumerate(self.features):
            features = block(features)
            if index == _LAST_24_CHANNEL_BLOCK:
                low = features
        return low, features


class EfficientNetLiteBackbone(Backbone):
    """EfficientNet-Lite at output stride 16: `(24 channels at stride 4, 320 or 352 channels at stride 16)`.

    timm's `tf_efficientnet_lite0` to `2`, whose convolutions pad as TensorFlow's do: that is what the weights were
    trained with. The last two stages are dilated (2) in place of their stride. ReLU6 and no squeeze-and-excitation:
    made for CPUs and for eight bits (the EfficientNet authors' Lite variants of Tan & Le 2019).

    Raises
    ------
    ConfigError : timm is not installed.
    """

    high_stride = 16
    atrous_rates = (6, 12, 18)

    def __init__(self, name: str) -> None:
        super().__init__()
        try:
            from timm.models.efficientnet import EfficientNet
        except ImportError as error:
            raise ConfigError(f"model.backbone {name} needs timm ({error}).", remedy=INSTALL) from error
        import timm

        classifier = timm.create_model(f"tf_{name}", pretrained=False, output_stride=self.high_stride)
        assert isinstance(classifier, EfficientNet)
        self.conv_stem, self.bn1, self.blocks = classifier.conv_stem, classifier.bn1, classifier.blocks
        widths = [info["num_chs"] for info in classifier.feature_info]
        self.low_channels, self.high_channels = widths[1], widths[-1]

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        features = low = self.bn1(self.conv_stem(image_BCHW))
        for index, stage in enumerate(self.blocks):
            features = stage(features)
            if index == _LITE_LOW_STAGE:
                low = features
        return low, features


class ResNetBackbone(Backbone):
    """ResNet-50 or -101 at output stride 8: `(256 channels at stride 4, 2048 channels at stride 8)`.

    `drop_path` is the probability of stochastic depth in the last block; it grows linearly from 0 in the first one. A
    deep stem is three 3x3 convolutions of 64, 64 and 128 channels in place of one of 7x7, as in the networks that
    semi-supervised methods are compared with on Cityscapes.
    """

    low_channels = 256
    high_channels = 2048
    high_stride = 8
    atrous_rates = (12, 24, 36)

    def __init__(self, name: str, drop_path: float) -> None:
        super().__init__()
        classifier = ResNet(
            _StochasticBottleneck,
            _RESNET_BLOCKS[name.removesuffix(_DEEP)],
            replace_stride_with_dilation=[False, True, True],
        )
        if name.endswith(_DEEP):
            _deepen_stem(classifier)
        self.conv1, self.bn1, self.relu, self.maxpool = (
            classifier.conv1, classifier.bn1, classifier.relu, classifier.maxpool,
        )  # fmt: skip
        self.layer1, self.layer2 = classifier.layer1, classifier.layer2
        self.layer3, self.layer4 = classifier.layer3, classifier.layer4
        blocks = [module for module in self.modules() if isinstance(module, _StochasticBottleneck)]
        for index, block in enumerate(blocks):
            block.drop_path.p = drop_path * index / (len(blocks) - 1)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        stem = self.maxpool(self.relu(self.bn1(self.conv1(image_BCHW))))
        low = self.layer1(stem)
        return low, self.layer4(self.layer3(self.layer2(low)))


class _StochasticBottleneck(Bottleneck):
    """torchvision's bottleneck whose residual branch is dropped, sample by sample, with probability `drop_path.p`."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.drop_path = StochasticDepth(p=0.0, mode="row")

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        residual = self.relu(self.bn1(self.conv1(x)))
        residual = self.relu(self.bn2(self.conv2(residual)))
        residual = self.bn3(self.conv3(residual))
        return self.relu(self.drop_path(residual) + identity)


def _deepen_stem(classifier: ResNet) -> None:
    classifier.conv1 = nn.Sequential(  # type: ignore[assignment]
        nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False),
        *(nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.Conv2d(64, 64, 3, padding=1, bias=False)),
        *(nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.Conv2d(64, 128, 3, padding=1, bias=False)),
    )
    classifier.bn1 = nn.BatchNorm2d(128)
    first = classifier.layer1[0]
    assert isinstance(first, Bottleneck) and isinstance(first.downsample, nn.Sequential)
    first.conv1 = nn.Conv2d(128, 64, 1, bias=False)
    first.downsample[0] = nn.Conv2d(128, 256, 1, bias=False)


def _dilate_depthwise(block: nn.Module, dilation: int) -> None:
    assert isinstance(block, InvertedResidual)
    for convolution in block.modules():
        if isinstance(convolution, nn.Conv2d) and convolution.kernel_size == (3, 3):
            convolution.dilation = (dilation, dilation)
            convolution.padding = (dilation, dilation)


def build_backbone(name: str, *, drop_path: float) -> Backbone:
    """A randomly initialised backbone: `mobilenet_v2` or `efficientnet_lite0` to `2` (which have no stochastic depth),
    `resnet50` or `resnet101`, the latter two also with `-deep` stems. Raises ConfigError where timm is missing.
    """
    if name == "mobilenet_v2":
        return MobileNetV2Backbone()
    if name.startswith("efficientnet_lite"):
        return EfficientNetLiteBackbone(name)
    return ResNetBackbone(name, drop_path)
