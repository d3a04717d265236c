"""A small model of one block at any widths, and the signature it is stored under.

What has to be timed is the kernel in the layout that its neighbours give it, not the way into that layout. So each
activation comes through a MaxPool of one element, which computes nothing but has the neighbours' layout:

    input -> MaxPool 1x1 -> weighted node -> followers
                             residual ->  ^   (through a MaxPool of its own)

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
LARGEST_KEPT = 8
"""Constants up to this size are bounds, factors, exponents, and keep their values."""
POOLED_RANKS = (3, 4, 5)


@dataclass(frozen=True, eq=False)
class BlockModel:
    """Builds models of one block of an analysed network."""

    analysis: Analysis
    fused: FusedBlock

    @cached_property
    def weighted(self) -> Weighted:
        """The block's weighted node, its shapes and attributes."""
        return Weighted(self.fused.node, self.analysis.index, self.analysis.facts)

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

    def build(self, pair: Pair, generator: np.random.Generator) -> onnx.ModelProto:
        """Return the model; its inputs and outputs are the block's."""
        graph = onnx.GraphProto(name="block")
        made: set[str] = set()
        for node in self.fused.nodes:
            for name in filter(None, node.input):
                if name not in made:
                    made.add(name)
                    self._add_operand(graph, name, self._shape(node, name, pair), generator)
            made.update(node.output)
            graph.node.append(self._resized(node, pair))
        for name in self.fused.outputs(self.analysis.index):
            graph.output.append(onnx.helper.make_tensor_value_info(name, self.analysis.facts[name].dtype, None))
        _read_leads(graph)
        source = self.analysis.model
        model = onnx.helper.make_model(graph, opset_imports=source.opset_import, ir_version=source.ir_version)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)

    def _add_operand(self, graph: onnx.GraphProto, name: str, shape: Shape, generator: np.random.Generator) -> None:
        """Declare an operand: a constant, or an input of the model with its way into the neighbours' layout."""
        fact = self.analysis.facts[name]
        if name in self.analysis.index.constants or fact.value is not None:
            graph.initializer.append(_constant(name, fact, shape, generator))
            return
        graph.input.append(onnx.helper.make_tensor_value_info(name, fact.dtype, shape))
        if len(shape) in POOLED_RANKS and name in self.analysis.index.producers:
            kernel = [1] * (len(shape) - 2)
            graph.node.append(onnx.helper.make_node("MaxPool", [name], [name + LEAD_SUFFIX], kernel_shape=kernel))

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
        """Copy a node; a depthwise one has as many groups as channels."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node is self.fused.node:
            for item in copy.attribute:
                if item.name == "group":
                    item.i = self.weighted.group_at(pair)
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


def _read_leads(graph: onnx.GraphProto) -> None:
    """Let nodes read an activation behind its MaxPool."""
    leads = {node.input[0]: node.output[0] for node in graph.node if node.output[0].endswith(LEAD_SUFFIX)}
    for node in graph.node:
        if not node.output[0].endswith(LEAD_SUFFIX):
            names = [leads.get(name, name) for name in node.input]
            del node.input[:]
            node.input.extend(names)
