"""Curves: latency over a width, of a layer along one of its axes, or of all layers that a group touches.

Curves are asked for only where a width can be chosen: along axes that have units of prunable groups.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import lcm

import numpy as np

from toolchain.latency.block_clock import BlockClock
from toolchain.latency.block_model import BlockModel
from toolchain.latency.contract import Extent
from toolchain.latency.quiet import quiet_ms
from toolchain.latency.steps import Steps, Timing, find_steps, sweep_steps, total
from toolchain.latency.weighted import Pair
from toolchain.measure.latency import Latency
from toolchain.targets.contract import Alignment


class Axis(StrEnum):
    """What a curve runs along."""

    OUTPUT = "output"
    INPUT = "input"
    BOTH = "both"
    """Input and output of a depthwise convolution go together."""
    GROUP = "group"


@dataclass(frozen=True, eq=False)
class Subject:
    """What is timed at every width: the blocks of `layers` at the pairs that a number of units means for them.

    `what` names it; a unit is `each` channels wide, and `full` counts units. Layers of one signature are one subject.
    """

    what: str
    layers: tuple[str, ...]
    axis: Axis
    each: int
    full: int
    pairs: Callable[[int], Sequence[tuple[BlockModel, Pair]]]


@dataclass(frozen=True, eq=False)
class Curve:
    """The steps of a subject and the points they were found from, both in channels (of a group: in units)."""

    subject: Subject
    steps: Steps

    @property
    def sweep(self) -> int:
        """How many timings a full sweep takes."""
        return self.subject.full


def layer_subjects(models: Iterable[BlockModel]) -> tuple[Subject, ...]:
    """Return each distinct layer along its output and its input, where their widths can be chosen."""
    found: dict[tuple[str, Axis], list[BlockModel]] = defaultdict(list)
    for model in models:
        for axis in _axes(model):
            found[model.signature(model.weighted.full).to_json(), axis].append(model)
    return tuple(_layer_subject(alike, axis) for (_, axis), alike in found.items())


def group_subject(models: Iterable[BlockModel], group: str) -> Subject | None:
    """Return all blocks that a group touches, other groups at full width; None where it touches none."""
    touched = [model for model in models if group in model.fused.block.groups]
    if not touched:
        return None
    blocks = [model.fused.block for model in touched]
    parts = [part for block in blocks for part in (*block.input.parts, *block.output.parts) if part[0] == group]

    def pairs(width: int) -> Sequence[tuple[BlockModel, Pair]]:
        at = {group: width}
        return [
            (model, Pair(block.input.at(at), block.output.at(at))) for model, block in zip(touched, blocks, strict=True)
        ]

    each = max(each for _, each, _ in parts)
    return Subject(group, tuple(block.name for block in blocks), Axis.GROUP, each, parts[0][2], pairs)


def trace(
    subject: Subject, clock: BlockClock, alignment: Alignment, *, exhaustive: bool = False, seed: int = 0
) -> Curve:
    """Find the steps of a subject; `exhaustive` times all its widths."""

    def time_width(width: int) -> Timing:
        return total(_timing(clock.latency(model, pair)) for model, pair in subject.pairs(width))

    def time_again(width: int) -> Timing:
        return total(_timing(clock.again(model, pair)) for model, pair in subject.pairs(width))

    if exhaustive:
        return Curve(subject, _in_channels(sweep_steps(time_width, range(1, subject.full + 1)), subject))
    units = Alignment(_units(alignment.preferred, subject.each), _units(alignment.least, subject.each))
    generator, confirm = np.random.default_rng(seed), time_again if clock.target.measured else None
    found = find_steps(time_width, subject.full, units, generator, time_again=confirm)
    return Curve(subject, _in_channels(found, subject))


def _axes(model: BlockModel) -> list[Axis]:
    """Return the axes of a block that have a choice of widths."""
    block = model.fused.block
    if model.weighted.depthwise:
        return [Axis.BOTH] if block.output.parts else []
    extents: list[tuple[Axis, Extent]] = [(Axis.OUTPUT, block.output), (Axis.INPUT, block.input)]
    return [axis for axis, extent in extents if extent.parts]


def _layer_subject(alike: Sequence[BlockModel], axis: Axis) -> Subject:
    model, full = alike[0], alike[0].weighted.full
    each = model.weighted.granularity
    multiplier = full.output // full.input if axis is Axis.BOTH else 1

    def pairs(units: int) -> Sequence[tuple[BlockModel, Pair]]:
        width = units * each
        pair = {
            Axis.OUTPUT: Pair(full.input, width),
            Axis.INPUT: Pair(width, full.output),
            Axis.BOTH: Pair(width, width * multiplier),
        }[axis]
        return [(model, pair)]

    size = full.output if axis is Axis.OUTPUT else full.input
    layers = tuple(one.fused.block.name for one in alike)
    return Subject(str(model.signature(full)), layers, axis, each, size // each, pairs)


def _timing(latency: Latency) -> Timing:
    return Timing(quiet_ms(latency.samples_ms), latency.half_width)


def _units(channels: int, each: int) -> int:
    """Return how many units of so many channels make a multiple of the alignment."""
    return lcm(channels, each) // each


def _in_channels(steps: Steps, subject: Subject) -> Steps:
    """Write a layer's widths as channels; those of a group stay units, as plans count them."""
    if subject.axis is Axis.GROUP:
        return steps
    points = tuple((width * subject.each, timing) for width, timing in steps.points)
    return Steps(tuple(width * subject.each for width in steps.widths), points)
