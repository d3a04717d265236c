"""A small model of one block at any widths, and the signature it is stored under.

What has to be timed is the kernel in the layout that its neighbours give it, not the way into that layout. So each
activation comes from a convolution of a few channels; a residual, which must not be fused to that one instead, comes
through a MaxPool of one element behind it:

    few channels -> Conv 1x1 -> weighted node -> followers
    few channels -> Conv 1x1 -> MaxPool 1x1 ->   ^

Weights are random: latency does not depend on their values, but zeros and denormals would disturb it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import onnx
from onnx import numpy_helper

from toolchain.graph.analysis import Analysis
from toolchain.graph.facts import Fact
from toolchain.latency.fusion import NORMALISATION, FusedBlock
from toolchain.latency.weighted import Pair, Shape, Weighted
from toolchain.store.signature import OpSignature

LEAD_SUFFIX = ".lead"
WEIGHT_SUFFIX = ".lead_weight"
WIDE_SUFFIX = ".wide"
AGAIN_SUFFIX = ".again"
LARGEST_KEPT = 8
"""Constants up to this size are bounds, factors, exponents, and keep their values."""
LED_RANKS = (3, 4, 5)
LEAD_CHANNELS = 16


@dataclass(frozen=True, eq=False)
class BlockModel:
    """Builds models of one block of an analysed network."""

    analysis: Analysis
    fused: FusedBlock

    @cached_property
    def weighted(self) -> Weighted:
        """The block's weighted node, its shapes and attributes."""
        return Weighted(self.fused.node, self.analysis.index, self.analysis.facts)

    @property
    def led(self) -> str:
        """The name of the tensor that the weighted node reads in its small model, where there is a way to it."""
        return self.weighted.data + LEAD_SUFFIX

    def signature(self, pair: Pair) -> OpSignature:
        """Return the key of this block at these widths; a normalisation in its kernel is folded, and costs nothing."""
        weighted = self.weighted
        return OpSignature(
            op_type=weighted.node.op_type,
            input_width=pair.input,
            output_width=pair.output,
            batch=weighted.batch,
            data_type=onnx.TensorProto.DataType.Name(self.analysis.facts[weighted.data].dtype),
            spatial_size=weighted.spatial_size,
            kernel_shape=weighted.kernel_shape,
            strides=weighted.strides,
            pads=weighted.pads,
            dilations=weighted.dilations,
            group=weighted.group_at(pair),
            fused_ops=tuple(self._fused_op(node) for node in self.fused.followers if node.op_type != NORMALISATION),
        )

    def build(self, pair: Pair, generator: np.random.Generator, *, led: bool = True) -> onnx.ModelProto:
        """Return the model; `led=False` leaves the ways to its activations out, where they would be timed too."""
        graph = onnx.GraphProto(name="block")
        made: set[str] = set()
        nodes = []
        for node in self.fused.nodes:
            copy = self._resized(node, pair)
            for name, given in zip(node.input, copy.input, strict=True):
                if given and given not in made:
                    made.add(given)
                    self._add_operand(graph, name, given, self._shape(node, name, pair), generator, led)
            made.update(node.output)
            nodes.append(copy)
        graph.node.extend(nodes)  # after all leads, so that a residual is there when it is added
        for name in self.fused.outputs(self.analysis.index):
            graph.output.append(onnx.helper.make_tensor_value_info(name, self.analysis.facts[name].dtype, None))
        _read_leads(graph)
        source = self.analysis.model
        model = onnx.helper.make_model(graph, opset_imports=source.opset_import, ir_version=source.ir_version)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)

    def _add_operand(
        self,
        graph: onnx.GraphProto,
        name: str,
        given: str,
        shape: Shape,
        generator: np.random.Generator,
        led: bool,
    ) -> None:
        """Declare an operand: a constant, or an input of the model with its way into the neighbours' layout."""
        fact = self.analysis.facts[name]
        if name in self.analysis.index.constants or fact.value is not None:
            graph.initializer.append(_constant(given, fact, shape, generator))
            return
        if not led or len(shape) not in LED_RANKS or name not in self.analysis.index.producers:
            graph.input.append(onnx.helper.make_tensor_value_info(given, fact.dtype, shape))
            return
        few = (shape[0], LEAD_CHANNELS, *shape[2:])
        weight = _constant(given + WEIGHT_SUFFIX, fact, (shape[1], LEAD_CHANNELS, *[1] * (len(shape) - 2)), generator)
        graph.input.append(onnx.helper.make_tensor_value_info(given, fact.dtype, few))
        graph.initializer.append(weight)
        graph.node.extend(_lead(given, len(shape) - 2, pooled=name != self.weighted.data or given != name))

    def _shape(self, node: onnx.NodeProto, name: str, pair: Pair) -> Shape:
        """Return an operand's shape at these widths: the weighted node's by position, others' by broadcasting."""
        if node is self.fused.node:
            return self.weighted.shape_at(name, pair)
        shape = list(self.analysis.facts[name].shape or ())
        normalises = node.op_type == NORMALISATION and len(shape) == 1
        axis = 0 if normalises else self.weighted.output_axis - self.weighted.rank + len(shape)
        if 0 <= axis < len(shape) and shape[axis] == self.weighted.full.output:
            shape[axis] = pair.output
        return tuple(shape)

    def _resized(self, node: onnx.NodeProto, pair: Pair) -> onnx.NodeProto:
        """Copy a node. A depthwise one has as many groups as channels; the data may have another width when added."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for item in copy.attribute:
            if item.name == "group" and node is self.fused.node:
                item.i = self.weighted.group_at(pair)
        for position, name in enumerate(copy.input):
            if name == self.weighted.data and node is not self.fused.node:
                copy.input[position] = name + AGAIN_SUFFIX
        return copy

    def _fused_op(self, node: onnx.NodeProto) -> str:
        """Name a follower's op; one that reads a second activation costs more than one with a constant."""
        live = [name for name in node.input if name and name not in self.analysis.index.constants]
        return node.op_type if len(live) > 1 or len(node.input) == 1 else f"{node.op_type} constant"


def _constant(name: str, fact: Fact, shape: Shape, generator: np.random.Generator) -> onnx.TensorProto:
    dtype = onnx.helper.tensor_dtype_to_np_dtype(fact.dtype)
    if fact.value is not None and fact.value.size <= LARGEST_KEPT and fact.value.shape == shape:
        return numpy_helper.from_array(fact.value, name)
    if len(shape) > 1:
        values = generator.standard_normal(shape) * prod(shape[1:]) ** -0.5
    else:
        values = generator.uniform(0.5, 1.5, shape)
    return numpy_helper.from_array(values.astype(dtype), name)


def _lead(name: str, positions: int, *, pooled: bool) -> list[onnx.NodeProto]:
    make, led = onnx.helper.make_node, name + LEAD_SUFFIX
    if not pooled:
        return [make("Conv", [name, name + WEIGHT_SUFFIX], [led])]
    wide = make("Conv", [name, name + WEIGHT_SUFFIX], [name + WIDE_SUFFIX])
    return [wide, make("MaxPool", [name + WIDE_SUFFIX], [led], kernel_shape=[1] * positions)]


def _read_leads(graph: onnx.GraphProto) -> None:
    """Let the block's nodes read activations behind their leads."""
    led = {node.output[0].removesuffix(LEAD_SUFFIX) for node in graph.node if node.output[0].endswith(LEAD_SUFFIX)}
    for node in graph.node:
        if not node.output[0].endswith((LEAD_SUFFIX, WIDE_SUFFIX)):
            names = [name + LEAD_SUFFIX if name in led else name for name in node.input]
            del node.input[:]
            node.input.extend(names)
