"""The front of several budgets: accuracy against latency, one line each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from toolchain.cli.terminal import Terminal
from toolchain.emit.front import HEADINGS, FrontPoint, point_row
from toolchain.emit.report import Report


def print_front(reports: Sequence[Report], terminal: Terminal, output: Path, *, json_output: bool) -> None:
    """Print a table, or a JSON list of the reports, and say where the bundles are."""
    if json_output:
        print(json.dumps([report.model_dump(mode="json") for report in reports], indent=2))
        return
    terminal.table(HEADINGS, [point_row(FrontPoint.of(report, "")) for report in reports])
    terminal.line(f"bundles: {output}")
