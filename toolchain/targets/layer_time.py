"""What the kernels of an engine take, and which nodes of the model each of them computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from toolchain.graph.index import GraphIndex

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Ops that multiply with weights: a kernel computes at most one."""


@dataclass(frozen=True)
class LayerTime:
    """One kernel of an engine and what it took, run after run.

    `nodes` are the ONNX nodes it computes, each by its first output, in the graph's order; empty where it only moves
    data to another layout. `tensor` is the ONNX tensor it writes or moves, empty where that is not known.
    """

    name: str
    op_type: str
    nodes: tuple[str, ...]
    tensor: str
    samples_ms: tuple[float, ...]


def names_to_nodes(model: onnx.ModelProto) -> Mapping[str, int]:
    """Map the names of tensors, and those node names that are not one, to the index of the node meant."""
    by_node = {node.name: number for number, node in enumerate(model.graph.node) if node.name}
    return {**by_node, **GraphIndex(model).producers}


def share_nodes(index: GraphIndex, claims: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Give every node of a model to the kernel that computes it, from the few nodes that kernels name.

    `claims[k]` are the nodes that kernel k names; kernels are in the order of execution.

    1. What a kernel names is its own (the first to name it).
    2. A weighted node that nobody names was folded, with all on the way, into the next named one: a Conv into its
       BatchNormalization.
    3. What is left was appended to the kernel of its inputs, the last one to run: an Add into the second branch.
    """
    owner: dict[int, int] = {}
    for kernel, numbers in enumerate(claims):
        for number in numbers:
            owner.setdefault(number, kernel)
    for number, kernel in sorted(owner.items()):
        if index.nodes[number].op_type not in WEIGHTED:
            owner.update(dict.fromkeys(_folded_before(index, number, owner), kernel))
    for number, node in enumerate(index.nodes):
        before = [owner[index.producers[name]] for name in node.input if index.producers.get(name) in owner]
        if before:
            owner.setdefault(number, max(before))
    return [tuple(number for number in sorted(owner) if owner[number] == kernel) for kernel in range(len(claims))]


def _folded_before(index: GraphIndex, number: int, owner: Mapping[int, int]) -> list[int]:
    """Return the way back to the nearest weighted node that has no owner; nothing where there is none."""
    for name in index.nodes[number].input:
        producer = index.producers.get(name)
        if producer is None or producer in owner:
            continue
        if index.nodes[producer].op_type in WEIGHTED:
            return [producer]
        if way := _folded_before(index, producer, owner):
            return [producer, *way]
    return []


def first_outputs(index: GraphIndex, numbers: Sequence[int]) -> tuple[str, ...]:
    """Return what LayerTime calls these nodes."""
    return tuple(index.nodes[number].output[0] for number in numbers)
