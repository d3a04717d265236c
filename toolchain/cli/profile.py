"""`prunec profile`: where the time of a network goes, and the stairs of its layers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from toolchain.cli.compose import load_rules
from toolchain.cli.folding import folded_apart
from toolchain.cli.terminal import Terminal
from toolchain.emit.bundle import replaced
from toolchain.errors import UsageError
from toolchain.graph.analysis import analyse
from toolchain.graph.deployment import deployment_binding, parse_input_shapes
from toolchain.graph.load import load_model
from toolchain.measure.lock import device_lock
from toolchain.profile.figures import CurveFigure, KernelFigure, ProfileFigure
from toolchain.profile.page import render_drawing, render_page
from toolchain.profile.run import Wanted, profile_network
from toolchain.store.latency_store import LatencyStore, default_path
from toolchain.targets import registry as targets
from toolchain.trial import try_model

RENDERERS = {".html": render_page, ".svg": render_drawing}
BAR_CELLS = 20
LEVELS = "▁▂▃▄▅▆▇█"
SPARK_CELLS = 24


def profile(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    target: Annotated[str, typer.Option(help="Where the engine runs.")] = "auto",
    target_options: Annotated[str, typer.Option(help="Options of the target, e.g. threads=1.")] = "",
    group: Annotated[str, typer.Option(help="Only the stairs of all layers that this group touches.")] = "",
    layer: Annotated[str, typer.Option(help="Only the stairs of this layer.")] = "",
    exhaustive: Annotated[bool, typer.Option("--exhaustive", help="Time every width, to check the search.")] = False,
    input_shapes: Annotated[str, typer.Option(help='Sizes when deployed: "x:[8,3,224,224]".')] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Plots too: a .html or .svg file.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws inputs, weights and spot checks.")] = 0,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON alone to stdout.")] = False,
) -> None:
    """Print MODEL's share of time per layer, and the widths below which each distinct layer becomes faster.

    Latencies stay in the latency store: what was timed once, here or by `compile`, is not timed again.
    """
    if output is not None and output.suffix not in RENDERERS:
        raise UsageError(f"--output {output} is neither a .html nor a .svg file", hint="choose one of these endings")
    terminal = Terminal(quiet=json_output)
    loaded, rules, shapes = load_model(model), load_rules(), parse_input_shapes(input_shapes)
    chosen = targets.create(target, target_options)
    binding = deployment_binding(loaded.normalised, shapes, {})
    if chosen.executes:
        try_model(loaded, rules, binding)
    analysis = analyse(folded_apart(loaded, binding), rules, binding=binding)
    with (
        terminal.live(),
        tempfile.TemporaryDirectory(prefix="prunec-") as folder,
        device_lock(chosen.identity().device, terminal.progress),
        LatencyStore(default_path(), terminal.warn) as store,
    ):
        generator, wanted = np.random.default_rng(seed), Wanted(layer, group, exhaustive)
        figure = profile_network(
            str(model), analysis, chosen, Path(folder), generator, store, wanted, terminal.progress
        )
    if output is not None:
        with replaced(output) as temporary:
            temporary.write_text(RENDERERS[output.suffix](figure), encoding="utf-8")
    if json_output:
        print(figure.model_dump_json(indent=2))
    else:
        _print(figure, terminal)


def _print(figure: ProfileFigure, terminal: Terminal) -> None:
    target = figure.target
    modelled = "" if target.measured else ", modelled, not measured"
    terminal.line(
        f"{figure.model}: {figure.whole_ms:.3g} ms on {target.name}, {target.device}, {target.runtime}{modelled}"
    )
    most = figure.kernels[0].share if figure.kernels else 1.0
    kernels = [_kernel_row(kernel, most) for kernel in figure.kernels]
    ops = "ops in one kernel" if figure.in_network else "timed alone"
    terminal.table(("layer", ops, "ms", "share", ""), kernels)
    if not figure.curves:
        terminal.line("no layer has a width to choose; `prunec inspect` says why")
        return
    headings = ("stairs of", "layers", "along", "widths below which latency drops", "latency", "timings")
    terminal.table(headings, [_curve_row(curve) for curve in figure.curves])
    terminal.line(
        f"{figure.timings} widths looked at, full sweeps are {figure.sweep_timings}; "
        f"{figure.timed} latencies timed in {figure.seconds:.1f} s, the others were known"
    )


def _kernel_row(kernel: KernelFigure, most: float) -> tuple[str, ...]:
    bar = "█" * round(BAR_CELLS * kernel.share / most)
    return kernel.name, " + ".join(kernel.op_types), f"{kernel.latency_ms:.3g}", f"{100 * kernel.share:.1f} %", bar


def _curve_row(curve: CurveFigure) -> tuple[str, ...]:
    steps = ", ".join(map(str, curve.steps)) or "none"
    timings = f"{curve.timings} of {curve.sweep_timings}"
    return curve.what, str(len(curve.layers)), curve.axis, steps, sparkline(curve.widths, curve.latency_ms), timings


def sparkline(widths: Sequence[int], values: Sequence[float]) -> str:
    """Return latency over width as a row of blocks, from width 0 to the full width; a full block is the slowest."""
    at = np.linspace(widths[0], widths[-1], SPARK_CELLS)
    heights = np.interp(at, widths, values) / (max(values) or 1.0)
    return "".join(LEVELS[min(int(height * len(LEVELS)), len(LEVELS) - 1)] for height in heights)
