"""A scoring network -> the bytes of one self-contained ONNX file, the same bytes for the same weights."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import onnx
import torch

from s4al import __version__
from s4al.errors import EngineError
from s4al.export.scoring_network import ScoringNetwork, folded
from s4al.scorer.engines.model_card import INPUT, OUTPUT, ModelCard

Precision = Literal["fp32", "fp16"]

_OPSET = 20


def export_onnx(network: ScoringNetwork, card: ModelCard, precision: Precision = "fp32") -> bytes:
    """Export with a dynamic batch and a static size; see architecture.md for the file's interface.

    Batch norm is folded in float32 before the weights become fp16; folding afterwards costs half as much error again.

    Raises EngineError where torch cannot export the network.
    """
    folded_network = folded(network)
    if precision == "fp16":
        folded_network = folded_network.half()
    example_NHWC = torch.zeros(2, card.height, card.width, 3, dtype=torch.uint8)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                folded_network,
                (example_NHWC,),
                dynamo=True,
                opset_version=_OPSET,
                external_data=False,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("N", min=1, max=4096)},),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise EngineError(f"torch cannot export this network to ONNX: {' '.join(str(error).split())[:300]}") from error
    assert program is not None
    model = program.model_proto
    _make_anonymous(model)
    for key, value in sorted(card.to_metadata().items()):
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def _make_anonymous(model: onnx.ModelProto) -> None:
    """Remove what tells of the exporting machine: stack traces, source paths, torch's names for things."""
    model.producer_name, model.producer_version = "s4al", __version__
    model.doc_string = ""
    del model.metadata_props[:]
    graph = model.graph
    graph.name, graph.doc_string = "s4al", ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{number}"
    for item in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        item.doc_string = ""
        del item.metadata_props[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns about its own deprecations and logs each step; neither helps a user."""
    logger = logging.getLogger("torch.onnx")
    level: Any = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning, UserWarning):
            warnings.simplefilter("ignore", category)
        try:
            yield
        finally:
            logger.setLevel(level)
