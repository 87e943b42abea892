"""The head of an exported network, from raw pixels to normalised ones, as an engine of its own: `profile` times it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s4al.scorer.engines.cpu_engines import OrtEngine, TorchEngine
from s4al.scorer.engines.engine import Engine, LoadNetwork
from s4al.scorer.engines.model_card import INPUT, OUTPUT

if TYPE_CHECKING:
    import onnx

_OPERATORS = ("Cast", "Transpose", "Sub", "Mul", "Div")


def open_preprocess(engine: Engine, model: bytes, load_network: LoadNetwork) -> Engine:
    """What an `ort` or `torch` engine on the CPU does before the first convolution.

    Parameters
    ----------
    engine : gives batch size and threads.
    model : the exported network.
    load_network : of a network with a submodule `normalise`, as `export.ScoringNetwork` is.

    Returns
    -------
    An engine that takes the same images, and returns what the network makes of them first.
    """
    settings = {"batch_size": engine.batch_size, "threads": engine.threads}
    if engine.name == "torch":
        return TorchEngine(lambda: load_network().get_submodule("normalise"), engine.card, **settings)
    return OrtEngine(head(model), engine.card, **settings)


def head(model: bytes) -> bytes:
    """The nodes of an ONNX model between its input and the first that does more than cast, transpose and scale."""
    import onnx

    proto = onnx.shape_inference.infer_shapes(onnx.load_from_string(model))
    last = _last_of_head(proto.graph)
    cut = onnx.utils.Extractor(proto).extract_model([INPUT], [last])
    for names in (node.output for node in cut.graph.node):
        names[:] = [OUTPUT if name == last else name for name in names]
    cut.graph.output[0].name = OUTPUT
    return cut.SerializeToString()


def _last_of_head(graph: onnx.GraphProto) -> str:
    name = INPUT
    while True:
        readers = [node for node in graph.node if name in node.input]
        if len(readers) != 1 or readers[0].op_type not in _OPERATORS:
            return name
        name = readers[0].output[0]
