"""Run passes in order; observe, keep or roll back each result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import onnx

from toolchain.errors import Interrupted, UsageError
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
    interrupted: bool = False
    """Whether it was to end early: the model is the best so far, not repaired and not timed again."""
    before_lossy: Outcome | None = None
    """What ships if the floor, not judged yet, is missed after the repair that follows the pipeline."""

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
    repaired_after: bool = False
    """Whether a repair follows the pipeline: whoever makes it judges the floor."""

    def run(self, original: onnx.ModelProto, context: PassContext) -> Outcome:
        """Apply every pass to the result of the last one that was kept.

        The floor is judged after a pass that repairs, where one follows a lossy pass; both are then rolled back.

        Raises UsageError where the original itself misses the floor.
        """
        first = self.observe(original, PassResult(original, True), "original", time.monotonic())
        if self.misses_floor(first):
            raise UsageError(f"the original misses the floor: {self.floor_text(first)}", hint="lower --min-accuracy")
        self.on_record(first := replace(first, status=Status.ORIGINAL))
        state = _State(original, None, (first,))
        before_lossy: _State | None = None
        for number, step in enumerate(self.passes):
            if state.interrupted:
                break
            repaired_later = self.repaired_after or any(later.repairs for later in self.passes[number + 1 :])
            if step.lossy and repaired_later and before_lossy is None:
                before_lossy = state
            defer = before_lossy is not None and repaired_later
            repairs = tuple(takewhile(lambda later: later.repairs, self.passes[number + 1 :]))
            after = self._step(step, state, replace(context, repairs=repairs), judge_floor=not defer)
            if after.records[-1].below_floor and before_lossy is not None:
                after = before_lossy.without(after.records[len(before_lossy.records) :])
            state, before_lossy = after, before_lossy if defer else None
        unjudged = before_lossy.outcome() if before_lossy else None
        return replace(state.outcome(), before_lossy=unjudged)

    def _step(self, step: Pass, state: _State, context: PassContext, *, judge_floor: bool) -> _State:
        started = time.monotonic()
        try:
            context.reporter.progress(f"pass {step.name()}")
            return self._observed_step(step, state, context, judge_floor=judge_floor, started=started)
        except Interrupted:
            if state.pruning is None:
                raise
            return replace(state, interrupted=True)

    def _observed_step(
        self, step: Pass, state: _State, context: PassContext, *, judge_floor: bool, started: float
    ) -> _State:
        result = step(state.model, replace(context, cut=state.pruning))
        if result.interrupted:
            return self._cut_short(step, state, result, started)
        observed = self.observe(state.model, result, step.name(), started)
        record = self._judged(observed, _last_kept(state.records), judge_floor=judge_floor)
        self.on_record(record)
        records = (*state.records, record)
        if record.status is not Status.KEPT:
            return replace(state, records=records)
        return _State(result.model, result.pruning or state.pruning, records)

    def _cut_short(self, step: Pass, state: _State, result: PassResult, started: float) -> _State:
        """Keep what an interrupted search has found, with the latency it was found by."""
        best = result.pruning.found.best if result.pruning else None
        seconds = time.monotonic() - started
        record = Record(
            step.name(),
            Status.KEPT,
            self.cost_of(result.model),
            result.model.ByteSize(),
            seconds,
            comparison=best.comparison if best else None,
            notes=(*result.notes, "interrupted: the best so far, not repaired"),
        )
        self.on_record(record)
        return _State(result.model, result.pruning, (*state.records, record), interrupted=True)

    def observe(self, before: onnx.ModelProto, result: PassResult, name: str, started: float) -> Record:
        """Return the record of a result, with all that the observers see in it."""
        status = Status.KEPT if result.modified else Status.UNCHANGED
        size = result.model.ByteSize()
        record = Record(name, status, self.cost_of(result.model), size, 0.0, notes=result.notes)
        for observer in self.observers:
            record = observer.observe(before, result, record)
        return replace(record, seconds=time.monotonic() - started)

    def _judged(self, record: Record, previous: Record, *, judge_floor: bool) -> Record:
        """Roll back what made the engine slower than noise allows, or fell through the accuracy floor."""
        now, then = record.comparison, previous.comparison
        if judge_floor and self.misses_floor(record):
            reason = f"below the floor: {self.floor_text(record)}"
            return replace(record, status=Status.ROLLED_BACK, below_floor=True, reason=reason)
        changed = record.status is Status.KEPT
        if changed and now and then and now.low > (1 + SLOWER_TOLERANCE) * max(then.high, 1.0):
            reason = f"slower than before: {now.ratio:.3f} instead of {then.ratio:.3f}"
            return replace(record, status=Status.ROLLED_BACK, reason=reason)
        return record

    def misses_floor(self, record: Record) -> bool:
        """Tell whether the accuracy is below what was asked for."""
        score, floor = record.score, self.min_accuracy
        if score is None or floor is None:
            return False
        return score.value < floor if score.higher_is_better else score.value > floor

    def floor_text(self, record: Record) -> str:
        """Write the accuracy and the floor."""
        score = record.score
        return f"{score.name} of {score.value:.2f}, floor {self.min_accuracy:g}" if score else ""


@dataclass(frozen=True, eq=False)
class _State:
    """Where a pipeline stands: the model, what pruning decided, the records so far."""

    model: onnx.ModelProto
    pruning: Pruning | None
    records: tuple[Record, ...]
    interrupted: bool = False

    def outcome(self) -> Outcome:
        """Return what is left if the pipeline ends here."""
        return Outcome(self.model, self.records, self.pruning, self.interrupted)

    def without(self, records: Sequence[Record]) -> _State:
        """Return this state with these later records rolled back."""
        reason = records[-1].reason
        undone = (replace(item, status=Status.ROLLED_BACK, below_floor=True, reason=reason) for item in records)
        return replace(self, records=(*self.records, *undone))


def _last_kept(records: Sequence[Record]) -> Record:
    return next(item for item in reversed(records) if item.status is not Status.ROLLED_BACK)
