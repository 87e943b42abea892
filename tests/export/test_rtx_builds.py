"""TensorRT for RTX, which builds without a GPU, parses and builds what s4al exports."""

from __future__ import annotations

import functools

import onnx
import pytest
import torch

from s4al.config import ModelConfig
from s4al.errors import EngineError
from s4al.export.onnx_export import Precision, export_onnx
from s4al.export.scoring_network import ScoringNetwork
from s4al.scorer.engines.trt_adapter import TensorRt, load_trt
from s4al.trainer.networks.build import build_network
from tests.small_models import small_card, small_model

pytest.importorskip("tensorrt_rtx")

HEIGHT, WIDTH, BATCH = 64, 96, 4
SHAPES = (1, HEIGHT, WIDTH, 3), (BATCH, HEIGHT, WIDTH, 3), (BATCH, HEIGHT, WIDTH, 3)


@pytest.fixture(scope="module")
def rtx() -> TensorRt:
    return load_trt("tensorrt_rtx")


@functools.cache
def network() -> ScoringNetwork:
    torch.manual_seed(0)
    model = ModelConfig(representation_dim=8)
    return ScoringNetwork(
        build_network(model, 3, pretrained=False), height=HEIGHT, width=WIDTH, align_corners=False
    ).eval()


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_the_papers_network_is_built_in_both_precisions(precision: Precision, rtx: TensorRt) -> None:
    """The others are in test_every_network.py."""
    model = export_onnx(network(), small_card(height=HEIGHT, width=WIDTH), precision)
    plan, timing = rtx.build_plan(model, "image", SHAPES, compute_capability=(8, 9))
    weights = sum(len(tensor.raw_data) for tensor in onnx.load_from_string(model).graph.initializer)
    assert len(plan) > 0.9 * weights
    assert timing == b""


@pytest.mark.parametrize("align_corners", [False, True])
def test_either_kind_of_resize_and_several_scales_are_built(align_corners: bool, rtx: TensorRt) -> None:
    core = build_network(ModelConfig(representation_dim=8, align_corners=align_corners), 3, pretrained=False)
    scaled = ScoringNetwork(core, height=HEIGHT, width=WIDTH, align_corners=align_corners, scales=(1.0, 0.5))
    plan, _ = rtx.build_plan(export_onnx(scaled, small_card(height=HEIGHT, width=WIDTH), "fp16"), "image", SHAPES)
    assert plan


def test_a_model_that_it_cannot_parse_is_refused_with_the_reason(rtx: TensorRt) -> None:
    model = onnx.load_from_string(small_model())
    model.graph.node[-1].op_type = "Convolve"
    shapes = (1, 48, 64, 3), (2, 48, 64, 3), (2, 48, 64, 3)
    with pytest.raises(EngineError, match=r"tensorrt_rtx .* cannot build a plan: .*Convolve"):
        rtx.build_plan(model.SerializeToString(), "image", shapes)


def test_shapes_that_do_not_fit_are_refused_with_the_reason(rtx: TensorRt) -> None:
    with pytest.raises(EngineError, match="cannot build a plan: "):
        rtx.build_plan(small_model(), "image", SHAPES)  # the model is 48 x 64


def test_it_says_itself_that_it_does_not_serve_an_h100(rtx: TensorRt) -> None:
    rtx.check_serves((8, 9))
    with pytest.raises(EngineError, match=r"tensorrt_rtx .* does not serve compute capability 9\.0"):
        rtx.check_serves((9, 0))


def test_a_plan_cannot_be_loaded_without_a_gpu(rtx: TensorRt) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    shapes = (1, 48, 64, 3), (2, 48, 64, 3), (2, 48, 64, 3)
    plan, _ = rtx.build_plan(small_model(), "image", shapes)
    with pytest.raises(EngineError, match=r"refuses the plan: .*CUDA driver"):
        rtx.load_plan(plan)
