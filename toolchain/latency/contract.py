"""What a strategy may ask about latency without building the whole engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

Widths = Mapping[str, int]
"""Group name to the number of units kept; groups that are not named keep all."""


@dataclass(frozen=True)
class Extent:
    """The channels of an axis: `fixed` ones, and for each (group, channels per unit, full width) those of its units."""

    fixed: int
    parts: tuple[tuple[str, int, int], ...] = ()

    def at(self, widths: Widths) -> int:
        """Return the number of channels left."""
        return self.fixed + sum(each * widths.get(group, full) for group, each, full in self.parts)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups this extent varies with."""
        return tuple(group for group, _, _ in self.parts)


@dataclass(frozen=True)
class Block:
    """What the target runs as one kernel: a weighted layer with what is fused to it.

    `name` is that of the weighted node (its first output where it has none of its own); `stage` names blocks whose
    prediction errors are alike, those of one spatial size. The widths it reads and writes decide its latency.
    """

    name: str
    stage: str
    input: Extent
    output: Extent

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups whose widths its latency depends on."""
        return tuple(dict.fromkeys((*self.input.groups, *self.output.groups)))


class LatencyModel(Protocol):
    """Predicts latencies from layers timed at other widths; a correction returns a new one."""

    @property
    def blocks(self) -> Sequence[Block]:
        """The weighted layers, in the graph's order."""

    @property
    def baseline_ms(self) -> float:
        """The original's latency: what a predicted ratio of 1 stands for."""

    @property
    def timings(self) -> int:
        """How many timings were taken for it so far, those answered by the store not counted."""

    @property
    def shared(self) -> int:
        """How many latencies were answered without a timing: by another layer, an earlier run, another network."""

    def block_ms(self, block: Block, widths: Widths) -> float:
        """Return what a block takes at these widths, corrected; 0 where a width is 0."""

    def predict(self, widths: Widths) -> float:
        """Return the whole engine's latency as a ratio of the original's. Width 0 is to be given for whole branches."""

    def steps(self, group: str) -> tuple[int, ...]:
        """Return the widths of a group, widest first, below which latency drops: the outer edges of the stairs.

        Latency is that of all blocks the group touches, other groups at full width. The full width is not among them.
        """

    def corrected(self, widths: Widths, ratio: float) -> Self:
        """Return a model that has seen a whole engine's measured ratio at these widths."""
