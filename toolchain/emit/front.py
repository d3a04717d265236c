"""`front.json` and `front.md`: accuracy against latency of several budgets' bundles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from toolchain.emit.bundle import replaced
from toolchain.emit.markdown import accuracy_text, count_text, latency_text, ratio_text, table
from toolchain.emit.report import AccuracyFigure, Frozen, LatencyFigure, Report, TargetFigure

HEADINGS = ("budget", "outcome", "latency", "ratio to original", "accuracy", "parameters", "MACs")


class FrontPoint(Frozen):
    """What ships for one budget; `bundle` is its folder beside the file."""

    budget: str
    bundle: str
    outcome: str
    exit_code: int
    parameters: int
    macs: int
    latency: LatencyFigure | None
    accuracy: AccuracyFigure | None

    @classmethod
    def of(cls, report: Report, bundle: str) -> FrontPoint:
        """Read what ships off a report."""
        shipped = report.shipped
        assert shipped is not None
        return cls(
            budget=report.budget,
            bundle=bundle,
            outcome=report.outcome,
            exit_code=report.exit_code,
            parameters=shipped.parameters,
            macs=shipped.macs,
            latency=shipped.latency,
            accuracy=shipped.accuracy,
        )


class Front(Frozen):
    """The original and the points, in the order of the budgets."""

    schema_version: Literal[1] = 1
    model_path: str
    model_sha256: str
    target: TargetFigure | None
    original_accuracy: AccuracyFigure | None
    points: tuple[FrontPoint, ...]

    @classmethod
    def of(cls, reports: Sequence[Report], bundles: Sequence[str]) -> Front:
        """Collect the reports of one model; `bundles` are their folders."""
        first = reports[0]
        return cls(
            model_path=first.model_path,
            model_sha256=first.model_sha256,
            target=first.target,
            original_accuracy=first.passes[0].accuracy,
            points=tuple(FrontPoint.of(report, bundle) for report, bundle in zip(reports, bundles, strict=True)),
        )


def point_row(point: FrontPoint) -> tuple[str, ...]:
    """Return the cells of a point, in the order of HEADINGS."""
    return (
        point.budget,
        point.outcome,
        latency_text(point.latency),
        ratio_text(point.latency),
        accuracy_text(point.accuracy),
        count_text(point.parameters),
        count_text(point.macs),
    )


def render_front(front: Front) -> str:
    """Write the front as Markdown, each budget a link to its bundle's report."""
    rows = [(f"[{point.budget}]({point.bundle}/report.md)", *point_row(point)[1:]) for point in front.points]
    lines = [f"- model: `{front.model_path}` (sha256 `{front.model_sha256}`)"]
    if front.target:
        kind = "measured on" if front.target.measured else "modelled, not measured, for"
        lines.append(f"- target: {front.target.name}, {kind} {front.target.device}, {front.target.runtime}")
    if front.original_accuracy:
        lines.append(f"- original: {front.original_accuracy.metric} of {accuracy_text(front.original_accuracy)}")
    return "\n\n".join(["# prunec: accuracy against latency", "\n".join(lines), table(HEADINGS, rows)]) + "\n"


def write_front(folder: Path, front: Front) -> None:
    """Write `front.json` and `front.md`, each whole or not at all."""
    texts = {"front.json": front.model_dump_json(indent=2) + "\n", "front.md": render_front(front)}
    for name, text in texts.items():
        with replaced(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
