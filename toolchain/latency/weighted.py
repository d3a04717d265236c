"""The shapes and attributes of a weighted node, and what they are at other widths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import onnx

from toolchain.graph.facts import Fact
from toolchain.graph.index import GraphIndex, attribute, int_attribute, ints_attribute

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """The channels a block reads and writes."""

    input: int
    output: int


@dataclass(frozen=True, eq=False)
class Weighted:
    """A Conv, ConvTranspose, Gemm or MatMul with one constant weight.

    Weights lie as (M, C/g, k...) for a Conv, (C, M/g, k...) for a ConvTranspose, (K, N) for a Gemm ((N, K) with
    transB) and for a MatMul ((M, K) where it is the first operand)
    (https://onnx.ai/onnx/operators/onnx__Conv.html, onnx__ConvTranspose.html, onnx__Gemm.html, onnx__MatMul.html).
    """

    node: onnx.NodeProto
    index: GraphIndex
    facts: Mapping[str, Fact]

    @property
    def convolves(self) -> bool:
        """Whether it has positions and a kernel."""
        return self.node.op_type in ("Conv", "ConvTranspose")

    @property
    def weight_position(self) -> int:
        """Which operand the weight is."""
        return 0 if self.node.op_type == "MatMul" and self.node.input[0] in self.index.constants else 1

    @property
    def weight(self) -> str:
        """The weight's name."""
        return self.node.input[self.weight_position]

    @property
    def data(self) -> str:
        """The name of the tensor it reads."""
        return self.node.input[1 - self.weight_position]

    @property
    def fits(self) -> bool:
        """Whether there is one constant weight and all sizes are known."""
        shapes = [self.facts[name].shape for name in (self.data, self.weight, self.node.output[0])]
        constant = self.weight in self.index.constants and self.data not in self.index.constants
        return constant and all(shape is not None and len(shape) > 1 for shape in shapes)

    @cached_property
    def input_axis(self) -> int:
        """The axis of the channels it reads."""
        if self.convolves:
            return 1
        if self.node.op_type == "Gemm":
            return 0 if int_attribute(self.node, "transA", 0) else 1
        return len(self._shape(self.data)) - (1 if self.weight_position else 2)

    @cached_property
    def output_axis(self) -> int:
        """The axis of the channels it writes."""
        if self.convolves or self.node.op_type == "Gemm":
            return 1
        return self.rank - (1 if self.weight_position else 2)

    @cached_property
    def rank(self) -> int:
        """The number of axes of its output."""
        return len(self._shape(self.node.output[0]))

    @cached_property
    def full(self) -> Pair:
        """The widths in the network."""
        return Pair(self._shape(self.data)[self.input_axis], self._shape(self.node.output[0])[self.output_axis])

    @property
    def depthwise(self) -> bool:
        """Whether each input channel has a group of its own, so that both widths go together."""
        return self._group > 1 and self._group == self.full.input

    @property
    def granularity(self) -> int:
        """What both widths are multiples of: groups stay, and stay equal."""
        return 1 if self.depthwise else self._group

    def group_at(self, pair: Pair) -> int:
        """Return the number of groups."""
        return pair.input if self.depthwise else self._group

    def shape_at(self, name: str, pair: Pair) -> Shape:
        """Return the shape of an operand (data, weight or bias) at these widths."""
        shape = list(self._shape(name))
        if name == self.data:
            shape[self.input_axis] = pair.input
        elif name == self.weight:
            read, written = self._weight_axes
            shape[read], shape[written] = pair.input, pair.output
            if self.convolves:
                shape[1] //= self.group_at(pair)
        elif shape and shape[-1] == self.full.output:
            shape[-1] = pair.output
        return tuple(shape)

    @property
    def batch(self) -> int:
        """The number of images or rows."""
        return self._shape(self.data)[1 if self.input_axis == 0 else 0]

    @property
    def spatial_size(self) -> Shape:
        """All other sizes of the input."""
        taken = {0, 1} if self.input_axis == 0 else {0, self.input_axis}
        return tuple(size for axis, size in enumerate(self._shape(self.data)) if axis not in taken)

    @property
    def kernel_shape(self) -> Shape:
        """The kernel; empty for a matrix product."""
        return self._shape(self.weight)[2:] if self.convolves else ()

    @property
    def strides(self) -> Shape:
        """The strides, 1 where the node does not say; empty for a matrix product."""
        return self._spatial("strides")

    @property
    def dilations(self) -> Shape:
        """The dilations, 1 where the node does not say; empty for a matrix product."""
        return self._spatial("dilations")

    @property
    def pads(self) -> Shape:
        """All begins, then all ends; those that `auto_pad` stands for follow from the sizes."""
        rank = len(self.kernel_shape)
        if not rank or attribute(self.node, "auto_pad") in (None, "NOTSET"):
            return tuple(ints_attribute(self.node, "pads") or [0] * (2 * rank))
        before, after = self._shape(self.data)[2:], self._shape(self.node.output[0])[2:]
        if self.node.op_type == "ConvTranspose":
            before, after = after, before
        sizes = zip(before, after, self.kernel_shape, self.strides, self.dilations, strict=True)
        total = [max((n - 1) * stride + (kernel - 1) * hole + 1 - size, 0) for size, n, kernel, stride, hole in sizes]
        late = attribute(self.node, "auto_pad") == "SAME_LOWER"
        begins = [(one + late) // 2 for one in total]
        return (*begins, *(one - begin for one, begin in zip(total, begins, strict=True)))

    @property
    def _group(self) -> int:
        return int_attribute(self.node, "group", 1) if self.convolves else 1

    @property
    def _weight_axes(self) -> tuple[int, int]:
        """The axes of the weight along the channels read and written."""
        rank = len(self._shape(self.weight))
        if self.node.op_type == "Conv":
            return 1, 0
        if self.node.op_type == "ConvTranspose":
            return 0, 1
        if self.node.op_type == "Gemm":
            return (1, 0) if int_attribute(self.node, "transB", 0) else (0, 1)
        return (rank - 2, rank - 1) if self.weight_position else (rank - 1, rank - 2)

    def _spatial(self, name: str) -> Shape:
        return tuple(ints_attribute(self.node, name) or [1] * len(self.kernel_shape))

    def _shape(self, name: str) -> Shape:
        return self.facts[name].shape or ()
