"""Fill the page: everything is escaped, nothing is loaded from anywhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from toolchain.emit.advice import advice_of
from toolchain.emit.html import plots
from toolchain.emit.markdown import (
    accuracy_text,
    count_text,
    equivalence_text,
    latency_text,
    origin_text,
    original_text,
    printable,
    ratio_text,
)
from toolchain.emit.report import FrozenGroupFigure, Report

TEMPLATE = "report.html.j2"


def render_html(report: Report) -> str:
    """Write the whole page."""
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters.update(
        accuracy=accuracy_text,
        bytes=bytes_text,
        count=count_text,
        equivalence=equivalence_text,
        latency=latency_text,
        origin=origin_text,
        original=original_text,
        ratio=ratio_text,
    )
    pruning, passes = report.pruning, report.passes
    return environment.get_template(TEMPLATE).render(
        report=report,
        advice=advice_of(report),
        first=passes[0] if passes else None,
        last=report.shipped,
        slowest=max((item.latency.ratio_high for item in passes if item.latency), default=1.0),
        widest=max((item.width_before for item in pruning.groups), default=1) if pruning else 1,
        frozen=_by_reason(pruning.frozen_groups) if pruning else {},
        candidates=plots.candidate_plot(pruning, passes[0].macs) if pruning and passes else None,
        accuracies=plots.accuracy_plot(passes),
        stairs=[plots.stair_plot(stair) for stair in report.stairs],
        canvas=plots,
        style=Markup((folder / "report.css").read_text(encoding="utf-8")),
    )


def bytes_text(count: int) -> str:
    """Write 953738 as `954 kB`."""
    text = count_text(count)
    return f"{text.rstrip('kMG')} {text.lstrip('0123456789.')}B"


def _visible(value: object) -> object:
    """Write control characters as escapes; what is markup already stays."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _by_reason(groups: Sequence[FrozenGroupFigure]) -> Mapping[str, Sequence[FrozenGroupFigure]]:
    found: dict[str, list[FrozenGroupFigure]] = defaultdict(list)
    for group in groups:
        found[group.reason].append(group)
    return dict(sorted(found.items(), key=lambda item: -sum(group.width for group in item[1])))
