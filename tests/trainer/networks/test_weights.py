from __future__ import annotations

import hashlib
import math
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision.models._api as torchvision_api
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

from s4al.config import ModelConfig
from s4al.errors import DataError
from s4al.trainer.networks import weights
from s4al.trainer.networks.backbones import build_backbone
from s4al.trainer.networks.build import build_network
from s4al.trainer.networks.weights import load_backbone_weights


@pytest.fixture
def backbone() -> nn.Module:
    return build_backbone("mobilenet_v2", drop_path=0.0)


@pytest.fixture(scope="module")
def donor() -> dict[str, Tensor]:
    """A whole torchvision classifier's state."""
    return mobilenet_v2().state_dict()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty download cache."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def save(state: dict[str, Tensor], path: Path) -> str:
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return str(path)


def assert_loaded(backbone: nn.Module, donor: dict[str, Tensor]) -> None:
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, donor[key]), key


def test_safetensors_with_or_without_the_classifier(
    backbone: nn.Module, donor: dict[str, Tensor], tmp_path: Path
) -> None:
    own = {key: donor[key] for key in backbone.state_dict()}
    without_counters = {key: value for key, value in own.items() if not key.endswith("num_batches_tracked")}
    for state in (donor, own, without_counters):
        torch.nn.init.zeros_(next(backbone.parameters()))
        load_backbone_weights(backbone, "mobilenet_v2", save(state, tmp_path / "backbone.safetensors"))
        assert_loaded(backbone, donor)


def test_build_network_loads_what_the_configuration_names(donor: dict[str, Tensor], tmp_path: Path) -> None:
    model = ModelConfig(weights=save(donor, tmp_path / "backbone.safetensors"))
    assert_loaded(build_network(model, 3).backbone, donor)
    untouched = build_network(model, 3, pretrained=False).backbone
    assert not torch.equal(next(untouched.parameters()), donor["features.0.0.weight"])


def test_none_leaves_the_backbone_as_it_is(backbone: nn.Module) -> None:
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    load_backbone_weights(backbone, "mobilenet_v2", "none")
    assert_loaded(backbone, before)


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.ckpt"])
def test_pickle_files_are_refused_unopened(backbone: nn.Module, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"is a pickle file; loading it can run code. s4al reads .safetensors only"):
        load_backbone_weights(backbone, "mobilenet_v2", str(tmp_path / name))  # it does not even exist


def test_absent_and_damaged_files(backbone: nn.Module, donor: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Cannot read the weights .*absent"):
        load_backbone_weights(backbone, "mobilenet_v2", str(tmp_path / "absent.safetensors"))
    path = Path(save(donor, tmp_path / "cut.safetensors"))
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(DataError, match=r"not a sound \.safetensors file"):
        load_backbone_weights(backbone, "mobilenet_v2", str(path))
    with pytest.raises(DataError, match=r"Cannot read|not a sound"):
        load_backbone_weights(backbone, "mobilenet_v2", str(tmp_path))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("features.0.0.weight", None, "missing: features.0.0.weight"),
        ("features.99.weight", torch.zeros(1), "unexpected: features.99.weight"),
        ("features.0.0.weight", torch.zeros(16, 3, 3, 3), r"features.0.0.weight \(16, 3, 3, 3\), not \(32, 3, 3, 3\)"),
        ("features.1.conv.0.1.weight", torch.full((32,), math.nan), "not finite: features.1.conv.0.1.weight"),
    ],
)
def test_state_that_does_not_fit_is_named_and_nothing_is_changed(
    backbone: nn.Module, donor: dict[str, Tensor], tmp_path: Path, key: str, value: Tensor | None, message: str
) -> None:
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    state = dict(donor)
    if value is None:
        del state[key]
    else:
        state[key] = value
    with pytest.raises(DataError, match=message):
        load_backbone_weights(backbone, "mobilenet_v2", save(state, tmp_path / "backbone.safetensors"))
    assert_loaded(backbone, before)


def test_weights_of_another_backbone_name_the_first_keys_and_count_the_rest(
    donor: dict[str, Tensor], tmp_path: Path
) -> None:
    path = save(donor, tmp_path / "mobilenet.safetensors")
    with pytest.raises(DataError, match=r"missing: conv1.weight, bn1.weight, bn1.bias and \d+ more; unexpected: "):
        load_backbone_weights(build_backbone("resnet50", drop_path=0.1), "resnet50", path)


def test_imagenet_weights_come_from_torchvision(
    backbone: nn.Module, donor: dict[str, Tensor], hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def fetch(url: str, **options: bool) -> dict[str, Tensor]:
        asked.update(url=url, **options)
        return donor

    monkeypatch.setattr(torchvision_api, "load_state_dict_from_url", fetch)
    load_backbone_weights(backbone, "mobilenet_v2", "imagenet")
    assert_loaded(backbone, donor)
    assert asked["weights_only"] and asked["check_hash"] and asked["url"].endswith("mobilenet_v2-b0353104.pth")


def test_without_a_connection_the_message_says_what_to_fetch(
    backbone: nn.Module, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(url: str, **options: bool) -> dict[str, Tensor]:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torchvision_api, "load_state_dict_from_url", fetch)
    with pytest.raises(DataError) as caught:
        load_backbone_weights(backbone, "mobilenet_v2", "imagenet")
    assert caught.value.exit_code == 4
    assert str(hub / "mobilenet_v2-b0353104.pth") in caught.value.remedy and "none" in caught.value.remedy


def test_damaged_cache_is_refused_unopened(backbone: nn.Module, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_api, "load_state_dict_from_url", lambda *_, **__: pytest.fail("opened"))
    (hub / "mobilenet_v2-b0353104.pth").write_bytes(b"rot")
    with pytest.raises(DataError, match=r"is damaged: its sha256 begins .*, not b0353104"):
        load_backbone_weights(backbone, "mobilenet_v2", "imagenet")


def test_sound_cache_passes_the_check(hub: Path) -> None:
    digest = hashlib.sha256(b"content").hexdigest()
    cached = hub / f"network-{digest[:8]}.pth"
    cached.write_bytes(b"content")
    weights._check_cached(cached, remedy="")
