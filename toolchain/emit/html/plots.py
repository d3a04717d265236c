"""Plots as numbers: where marks, lines and ticks lie; the template draws them as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from toolchain.emit.report import PassFigure, PruningFigure, StairFigure

WIDTH, HEIGHT = 460.0, 260.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 14.0, 12.0, 42.0
TICKS = 5
ROOM = 0.06
"""Empty share at either end of an axis, so that no mark lies on its frame."""


@dataclass(frozen=True)
class Point:
    """What is known of a mark: coordinates in the plot's units, what it says when pointed at, its CSS class."""

    x: float
    y: float
    text: str
    kind: str = ""


@dataclass(frozen=True)
class Tick:
    """A labelled position along an axis, in pixels."""

    at: float
    text: str


@dataclass(frozen=True)
class Mark:
    """A mark in pixels."""

    x: float
    y: float
    text: str
    kind: str


@dataclass(frozen=True)
class Plot:
    """A plot in pixels of a WIDTH x HEIGHT canvas; `line` connects marks and may be empty."""

    title: str
    x_label: str
    y_label: str
    marks: tuple[Mark, ...]
    line: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Scale:
    """Maps a range of values to a range of pixels."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float) -> Scale:
        """Leave room at both ends; a single value gets a range of its own."""
        low, high = min(values), max(values)
        room = ROOM * (high - low) or abs(high) * ROOM or 1.0
        return cls(low - room, high + room, start, end)

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self) -> tuple[Tick, ...]:
        """Return round values: 1, 2 or 5 times a power of ten apart."""
        rough = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return tuple(Tick(self(number * step), f"{number * step:.6g}") for number in range(first, last + 1))


def draw(title: str, x_label: str, y_label: str, points: Sequence[Point], *, connect: bool = False) -> Plot:
    """Lay points out."""
    x_scale = Scale.around([point.x for point in points], LEFT, WIDTH - RIGHT)
    y_scale = Scale.around([point.y for point in points], HEIGHT - BOTTOM, TOP)
    marks = tuple(Mark(x_scale(point.x), y_scale(point.y), point.text, point.kind) for point in points)
    line = " ".join(f"{mark.x},{mark.y}" for mark in marks) if connect else ""
    return Plot(title, x_label, y_label, marks, line, x_scale.ticks(), y_scale.ticks())


def candidate_plot(pruning: PruningFigure, macs: int) -> Plot | None:
    """Draw every engine that the search built: its loss, or where that was not looked at its MACs, over its latency."""
    trials = pruning.trials
    if not trials:
        return None
    lossy = all(trial.loss is not None for trial in trials)
    points = [
        Point(
            100 * trial.ratio,
            float(trial.loss or 0) if lossy else 100 * trial.macs / max(macs, 1),
            f"trial {number}: {100 * trial.ratio:.1f} % [{100 * trial.ratio_low:.1f}, {100 * trial.ratio_high:.1f}]",
            "last" if number == len(trials) else "",
        )
        for number, trial in enumerate(trials, 1)
    ]
    what = "loss on held-out samples" if lossy else "MACs, % of the original"
    return draw("Candidates of the search; filled: the last one", "latency, % of the original", what, points)


def accuracy_plot(passes: Sequence[PassFigure]) -> Plot | None:
    """Draw accuracy over latency after each pass; None where that was not measured twice."""
    points = [
        Point(
            100 * item.latency.ratio,
            item.accuracy.value,
            f"{item.name}: {item.accuracy.value:.2f} {item.accuracy.unit} at {100 * item.latency.ratio:.1f} %",
            "last" if item is passes[-1] else "",
        )
        for item in passes
        if item.latency and item.accuracy
    ]
    metric = next((f"{item.accuracy.metric} {item.accuracy.unit}".strip() for item in passes if item.accuracy), "")
    if len(points) < 2:
        return None
    return draw(
        "Accuracy and latency after each pass; filled: the last one", "latency, % of the original", metric, points
    )


def stair_plot(stair: StairFigure) -> Plot:
    """Draw a layer's latency over the width it writes, steps and the chosen width marked."""
    points = [
        Point(width, median_ms, f"width {width}: {median_ms:.3g} ms", _kind(stair, width))
        for width, median_ms in zip(stair.widths, stair.median_ms, strict=True)
    ]
    return draw(stair.layer, "width", "median, ms", points, connect=True)


def _kind(stair: StairFigure, width: int) -> str:
    if width == stair.chosen_width:
        return "last"
    return "step" if width in stair.steps else ""
