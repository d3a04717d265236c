"""`finetune.json`: what the script is told of the network it trains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx

from toolchain.data.interface import ModelInterface, TensorSpec
from toolchain.data.preprocess import Preprocess
from toolchain.emit.torch_module.sources import Source
from toolchain.graph.index import GraphIndex
from toolchain.graph.oracle import Feeds

RESHAPING = frozenset({"Flatten", "Identity", "Reshape", "Squeeze"})


@dataclass(frozen=True)
class InputRecipe:
    """A graph input, and the values that were seen in it; None in the shape is a symbolic size."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    floating: bool
    low: float | None
    high: float | None


@dataclass(frozen=True)
class OutputRecipe:
    """A graph output; `classes` is how many classes it scores, None where it holds other values."""

    name: str
    floating: bool
    classes: int | None
    probabilities: bool


@dataclass(frozen=True)
class ImageRecipe:
    """How images lie in the input that takes them."""

    layout: str
    channels: str
    height: int | None
    width: int | None


@dataclass(frozen=True)
class Recipe:
    """Everything the script cannot see for itself; `sources` say where each trained tensor belongs in the graph."""

    inputs: tuple[InputRecipe, ...]
    outputs: tuple[OutputRecipe, ...]
    image: ImageRecipe | None
    preprocess: str
    teacher: bool
    sources: tuple[Source, ...]
    batchnorms: tuple[str, ...]

    @classmethod
    def of(
        cls,
        model: onnx.ModelProto,
        sources: tuple[Source, ...],
        *,
        teacher: bool,
        preprocess: Preprocess | None = None,
        seen: Feeds | None = None,
    ) -> Recipe:
        """Describe a model; `seen` are some of the samples it was compiled with."""
        interface = ModelInterface.of(model)
        return cls(
            inputs=tuple(_input(spec, seen or {}) for spec in interface.inputs),
            outputs=tuple(_output(spec, interface, GraphIndex(model)) for spec in interface.outputs),
            image=_image(interface.image_input) if interface.image_input else None,
            preprocess=str(preprocess) if preprocess else "",
            teacher=teacher,
            sources=sources,
            batchnorms=tuple(dict.fromkeys(item.batchnorm for item in sources if item.batchnorm)),
        )

    def json(self) -> str:
        """Write it as the script reads it, a line for each source."""
        fields = asdict(self)
        rows = ",\n".join(f"    {json.dumps(row)}" for row in fields.pop("sources"))
        return f'{json.dumps(fields, indent=2)[:-2]},\n  "sources": [\n{rows}\n  ]\n}}\n'


def _input(spec: TensorSpec, seen: Mapping[str, np.ndarray[Any, np.dtype[Any]]]) -> InputRecipe:
    values, floating = seen.get(spec.name), spec.dtype.kind == "f"
    low, high = (None, None) if values is None or not floating else (float(values.min()), float(values.max()))
    return InputRecipe(spec.name, spec.dtype.name, spec.shape, floating, low, high)


def _output(spec: TensorSpec, interface: ModelInterface, index: GraphIndex) -> OutputRecipe:
    classes = spec.classes if spec == interface.class_output else None
    return OutputRecipe(spec.name, spec.dtype.kind == "f", classes, _ends_in_softmax(index, spec.name))


def _ends_in_softmax(index: GraphIndex, name: str) -> bool:
    while name in index.producers:
        node = index.nodes[index.producers[name]]
        if node.op_type not in RESHAPING:
            return node.op_type == "Softmax"
        name = node.input[0]
    return False


def _image(spec: TensorSpec) -> ImageRecipe:
    resolved = Preprocess().resolve(spec)
    _, *sizes = spec.shape
    height, width = sizes[:2] if resolved.layout == "nhwc" else sizes[1:]
    return ImageRecipe(resolved.layout, resolved.channels, height, width)
