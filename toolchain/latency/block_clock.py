"""Times blocks on the target, each signature once: what is known is asked of memory, then of the store."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from toolchain.graph.deployment import random_feeds
from toolchain.latency.block_model import BlockModel
from toolchain.latency.quiet import quiet_ms, quiet_sessions
from toolchain.latency.weighted import Pair
from toolchain.measure.latency import Latency
from toolchain.measure.pace import Pace
from toolchain.measure.protocol import Protocol, measure
from toolchain.store.carried import Latencies
from toolchain.store.entry import Entry
from toolchain.store.signature import OpSignature
from toolchain.targets.contract import Target
from toolchain.targets.engine import Engine
from toolchain.targets.layer_time import LayerTime

FEW_RUNS = 6
SESSION_MS = 8.0
MAX_RUNS = 100
COMPARED_SESSIONS = 3
"""How far so many of the fastest sessions lie apart is the noise of a timing: of four, one may have been disturbed."""
WHOLE_SESSION = Protocol(warm_up_seconds=0.02, round_ms=10.0, min_rounds=3, max_seconds=0.5, half_width=0.02)
"""For targets that do not tell what single kernels take."""


@dataclass(eq=False)
class BlockClock:
    """Latencies of blocks at any widths; counts how many were timed and how many were known.

    A block's latency is the time of the kernels that compute its nodes, and of the layout changes between its
    neighbour and them, read from the profile of a small model. On a target without profiles it is the small model's.

    Where kernels feel how fast the processor multiplies, which depthwise ones hardly do, all latencies are given at one
    pace: that of the first one.
    """

    target: Target
    directory: Path
    generator: np.random.Generator
    store: Latencies | None = None
    least_sessions: int = 2
    """How many sessions a timing is the best of; more where a few percent between two widths matter."""
    pace: Pace = field(default_factory=Pace)
    timings: int = 0
    _known: dict[OpSignature, Latency] = field(default_factory=dict)
    _unconfirmed: set[OpSignature] = field(default_factory=set)
    _asked: dict[tuple[str, Pair], float] = field(default_factory=dict)
    _scaled: set[OpSignature] = field(default_factory=set)

    @property
    def shared(self) -> int:
        """How many latencies of blocks were asked for and not timed: others had the same signature."""
        return len(self._asked) - self.timings

    def latency(self, model: BlockModel, pair: Pair) -> Latency:
        """Return what the block takes at these widths, timed if nobody has."""
        signature = model.signature(pair)
        if signature not in self._known:
            self._known[signature] = self._stored(signature) or self._timed(signature, model, pair)
        return self._known[signature]

    def again(self, model: BlockModel, pair: Pair) -> Latency:
        """Return the faster of what was timed and a second timing; what the store knew, or was confirmed, stays.

        A second timing at the clock's pace replaces one that was scaled to it.
        """
        known, signature = self.latency(model, pair), model.signature(pair)
        if signature in self._unconfirmed:
            scaled = signature in self._scaled
            self.pace.wait()
            second = self._timed(signature, model, pair)
            better = scaled and signature not in self._scaled
            faster = min(known, second, key=lambda latency: quiet_ms(latency.samples_ms))
            self._known[signature] = second if better else faster
            self._unconfirmed.discard(signature)
            self._asked.pop((model.fused.block.name, pair), None)
            if self.store:
                self.store.put(Entry.now(signature, self._known[signature]))
        return self._known[signature]

    def milliseconds(self, model: BlockModel, pair: Pair) -> float:
        """Return what the block takes at these widths on a machine left alone."""
        key = (model.fused.block.name, pair)
        if key not in self._asked:
            self._asked[key] = quiet_ms(self.latency(model, pair).samples_ms)
        return self._asked[key]

    def knows(self, model: BlockModel, pair: Pair) -> bool:
        """Tell whether no timing is needed."""
        return (model.fused.block.name, pair) in self._asked or model.signature(pair) in self._known

    def asked(self, model: BlockModel) -> Mapping[Pair, Latency]:
        """Return what the block takes at all widths that were asked for so far; times nothing."""
        pairs = [pair for name, pair in self._asked if name == model.fused.block.name]
        return {pair: self._known[model.signature(pair)] for pair in pairs}

    def _stored(self, signature: OpSignature) -> Latency | None:
        entry = self.store.get(self.target.identity(), signature) if self.store else None
        if entry is None or entry.latency.pace_us is None:
            return entry.latency if entry else None
        self.pace.us = self.pace.us or entry.latency.pace_us
        return entry.latency.at_pace(self.pace.us)

    def _timed(self, signature: OpSignature, block: BlockModel, pair: Pair) -> Latency:
        model = block.build(pair, self.generator, led=self.target.profiles)
        engine = self.target.build(model, self.directory)
        scaled = self.pace.scaled
        try:
            latency = self._measure(block, model, engine)
        finally:
            shutil.rmtree(engine.path.parent, ignore_errors=True)
        self.timings += 1
        (self._scaled.add if self.pace.scaled > scaled else self._scaled.discard)(signature)
        self._unconfirmed.add(signature)
        if self.store:
            self.store.put(Entry.now(signature, latency))
        return latency

    def _measure(self, block: BlockModel, model: onnx.ModelProto, engine: Engine) -> Latency:
        feeds = random_feeds(model, {}, self.generator)
        if not self.target.profiles:
            return measure(self.target, engine, feeds, protocol=WHOLE_SESSION, rng=self.generator)

        paced = self.target.feels_pace and not block.weighted.depthwise

        def session(runs: int) -> list[float]:
            def run() -> list[float]:
                return _kernel_ms(block, self.target.profile(model, engine, feeds, runs))

            return self.pace.given(run) if paced else run()

        first = session(FEW_RUNS)
        runs = int(np.clip(SESSION_MS / max(quiet_ms(first), 1e-6), FEW_RUNS, MAX_RUNS))
        sessions = quiet_sessions(lambda: session(runs), self.least_sessions) if self.target.measured else [first]
        medians = [float(np.median(samples)) for samples in sessions[:COMPARED_SESSIONS]]
        return Latency(
            samples_ms=tuple(sample for samples in sessions for sample in samples),
            low_ms=min(medians),
            high_ms=max(medians),
            clock=self.target.clock,
            warm_up_runs=FEW_RUNS,
            warm_up_seconds=sum(first) / 1e3,
            batch=block.weighted.batch,
            identity=engine.identity,
            pace_us=self.pace.us if paced else None,
        )


def _kernel_ms(block: BlockModel, layers: tuple[LayerTime, ...]) -> list[float]:
    """Add up, run by run, the kernels of the block's nodes and the layout changes between its neighbour and it."""
    own = {name for node in block.fused.nodes for name in node.output}
    counted = [
        layer.samples_ms
        for layer in layers
        if own.intersection(layer.nodes) or (not layer.nodes and layer.tensor == block.led)
    ]
    return [sum(run) for run in zip(*counted, strict=True)]
