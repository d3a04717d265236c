"""`fold-constants`: compute at compile time what does not depend on the input."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx_graphsurgeon as gs
from onnx_graphsurgeon.logger import G_LOGGER

from toolchain.graph.index import subgraphs
from toolchain.graph.normalise import copy_model, normalise
from toolchain.pipeline.contract import Pass, PassContext, PassResult, restore_identity

SIZE_THRESHOLD_BYTES = 1 << 24
FOLDED_WITHOUT_CONSTANTS = frozenset({"Cast", "Shape"})
"""Ops at which GraphSurgeon begins to fold although an input varies: it knows static shapes."""
LOOPS = frozenset({"Loop", "Scan"})


def fold_constants(model: onnx.ModelProto, size_threshold_bytes: int = SIZE_THRESHOLD_BYTES) -> onnx.ModelProto:
    """Return a normalised model with every constant node folded whose value is no larger than the threshold.

    Folding runs the nodes, so a loop is never folded: it need not end. Where there is nothing to fold, and no node
    whose output nobody reads, this is the model itself.
    """
    if not has_work(model.graph):
        return model
    with G_LOGGER.suppress():
        graph = gs.import_onnx(copy_model(model))
        graph.fold_constants(size_threshold=size_threshold_bytes, should_exclude_node=_loops)
        return normalise(gs.export_onnx(graph.cleanup(), do_type_check=False))


def has_work(graph: onnx.GraphProto) -> bool:
    """Tell whether there may be anything to fold or drop, without GraphSurgeon, which takes long for a large graph."""
    constants = {"", *(item.name for item in graph.initializer)}
    constants |= {item.values.name for item in graph.sparse_initializer}
    read = {name for node in graph.node for name in node.input} | {item.name for item in graph.output}
    return any(
        node.op_type in FOLDED_WITHOUT_CONSTANTS
        or constants.issuperset(node.input)
        or read.isdisjoint(node.output)
        or any(subgraphs(node))
        for node in graph.node
    )


def _loops(node: gs.Node) -> bool:
    """Tell whether a loop is in a node."""
    inner = (value for value in node.attrs.values() if isinstance(value, gs.Graph))
    return node.op in LOOPS or any(_loops(item) for graph in inner for item in graph.nodes)


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Replace every node that has only constant inputs by its value (GraphSurgeon does the work).

    `size_threshold_bytes` keeps a folded tensor from blowing up the file: an Expand of one number, say.
    """

    size_threshold_bytes: int = SIZE_THRESHOLD_BYTES

    def run(self, model: onnx.ModelProto, context: PassContext) -> PassResult:  # noqa: ARG002
        """Fold once; folding is complete when fewer nodes remain, and pointless when none goes."""
        folded = fold_constants(model, self.size_threshold_bytes)
        gone = len(model.graph.node) - len(folded.graph.node)
        if gone <= 0:
            return PassResult(model, False, ("nothing to fold",))
        restore_identity(folded, model)
        return PassResult(folded, True, (f"{gone} nodes folded",))
