"""What is not a block: pools, unfused additions, concatenations, layout changes, the runtime's own time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from toolchain.graph.analysis import Analysis
from toolchain.latency.blocks import Extents
from toolchain.latency.contract import Extent, Widths
from toolchain.latency.correction import REST
from toolchain.latency.quiet import quiet_ms
from toolchain.targets.layer_time import LayerTime

_JOINS = frozenset({"Concat", "Concatenation"})


@dataclass(frozen=True)
class RestKernel:
    """A kernel that is no block: its time in the original, the channels it writes, and those it reads."""

    op_type: str
    latency_ms: float
    output: Extent
    inputs: tuple[Extent, ...]

    @property
    def stage(self) -> str:
        """The stage its corrections are learned for."""
        return f"{REST} {self.op_type}"

    def at(self, widths: Widths) -> float:
        """Return its time, in proportion to the channels left; 0 where nothing is left or an operand is gone.

        An Add whose other branch is gone is no Add any more; a Concat only becomes shorter.
        """
        left, full = self.output.at(widths), self.output.at({})
        gone = [extent.at(widths) == 0 for extent in self.inputs]
        if not left or (any(gone) and (self.op_type not in _JOINS or all(gone))):
            return 0.0
        return self.latency_ms * left / full


def rest_kernels(analysis: Analysis, layers: Sequence[LayerTime], blocks: Collection[str]) -> tuple[RestKernel, ...]:
    """Return the kernels of the original's profile that compute none of these nodes."""
    extents = Extents(analysis)
    return tuple(
        RestKernel(
            layer.op_type,
            quiet_ms(layer.samples_ms),
            extents.of(layer.tensor),
            tuple(extents.of(name) for name in _operands(analysis, layer)),
        )
        for layer in layers
        if not set(blocks).intersection(layer.nodes)
    )


def _operands(analysis: Analysis, layer: LayerTime) -> list[str]:
    """Return the activations that the kernel reads from others."""
    nodes = [analysis.index.nodes[analysis.index.producers[name]] for name in layer.nodes]
    own = {name for node in nodes for name in node.output}
    read = [name for node in nodes for name in node.input if name and name not in analysis.index.constants]
    return [name for name in dict.fromkeys(read) if name not in own and name in analysis.tensors]
