"""The front of several budgets: accuracy against latency, one line each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from toolchain.cli.terminal import Terminal
from toolchain.emit.report import LatencyFigure, Report

HEADINGS = ("budget", "outcome", "ratio [interval]", "accuracy", "parameters", "MACs")


def print_front(reports: Sequence[Report], terminal: Terminal, output: Path, *, json_output: bool) -> None:
    """Print a table, or a JSON list of the reports, and say where the bundles are."""
    if json_output:
        print(json.dumps([report.model_dump(mode="json") for report in reports], indent=2))
        return
    terminal.table(HEADINGS, [_row(report) for report in reports])
    terminal.line(f"bundles: {output}")


def _row(report: Report) -> tuple[str, ...]:
    last = next(item for item in reversed(report.passes) if item.status != "rolled back")
    latency, accuracy = last.latency, last.accuracy
    return (
        report.budget,
        report.outcome,
        _ratio(latency) if latency else "-",
        f"{accuracy.value:.2f} {accuracy.unit}" if accuracy else "-",
        f"{last.parameters:,}",
        f"{last.macs:,}",
    )


def _ratio(latency: LatencyFigure) -> str:
    return f"{100 * latency.ratio:.1f} % [{100 * latency.ratio_low:.1f}, {100 * latency.ratio_high:.1f}]"
