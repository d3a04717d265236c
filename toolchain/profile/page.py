"""A profile as a page or a drawing: self-contained, nothing is loaded from anywhere."""

from __future__ import annotations

from pathlib import Path

import jinja2
from markupsafe import Markup

from toolchain.emit.html import plots
from toolchain.emit.html.plots import Plot, Point
from toolchain.emit.markdown import printable
from toolchain.profile.figures import CurveFigure, ProfileFigure

COLUMNS = 2
"""Plots beside each other in a drawing."""


def render_page(profile: ProfileFigure) -> str:
    """Write the HTML page."""
    return _render("profile.html.j2", profile)


def render_drawing(profile: ProfileFigure) -> str:
    """Write all curves as one SVG."""
    return _render("profile.svg.j2", profile)


def curve_plot(curve: CurveFigure) -> Plot:
    """Draw latency over width; steps are filled."""
    points = [
        Point(width, latency_ms, f"width {width}: {latency_ms:.3g} ms", "step" if width in curve.steps else "")
        for width, latency_ms in zip(curve.widths, curve.latency_ms, strict=True)
    ]
    return plots.draw(curve.what, f"{curve.axis} width", "ms", points, connect=True)


def _render(template: str, profile: ProfileFigure) -> str:
    shared = Path(plots.__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([Path(__file__).parent, shared]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    return environment.get_template(template).render(
        profile=profile,
        curves=[(curve, curve_plot(curve)) for curve in profile.curves],
        columns=COLUMNS,
        canvas=plots,
        style=Markup((shared / "report.css").read_text(encoding="utf-8")),
    )


def _visible(value: object) -> object:
    """Write control characters as escapes; what is markup already stays."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
