"""The inputs of what is timed: names, types, and sizes, of which some may have been left open."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from pydantic import BaseModel, ConfigDict

from toolchain.graph.deployment import deployment_binding, input_shape, random_feeds
from toolchain.graph.facts import Binding
from toolchain.graph.index import GraphIndex

Shape = tuple[int, ...]


class Input(BaseModel):
    """An input at the size at which it is timed; `data_type` is ONNX's number."""

    model_config = ConfigDict(frozen=True)

    name: str
    data_type: int
    shape: Shape

    def __str__(self) -> str:
        """Write it for people: `x float 1x3x224x224`."""
        kind = onnx.TensorProto.DataType.Name(self.data_type).lower()
        return f"{self.name} {kind} {'x'.join(map(str, self.shape)) or 'scalar'}"


class Sizes(BaseModel):
    """How large inputs are that leave their sizes open.

    1. As `wanted`, which must fit.
    2. As the first of `known` that fits: sizes at which one of those compared is deployed.
    3. A batch of 1.
    """

    model_config = ConfigDict(frozen=True)

    wanted: dict[str, Shape] = {}
    known: tuple[tuple[Input, ...], ...] = ()

    def binding(self, model: onnx.ModelProto) -> Binding:
        """Give every open size of a model's inputs a number. Raises UsageError where nothing says it."""
        fitting = {
            item.name: known.shape
            for item in GraphIndex(model).inputs
            for known in reversed([*chain(*self.known)])
            if known.name == item.name and _fits(item, known.shape)
        }
        return deployment_binding(model, {**fitting, **self.wanted}, {})


def inputs_of(model: onnx.ModelProto, binding: Binding) -> tuple[Input, ...]:
    """Return a model's inputs with their open sizes bound."""
    return tuple(
        Input(name=item.name, data_type=item.type.tensor_type.elem_type, shape=input_shape(item, binding))
        for item in GraphIndex(model).inputs
    )


def interface_of(inputs: Sequence[tuple[str, int, Sequence[int | str | None]]]) -> onnx.ModelProto:
    """Return a model that has inputs and nothing else; a size that is no number is open."""
    ports = [onnx.helper.make_tensor_value_info(*item) for item in inputs]
    return onnx.helper.make_model(onnx.helper.make_graph([], "inputs", ports, []))


def random_inputs(inputs: Sequence[Input], generator: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Draw values for them."""
    return random_feeds(interface_of([(item.name, item.data_type, item.shape) for item in inputs]), {}, generator)


def difference(one: Sequence[Input], other: Sequence[Input]) -> str:
    """Name the first input that is not the same on both sides; empty where all are."""
    sides = [{item.name: item for item in inputs} for inputs in (one, other)]
    for name in dict.fromkeys(chain(*sides)):
        first, second = (side.get(name) for side in sides)
        if first != second:
            return f"{first or f'no {name}'} against {second or f'no {name}'}"
    return ""


def _fits(item: onnx.ValueInfoProto, shape: Shape) -> bool:
    dims = item.type.tensor_type.shape.dim
    return len(dims) == len(shape) and all(
        not dim.HasField("dim_value") or dim.dim_value == size for dim, size in zip(dims, shape, strict=True)
    )
