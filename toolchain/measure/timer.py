"""Times candidates against the original's engine, under one protocol and one identity."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from toolchain.graph.deployment import bind_model
from toolchain.graph.facts import Binding
from toolchain.measure.care import Care, held_against
from toolchain.measure.comparison import Comparison
from toolchain.measure.journal import Journal, key_of
from toolchain.measure.latency import Latency
from toolchain.measure.protocol import Feeds, Protocol, compare, measure
from toolchain.targets.contract import Target
from toolchain.targets.engine import Engine


@dataclass(frozen=True, eq=False)
class EngineTimer:
    """Builds engines into a folder (each content once) and times them with the same feeds."""

    target: Target
    directory: Path
    baseline: Engine
    baseline_latency: Latency
    feeds: Feeds
    binding: Binding
    generator: np.random.Generator
    journal: Journal

    @classmethod
    def start(
        cls,
        target: Target,
        original: onnx.ModelProto,
        feeds: Feeds,
        binding: Binding,
        directory: Path,
        generator: np.random.Generator,
        *,
        journal: Journal | None = None,
    ) -> EngineTimer:
        """Build and time the original; what the journal remembers is not timed again."""
        journal = journal or Journal(None)
        engine = build_deployed(target, original, binding, directory)
        quick = Care.QUICK.value
        key = _key([engine], feeds, quick)
        latency = journal.remember(key, Latency, lambda: measure(target, engine, feeds, protocol=quick, rng=generator))
        return cls(target, directory, engine, latency, feeds, binding, generator, journal)

    @property
    def baseline_ms(self) -> float:
        """The original's median latency, in milliseconds."""
        return self.baseline_latency.median_ms

    def build(self, model: onnx.ModelProto) -> Engine:
        """Return the model's engine."""
        return build_deployed(self.target, model, self.binding, self.directory)

    def compare(self, model: onnx.ModelProto, care: Care = Care.QUICK, limit: float | None = None) -> Comparison:
        """Build the model's engine and time it against the original's, interleaved."""
        engine = self.build(model)
        return held_against(limit, care, lambda protocol: self._compared(engine, protocol))

    def _compared(self, engine: Engine, protocol: Protocol) -> Comparison:
        key = _key([self.baseline, engine], self.feeds, protocol)
        return self.journal.remember(
            key,
            Comparison,
            lambda: compare(self.target, self.baseline, engine, self.feeds, protocol=protocol, rng=self.generator),
        )


def _key(engines: Sequence[Engine], feeds: Feeds, protocol: Protocol) -> str:
    """Identify a measurement by everything it depends on, by content."""
    inputs = hashlib.sha256()
    for name in sorted(feeds):
        inputs.update(f"{name} {feeds[name].dtype} {feeds[name].shape}".encode())
        inputs.update(np.ascontiguousarray(feeds[name]).tobytes())
    models = (engine.model_sha256 for engine in engines)
    return key_of(*models, engines[0].identity.key(), inputs.hexdigest(), repr(protocol))


def build_deployed(target: Target, model: onnx.ModelProto, binding: Binding, directory: Path) -> Engine:
    """Build an engine, with symbolic sizes fixed to the deployed ones where the target needs that."""
    return target.build(bind_model(model, binding) if target.needs_fixed_sizes else model, directory)
