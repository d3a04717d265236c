"""Find the weighted layers of a model and the widths each depends on."""

from __future__ import annotations

from collections import Counter
from math import prod

import numpy as np
import onnx

from toolchain.graph.analysis import Analysis
from toolchain.latency.contract import Block, Extent
from toolchain.targets.layer_time import WEIGHTED

_FROZEN = -1


def find_blocks(analysis: Analysis) -> dict[int, Block]:
    """Return the block of every weighted node, by node index, in the graph's order.

    A node counts where the shapes of its first input and its output are known.
    """
    nodes = analysis.index.nodes
    named = Counter(node.name for node in nodes)
    extents = Extents(analysis)
    return {
        number: _block(extents, node, node.name if node.name and named[node.name] == 1 else node.output[0])
        for number, node in enumerate(nodes)
        if node.op_type in WEIGHTED and all(analysis.facts[name].shape for name in (node.input[0], node.output[0]))
    }


class Extents:
    """Counts the channels of tensors by group."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self._groups = analysis.prunable_groups
        self._group_of_unit = np.full(analysis.unit_count, _FROZEN, np.int64)
        for number, group in enumerate(self._groups):
            self._group_of_unit[group.units] = number

    def of(self, tensor: str, axis: int | None = None) -> Extent:
        """Return what a tensor has along the axis of its units: channels of frozen groups are fixed.

        A tensor without units has as many fixed channels as its size along `axis`, one where that is not known.
        """
        units = self.analysis.tensors.get(tensor)
        if units is None:
            shape = self.analysis.facts[tensor].shape if tensor in self.analysis.facts else None
            return Extent(shape[axis] if shape and axis is not None else 1)
        count = np.bincount(self._group_of_unit[units.units] - _FROZEN, minlength=1)
        parts = tuple(self._part(int(number), int(count[number + 1])) for number in np.flatnonzero(count[1:]))
        return Extent(int(count[0]), parts)

    def _part(self, number: int, count: int) -> tuple[str, int, int]:
        group = self._groups[number]
        return group.name, count // group.width, group.width


def _block(extents: Extents, node: onnx.NodeProto, name: str) -> Block:
    shape = extents.analysis.facts[node.output[0]].shape or ()
    convolves = node.op_type.startswith("Conv")
    axis = 1 if convolves else -1
    data = next((name for name in node.input if name and name not in extents.analysis.index.constants), node.input[0])
    return Block(
        name=name,
        stage=f"{node.op_type} {prod(shape[2:] if convolves else shape[:-1])}",
        input=extents.of(data, axis),
        output=extents.of(node.output[0], axis),
    )
