"""The step finder against exhaustive sweeps of ten layer shapes: `python tests/bench/steps.py --target onnxruntime`.

Both time the same layer, independently of each other. Others only ever add time, so all widths are swept three times,
minutes apart, and the least counts (the table has the timings and seconds of one sweep); then the sweep is confirmed:
its steps and the widths around them are timed again, until the steps stay. Its steps are those of the
three-point test: clearly faster than all wider ones chosen, clearly faster than the next channel, and flat before: not
clearly slower than a hardly narrower width (by 1/64 of the full width, at least 4). On a slope any width is as good as
its neighbours, and none is a step; the drops there are counted apart. Widths below the least acceptable are left out.

A step of the sweep counts as found where the finder offers a width that is less than hardly narrower and that the sweep
says is as fast. A step of the finder is false where the sweep sees no drop from the step before it that exceeds the
noise. Shapes that are finished are kept in results/steps.json, one entry a target and shape.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from math import hypot
from pathlib import Path

import numpy as np
import onnx
from rich.console import Console
from rich.table import Table

from toolchain.cli.compose import load_rules
from toolchain.graph.analysis import analyse
from toolchain.graph.deployment import random_feeds
from toolchain.latency.block_clock import BlockClock
from toolchain.latency.block_model import BlockModel
from toolchain.latency.curve import Axis, Curve, Subject, layer_subjects, trace
from toolchain.latency.fusion import fuse
from toolchain.latency.quiet import quiet_ms
from toolchain.latency.steps import Steps, StepTest, Timing, steps_of
from toolchain.profile.run import LEAST_SESSIONS
from toolchain.store.latency_store import LatencyStore
from toolchain.targets import registry as targets
from toolchain.targets.contract import Target

RESULTS = Path(__file__).parent / "results" / "steps.json"


@dataclass(frozen=True)
class Shape:
    """A convolution: channels read and written, kernel, height and width of its input, stride."""

    input: int
    output: int
    kernel: int
    size: int
    stride: int = 1
    depthwise: bool = False
    axis: Axis = Axis.OUTPUT


SHAPES = (
    Shape(64, 256, 3, 14),
    Shape(64, 192, 3, 28),
    Shape(128, 256, 3, 7),
    Shape(64, 256, 1, 28),
    Shape(256, 192, 1, 14),
    Shape(128, 192, 3, 14, stride=2),
    Shape(32, 192, 5, 14),
    Shape(192, 64, 1, 28, axis=Axis.INPUT),
    Shape(192, 64, 3, 14, axis=Axis.INPUT),
    Shape(256, 256, 3, 28, depthwise=True, axis=Axis.BOTH),
)
SWEEPS = 3
CONFIRMATIONS = 4
"""How often the surroundings of steps are timed again, at most."""


@dataclass(frozen=True)
class Outcome:
    """One shape on one target."""

    what: str
    axis: str
    target: str
    device: str
    runtime: str
    date: str
    load_average: float
    alignment: int
    swept_steps: tuple[int, ...]
    found_steps: tuple[int, ...]
    swept_steps_offered: int
    """How many steps of the sweep the finder offers an equal of."""
    false_steps: tuple[int, ...]
    slope_steps: tuple[int, ...]
    """Drops of the sweep that are no steps only because a hardly narrower width is clearly faster: on a slope."""
    slope_steps_offered: int
    timings: int
    """Second timings of the same width are counted too."""
    warm_timings: int
    """What the same search still had to time when the store was full."""
    sweep_timings: int
    seconds: float
    sweep_seconds: float
    warm_seconds: float
    """What the same search takes when all its latencies are in the store."""
    noise_percent: float
    sweep_ms: tuple[float, ...]
    """What the sweep saw, from width 1 on."""
    sweep_noise: tuple[float, ...]


def main() -> None:
    """Run all shapes that have not been run on this target, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="onnxruntime")
    parser.add_argument("--target-options", default="threads=1")
    parser.add_argument("--again", action="store_true", help="also shapes that are in the results")
    arguments = parser.parse_args()
    target = targets.create(arguments.target, arguments.target_options)
    done = {(item["what"], item["axis"], item["target"]) for item in _kept()}
    for shape in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            subject = _subject(shape, target, Path(folder))
            if arguments.again or (subject.what, subject.axis.value, target.name) not in done:
                _keep(_judge(subject, target, Path(folder)))
    _print([item for item in _kept() if item["target"] == target.name])


def _kept() -> list[dict[str, object]]:
    kept: list[dict[str, object]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    return kept


def _keep(outcome: Outcome) -> None:
    """Write an outcome in place of the last one of its shape and target."""
    key = (outcome.what, outcome.axis, outcome.target)
    others = [item for item in _kept() if (item["what"], item["axis"], item["target"]) != key]
    RESULTS.write_text(json.dumps([*others, asdict(outcome)]).replace("}, {", "},\n{") + "\n")


def _subject(shape: Shape, target: Target, folder: Path) -> Subject:
    """Find the layer between two others, as the target fuses it."""
    analysis = analyse(_network(shape), load_rules(), binding={})
    engine = target.build(analysis.model, folder)
    layers = target.profile(analysis.model, engine, random_feeds(analysis.model, {}, np.random.default_rng(0)), 1)
    models = [BlockModel(analysis, one) for one in fuse(analysis, layers)]
    subjects = layer_subjects(model for model in models if model.fused.block.name == "layer")
    return next(subject for subject in subjects if subject.axis is shape.axis)


def _network(shape: Shape) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    group = shape.input if shape.depthwise else 1
    after = (shape.size - 1) // shape.stride + 1
    sizes = {
        "before_weight": (shape.input, 3, 1, 1),
        "weight": (shape.output, shape.input // group, shape.kernel, shape.kernel),
        "after_weight": (4, shape.output, 1, 1),
    }
    pad, k, s = shape.kernel // 2, shape.kernel, shape.stride
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    net (float[1,3,{shape.size},{shape.size}] x) => (float[1,4,{after},{after}] y) {{
        before = Conv<kernel_shape=[1,1]>(x, before_weight)
        led = Relu(before)
        conv = Conv<kernel_shape=[{k},{k}], pads={[pad] * 4}, strides=[{s},{s}], group={group}>(led, weight)
        out = Relu(conv)
        y = Conv<kernel_shape=[1,1]>(out, after_weight)
    }}"""
    model = onnx.parser.parse_model(text)
    model.graph.node[2].name = "layer"
    for name, size in sizes.items():
        values = rng.standard_normal(size).astype(np.float32) * np.prod(size[1:]) ** -0.5
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    return onnx.shape_inference.infer_shapes(model)


def _judge(subject: Subject, target: Target, folder: Path) -> Outcome:
    alignment, test, identity = target.width_alignment(), StepTest(), target.identity()
    with LatencyStore(folder / "latency.sqlite", print) as store:
        clocks = [BlockClock(target, folder, np.random.default_rng(0), store, LEAST_SESSIONS) for _ in range(2)]
        (found, seconds), (_, warm_seconds) = (_timed(subject, clock, target) for clock in clocks)
    points, sweep_timings, sweep_seconds = _swept(subject, target, folder)
    points = _confirmed(subject, points, target, folder)
    drops = [width for width in _drops(points, test) if width >= alignment.least]
    near, offers = max(4, subject.full // 64), (subject.full, *found.steps.widths)
    slope = tuple(width for width in drops if test.faster(points[max(width - near, 1)], points[width]))
    steps = tuple(width for width in drops if width not in slope)
    return Outcome(
        what=subject.what,
        axis=subject.axis.value,
        target=target.name,
        device=identity.device,
        runtime=identity.runtime,
        date=datetime.now(UTC).date().isoformat(),
        load_average=round(os.getloadavg()[1], 1),
        alignment=alignment.preferred,
        swept_steps=steps,
        found_steps=found.steps.widths,
        swept_steps_offered=sum(_offered(width, offers, points, near, test) for width in steps),
        false_steps=_false(found.steps, points),
        slope_steps=slope,
        slope_steps_offered=sum(_offered(width, offers, points, near, test) for width in slope),
        timings=clocks[0].timings,
        warm_timings=clocks[1].timings,
        sweep_timings=sweep_timings,
        seconds=round(seconds, 2),
        sweep_seconds=round(sweep_seconds, 1),
        warm_seconds=round(warm_seconds, 4),
        noise_percent=round(100 * float(np.median([timing.noise for timing in points.values()])), 2),
        sweep_ms=tuple(round(timing.milliseconds, 5) for timing in points.values()),
        sweep_noise=tuple(round(timing.noise, 5) for timing in points.values()),
    )


def _timed(subject: Subject, clock: BlockClock, target: Target, *, exhaustive: bool = False) -> tuple[Curve, float]:
    start = time.perf_counter()
    curve = trace(subject, clock, target.width_alignment(), exhaustive=exhaustive)
    return curve, time.perf_counter() - start


def _swept(subject: Subject, target: Target, folder: Path) -> tuple[dict[int, Timing], int, float]:
    """Sweep all widths several times, the least counts; return the timings and seconds of the first sweep too."""
    clocks = [BlockClock(target, folder, np.random.default_rng(1 + n), None, LEAST_SESSIONS) for n in range(SWEEPS)]
    sweeps = [_timed(subject, clock, target, exhaustive=True) for clock in clocks]
    curves = [dict(curve.steps.points) for curve, _ in sweeps]
    points = {width: min((curve[width] for curve in curves), key=_milliseconds) for width in curves[0]}
    return points, sweeps[0][0].steps.timings, sweeps[0][1]


def _milliseconds(timing: Timing) -> float:
    return timing.milliseconds


def _confirmed(subject: Subject, swept: Mapping[int, Timing], target: Target, folder: Path) -> dict[int, Timing]:
    """Time the surroundings of steps again until the steps stay."""
    points = dict(swept)
    for number in range(CONFIRMATIONS):
        steps = steps_of(points.items(), StepTest()).widths
        clock = BlockClock(target, folder, np.random.default_rng(1 + SWEEPS + number), None, LEAST_SESSIONS)
        around = sorted({width + offset for width in (*steps, subject.full) for offset in (-1, 0, 1)} & set(points))
        for width in around:
            ((model, pair),) = subject.pairs(width)
            latency = clock.latency(model, pair)
            again = Timing(quiet_ms(latency.samples_ms), latency.half_width)
            points[width] = min(points[width], again, key=_milliseconds)
        if steps_of(points.items(), StepTest()).widths == steps:
            break
    return points


def _drops(points: dict[int, Timing], test: StepTest) -> tuple[int, ...]:
    """Return the widths that are clearly faster than all wider ones chosen and than the next one."""
    widths = steps_of(points.items(), test).widths
    return tuple(width for width in widths if test.faster(points[width], points[width + 1]))


def _offered(width: int, offers: Sequence[int], points: dict[int, Timing], near: int, test: StepTest) -> bool:
    """Tell whether some offered width is hardly narrower and, by the sweep, as fast."""
    wanted = points[width]
    return any(
        offer > width - near
        and points[offer].milliseconds <= wanted.milliseconds + test.threshold_ms(points[offer], wanted)
        for offer in offers
    )


def _false(steps: Steps, points: dict[int, Timing]) -> tuple[int, ...]:
    """Return the steps from whose wider neighbour the sweep sees no drop larger than the noise."""
    wider = (steps.points[-1][0], *steps.widths)
    return tuple(
        width
        for width, before in zip(steps.widths, wider, strict=False)
        if points[width].milliseconds
        >= points[before].milliseconds - hypot(points[width].noise_ms, points[before].noise_ms)
    )


def _print(outcomes: Sequence[dict]) -> None:
    table = Table(
        "layer", "axis", "steps swept", "offered", "found", "false", "timings", "sweep", "s", "sweep s", "warm s"
    )
    for item in outcomes:
        table.add_row(
            item["what"],
            item["axis"],
            str(len(item["swept_steps"])),
            str(item["swept_steps_offered"]),
            str(len(item["found_steps"])),
            str(len(item["false_steps"])),
            str(item["timings"]),
            str(item["sweep_timings"]),
            f"{item['seconds']:.1f}",
            f"{item['sweep_seconds']:.1f}",
            f"{item['warm_seconds']:.3f}",
        )
    console = Console(width=150)
    console.print(table)
    total = {
        name: sum(len(item[name]) if isinstance(item.get(name), list) else item.get(name, 0) for item in outcomes)
        for name in (
            "swept_steps",
            "swept_steps_offered",
            "slope_steps",
            "slope_steps_offered",
            "found_steps",
            "false_steps",
            "timings",
            "sweep_timings",
            "seconds",
            "warm_seconds",
        )
    }
    console.print(
        f"offered {total['swept_steps_offered']} of {total['swept_steps']} steps of the sweeps "
        f"(and {total['slope_steps_offered']} of {total['slope_steps']} drops on slopes), "
        f"{total['false_steps']} of {total['found_steps']} false; "
        f"{total['sweep_timings'] / total['timings']:.1f} times fewer timings; "
        f"warm store {total['seconds'] / total['warm_seconds']:.0f} times faster"
    )


if __name__ == "__main__":
    main()
