"""Any network of segmentation-models-pytorch, as one of ours: `smp:<architecture>/<encoder>`."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from s4al.errors import ConfigError, DataError
from s4al.trainer.networks.network import SegmentationNetwork, build_head
from s4al.trainer.networks.weights import load_weights_file


class SmpNetwork(SegmentationNetwork):
    """Encoder, decoder and classifier of the library; what it upsamples at the end is left to whoever needs full size.

    Its encoders want sides that are a multiple of their stride; the image is padded with the mean colour at the right
    and at the bottom, and the features are cut again.
    """

    def __init__(self, model: Any, *, representation_dim: int, align_corners: bool) -> None:
        classifier, upsampling, _ = model.segmentation_head
        super().__init__(align_corners=align_corners)
        self.backbone, self.decoder = model.encoder, model.decoder
        self._multiple = int(model.encoder.output_stride)
        self.stride = 1 if isinstance(upsampling, nn.Identity) else int(upsampling.scale_factor)
        self.class_head = classifier
        self.representation_head = build_head(classifier.in_channels, representation_dim)

    def features(self, image_BCHW: Tensor) -> Tensor:
        height, width = image_BCHW.shape[-2:]
        multiple = max(self._multiple, self.stride)
        padded = F.pad(image_BCHW, (0, -width % multiple, 0, -height % multiple))
        features = self.decoder(self.backbone(padded))
        return features[..., : -(-height // self.stride), : -(-width // self.stride)]


def build_smp(name: str, *, weights: str, num_classes: int, representation_dim: int, align_corners: bool) -> SmpNetwork:
    """The network of a name such as `smp:fpn/resnet34`.

    Parameters
    ----------
    weights : "none", "imagenet" (the library's own, downloaded), or a .safetensors file of the encoder.

    Raises
    ------
    ConfigError : the library is not installed, or has no such network, or it is built otherwise than others.
    DataError : the weights cannot be had, read, or do not fit.
    """
    try:
        import segmentation_models_pytorch as smp
    except ImportError as error:
        raise ConfigError(
            f"model.name {name} needs segmentation-models-pytorch.", remedy="pip install 's4al[smp]'"
        ) from error
    architecture, _, encoder = name.removeprefix("smp:").partition("/")
    try:
        model = smp.create_model(
            architecture,
            encoder_name=encoder,
            encoder_weights="imagenet" if weights == "imagenet" else None,
            in_channels=3,
            classes=num_classes,
        )
        network = SmpNetwork(model, representation_dim=representation_dim, align_corners=align_corners)
    except OSError as error:
        raise DataError(
            f"The ImageNet weights of {encoder} could not be fetched ({error}).",
            remedy="Set model.weights to a .safetensors file of the encoder, or to none.",
        ) from error
    except (KeyError, ValueError, AttributeError, TypeError, RuntimeError) as error:
        raise ConfigError(f"segmentation-models-pytorch cannot make {name}: {error}.") from error
    if weights not in ("none", "imagenet"):
        load_weights_file(network.backbone, weights)
    return network
