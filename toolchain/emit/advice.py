"""What to do next, where the figures alone are easily overlooked."""

from __future__ import annotations

from toolchain.emit.finetune.run import NAME as FINETUNE
from toolchain.emit.report import AccuracyFigure, Report

CLEARLY_LOST = 0.01
"""Of a metric without an interval: this share of the original's value is no noise."""


def advice_of(report: Report) -> str | None:
    """Say that a network lost accuracy which training may bring back; None where it lost none, or was trained."""
    shipped = report.shipped
    if shipped is None or shipped.name == FINETUNE:
        return None
    before, after = report.passes[0].accuracy, shipped.accuracy
    if before is None or after is None or not _clearly_lost(before, after):
        return None
    return (
        f"{before.metric} fell from {before.value:.2f} to {after.value:.2f}: train it before it ships (finetune.py in "
        "the bundle, --finetune), or let --max-accuracy-drop choose the budget"
    )


def _clearly_lost(before: AccuracyFigure, after: AccuracyFigure) -> bool:
    if before.low is None or after.high is None:
        return before.value - after.value > CLEARLY_LOST * abs(before.value)
    return after.high < before.low
