"""What an exported model says about itself in its ONNX metadata: `export` writes it, the scorer checks it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from s4al.data.regions import Grid
from s4al.errors import EngineError

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "image", "logits"
_REMEDY = "Export it again: s4al export RUN."


class Geometry(TypedDict):
    """Keyword arguments of `kernels.region_scores`."""

    height: int
    width: int
    region_height: int
    region_width: int
    align_corners: bool


@dataclass(frozen=True)
class ModelCard:
    """The facts a consumer needs beside the graph.

    `run` is the hash of the run's configuration, not its folder: the same training anywhere exports the same bytes.
    """

    class_names: tuple[str, ...]
    height: int
    width: int
    region_height: int
    region_width: int
    stride: int
    align_corners: bool
    run: str
    cycle: int
    weights_sha256: str

    @property
    def grid(self) -> Grid:
        return Grid(self.height, self.width, self.region_height, self.region_width)

    @property
    def geometry(self) -> Geometry:
        """What `kernels.region_scores` has to know of it."""
        return {
            "height": self.height,
            "width": self.width,
            "region_height": self.region_height,
            "region_width": self.region_width,
            "align_corners": self.align_corners,
        }

    @property
    def logits_size(self) -> tuple[int, int]:
        """Height and width of the logits."""
        return -(-self.height // self.stride), -(-self.width // self.stride)

    def to_metadata(self) -> dict[str, str]:
        """ONNX metadata properties; every value is JSON text."""
        return {
            "classes": json.dumps(list(self.class_names), ensure_ascii=False),
            "region_grid": json.dumps([self.region_height, self.region_width]),
            "input_size": json.dumps([self.height, self.width]),
            "stride": json.dumps(self.stride),
            "align_corners": json.dumps(self.align_corners),
            "normalisation": json.dumps("inside"),  # feed raw RGB bytes
            "run": json.dumps(self.run),
            "cycle": json.dumps(self.cycle),
            "weights_sha256": json.dumps(self.weights_sha256),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ModelCard:
        """Raises ValueError or KeyError where something is missing or of another kind."""
        values = {key: json.loads(text) for key, text in metadata.items()}
        height, width = values["input_size"]
        region_height, region_width = values["region_grid"]
        numbers = (height, width, region_height, region_width, values["stride"])
        if not all(isinstance(number, int) and number > 0 for number in numbers):
            raise ValueError(f"sizes and stride, {numbers}")
        return cls(
            class_names=tuple(values["classes"]),
            height=height,
            width=width,
            region_height=region_height,
            region_width=region_width,
            stride=values["stride"],
            align_corners=values["align_corners"],
            run=values["run"],
            cycle=values["cycle"],
            weights_sha256=values["weights_sha256"],
        )


def read_model(path: Path) -> tuple[bytes, ModelCard]:
    """Read an exported model once: what is checked here is what the engine gets.

    Raises EngineError where the file is missing, is not ONNX, refers to other files, is not one of ours or contradicts
    its own metadata.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        data = path.read_bytes()
        model = onnx.ModelProto.FromString(data)
    except OSError as error:
        raise EngineError(f"The model {path} cannot be read: {error.strerror}.", remedy=_REMEDY) from error
    except DecodeError as error:
        raise EngineError(f"{path} is not an ONNX model: {error}.", remedy=_REMEDY) from error
    outside = next((tensor.name for tensor in _tensors(model.graph) if _is_external(tensor)), None)
    if outside is not None or model.functions:
        what = f"keeps {outside!r} in another file" if outside is not None else "holds functions"
        raise EngineError(f"{path} {what}; only self-contained models of plain nodes are loaded.", remedy=_REMEDY)
    try:
        card = ModelCard.from_metadata({prop.key: prop.value for prop in model.metadata_props})
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"{path} was not exported by s4al: its metadata lacks or misstates {error}.", remedy=_REMEDY
        ) from error
    _check_shapes(path, model, card)
    return data, card


def check_fits(card: ModelCard, grid: Grid, class_names: Sequence[str] | None = None) -> None:
    """Raises EngineError where a model was made for another input size, region grid or list of classes."""
    for what, found, wanted in (
        ("input size", (card.height, card.width), (grid.height, grid.width)),
        ("region size", (card.region_height, card.region_width), (grid.region_height, grid.region_width)),
        ("classes", card.class_names, card.class_names if class_names is None else tuple(class_names)),
    ):
        if found != wanted:
            raise EngineError(f"The model's {what}, {_show(found)}, is not the run's, {_show(wanted)}.", remedy=_REMEDY)


def _check_shapes(path: Path, model: onnx.ModelProto, card: ModelCard) -> None:
    names = [value.name for value in (*model.graph.input, *model.graph.output)]
    if names != [INPUT, OUTPUT]:
        raise EngineError(f"{path} has inputs and outputs {names}, expected [{INPUT!r}, {OUTPUT!r}].", remedy=_REMEDY)
    for value, wanted in (
        (model.graph.input[0], (card.height, card.width, 3)),
        (model.graph.output[0], (len(card.class_names), *card.logits_size)),
    ):
        found = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)[1:]
        if found != wanted:
            raise EngineError(
                f"{path}: {value.name} is (N, {_show(found)}), its metadata says (N, {_show(wanted)}).", remedy=_REMEDY
            )


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every constant of a graph, those inside nodes and nested graphs too."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for nested in (attribute.g, *attribute.graphs):
                yield from _tensors(nested)


def _is_external(tensor: onnx.TensorProto) -> bool:
    import onnx

    return tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.external_data) > 0


def _show(values: Sequence[object]) -> str:
    return ", ".join(str(value) for value in values)
