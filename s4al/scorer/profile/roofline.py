"""The least that a network and the kernel have to do for an image, and how long this machine needs for that at best.

The peaks are measured on the spot (a matrix product, a copy), so that the share of them that was reached holds for this
machine as it is now, with whatever else runs on it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from s4al.config import Pooling
from s4al.kernels.region_scores_cuda import KernelWork, kernel_work
from s4al.scorer.engines.device import Device
from s4al.scorer.engines.model_card import ModelCard

if TYPE_CHECKING:
    import onnx

_MATRIX, _DEVICE_MATRIX = 1024, 8192  # sides of the product's factors
_COPIED_BYTES = 128 * 2**20  # beyond any cache
_REPEATS = 5


class Work(NamedTuple):
    """Of one image: bytes to and from memory, each once, and float operations (a multiply-add is two)."""

    bytes: float
    operations: float


@dataclass(frozen=True)
class Peaks:
    bytes_per_s: float
    operations_per_s: float

    def or_better(self, other: Peaks) -> Peaks:
        """What else runs on a machine only ever lowers what is measured."""
        return Peaks(max(self.bytes_per_s, other.bytes_per_s), max(self.operations_per_s, other.operations_per_s))

    def bound_s(self, work: Work) -> float:
        """The roofline: no schedule is faster than its slower half."""
        return max(work.bytes / self.bytes_per_s, work.operations / self.operations_per_s)


def network_work(model: bytes, bytes_per_number: int = 4) -> Work:
    """Of an exported network and one image: its convolutions, each with its inputs, weights and outputs.

    What stands between convolutions (activations, additions) is thought to be fused into them; resizing is left out.
    """
    import onnx

    proto = onnx.shape_inference.infer_shapes(onnx.load_from_string(model))
    shapes = {value.name: _shape(value) for value in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output)}
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in proto.graph.initializer}
    total_bytes = operations = 0
    for node in proto.graph.node:
        if node.op_type == "Conv":
            source, weight, target = (math.prod(shapes[name]) for name in (*node.input[:2], node.output[0]))
            total_bytes += bytes_per_number * (source + weight + target)
            operations += 2 * target * math.prod(shapes[node.input[1]][1:])
    return Work(total_bytes, operations)


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """A dimension without a number is the batch, of one image."""
    return tuple(dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim)


def region_scores_work(card: ModelCard, logits_dtype: np.dtype[Any], pooling: Pooling = "mean") -> Work:
    """Of the fused kernel and one image."""
    work = kernel_work_of(card, logits_dtype, pooling)
    return Work(work.bytes, work.operations + work.exponentials)


def kernel_work_of(card: ModelCard, logits_dtype: np.dtype[Any], pooling: Pooling = "mean") -> KernelWork:
    """As above, exponentials apart."""
    return kernel_work(
        (1, len(card.class_names), *card.logits_size),
        logits_dtype,
        height=card.height,
        width=card.width,
        region_height=card.region_height,
        region_width=card.region_width,
        pooling=pooling,
    )


def host_peaks() -> Peaks:
    """Of all cores, in float32. ONNX Runtime multiplies: NumPy's library was seen at half its speed."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(_product(), options, providers=["CPUExecutionProvider"])
    factors = {name: np.ones((_MATRIX, _MATRIX), np.float32) for name in ("left", "right")}
    source: NDArray[np.uint8] = np.ones(_COPIED_BYTES, np.uint8)
    target = np.empty_like(source)
    return Peaks(
        bytes_per_s=2 * _COPIED_BYTES / _fastest(lambda: np.copyto(target, source)),
        operations_per_s=2 * _MATRIX**3 / _fastest(lambda: session.run(None, factors)),
    )


def _product() -> bytes:
    """A model that multiplies two matrices."""
    from onnx import TensorProto, helper

    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [_MATRIX, _MATRIX]) for name in ("left", "right", "out")
    ]
    node = helper.make_node("MatMul", ["left", "right"], ["out"])
    graph = helper.make_graph([node], "product", tensors[:2], tensors[2:])
    opset = helper.make_opsetid("", 20)
    return helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()


def device_peaks(device: Device) -> Peaks:
    """Of a GPU, in float16."""
    copied, product = device.seconds_to_copy(_COPIED_BYTES), device.seconds_to_multiply(_DEVICE_MATRIX)
    return Peaks(bytes_per_s=2 * _COPIED_BYTES / copied, operations_per_s=2 * _DEVICE_MATRIX**3 / product)


def _fastest(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
