"""Which nodes run in the kernel of a weighted node, by the target's own profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from toolchain.graph.analysis import Analysis
from toolchain.graph.index import GraphIndex
from toolchain.latency.blocks import find_blocks
from toolchain.latency.contract import Block
from toolchain.latency.weighted import Weighted
from toolchain.targets.layer_time import WEIGHTED, LayerTime

NORMALISATION = "BatchNormalization"


@dataclass(frozen=True, eq=False)
class FusedBlock:
    """A block, its weighted node, and the nodes after it that run in the same kernel, in the graph's order."""

    block: Block
    node: onnx.NodeProto
    followers: tuple[onnx.NodeProto, ...] = ()

    @property
    def nodes(self) -> tuple[onnx.NodeProto, ...]:
        """All nodes, the weighted one first."""
        return (self.node, *self.followers)

    def outputs(self, index: GraphIndex) -> list[str]:
        """Return the tensors that other nodes or the graph's user read."""
        own = [name for node in self.nodes for name in node.output if name]
        inside = {name for node in self.nodes for name in node.input}
        graph_outputs = {item.name for item in index.outputs}
        nodes = {index.producers[name] for name in own}
        read_outside = {name for name in own if any(use.node_index not in nodes for use in index.uses.get(name, ()))}
        return [name for name in own if name in read_outside or name in graph_outputs or name not in inside]


def fuse(analysis: Analysis, layers: Sequence[LayerTime]) -> tuple[FusedBlock, ...]:
    """Return the model's blocks as the target fuses them, in the graph's order.

    1. Followers are pointwise nodes and normalisations that read what the kernel of the weighted node has computed.
    2. A weighted node that shares its kernel with another one, or is not found in the profile, is a block alone.
    3. Products without a constant weight, and those whose units lie along another axis than the one they sum over or
       write (a product over tokens), are none: they are part of the rest.
    """
    together = {name: layer.nodes for layer in layers for name in layer.nodes}
    found = []
    for number, block in find_blocks(analysis).items():
        node = analysis.index.nodes[number]
        if not _is_block(analysis, node):
            continue
        found.append(FusedBlock(block, node, _followers(analysis, number, together.get(node.output[0], ()))))
    return tuple(found)


def _is_block(analysis: Analysis, node: onnx.NodeProto) -> bool:
    weighted = Weighted(node, analysis.index, analysis.facts)
    if not weighted.fits:
        return False
    places = ((weighted.data, weighted.input_axis), (node.output[0], weighted.output_axis))
    return all(name not in analysis.tensors or analysis.tensors[name].axis == axis for name, axis in places)


def _followers(analysis: Analysis, number: int, kernel: Sequence[str]) -> tuple[onnx.NodeProto, ...]:
    numbers = sorted(analysis.index.producers[name] for name in kernel)
    if sum(analysis.index.nodes[item].op_type in WEIGHTED for item in numbers) != 1:
        return ()
    computed = {analysis.index.nodes[number].output[0]}
    followers = []
    for item in numbers:
        node = analysis.index.nodes[item]
        if item != number and computed.intersection(node.input) and _can_follow(analysis, item):
            computed.update(node.output)
            followers.append(node)
    return tuple(followers)


def _can_follow(analysis: Analysis, number: int) -> bool:
    node = analysis.index.nodes[number]
    rule = analysis.rules.get(node.op_type)
    pointwise = rule is not None and rule.is_pointwise(analysis.view(number))
    known = all(analysis.facts[name].shape for name in node.output if name)
    return known and (pointwise or node.op_type == NORMALISATION)
