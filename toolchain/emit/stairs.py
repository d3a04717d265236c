"""The stairs of the report: what a search has timed of each layer, over the channels it writes."""

from __future__ import annotations

from toolchain.emit.report import StairFigure
from toolchain.latency.block_clock import BlockClock
from toolchain.latency.block_model import BlockModel
from toolchain.latency.contract import Widths
from toolchain.latency.steps import StepTest, Timing, steps_of
from toolchain.latency.table import LatencyTable
from toolchain.pipeline.contract import Pruning

LEAST_POINTS = 3


def stair_figures(table: LatencyTable, pruning: Pruning) -> tuple[StairFigure, ...]:
    """Return a stair for each layer that was timed at several widths of its own and all of its input; times nothing.

    Steps are those of the timed widths: a layer has more where a search did not look.
    """
    widths = {name: after for name, _, after in pruning.widths}
    found = (_stair(table.clock, model, widths) for model in table.models.values())
    return tuple(stair for stair in found if stair is not None)


def _stair(clock: BlockClock, model: BlockModel, widths: Widths) -> StairFigure | None:
    full, block = model.weighted.full, model.fused.block
    points = {
        pair.output: latency
        for pair, latency in clock.asked(model).items()
        if pair.input == full.input or model.weighted.depthwise
    }
    if len(points) < LEAST_POINTS:
        return None
    timings = [(width, Timing(points[width].median_ms, points[width].half_width)) for width in sorted(points)]
    return StairFigure(
        layer=block.name,
        widths=tuple(width for width, _ in timings),
        median_ms=tuple(timing.milliseconds for _, timing in timings),
        steps=steps_of(timings, StepTest()).widths,
        chosen_width=block.output.at(widths),
    )
