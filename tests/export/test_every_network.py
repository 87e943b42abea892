"""Every network: exported through the gate, scored by ONNX Runtime, built by TensorRT for RTX where it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import onnx
import pytest
import torch

from s4al import files
from s4al.config import ModelConfig
from s4al.export.onnx_export import export_onnx
from s4al.export.scoring_network import folded, scoring_network
from s4al.export.stage import export_cycle, make_card
from s4al.run.state import Run
from s4al.scorer import EngineRequest, score_cycle
from s4al.scorer.engines.model_card import read_model
from s4al.trainer.checkpoint import Meta, save_checkpoint
from s4al.trainer.networks.build import build_network
from s4al.watch import Watch
from tests.networks import ENCODERS, NETWORKS
from tests.tiny import labelled_run

HEIGHT, WIDTH = 64, 96


def trained_run(root: Path, model: ModelConfig) -> Run:
    """A run whose network is as it was initialised, but for the statistics of batch norm."""
    run, _, _ = labelled_run(
        root,
        f"data.height={HEIGHT}",
        f"data.width={WIDTH}",
        f'model.name="{model.name}"',
        f'model.backbone="{model.backbone}"',
        'model.weights="none"',
    )
    torch.manual_seed(0)
    network = build_network(run.config.model, len(run.class_names)).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, 3, HEIGHT, WIDTH))
        for module in network.class_head.modules():
            if isinstance(module, torch.nn.Conv2d) and module.out_channels == len(run.class_names):
                module.weight *= 20  # logits as far apart as those of a trained network
    with run.commit(0, "train") as folder:
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        save_checkpoint(folder, {"model": network}, optimizer, Meta(1, 1, len(run.class_names), 0), keep=1)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_exported_scored_and_built(tmp_path: Path, name: str) -> None:
    run = trained_run(tmp_path / "run", NETWORKS[name])
    exported = export_cycle(run, 0, watch=Watch())
    _, card = read_model(exported)
    network = scoring_network(run, 0)
    assert card.stride == network.stride
    result = score_cycle(run, 0, EngineRequest("ort"), watch=Watch())
    entropy = files.read_table(result.out / "shard-00000.parquet")["entropy"].to_numpy()
    assert (entropy > 0).all()
    if importlib.util.find_spec("tensorrt_rtx"):
        from s4al.scorer.engines.trt_adapter import load_trt

        shapes = (1, HEIGHT, WIDTH, 3), (4, HEIGHT, WIDTH, 3), (4, HEIGHT, WIDTH, 3)
        for model in (exported.read_bytes(), export_onnx(network, make_card(run, 0, network), "fp16")):
            plan, _ = load_trt("tensorrt_rtx").build_plan(model, "image", shapes, compute_capability=(8, 9))
            weights = sum(len(tensor.raw_data) for tensor in onnx.load_from_string(model).graph.initializer)
            assert len(plan) > 0.9 * weights


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
def test_folding_keeps_what_is_inside_a_batch_norm(tmp_path: Path, encoder: str) -> None:
    """timm's batch norms hold the activation; a network that lost it does not pass the gate of the export."""
    run = trained_run(tmp_path / "run", ModelConfig(weights="none", name=f"smp:fpn/{encoder}"))
    network = scoring_network(run, 0)
    image = torch.randint(0, 256, (2, HEIGHT, WIDTH, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = network(image)
        torch.testing.assert_close(folded(network)(image), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    exported = export_cycle(run, 0, watch=Watch())
    assert "BatchNormalization" not in _behind_convolutions(onnx.load(exported).graph)
    assert score_cycle(run, 0, EngineRequest("ort"), watch=Watch()).images > 0


def _behind_convolutions(graph: onnx.GraphProto) -> set[str]:
    outputs = {node.output[0] for node in graph.node if node.op_type == "Conv"}
    return {node.op_type for node in graph.node if node.input and node.input[0] in outputs}
