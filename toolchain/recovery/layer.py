"""The contract of a linear layer: a weighted node as y = W' x + b over columns x, whatever its op.

A column holds every input value that one output position depends on (for a convolution: its receptive field,
"im2col"). Layers with groups are several such maps side by side. Implementations are files of `passes/linear/`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import onnx

from toolchain.graph.index import GraphIndex

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

FLOATING = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)


@dataclass(frozen=True, eq=False)
class LinearLayer(ABC):
    """One weighted node: the tensor it reads, its parameters, the tensor that holds W' x + b.

    `bias` is empty where there is none. An output position is a number: the flat index over the output's axes
    without its channels.
    """

    ops: ClassVar[frozenset[str]]

    node: onnx.NodeProto
    input: str
    weight: str
    bias: str
    output: str
    groups: int

    @classmethod
    @abstractmethod
    def of(cls, index: GraphIndex, node: onnx.NodeProto) -> Self | None:
        """Read a node; None where it is not a plain linear map of one tensor by stored parameters."""

    @property
    @abstractmethod
    def input_axis(self) -> int:
        """The axis of the weight that the input's channels (of one group) lie along."""

    @abstractmethod
    def channel_axis(self, rank: int) -> int:
        """Return the axis of the channels in an output of this rank."""

    @abstractmethod
    def columns(self, value: Array, weight_shape: tuple[int, ...], output_shape: tuple[int, ...], at: Indices) -> Array:
        """Return the columns (groups, positions, unknowns) of these output positions."""

    @abstractmethod
    def matrix(self, weight: Array) -> Array:
        """Return the weight as (groups, unknowns, outputs)."""

    @abstractmethod
    def array(self, matrix: Array, weight_shape: tuple[int, ...]) -> Array:
        """Return a matrix as the weight: the inverse of `matrix`."""

    @abstractmethod
    def column_channels(self, weight_shape: tuple[int, ...]) -> Indices:
        """Return the index along the weight's input axis that each unknown belongs to."""


def position_shape(shape: tuple[int, ...], channel_axis: int) -> tuple[int, ...]:
    """Return a shape without its channels: what positions count."""
    return shape[:channel_axis] + shape[channel_axis + 1 :]


def linear_layers(index: GraphIndex, kinds: Iterable[type[LinearLayer]]) -> dict[int, LinearLayer]:
    """Return the layers of a model by the index of their node."""
    by_op: Mapping[str, type[LinearLayer]] = {op: kind for kind in kinds for op in kind.ops}
    found = {}
    for number, node in enumerate(index.nodes):
        kind = by_op.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        layer = kind.of(index, node) if kind else None
        if layer is not None and index.constants[layer.weight].data_type in FLOATING:
            found[number] = layer
    return found


def rows_of(value: Array, channel_axis: int, at: Indices) -> Array:
    """Return a tensor's channels at these positions as (positions, channels)."""
    where = np.unravel_index(at, position_shape(value.shape, channel_axis))
    place: tuple[Any, ...] = (*where[:channel_axis], slice(None), *where[channel_axis:])
    rows: Array = value[place]
    return rows


def by_group(rows: Array, groups: int) -> Array:
    """Return (positions, channels) as (groups, positions, channels of a group)."""
    return rows.reshape(len(rows), groups, -1).transpose(1, 0, 2)
