"""`report.md`: the report for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC

from toolchain.emit.advice import advice_of
from toolchain.emit.report import (
    AccuracyFigure,
    EquivalenceFigure,
    LatencyFigure,
    OriginFigure,
    PassFigure,
    PruningFigure,
    Report,
)

HEADINGS = (
    "pass",
    "status",
    "latency",
    "original beside it",
    "ratio to original",
    "parameters",
    "MACs",
    "accuracy",
    "seconds",
)

SHOWN = 2
"""Of many alike reasons; all of them are in report.json."""


def pass_row(figure: PassFigure) -> tuple[str, ...]:
    """Return the cells of one pass, in the order of HEADINGS."""
    return (
        figure.name,
        figure.status,
        latency_text(figure.latency),
        original_text(figure.latency),
        ratio_text(figure.latency),
        count_text(figure.parameters),
        count_text(figure.macs),
        accuracy_text(figure.accuracy),
        f"{figure.seconds:.1f}",
    )


def latency_text(figure: LatencyFigure | None) -> str:
    """Write `9.81 ms (9.70-10.02)`: median, 10th and 90th percentile."""
    if figure is None:
        return "-"
    modelled = "" if figure.measured else " modelled"
    return f"{figure.median_ms:.3g} ms ({figure.p10_ms:.3g}-{figure.p90_ms:.3g}){modelled}"


def original_text(figure: LatencyFigure | None) -> str:
    """Write the original's median in the same interleaved run: machines drift, ratios do not."""
    return "-" if figure is None else f"{figure.original_median_ms:.3g} ms"


def ratio_text(figure: LatencyFigure | None) -> str:
    """Write `58.9 % [58.4, 59.5]`: the ratio of the medians and its interval."""
    if figure is None:
        return "-"
    modelled = "" if figure.measured else " modelled"
    return f"{100 * figure.ratio:.1f} % [{100 * figure.ratio_low:.1f}, {100 * figure.ratio_high:.1f}]{modelled}"


def accuracy_text(figure: AccuracyFigure | None) -> str:
    """Write `98.20 %`, or the metric's plain value."""
    return "-" if figure is None else f"{figure.value:.2f} {figure.unit}".strip()


def origin_text(figure: OriginFigure) -> str:
    """Write where and when the latencies of layers had been measured, and what was timed here all the same."""
    profile = " and the profile of the network" if figure.profiled else ""
    others = f"{figure.own} others and whole engines" if figure.own else "only whole engines"
    days = dict.fromkeys(f"{moment.astimezone(UTC):%Y-%m-%d}" for moment in (figure.oldest, figure.newest))
    return (
        f"{figure.entries} latencies{profile} of `{figure.path}` chose the widths, measured on {figure.device}, "
        f"{figure.runtime}, {' to '.join(days)} (UTC); {others} were timed here"
    )


def equivalence_text(figure: EquivalenceFigure) -> str:
    """Write how far the model is from what it stands for."""
    if figure.inexact:
        return inexact_text(figure)
    power = "" if figure.powered else ", but a wrong slice would not have shown"
    return f"equivalence error {figure.relative_error:.1e}{power}"


def inexact_text(figure: EquivalenceFigure) -> str:
    """Write how far a model is from the masked original that it does not stand for, and why."""
    return (
        f"inexact, outputs deviate from the masked original's by {figure.relative_error:.1e} of the largest one "
        f"({first_of(figure.inexact)})"
    )


def first_of(texts: Sequence[str]) -> str:
    """Write the first two of many texts, and how many more there are."""
    more = f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more


def count_text(count: int) -> str:
    """Write 953738 as `954k`."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def printable(text: str) -> str:
    """Write control characters as escapes: names come from files, and a name must not command a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def render_markdown(report: Report) -> str:
    """Write the whole report."""
    parts = [f"# prunec: {report.outcome}", report.message, advice_of(report) or "", *_headline(report), "## Passes"]
    parts.append(table(HEADINGS, [pass_row(item) for item in report.passes]))
    parts += _pass_notes(report)
    if report.unknown:
        parts += ["## Not known", "\n".join(f"- {item}" for item in report.unknown)]
    if report.pruning:
        parts += [*_groups(report.pruning), *_trials(report.pruning)]
    parts += ["## Reproduce", f"    {report.command}", *_environment(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _headline(report: Report) -> list[str]:
    lines = [
        f"- model: `{report.model_path}` (sha256 `{report.model_sha256}`)",
        f"- budget: {report.budget or 'none'}",
    ]
    if report.target:
        kind = "measured on" if report.target.measured else "modelled, not measured, for"
        options = ", ".join(f"{name}={value}" for name, value in report.target.options)
        lines.append(
            f"- target: {report.target.name} ({options}), {kind} {report.target.device}, {report.target.runtime}"
        )
    for item in report.also_built:
        options = ", ".join(f"{name}={value}" for name, value in item.options)
        lines.append(f"- also built, not timed: {item.name} ({options}), {item.runtime}")
    if report.latencies:
        lines.append(f"- layers: {origin_text(report.latencies)}")
    if report.data:
        data = report.data
        lines.append(
            f"- data: {data.evaluation_samples} samples of `{data.path}` judge, "
            f"{data.calibration_samples} others of `{data.calibration_path}` calibrate (seed {report.seed})"
        )
        lines += [f"- warning: {item}" for item in data.warnings]
    if report.runtime_drift is not None:
        lines.append(f"- runtime drift (optimised against not): {report.runtime_drift:.1e} of the largest output")
    return ["\n".join(lines)]


def _pass_notes(report: Report) -> list[str]:
    lines = []
    for item in report.passes:
        texts = [*item.notes, item.reason]
        if item.equivalence:
            texts.append(equivalence_text(item.equivalence))
        if any(texts):
            lines.append(f"- {item.name}: {'; '.join(text for text in texts if text)}")
    return ["\n".join(lines)] if lines else []


def _groups(pruning: PruningFigure) -> list[str]:
    rows = [(item.name, str(item.width_before), str(item.width_after)) for item in pruning.groups]
    parts = ["## Widths", table(("group", "before", "after"), rows)]
    parts.append(f"{pruning.prunable_channel_share:.1%} of the channels can be pruned.")
    if pruning.frozen_groups:
        frozen = [(item.name, str(item.width), item.reason) for item in pruning.frozen_groups]
        parts += ["## Frozen groups", table(("group", "width", "reason"), frozen)]
    return parts


def _trials(pruning: PruningFigure) -> list[str]:
    rows = [
        (
            str(i),
            f"{100 * t.ratio:.1f} % [{100 * t.ratio_low:.1f}, {100 * t.ratio_high:.1f}]",
            count_text(t.macs),
        )
        for i, t in enumerate(pruning.trials, 1)
    ]
    return ["## Search", table(("trial", "ratio to original", "MACs"), rows)]


def _environment(report: Report) -> list[str]:
    environment = report.environment
    versions = ", ".join(f"{name} {number}" for name, number in environment.libraries)
    return [f"prunec {environment.prunec}, Python {environment.python}, {versions}"]


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write rows as a Markdown table; what is in a cell stays in it."""
    lines = [_row(headings), _row(["---"] * len(headings)), *(_row(row) for row in rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(printable(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
