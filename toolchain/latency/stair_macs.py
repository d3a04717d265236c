"""Latency by counting: multiply-accumulates in whole blocks of the target's alignment, nothing timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

from toolchain.graph.analysis import Analysis
from toolchain.graph.rule import Rule
from toolchain.latency.blocks import find_blocks
from toolchain.latency.contract import Block, Extent, Widths

LEAST_SLOPE = 0.05
"""With a slope of 0 no width would be worth choosing any more."""


@dataclass(frozen=True, eq=False)
class StairMacs:
    """A latency model in which a layer costs its multiply-accumulates, every width rounded up to `multiple`.

    ratio(w) = 1 - slope * (1 - sum macs(w) / sum macs),  slope from the last measured ratio, 1 without any.
    """

    analysis: Analysis
    rules: Mapping[str, Rule]
    multiple: int
    baseline_ms: float
    slope: float = 1.0
    timings: int = 0
    shared: int = 0

    @property
    def blocks(self) -> Sequence[Block]:
        """The weighted layers, in the graph's order."""
        return tuple(self._blocks.values())

    def block_ms(self, block: Block, widths: Widths) -> float:
        """Return the layer's share of the original's latency at these widths."""
        macs, grouped = self._macs[block.name]
        share = self._share(block.output, widths)
        if not grouped:
            share *= self._share(block.input, widths)
        return self.slope * self.baseline_ms * macs / self._total * share

    def predict(self, widths: Widths) -> float:
        """Return the whole engine's latency as a ratio of the original's."""
        left = sum(self.block_ms(block, widths) for block in self.blocks) / self.baseline_ms
        return 1 - self.slope + left

    def steps(self, group: str) -> tuple[int, ...]:
        """Return the multiples of the alignment below the full width, widest first."""
        extents = [extent for block in self.blocks for extent in (block.input, block.output)]
        found = next(part for extent in extents for part in extent.parts if part[0] == group)
        full = found[2]
        blocks = [block for block in self.blocks if group in block.groups]

        def cost(width: int) -> float:
            return sum(self.block_ms(block, {group: width}) for block in blocks)

        costs = [cost(width) for width in range(1, full + 1)]
        return tuple(width for width in range(full - 1, 0, -1) if costs[width] > costs[width - 1] * (1 + 1e-9))

    def corrected(self, widths: Widths, ratio: float) -> StairMacs:
        """Return a model whose slope fits this measurement."""
        predicted = 1 - replace(self, slope=1.0).predict(widths)
        return replace(self, slope=max((1 - ratio) / predicted, LEAST_SLOPE)) if predicted > 0 else self

    def _share(self, extent: Extent, widths: Widths) -> float:
        return ceil(extent.at(widths) / self.multiple) / ceil(extent.at({}) / self.multiple)

    @cached_property
    def _blocks(self) -> Mapping[int, Block]:
        return find_blocks(self.analysis)

    @cached_property
    def _macs(self) -> Mapping[str, tuple[float, bool]]:
        """For each block its multiply-accumulates, and whether input and output widths go together."""
        found = {}
        for number, block in self._blocks.items():
            node = self.analysis.index.nodes[number]
            grouped = any(item.name == "group" and item.i > 1 for item in node.attribute)
            found[block.name] = (float(self.rules[node.op_type].macs(self.analysis.view(number))), grouped)
        return found

    @cached_property
    def _total(self) -> float:
        return max(sum(macs for macs, _ in self._macs.values()), 1.0)
