"""Profile a network: its kernels inside the whole engine, then the curves of its distinct layers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from toolchain.emit.report import TargetFigure
from toolchain.errors import UsageError
from toolchain.graph.analysis import Analysis
from toolchain.graph.deployment import bind_model, random_feeds
from toolchain.latency.block_clock import BlockClock
from toolchain.latency.block_model import BlockModel
from toolchain.latency.curve import Curve, Subject, group_subject, layer_subjects, trace
from toolchain.latency.fusion import fuse
from toolchain.latency.measured_table import profiled
from toolchain.latency.quiet import quiet_ms
from toolchain.profile.figures import CurveFigure, KernelFigure, ProfileFigure
from toolchain.store.latency_store import LatencyStore
from toolchain.targets.contract import Target
from toolchain.targets.layer_time import LayerTime

LEAST_SESSIONS = 4
"""Steps differ by a few percent, and so do single sessions of a runtime, by where their memory lies."""


@dataclass(frozen=True)
class Wanted:
    """Which curves: those of one layer or of one group, else of all distinct layers; by search or by full sweeps."""

    layer: str = ""
    group: str = ""
    exhaustive: bool = False


def profile_network(
    name: str,
    analysis: Analysis,
    target: Target,
    directory: Path,
    generator: np.random.Generator,
    store: LatencyStore,
    wanted: Wanted,
    progress: Callable[[str], None],
) -> ProfileFigure:
    """Return the kernels and the curves of an analysed network at its bound sizes; engines are built in `directory`.

    What has been timed stays in `store`, also when this is interrupted.

    Raises UsageError where the wanted layer or group is not there, or has no width to choose.
    """
    start = time.perf_counter()
    _check(analysis, wanted)
    progress("profiling the whole engine")
    model = bind_model(analysis.model, analysis.binding)
    whole_ms, layers = profiled(target, model, target.build(model, directory), random_feeds(model, {}, generator))
    models = [BlockModel(analysis, one) for one in fuse(analysis, layers)]
    clock = BlockClock(target, directory, generator, store, LEAST_SESSIONS)
    kernels = _kernels(analysis, layers, whole_ms) if layers else _blocks(models, clock, whole_ms)
    subjects = _subjects(models, wanted)
    curves = []
    for number, subject in enumerate(subjects, 1):
        progress(f"{number} of {len(subjects)}: {subject.what}, {subject.axis}")
        curves.append(_figure(trace(subject, clock, target.width_alignment(), exhaustive=wanted.exhaustive)))
    return ProfileFigure(
        model=name,
        target=TargetFigure.of(target),
        whole_ms=whole_ms,
        in_network=bool(layers),
        kernels=kernels,
        curves=tuple(curves),
        exhaustive=wanted.exhaustive,
        timed=clock.timings,
        seconds=time.perf_counter() - start,
    )


def _check(analysis: Analysis, wanted: Wanted) -> None:
    if wanted.layer and wanted.group:
        raise UsageError("--layer and --group both say whose stairs are wanted", hint="give one of them")
    groups = {group.name: group for group in analysis.groups}
    if wanted.group and wanted.group not in groups:
        raise UsageError(f"there is no group '{wanted.group}'", hint=_near(wanted.group, list(groups)))
    if wanted.group and not groups[wanted.group].prunable:
        reason = groups[wanted.group].reason or "it has one unit only"
        raise UsageError(f"group '{wanted.group}' has no width to choose: {reason}", hint="see `prunec inspect`")


def _subjects(models: Sequence[BlockModel], wanted: Wanted) -> Sequence[Subject]:
    if wanted.group:
        found = group_subject(models, wanted.group)
        if found is None:
            raise UsageError(f"group '{wanted.group}' touches no layer that can be timed alone", hint="choose another")
        return [found]
    names = [model.fused.block.name for model in models]
    if wanted.layer and wanted.layer not in names:
        raise UsageError(f"there is no weighted layer '{wanted.layer}'", hint=_near(wanted.layer, names))
    subjects = [item for item in layer_subjects(models) if not wanted.layer or wanted.layer in item.layers]
    if wanted.layer and not subjects:
        raise UsageError(f"layer '{wanted.layer}' has no width to choose", hint="see `prunec inspect` for the reason")
    return subjects


def _near(wanted: str, names: Sequence[str]) -> str:
    """Name what may have been meant."""
    near = get_close_matches(wanted, names, n=3, cutoff=0.3) or names[:3]
    return f"there is {', '.join(near)}" if near else "there is none"


def _kernels(analysis: Analysis, layers: Sequence[LayerTime], whole_ms: float) -> tuple[KernelFigure, ...]:
    """Name kernels by the nodes they compute, slowest first."""
    index = analysis.index
    figures = []
    for layer in layers:
        nodes = [index.nodes[index.producers[name]] for name in layer.nodes]
        latency_ms = quiet_ms(layer.samples_ms)
        figures.append(
            KernelFigure(
                name=(nodes[0].name or nodes[0].output[0]) if nodes else layer.tensor or layer.name,
                op_types=tuple(node.op_type for node in nodes) or (layer.op_type,),
                latency_ms=latency_ms,
                share=latency_ms / whole_ms,
            )
        )
    return tuple(sorted(figures, key=lambda figure: -figure.latency_ms))


def _blocks(models: Sequence[BlockModel], clock: BlockClock, whole_ms: float) -> tuple[KernelFigure, ...]:
    """Time blocks alone, on a target that does not tell what kernels take."""
    figures = []
    for model in models:
        latency_ms = clock.milliseconds(model, model.weighted.full)
        ops = tuple(node.op_type for node in model.fused.nodes)
        name = model.fused.block.name
        figures.append(KernelFigure(name=name, op_types=ops, latency_ms=latency_ms, share=latency_ms / whole_ms))
    return tuple(sorted(figures, key=lambda figure: -figure.latency_ms))


def _figure(curve: Curve) -> CurveFigure:
    subject, points = curve.subject, curve.steps.points
    return CurveFigure(
        what=subject.what,
        layers=subject.layers,
        axis=subject.axis.value,
        full_width=points[-1][0],
        steps=curve.steps.widths,
        widths=tuple(width for width, _ in points),
        latency_ms=tuple(timing.milliseconds for _, timing in points),
        noise=tuple(timing.noise for _, timing in points),
        timings=curve.steps.timings,
        sweep_timings=curve.sweep,
    )
