"""Find the weighted layers of a model and the widths each depends on."""

from __future__ import annotations

from math import prod

import numpy as np
import numpy.typing as npt
import onnx

from toolchain.graph.analysis import Analysis
from toolchain.latency.contract import Block, Extent

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def find_blocks(analysis: Analysis) -> dict[int, Block]:
    """Return the block of every weighted node, by node index, in the graph's order.

    A node counts where the shapes of its first input and its output are known.
    """
    nodes = analysis.index.nodes
    return {
        number: _block(analysis, node)
        for number, node in enumerate(nodes)
        if node.op_type in WEIGHTED and all(analysis.facts[name].shape for name in (node.input[0], node.output[0]))
    }


def _block(analysis: Analysis, node: onnx.NodeProto) -> Block:
    shape = analysis.facts[node.output[0]].shape or ()
    positions = shape[2:] if node.op_type.startswith("Conv") else shape[:-1]
    return Block(
        name=node.name or node.output[0],
        stage=f"{node.op_type} {prod(positions)}",
        input=_extent(analysis, _data_input(analysis, node), node.op_type),
        output=_extent(analysis, node.output[0], node.op_type),
    )


def _data_input(analysis: Analysis, node: onnx.NodeProto) -> str:
    return next((name for name in node.input if name and name not in analysis.index.constants), node.input[0])


def _extent(analysis: Analysis, tensor: str, op_type: str) -> Extent:
    """Count a tensor's channels by group; those of frozen groups are fixed."""
    axis = analysis.tensors.get(tensor)
    if axis is None:
        shape = analysis.facts[tensor].shape or (1,)
        return Extent(shape[1] if op_type.startswith("Conv") else shape[-1])
    parts = tuple(
        (group.name, count // group.width, group.width)
        for group in analysis.prunable_groups
        if (count := _positions(axis.units, group.units))
    )
    return Extent(len(axis.units) - sum(each * width for _, each, width in parts), parts)


def _positions(units: npt.NDArray[np.int64], members: npt.NDArray[np.int64]) -> int:
    return int(np.count_nonzero(np.isin(units, members)))
