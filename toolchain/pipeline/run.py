"""Run passes in order; observe, keep or roll back each result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import onnx

from toolchain.data.metric import Score
from toolchain.graph.cost import Cost
from toolchain.pipeline.contract import Pass, PassContext, PassResult, Pruning
from toolchain.pipeline.observers import Observer
from toolchain.pipeline.record import Record, Status

CostOf = Callable[[onnx.ModelProto], Cost]
OnRecord = Callable[[Record], None]

SLOWER_TOLERANCE = 0.005
"""Two sessions of one engine differ by as much: a smaller slowdown is no reason to give a pass up."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """The model at the end, a record per pass (the original first), and what pruning decided."""

    model: onnx.ModelProto
    records: tuple[Record, ...]
    pruning: Pruning | None

    @property
    def last(self) -> Record:
        """The record of the model that ships."""
        return next(item for item in reversed(self.records) if item.status is not Status.ROLLED_BACK)


@dataclass(frozen=True, eq=False)
class Pipeline:
    """Passes, observers, and the accuracy that must not be undercut."""

    passes: Sequence[Pass]
    observers: Sequence[Observer]
    cost_of: CostOf
    min_accuracy: float | None
    on_record: OnRecord

    def run(self, original: onnx.ModelProto, context: PassContext) -> Outcome:
        """Apply every pass to the result of the last one that was kept."""
        first = self._observe(original, PassResult(original, True), "original", time.monotonic())
        records = [replace(first, status=Status.ORIGINAL)]
        self.on_record(records[0])
        model, pruning = original, None
        for step in self.passes:
            context.reporter.progress(f"pass {step.name()}")
            started = time.monotonic()
            result = step(model, replace(context, pruning=pruning))
            record = self._judged(self._observe(model, result, step.name(), started), _last_kept(records))
            records.append(record)
            self.on_record(record)
            if record.status is Status.KEPT:
                model, pruning = result.model, result.pruning or pruning
        return Outcome(model, tuple(records), pruning)

    def _observe(self, before: onnx.ModelProto, result: PassResult, name: str, started: float) -> Record:
        status = Status.KEPT if result.modified else Status.UNCHANGED
        size = result.model.ByteSize()
        record = Record(name, status, self.cost_of(result.model), size, 0.0, notes=result.notes)
        for observer in self.observers:
            record = observer.observe(before, result, record)
        return replace(record, seconds=time.monotonic() - started)

    def _judged(self, record: Record, previous: Record) -> Record:
        """Roll back what made the engine slower than noise allows, or fell through the accuracy floor."""
        if record.status is Status.UNCHANGED:
            return record
        now, then = record.comparison, previous.comparison
        if now and then and now.low > (1 + SLOWER_TOLERANCE) * max(then.high, 1.0):
            return _rolled_back(record, f"slower than before: {now.ratio:.3f} instead of {then.ratio:.3f}")
        floor = self.min_accuracy
        if floor is not None and record.score is not None and _misses(record.score, floor):
            return _rolled_back(
                record, f"{record.score.name} of {record.score.value:.2f} misses the floor of {floor:g}"
            )
        return record


def _misses(score: Score, floor: float) -> bool:
    return score.value < floor if score.higher_is_better else score.value > floor


def _last_kept(records: Sequence[Record]) -> Record:
    return next(item for item in reversed(records) if item.status is not Status.ROLLED_BACK)


def _rolled_back(record: Record, reason: str) -> Record:
    return replace(record, status=Status.ROLLED_BACK, reason=reason)
