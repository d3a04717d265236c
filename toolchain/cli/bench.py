"""`prunec bench`: two models on one target, interleaved."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from toolchain.cli.compose import load_rules
from toolchain.cli.terminal import Terminal
from toolchain.emit.markdown import latency_text, ratio_text
from toolchain.emit.report import LatencyFigure
from toolchain.errors import TooNoisy, UsageError
from toolchain.graph.deployment import bind_model, deployment_binding, parse_input_shapes, random_feeds
from toolchain.graph.load import load_model
from toolchain.measure.comparison import Comparison
from toolchain.measure.lock import device_lock
from toolchain.measure.protocol import Feeds, Protocol, compare
from toolchain.targets import registry as targets
from toolchain.targets.contract import Target
from toolchain.trial import try_model


def bench(
    baseline: Annotated[Path, typer.Argument(help="The model to compare with.")],
    candidate: Annotated[Path, typer.Argument(help="The model to judge.")],
    target: Annotated[str, typer.Option(help="Where the engines run.")] = "auto",
    target_options: Annotated[str, typer.Option(help="Options of the target, e.g. threads=1.")] = "",
    input_shapes: Annotated[str, typer.Option(help='Sizes when deployed: "x:[8,3,224,224]".')] = "",
    half_width: Annotated[float, typer.Option(help="Wanted half-width of the ratio's interval.")] = 0.01,
    max_seconds: Annotated[float, typer.Option(help="Give up narrowing the interval after this time.")] = 20.0,
    seed: Annotated[int, typer.Option(min=0, help="Draws the inputs and the interval.")] = 0,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON alone to stdout.")] = False,
) -> None:
    """Time CANDIDATE against BASELINE: the ratio of their latencies, with its interval."""
    terminal = Terminal(quiet=json_output)
    loaded = [load_model(path) for path in (baseline, candidate)]
    models = [item.original for item in loaded]
    shapes = parse_input_shapes(input_shapes)
    generator = np.random.default_rng(seed)
    bindings = [deployment_binding(model, shapes, {}) for model in models]
    feeds, others = (random_feeds(model, sizes, generator) for model, sizes in zip(models, bindings, strict=True))
    if _signature(feeds) != _signature(others):
        raise UsageError(f"{baseline} and {candidate} do not take the same inputs", hint="only like compares with like")
    chosen = targets.create(target, target_options)
    if chosen.executes:
        for item, sizes in zip(loaded, bindings, strict=True):
            try_model(item, load_rules(), sizes)
    if chosen.needs_fixed_sizes:
        models = [bind_model(model, sizes) for model, sizes in zip(models, bindings, strict=True)]
    protocol = Protocol(half_width=half_width, max_seconds=max_seconds)
    with (
        terminal.live(),
        tempfile.TemporaryDirectory(prefix="prunec-") as folder,
        device_lock(chosen.identity().device, terminal.progress),
    ):
        terminal.progress("building and timing")
        engines = [chosen.build(model, Path(folder)) for model in models]
        comparison = compare(chosen, engines[0], engines[1], feeds, protocol=protocol, rng=generator)
    states = comparison.candidate.gpu
    if states and states.complaint:
        terminal.warn(states.complaint)
    if json_output:
        print(comparison.to_json())
    else:
        _print(comparison, (str(baseline), str(candidate)), chosen, terminal)
    if not comparison.converged:
        raise TooNoisy(
            f"the interval is still {100 * comparison.half_width:.1f} % wide to either side",
            hint="close other programs, or give --max-seconds or --half-width",
        )


def _signature(feeds: Feeds) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (str(value.dtype), value.shape) for name, value in feeds.items()}


def _print(comparison: Comparison, names: tuple[str, str], target: Target, terminal: Terminal) -> None:
    figure, identity = LatencyFigure.of(comparison), target.identity()
    rows = [
        (names[0], f"{comparison.baseline.median_ms:.3g} ms", "100 %"),
        (names[1], latency_text(figure), ratio_text(figure)),
    ]
    terminal.table(("model", "latency", "ratio"), rows, title=f"{target.name} on {identity.device}, {identity.runtime}")
    terminal.line(f"verdict: {figure.verdict}")
