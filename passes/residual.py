"""Where a layer's output joins a residual stream."""

from __future__ import annotations

from dataclasses import dataclass

from toolchain.graph.index import GraphIndex

CONTRACTIONS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
SUMS = frozenset({"Add", "Sum"})


@dataclass(frozen=True)
class Join:
    """A branch's last tensor and the sum it becomes part of."""

    branch: str
    joined: str


def join(index: GraphIndex, tensor: str) -> Join | None:
    """Follow a tensor through ops of one live operand to the sum it is added to; None where something else comes."""
    while len(index.uses.get(tensor, ())) == 1:
        reader = index.nodes[index.uses[tensor][0].node_index]
        live = {name for name in reader.input if name and name not in index.constants}
        if reader.op_type in SUMS and len(live) > 1:
            return Join(tensor, reader.output[0])
        if len(live) > 1 or len(reader.output) != 1 or reader.op_type in CONTRACTIONS:
            break
        tensor = reader.output[0]
    return None
