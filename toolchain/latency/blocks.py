"""Find the weighted layers of a model and the widths each depends on."""

from __future__ import annotations

from collections import Counter
from math import prod

import onnx

from toolchain.graph.analysis import Analysis
from toolchain.latency.contract import Block, Extent
from toolchain.targets.layer_time import WEIGHTED


def find_blocks(analysis: Analysis) -> dict[int, Block]:
    """Return the block of every weighted node, by node index, in the graph's order.

    A node counts where the shapes of its first input and its output are known.
    """
    nodes = analysis.index.nodes
    named = Counter(node.name for node in nodes)
    return {
        number: _block(analysis, node, node.name if node.name and named[node.name] == 1 else node.output[0])
        for number, node in enumerate(nodes)
        if node.op_type in WEIGHTED and all(analysis.facts[name].shape for name in (node.input[0], node.output[0]))
    }


def extent_of(analysis: Analysis, tensor: str) -> Extent:
    """Count a tensor's channels by group; those of frozen groups are fixed, and so is a tensor without units."""
    axis = analysis.tensors.get(tensor)
    if axis is None:
        return Extent(1)
    count = Counter(analysis.group_of_unit[axis.units].tolist())
    groups = analysis.prunable_groups
    parts = tuple(
        (groups[number].name, count[number] // groups[number].width, groups[number].width)
        for number in sorted(count)
        if number >= 0
    )
    return Extent(len(axis.units) - sum(each * width for _, each, width in parts), parts)


def _block(analysis: Analysis, node: onnx.NodeProto, name: str) -> Block:
    shape = analysis.facts[node.output[0]].shape or ()
    positions = shape[2:] if node.op_type.startswith("Conv") else shape[:-1]
    return Block(
        name=name,
        stage=f"{node.op_type} {prod(positions)}",
        input=_extent(analysis, _data_input(analysis, node), node.op_type),
        output=_extent(analysis, node.output[0], node.op_type),
    )


def _data_input(analysis: Analysis, node: onnx.NodeProto) -> str:
    return next((name for name in node.input if name and name not in analysis.index.constants), node.input[0])


def _extent(analysis: Analysis, tensor: str, op_type: str) -> Extent:
    if tensor in analysis.tensors:
        return extent_of(analysis, tensor)
    shape = analysis.facts[tensor].shape or (1,)
    return Extent(shape[1] if op_type.startswith("Conv") else shape[-1])
