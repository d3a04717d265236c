"""Latency by table: every block timed on the target at the widths that are asked for, the rest scaled.

    predict(w) = ( sum_b c[stage b] L_b(in_b(w), out_b(w)) + sum_k c[stage k] R_k(w) + S(w) ) / the same at full widths

L_b are blocks as the target fuses them, timed alone; R_k are the other kernels, timed in the original and scaled with
the channels they write; S is the runtime's own time, spread over the kernels that are left.

The corrections c start from the profile of the original: what the kernels of a stage take there, divided by what they
take alone, where weights are always in the cache. Measured ratios of whole engines refine them.

Widths are timed exactly but for wide layers: where an axis has more than `GRID` multiples of the target's alignment,
multiples off the grid are interpolated linearly (bilinearly in both axes) between timed ones. Other widths are not
rounded: a runtime may be slower at 63 channels than at 64.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from math import lcm

import numpy as np

from toolchain.latency.block_clock import BlockClock
from toolchain.latency.block_model import BlockModel
from toolchain.latency.contract import Block, Widths
from toolchain.latency.correction import NARROWED, REST, Observation, fit
from toolchain.latency.rest import RestKernel
from toolchain.latency.steps import Timing, find_steps, total
from toolchain.latency.weighted import Pair
from toolchain.targets.contract import Alignment

GRID = 8
"""How many intervals an axis is timed at."""

RUNTIME = f"{REST} runtime"


@dataclass(frozen=True, eq=False)
class LatencyTable:
    """Predicts the latencies of one network on one target; corrected ones share what has been timed."""

    clock: BlockClock
    models: Mapping[str, BlockModel]
    rest: tuple[RestKernel, ...]
    whole_ms: float
    """What the original takes as a whole."""
    profiled_ms: Mapping[str, float]
    """What the blocks of each stage take in the original, by its profile; empty where there is none."""
    alignment: Alignment
    seed: int = 0
    seen: tuple[Observation, ...] = ()
    _steps: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def blocks(self) -> Sequence[Block]:
        """The weighted layers, in the graph's order."""
        return tuple(model.fused.block for model in self.models.values())

    @property
    def baseline_ms(self) -> float:
        """The original's latency as this table has it: what a predicted ratio of 1 stands for."""
        return self._total(self._original_ms)

    @property
    def timings(self) -> int:
        """How many blocks were timed so far."""
        return self.clock.timings

    @property
    def shared(self) -> int:
        """How many latencies were answered by another layer, an earlier run, another network."""
        return self.clock.shared

    def block_ms(self, block: Block, widths: Widths) -> float:
        """Return what a block takes at these widths, corrected; 0 where a width is 0."""
        return self._correction(block, self._pair(block, widths)) * self._uncorrected_ms(block, widths)

    def predict(self, widths: Widths) -> float:
        """Return the whole engine's latency as a ratio of the original's."""
        return self._total(self._stages_ms(widths)) / self._total(self._original_ms)

    def steps(self, group: str) -> tuple[int, ...]:
        """Return the widths of a group, widest first, below which latency drops; other groups keep all."""
        if group not in self._steps:
            blocks = [block for block in self.blocks if group in block.groups]
            self._steps[group] = self._find_steps(group, blocks) if blocks else ()
        return self._steps[group]

    def corrected(self, widths: Widths, ratio: float) -> LatencyTable:
        """Return a table that has seen a whole engine's measured ratio at these widths."""
        return replace(self, seen=(*self.seen, Observation(self._stages_ms(widths), ratio)))

    def _total(self, stages_ms: Mapping[str, float]) -> float:
        return sum(self._factors[stage] * ms for stage, ms in stages_ms.items())

    @cached_property
    def _factors(self) -> Mapping[str, float]:
        """What measured engines say about each stage."""
        return fit(self._original_ms, self.seen)

    def _correction(self, block: Block, pair: Pair) -> float:
        """Return all that a block's latency alone is multiplied with."""
        narrowed = self._factors[NARROWED] if self._is_narrowed(block, pair) else 0.0
        return self._anchors[block.stage] * max(self._factors[block.stage] + narrowed, 0.0)

    @cached_property
    def _anchors(self) -> Mapping[str, float]:
        """For each stage of blocks, the time of its kernels in the original by that of the same kernels alone."""
        alone = _sums((block.stage, self._uncorrected_ms(block, {})) for block in self.blocks)
        return {stage: self.profiled_ms.get(stage, ms) / ms if ms else 1.0 for stage, ms in alone.items()}

    @cached_property
    def _runtime_ms(self) -> float:
        """What the original takes beyond its kernels."""
        blocks = sum(self._anchors[block.stage] * self._uncorrected_ms(block, {}) for block in self.blocks)
        return max(self.whole_ms - blocks - sum(kernel.latency_ms for kernel in self.rest), 0.0)

    @cached_property
    def _original_ms(self) -> Mapping[str, float]:
        return self._stages_ms({})

    def _stages_ms(self, widths: Widths) -> Mapping[str, float]:
        blocks = [(one.stage, self._anchors[one.stage] * self._uncorrected_ms(one, widths)) for one in self.blocks]
        narrowed = [
            (NARROWED, ms)
            for one, (_, ms) in zip(self.blocks, blocks, strict=True)
            if self._is_narrowed(one, self._pair(one, widths))
        ]
        rest = [(kernel.stage, kernel.at(widths)) for kernel in self.rest]
        kernels = [ms for _, ms in (*blocks, *rest)]
        alive = sum(ms > 0 for ms in kernels) / max(len(kernels), 1)
        return _sums([*blocks, *narrowed, *rest, (RUNTIME, self._runtime_ms * alive)])

    def _is_narrowed(self, block: Block, pair: Pair) -> bool:
        return pair != self.models[block.name].weighted.full

    def _pair(self, block: Block, widths: Widths) -> Pair:
        return Pair(block.input.at(widths), block.output.at(widths))

    def _uncorrected_ms(self, block: Block, widths: Widths) -> float:
        pair = self._pair(block, widths)
        if not pair.input or not pair.output:
            return 0.0
        model = self.models[block.name]
        return sum(share * self.clock.milliseconds(model, near) for near, share in self._stencil(model, pair))

    def _stencil(self, model: BlockModel, pair: Pair) -> list[tuple[Pair, float]]:
        """Return the pairs whose latencies make up this pair's, with their shares."""
        if self.clock.knows(model, pair):
            return [(pair, 1.0)]
        full, step = model.weighted.full, lcm(self.alignment.preferred, model.weighted.granularity)
        outputs = _neighbours(pair.output, full.output, step)
        if model.weighted.depthwise:
            each = full.output // full.input
            return [(Pair(width // each, width), share) for width, share in outputs]
        inputs = _neighbours(pair.input, full.input, step)
        return [(Pair(one, two), share * part) for (one, share), (two, part) in product(inputs, outputs)]

    def _find_steps(self, group: str, blocks: Sequence[Block]) -> tuple[int, ...]:
        parts = [part for block in blocks for part in (*block.input.parts, *block.output.parts) if part[0] == group]
        each, full = max(each for _, each, _ in parts), parts[0][2]

        def time_width(width: int) -> Timing:
            return total(self._timing(block, {group: width}) for block in blocks)

        alignment = Alignment(_units(self.alignment.preferred, each), _units(self.alignment.least, each))
        return find_steps(time_width, full, alignment, np.random.default_rng(self.seed)).widths

    def _timing(self, block: Block, widths: Widths) -> Timing:
        """Return a block's latency, always timed, never interpolated."""
        model, pair = self.models[block.name], self._pair(block, widths)
        ms = self._correction(block, pair) * self.clock.milliseconds(model, pair)
        return Timing(ms, self.clock.latency(model, pair).half_width)


def _neighbours(width: int, full: int, step: int) -> list[tuple[int, float]]:
    """Return the widths to interpolate between, with their shares; the width itself where it is to be timed.

    The grid of an axis is 1, s, 2s, ... steps and the full width, s the least that needs at most GRID intervals.
    """
    spacing = step * -(-full // (step * GRID))
    if spacing == step or width % step or width % spacing == 0 or width in (step, full):
        return [(width, 1.0)]
    low = max(width // spacing * spacing, step)
    high = min((width // spacing + 1) * spacing, full)
    share = (width - low) / (high - low)
    return [(low, 1 - share), (high, share)]


def _units(channels: int, each: int) -> int:
    """Return how many units of so many channels make a multiple of the alignment."""
    return lcm(channels, each) // each


def _sums(parts: Iterable[tuple[str, float]]) -> Mapping[str, float]:
    found: dict[str, float] = defaultdict(float)
    for stage, ms in parts:
        found[stage] += ms
    return found
