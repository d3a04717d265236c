"""Observers: what is looked at after each pass. Each fills its part of the record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx

from toolchain.data.accuracy import Accuracy
from toolchain.data.metric import Score
from toolchain.errors import ModelError, PrunecError, UsageError
from toolchain.graph.hashing import model_sha256
from toolchain.graph.oracle import Feeds, Outputs, compare_with_masked, relative_error
from toolchain.measure.care import Care
from toolchain.measure.timer import EngineTimer
from toolchain.pipeline.contract import PassResult
from toolchain.pipeline.record import Check, Record
from toolchain.targets.onnxruntime import execute

FOLD_TOLERANCE = 1e-3
"""A pass that only rewrites may move outputs by rounding, relative to the largest one."""


class Observer(ABC):
    """Looks at the model after a pass."""

    @abstractmethod
    def observe(self, before: onnx.ModelProto, result: PassResult, record: Record) -> Record:
        """Return the record with this observer's part filled in; raise where the result must not be used."""


@dataclass(frozen=True, eq=False)
class Verify(Observer):
    """Pruned equals masked; any other rewrite equals what it was made from. Runs without optimisation."""

    feeds: Feeds

    def observe(self, before: onnx.ModelProto, result: PassResult, record: Record) -> Record:
        """Run both and compare."""
        if not result.modified or not result.exact:
            return record
        check = self._pruned(result) if result.pruning else self._rewritten(before, result.model)
        if not (check.passed or (check.inexact and np.isfinite(check.relative_error))):
            raise PrunecError(
                f"pass {record.name}: its result differs from what it stands for by {check.relative_error:.1e} "
                f"(allowed {check.tolerance:.1e})",
                hint="please report this with the model; nothing was written",
            )
        return replace(record, check=check)

    def _pruned(self, result: PassResult) -> Check:
        pruning = result.pruning
        assert pruning is not None
        inexact = bool(pruning.inexact)
        verdict = compare_with_masked(pruning.source, result.model, pruning.kept, self.feeds, execute, inexact=inexact)
        return Check.of(verdict, pruning.inexact)

    def _rewritten(self, before: onnx.ModelProto, after: onnx.ModelProto) -> Check:
        expected = execute(before, self.feeds, False)
        _check_finite(expected)
        found = execute(after, self.feeds, False)
        error = relative_error(found, expected)
        return Check(error, FOLD_TOLERANCE, error <= FOLD_TOLERANCE, True)


def _check_finite(outputs: Outputs) -> None:
    """Refuse a model whose results nothing can be held against. Raises ModelError."""
    for name, values in outputs.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            what = f"output '{name}' is NaN or infinite on the inputs that the model is checked with"
            raise ModelError(what, hint="a damaged or diverged parameter does that; check the model with its exporter")


@dataclass(frozen=True, eq=False)
class Measure(Observer):
    """Build the engine and time it against the original's; one content is timed once, closer where it is on a limit."""

    timer: EngineTimer
    limit: float | None = None
    """The ratio that the result is held against, if any."""

    def observe(self, before: onnx.ModelProto, result: PassResult, record: Record) -> Record:  # noqa: ARG002
        """Add latency and ratio."""
        return replace(record, comparison=self.timer.compare(result.model, Care.FINAL, self.limit))


@dataclass(frozen=True, eq=False)
class Assess(Observer):
    """Measure accuracy through the target's own engine where it runs here."""

    accuracy: Accuracy
    timer: EngineTimer
    _seen: dict[str, Score] = field(default_factory=dict)

    def observe(self, before: onnx.ModelProto, result: PassResult, record: Record) -> Record:  # noqa: ARG002
        """Add the score; one content is judged once."""
        key = model_sha256(result.model)
        if key not in self._seen:
            self._seen[key] = self.accuracy.of(result.model, self.timer)
        return replace(record, score=self._seen[key])


@dataclass(frozen=True, eq=False)
class Dump(Observer):
    """Write the model after each pass into a folder, numbered."""

    directory: Path
    _count: list[int] = field(default_factory=lambda: [0])

    def observe(self, before: onnx.ModelProto, result: PassResult, record: Record) -> Record:  # noqa: ARG002
        """Write `NN-pass.onnx`. Raises UsageError where that cannot be."""
        self._count[0] += 1
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            onnx.save(result.model, self.directory / f"{self._count[0]:02d}-{record.name}.onnx")
        except OSError as error:
            raise UsageError(
                f"--dump-dir {self.directory}: cannot be written ({error.strerror})",
                hint="name a folder that can be written",
            ) from error
        return record
