"""`prunec bench`: two models or engines, on one target or two, interleaved."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from toolchain.cli.compose import load_rules
from toolchain.cli.terminal import Terminal
from toolchain.contenders import Contender, ModelContender, Wish, open_contender
from toolchain.emit.markdown import latency_text, ratio_text
from toolchain.emit.report import LatencyFigure
from toolchain.errors import TooNoisy, UsageError
from toolchain.graph.deployment import parse_input_shapes
from toolchain.measure.comparison import Comparison
from toolchain.measure.inputs import Sizes, difference, random_inputs
from toolchain.measure.lock import device_lock
from toolchain.measure.protocol import Protocol, compare, require_one_clock
from toolchain.targets.contract import Target
from toolchain.targets.registry import AUTO

WHAT = "a model, an engine that `prunec build` wrote, or a bundle"


def bench(
    baseline: Annotated[Path, typer.Argument(help=f"What to compare with: {WHAT}.")],
    candidate: Annotated[Path, typer.Argument(help=f"What to judge: {WHAT}.")],
    target: Annotated[str, typer.Option(help="Where models run; auto: where the engine beside them runs.")] = "auto",
    target_options: Annotated[str, typer.Option(help="Options of the target, e.g. threads=1.")] = "",
    candidate_target: Annotated[
        str, typer.Option(help="Where CANDIDATE runs, if that is elsewhere: openvino, or openvino:threads=1.")
    ] = "",
    input_shapes: Annotated[str, typer.Option(help='Sizes when deployed: "x:[8,3,224,224]".')] = "",
    half_width: Annotated[float, typer.Option(help="Wanted half-width of the ratio's interval.")] = 0.01,
    max_seconds: Annotated[float, typer.Option(help="Give up narrowing the interval after this time.")] = 20.0,
    seed: Annotated[int, typer.Option(min=0, help="Draws the inputs and the interval.")] = 0,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON alone to stdout.")] = False,
) -> None:
    """Time CANDIDATE against BASELINE: the ratio of their latencies, with its interval.

    An engine runs on the target that it was built for; hashes are checked before it is loaded.
    """
    terminal = Terminal(quiet=json_output)
    wish = Wish(target, target_options)
    wishes = wish, _wish(candidate_target) if candidate_target else wish
    sides = [open_contender(path, own, terminal.warn) for path, own in zip((baseline, candidate), wishes, strict=True)]
    chosen = _targets(sides, wishes)
    sizes = _sizes(sides, input_shapes)
    rules, generator = load_rules(), np.random.default_rng(seed)
    inputs = [side.inputs(on, own, rules) for side, on, own in zip(sides, chosen, sizes, strict=True)]
    if found := difference(*inputs):
        what = f"{baseline} and {candidate} do not take the same inputs: {found}"
        raise UsageError(what, hint="only like compares with like; --input-shapes fixes sizes that are open")
    protocol = Protocol(half_width=half_width, max_seconds=max_seconds)
    with ExitStack() as stack:
        stack.enter_context(terminal.live())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prunec-")))
        for device in sorted({on.identity().device for on in chosen}):  # in one order, or two runs wait for each other
            stack.enter_context(device_lock(device, terminal.progress))
        terminal.progress("building and timing")
        first, second = (side.engine(on, own, folder) for side, on, own in zip(sides, chosen, sizes, strict=True))
        feeds = random_inputs(inputs[0], generator)
        comparison = compare(
            chosen[0], first, second, feeds, protocol=protocol, rng=generator, candidate_target=chosen[1]
        )
    states = comparison.candidate.gpu
    if states and states.complaint:
        terminal.warn(states.complaint)
    if json_output:
        print(comparison.to_json())
    else:
        _print(comparison, sides, chosen, terminal)
    if not comparison.converged:
        raise TooNoisy(
            f"the interval is still {100 * comparison.half_width:.1f} % wide to either side",
            hint="close other programs, or give --max-seconds or --half-width",
        )


def _wish(text: str) -> Wish:
    """Read TARGET:OPTIONS."""
    name, _, options = text.partition(":")
    return Wish(name, options)


def _targets(sides: Sequence[Contender], wishes: Sequence[Wish]) -> list[Target]:
    """Return each side's target: the one wished for, its own, or for a model that of the engine on the other side."""
    found = []
    for side, other, wish in zip(sides, reversed(sides), wishes, strict=True):
        free = isinstance(side, ModelContender) and wish.target == AUTO
        found.append(side.target(Wish(other.home.target, wish.options or other.home.options) if free else wish))
    require_one_clock(*found)
    return found


def _sizes(sides: Sequence[Contender], input_shapes: str) -> list[Sizes]:
    """Return where each side's open sizes come from: the user, its own papers, then those of the other one."""
    wanted = parse_input_shapes(input_shapes)
    return [
        Sizes(wanted=wanted, known=(side.deployed, other.deployed))
        for side, other in zip(sides, reversed(sides), strict=True)
    ]


def _print(comparison: Comparison, sides: Sequence[Contender], chosen: Sequence[Target], terminal: Terminal) -> None:
    figure = LatencyFigure.of(comparison)
    rows = [
        (str(sides[0].path), chosen[0].name, f"{comparison.baseline.median_ms:.3g} ms", "100 %"),
        (str(sides[1].path), chosen[1].name, latency_text(figure), ratio_text(figure)),
    ]
    places = list(dict.fromkeys(map(_place, chosen)))
    for place in places:
        terminal.line(place)
    terminal.table(("engine", "target", "latency", "ratio"), rows)
    terminal.line(f"verdict: {figure.verdict}")


def _place(target: Target) -> str:
    """Write where an engine ran."""
    identity = target.identity()
    options = ", ".join(f"{name}={value}" for name, value in identity.options)
    return f"{target.name} on {identity.device}, {identity.runtime} ({options})"
