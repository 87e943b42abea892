"""The exported file: what is in it, what is not, and that it computes what the network computes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate, log_softmax, softmax

from s4al.export.onnx_export import export_onnx
from s4al.export.scoring_network import ScoringNetwork, folded
from s4al.scorer.engines.model_card import read_model
from s4al.trainer.networks.network import IMAGENET_MEAN, IMAGENET_STD
from tests.small_models import HEIGHT, WIDTH, random_images, small_card, small_model, small_scoring_network


def run_onnx(model: bytes, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": images})[0]


def run_torch(network: nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(images)).numpy()


def op_types(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


@pytest.fixture(scope="module")
def graph() -> onnx.GraphProto:
    return onnx.load_from_string(small_model()).graph


def test_input_and_output_are_as_promised(graph: onnx.GraphProto) -> None:
    found = {}
    for value in (*graph.input, *graph.output):
        tensor = value.type.tensor_type
        found[value.name] = (tensor.elem_type, [dim.dim_param or dim.dim_value for dim in tensor.shape.dim])
    assert found == {
        "image": (onnx.TensorProto.UINT8, ["N", HEIGHT, WIDTH, 3]),
        "logits": (onnx.TensorProto.FLOAT, ["N", 3, HEIGHT // 4, WIDTH // 4]),
    }


def test_the_graph_begins_with_cast_transpose_and_scale_and_has_no_batch_norm(graph: onnx.GraphProto) -> None:
    types = [node.op_type for node in graph.node]
    assert types[:4] == ["Cast", "Transpose", "Sub", "Mul"]
    assert types.count("Conv") == 3  # the head that never ran is not there
    assert "BatchNormalization" not in types
    assert len([tensor for tensor in graph.initializer if len(tensor.dims) == 4]) == 3


def test_the_file_describes_itself(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(small_model())
    _, card = read_model(tmp_path / "model.onnx")
    assert card == small_card()


def test_nothing_of_this_machine_is_in_the_file() -> None:
    model = small_model()
    here = Path(__file__).resolve()
    for trace in (
        b".py",
        b"File ",
        b"stack_trace",
        b"site-packages",
        sys.prefix.encode(),
        str(here.parents[2]).encode(),
    ):
        assert trace not in model, trace
    loaded = onnx.load_from_string(model)
    assert loaded.producer_name == "s4al"
    for item in (*loaded.graph.node, *loaded.graph.initializer, *loaded.graph.input, *loaded.graph.output):
        assert not item.doc_string
        assert not item.metadata_props


def test_another_process_exports_the_same_bytes() -> None:
    code = (
        "from tests.small_models import small_model; import hashlib; print(hashlib.sha256(small_model()).hexdigest())"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True, cwd=root
    )
    assert done.stdout.split()[-1] == hashlib.sha256(small_model()).hexdigest()


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_any_batch_size_computes_what_the_network_computes(count: int) -> None:
    images = random_images(count)
    expected = run_torch(small_scoring_network(), images)
    np.testing.assert_allclose(run_onnx(small_model(), images), expected, rtol=1e-4, atol=1e-4)


def test_normalisation_is_that_of_the_trainer() -> None:
    network = ScoringNetwork(nn.Identity(), height=8, width=8, align_corners=False)
    images = random_images(2, height=8, width=8)
    expected = (images / 255 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    np.testing.assert_allclose(run_torch(network, images), expected.transpose(0, 3, 1, 2), atol=1e-5)


def test_fp16_stays_close_and_is_fp16() -> None:
    model = small_model(precision="fp16")
    images = random_images(4)
    logits = run_onnx(model, images)
    expected = run_torch(small_scoring_network(), images)
    assert logits.dtype == np.float16
    assert 0 < np.abs(logits - expected).max() < 5e-3 * np.abs(expected).max()
    weights = [tensor for tensor in onnx.load_from_string(model).graph.initializer if len(tensor.dims) == 4]
    assert {tensor.data_type for tensor in weights} == {onnx.TensorProto.FLOAT16}


# --- folding ---


def test_folding_removes_every_batch_norm_that_follows_a_convolution() -> None:
    network = small_scoring_network()
    images = random_images(2)
    plain = folded(network)
    left = [name for name, module in plain.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert left == ["network.representation_head.1"]  # it never ran
    np.testing.assert_allclose(run_torch(plain, images), run_torch(network, images), rtol=1e-4, atol=1e-4)
    assert isinstance(network.network.features[1], nn.BatchNorm2d)  # the original is untouched


def test_a_batch_norm_behind_something_else_stays() -> None:
    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 4, 3, padding=1)
            self.norm = nn.BatchNorm2d(
                4
            )  # beside the convolution in the list of modules, behind a ReLU in the data flow

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(torch.relu(self.convolution(x)))

    network = ScoringNetwork(Between(), height=8, width=8, align_corners=False)
    network.network.norm.running_mean += 0.5
    plain = folded(network)
    assert isinstance(plain.network.norm, nn.BatchNorm2d)
    images = random_images(1, height=8, width=8)
    np.testing.assert_allclose(run_torch(plain, images), run_torch(network, images), atol=1e-5)


# --- several scales ---


def at_scales(network: ScoringNetwork, images: np.ndarray, scales: tuple[float, ...]) -> list[torch.Tensor]:
    """Stride-4 logits of each scale, all of the size of scale 1."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    found = []
    for scale in scales:
        size = (round(HEIGHT * scale), round(WIDTH * scale))
        scaled = interpolate((pixels - mean) / std, size, mode="bilinear", align_corners=False)
        logits = network.network(scaled)
        found.append(interpolate(logits, (HEIGHT // 4, WIDTH // 4), mode="bilinear", align_corners=False))
    return found


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_several_scales_are_averaged_inside_the_graph(average: str) -> None:
    scales = (1.0, 2.0, 0.5)
    network = small_scoring_network(scales=scales, average=average)
    images = random_images(2)
    with torch.inference_mode():
        each = torch.stack(at_scales(network, images, scales))
        mean = each.mean(dim=0) if average == "logits" else softmax(each, dim=2).mean(dim=0).log()
    expected = log_softmax(mean, dim=1).numpy()
    model = export_onnx(network, small_card())
    for logits in (run_torch(network, images), run_onnx(model, images)):
        found = log_softmax(torch.from_numpy(logits), dim=1).numpy()
        np.testing.assert_allclose(found, expected, atol=2e-4)


def test_one_scale_adds_no_node() -> None:
    network = small_scoring_network(scales=(1.0,), average="probabilities")
    assert op_types(export_onnx(network, small_card())) == op_types(small_model())
