"""Which input of which node every tensor of the module's state was made of: the way back into the graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from toolchain.emit.torch_module.drafts import Draft, Member
from toolchain.emit.torch_module.emitter import Layer
from toolchain.graph.index import GraphIndex


@dataclass(frozen=True)
class Source:
    """An input of a node, an initialiser, as the module's state holds it.

    1. Without `batchnorm`: tensor = factor * input, transposed where it says so, reshaped where sizes of 1 differ.
    2. With it, the path of a BatchNorm (weight g, bias t, mean m, variance v) that was put behind a convolution:
       k = g / sqrt(v + e);  a convolution's weight is input 1 divided by k, the BatchNorm's bias t is input 2 + k m.
    """

    state: str
    node: str
    """The node's first output."""
    input_index: int
    transposed: bool = False
    factor: float = 1.0
    batchnorm: str = ""
    axis: int = 0
    """The axis of the output channels."""


def state_sources(draft: Draft, index: GraphIndex, prefix: str = "") -> Iterator[Source]:
    """Yield the source of every tensor that has one; a layer that several nodes use has one at each."""
    for member in draft.members:
        if isinstance(member.content, Draft):
            yield from state_sources(member.content, index, f"{prefix}{member.name}.")
        elif isinstance(member.content, Layer):
            yield from _of_layer(draft, member, member.content, index, prefix)


def _of_layer(draft: Draft, member: Member, layer: Layer, index: GraphIndex, prefix: str) -> Iterator[Source]:
    batchnorm = draft.norms.get(member.name, "")
    norm_path = f"{prefix}{batchnorm}" if batchnorm else ""
    for number in draft.uses.get(member.name, ()):
        node = index.nodes[number]
        for key, origin in layer.origins.items():
            if node.input[origin.input_index] in index.constants:
                state = f"{prefix}{member.name}.{key}"
                yield Source(
                    state, node.output[0], origin.input_index, origin.transposed, origin.factor, norm_path, origin.axis
                )
