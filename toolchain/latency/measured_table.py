"""Make the table of a network: profile the original once, find its blocks, leave the rest to be timed when asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from toolchain.graph.analysis import Analysis
from toolchain.graph.deployment import bind_model, random_feeds
from toolchain.latency.block_clock import BlockClock
from toolchain.latency.block_model import BlockModel
from toolchain.latency.fusion import fuse
from toolchain.latency.quiet import quiet_ms
from toolchain.latency.rest import rest_kernels
from toolchain.latency.table import LatencyTable
from toolchain.store.carried import Latencies
from toolchain.store.network_entry import NetworkEntry, network_sha256
from toolchain.targets.contract import Feeds, Target
from toolchain.targets.engine import Engine
from toolchain.targets.layer_time import LayerTime

SESSIONS = 6
SETTLE_RUNS = 2
RUNS = 10


def measured_table(
    analysis: Analysis,
    target: Target,
    directory: Path,
    generator: np.random.Generator,
    store: Latencies | None = None,
) -> LatencyTable:
    """Return the latency table of an analysed network at its bound sizes; engines are built in `directory`.

    A network that the store knows is not profiled again. On a target without profiles blocks are isolated ops, and what
    they leave of the whole is the runtime's.
    """
    network = _network(analysis, target, directory, generator, store)
    whole_ms, layers = network.whole_ms, network.layers
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


def _network(
    analysis: Analysis, target: Target, directory: Path, generator: np.random.Generator, store: Latencies | None
) -> NetworkEntry:
    """Return what the store knows of the original as a whole; profile it where that is nothing."""
    model, identity = bind_model(analysis.model, analysis.binding), target.identity()
    network = network_sha256(model)
    known = store.network(identity, network) if store else None
    if known and _fits(known, analysis):
        return known
    feeds = random_feeds(model, {}, generator)
    whole_ms, layers = profiled(target, model, target.build(model, directory), feeds)
    found = NetworkEntry.now(network, identity, whole_ms, tuple(layers), measured=target.measured)
    if store:
        store.put(found)
    return found


def _fits(network: NetworkEntry, analysis: Analysis) -> bool:
    """Tell whether a profile, which may come from a file, can be that of these nodes."""
    return network.whole_ms > 0 and all(
        layer.samples_ms and analysis.index.producers.keys() >= set(layer.nodes) for layer in network.layers
    )


def profiled(target: Target, model: onnx.ModelProto, engine: Engine, feeds: Feeds) -> tuple[float, Sequence[LayerTime]]:
    """Return what the engine takes as a whole, and its kernels, each from the session that was disturbed least.

    A whole run is long enough to be interrupted on a busy machine when its kernels are not. So the whole is what the
    kernels take, times the ratio of whole runs to the sums of their kernels, which are interrupted alike.
    """
    sessions = range(SESSIONS if target.measured else 1)
    if not target.profiles:
        return min(quiet_ms(_whole_ms(target, engine, feeds)) for _ in sessions), ()
    pairs = [(_whole_ms(target, engine, feeds), target.profile(model, engine, feeds, RUNS)) for _ in sessions]
    layers = [_least_disturbed(kernel) for kernel in zip(*(profile for _, profile in pairs), strict=True)]
    runs_ms = min(quiet_ms(samples_ms) for samples_ms, _ in pairs)
    sums_ms = min(quiet_ms(_sums(profile)) for _, profile in pairs)
    if not sums_ms:  # every kernel is below what profiling it costs
        return runs_ms, layers
    return sum(quiet_ms(layer.samples_ms) for layer in layers) * runs_ms / sums_ms, layers


def _sums(layers: Sequence[LayerTime]) -> list[float]:
    return [sum(run) for run in zip(*(layer.samples_ms for layer in layers), strict=True)]


def _whole_ms(target: Target, engine: Engine, feeds: Feeds) -> list[float]:
    """Return what each run takes in a fresh session."""
    with target.runner(engine) as runner:
        samples_ms = []
        for _ in range(SETTLE_RUNS + RUNS):
            runner.infer(feeds, check_inputs=False)
            samples_ms.append(runner.last_inference_time() * 1e3)
    return samples_ms[SETTLE_RUNS:]


def _least_disturbed(sessions: Sequence[LayerTime]) -> LayerTime:
    """Return the times of one kernel in its fastest session."""
    return min(sessions, key=lambda layer: quiet_ms(layer.samples_ms))


def _stages_ms(stages: Mapping[str, str], layers: Sequence[LayerTime]) -> Mapping[str, float]:
    """Add up the kernels of each stage's blocks; `stages` maps the first output of a weighted node to its stage."""
    found: dict[str, float] = defaultdict(float)
    for layer in layers:
        own = [stages[name] for name in layer.nodes if name in stages]
        for stage in own:
            found[stage] += quiet_ms(layer.samples_ms) / len(own)
    return found
