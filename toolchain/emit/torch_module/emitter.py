"""The contract of an emitter: how a node of an op family is said in PyTorch.

An emitter is one file in `passes/emitters/`. It returns a Python expression in which `{0}`, `{1}`, ... stand for
the node's inputs, and `{layer}` (or another role) for a submodule that holds its weights:

    Relu    "F.relu({0})"
    Conv    "{layer}({0})"    with    nn.Conv2d(3, 64, 7, stride=2, padding=3)    and its weight and bias

What an expression does not mention is not computed: a node that only serves sizes leaves no line behind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import ClassVar

import numpy as np
import onnx

from toolchain.emit.torch_module.code import Call
from toolchain.emit.torch_module.sizes import Sizes
from toolchain.errors import ModelError
from toolchain.graph.facts import Array
from toolchain.graph.index import GraphIndex, attribute, describe, int_attribute, ints_attribute


@dataclass(frozen=True)
class Origin:
    """The node's input that a layer's tensor was made of: tensor = factor * input, transposed where it says so.

    `axis` is the one of the output channels, for a convolution that a BatchNorm was put behind.
    """

    input_index: int
    transposed: bool = False
    factor: float = 1.0
    axis: int = 0


@dataclass(frozen=True, eq=False)
class Layer:
    """A submodule with weights; `kind` names it where the graph does not (conv, bn, fc).

    What `origins` leaves out cannot be written back into the graph, so training leaves it as it is.
    """

    kind: str
    call: Call
    tensors: Mapping[str, Array]
    origins: Mapping[str, Origin] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Emitted:
    """An expression over the node's inputs and the layers it uses, by role."""

    expression: str
    layers: Mapping[str, Layer]


def plain(expression: str) -> Emitted:
    """Say a node by an expression alone."""
    return Emitted(expression, {})


def layered(
    kind: str,
    call: Call,
    tensors: Mapping[str, Array],
    origins: Mapping[str, Origin] | None = None,
    *,
    expression: str = "{layer}({0})",
) -> Emitted:
    """Say a node by a submodule that holds its weights; without `origins` they are its inputs 1, 2, ... in order."""
    if origins is None:
        origins = {name: Origin(position) for position, name in enumerate(tensors, 1)}
    return Emitted(expression, {"layer": Layer(kind, call, tensors, origins)})


@dataclass(frozen=True, eq=False)
class EmitterView:
    """One node with what is known around it; everything an emitter may ask."""

    index: GraphIndex
    node: onnx.NodeProto
    sizes: Sizes
    batchnorm: bool
    """Whether to put BatchNorm behind convolutions that have a bias."""

    def name(self, position: int) -> str:
        """Return an input's name; empty when it is left out."""
        return self.node.input[position] if position < len(self.node.input) else ""

    def has(self, position: int) -> bool:
        """Tell whether an input is given."""
        return bool(self.name(position))

    def value(self, position: int) -> Array | None:
        """Return an input's value where it depends on nothing that is fed."""
        name = self.name(position)
        return self.index.array(name) if name in self.index.constants else self.sizes.value(name)

    def shape(self, position: int) -> tuple[int | None, ...]:
        """Return an input's shape, None for sizes that follow the input; ModelError where the rank is unknown."""
        return self._known_shape(self.name(position))

    def output_shape(self, position: int = 0) -> tuple[int | None, ...]:
        """Return an output's shape; ModelError where the rank is unknown."""
        return self._known_shape(self.node.output[position])

    def is_integer(self, position: int) -> bool:
        """Tell whether an input holds whole numbers."""
        dtype = self.sizes.dtype(self.name(position))
        return dtype != onnx.TensorProto.UNDEFINED and onnx.helper.tensor_dtype_to_np_dtype(dtype).kind in "iu"

    def operand(self, position: int) -> str:
        """Return `{position}`, or the number itself where the input is a constant of one element."""
        value, name = self.value(position), f"{{{position}}}"
        if value is None or value.size != 1 or value.dtype.kind not in "fiub":
            return name
        widens = all(value.ndim > len(self.shape(other)) for other in self._others(position))
        return name if widens else literal(value.reshape(-1)[0])

    def integers(self, position: int, attribute_name: str = "") -> list[int] | None:
        """Return whole numbers given as an attribute (older opsets) or a constant input; None when absent."""
        given = self.ints_attribute(attribute_name) if attribute_name else None
        if given is not None or not self.has(position):
            return given
        value = self.value(position)
        if value is None:
            raise self.error(f"its input '{self.name(position)}' is computed from data")
        return [int(item) for item in np.atleast_1d(value)]

    def int_attribute(self, name: str, default: int) -> int:
        """Return an integer attribute or its default."""
        return int_attribute(self.node, name, default)

    def ints_attribute(self, name: str) -> list[int] | None:
        """Return a list-of-integers attribute; None when it is absent."""
        return ints_attribute(self.node, name)

    def float_attribute(self, name: str, default: float) -> float:
        """Return a float attribute, in the fewest digits that mean the same, or its default."""
        value = attribute(self.node, name)
        return float(str(np.float32(value))) if isinstance(value, float) else default

    def text_attribute(self, name: str, default: str) -> str:
        """Return a string attribute or its default."""
        value = attribute(self.node, name)
        return value if isinstance(value, str) else default

    def error(self, why: str) -> ModelError:
        """Make an error that names this node."""
        return ModelError(
            f"{describe(self.node)} cannot be written in PyTorch: {why}", hint="rewrite this part of the model"
        )

    def _known_shape(self, name: str) -> tuple[int | None, ...]:
        shape = self.sizes.shape(name)
        if shape is None:
            raise self.error(f"the shape of '{name}' is not known")
        return shape

    def _others(self, position: int) -> list[int]:
        return [other for other in range(len(self.node.input)) if other != position and self.value(other) is None]


class Emitter(ABC):
    """How the ops named in `ops` are said in PyTorch."""

    ops: ClassVar[frozenset[str]]
    several_outputs: ClassVar[bool] = False
    """Whether the expression makes all outputs; otherwise it makes the first alone."""

    @abstractmethod
    def emit(self, view: EmitterView) -> Emitted:
        """Return the expression, and the layers in it; raise `view.error` for what PyTorch cannot say."""


def emitter_table(emitters: Sequence[type[Emitter]]) -> dict[str, Emitter]:
    """Map each op to its emitter."""
    return {op: emitter for emitter in (kind() for kind in emitters) for op in emitter.ops}


def literal(value: np.generic) -> str:
    """Write one number as Python."""
    if value.dtype.kind != "f":
        return str(value.item())
    return str(float(str(value))) if isfinite(value.item()) else f'float("{value.item()}")'


def same_or_tuple(values: Sequence[int]) -> int | str:
    """Return the number where all are equal, else the tuple as text, as PyTorch's layers take kernels and strides."""
    return values[0] if len(set(values)) == 1 else str(tuple(values))
