"""Make the table of a network: profile the original once, find its blocks, leave the rest to be timed when asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from toolchain.graph.analysis import Analysis
from toolchain.graph.deployment import bind_model, random_feeds
from toolchain.latency.block_clock import BlockClock
from toolchain.latency.block_model import BlockModel
from toolchain.latency.fusion import fuse
from toolchain.latency.quiet import quiet_ms
from toolchain.latency.rest import rest_kernels
from toolchain.latency.table import LatencyTable
from toolchain.measure.protocol import measure
from toolchain.measure.timer import QUICK
from toolchain.store.latency_store import LatencyStore
from toolchain.targets.contract import Target
from toolchain.targets.layer_time import LayerTime

PROFILED_RUNS = 10
PROFILED_SESSIONS = 5


def measured_table(
    analysis: Analysis,
    target: Target,
    directory: Path,
    generator: np.random.Generator,
    store: LatencyStore | None = None,
) -> LatencyTable:
    """Return the latency table of an analysed network at its bound sizes; engines are built in `directory`.

    On a target without profiles blocks are isolated ops, and what they leave of the whole is the runtime's.
    """
    model = bind_model(analysis.model, analysis.binding)
    engine = target.build(model, directory)
    feeds = random_feeds(model, {}, generator)
    whole_ms = quiet_ms(measure(target, engine, feeds, protocol=QUICK, rng=generator).samples_ms)
    sessions = PROFILED_SESSIONS if target.profiles else 0
    layers = _quietest([target.profile(model, engine, feeds, PROFILED_RUNS) for _ in range(sessions)])
    fused = fuse(analysis, layers)
    clock = BlockClock(target, directory, generator, store)
    return LatencyTable(
        clock=clock,
        models={one.block.name: BlockModel(analysis, one) for one in fused},
        rest=rest_kernels(analysis, layers, [one.node.output[0] for one in fused]),
        whole_ms=whole_ms,
        profiled_ms=_stages_ms({one.node.output[0]: one.block.stage for one in fused}, layers),
        alignment=target.width_alignment(),
    )


def _quietest(sessions: Sequence[Sequence[LayerTime]]) -> Sequence[LayerTime]:
    """Return the kernels of the session that was disturbed least."""
    return min(sessions, key=lambda layers: sum(quiet_ms(layer.samples_ms) for layer in layers), default=())


def _stages_ms(stages: Mapping[str, str], layers: Sequence[LayerTime]) -> Mapping[str, float]:
    """Add up the kernels of each stage's blocks; `stages` maps the first output of a weighted node to its stage."""
    found: dict[str, float] = defaultdict(float)
    for layer in layers:
        own = [stages[name] for name in layer.nodes if name in stages]
        for stage in own:
            found[stage] += quiet_ms(layer.samples_ms) / len(own)
    return found
