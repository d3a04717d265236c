"""From a request to a bundle: load, prepare, run the pipeline, emit. For one budget, several, or an accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from math import ceil

from toolchain.budget import Budget
from toolchain.emit.bundle import check_output
from toolchain.emit.emission import emit_failure
from toolchain.emit.front import Front, write_front
from toolchain.emit.report import Report
from toolchain.errors import ExitCode, PrunecError, UsageError
from toolchain.finetuning import Trained, check_finetune, fine_tuned
from toolchain.graph.load import load_model
from toolchain.measure.comparison import Comparison
from toolchain.measure.lock import device_lock
from toolchain.pipeline.contract import Reporter
from toolchain.pipeline.run import OnRecord, Outcome
from toolchain.request import CompileRequest
from toolchain.scratch import scratch_folder
from toolchain.workbench import Workbench

FIRST_RATIO = 0.7
NARROWEST_RATIO = 0.1
RATIO_RESOLUTION = 0.02


def compile_model(request: CompileRequest, reporter: Reporter, on_record: OnRecord) -> Report:
    """Compile and write the bundle; the report says how it went, its exit code included.

    Raises PrunecError where nothing can be emitted; from the moment the model has been read, a report is left.
    """
    with _workbench(request, reporter) as bench:
        return _emitted(bench, request, bench.run(request, on_record), on_record)


def compile_front(
    request: CompileRequest, budgets: Sequence[Budget], reporter: Reporter, on_record: OnRecord
) -> list[Report]:
    """Compile for several budgets, one bundle each below the output, and the front of all beside them.

    All share what does not depend on the budget.

    Ends early where it is interrupted: the reports so far are returned.
    """
    reports: list[Report] = []
    with _workbench(replace(request, output=request.output / folder_of(budgets[0])), reporter) as bench:
        for budget in budgets:
            reporter.progress(f"budget {budget}")
            variant = replace(request, budget=budget, output=request.output / folder_of(budget))
            check_output(variant.output)
            report = _emitted(bench, variant, bench.run(variant, on_record), on_record)
            reports.append(report)
            if report.exit_code == ExitCode.INTERRUPTED:
                break
    if not request.dry_run:
        write_front(request.output, Front.of(reports, [folder_of(budget) for budget in budgets[: len(reports)]]))
    return reports


def compile_within(request: CompileRequest, drop: float, reporter: Reporter, on_record: OnRecord) -> Report:
    """Find the fastest engine that loses at most `drop` of the metric, by bisection over latency budgets.

    The metric is that of the samples that judge, and the original's value less the drop is the floor of every run.
    Only the engine that is found is fine-tuned.
    Raises UsageError without samples, and where no budget keeps the accuracy.
    """
    with _workbench(request, reporter) as bench:
        if bench.accuracy is None:
            raise UsageError("--max-accuracy-drop without data cannot be checked", hint="add --data")
        original = bench.accuracy.of(bench.loaded.normalised, bench.timer)
        floor = original.value - drop if original.higher_is_better else original.value + drop
        best: tuple[Outcome, Comparison] | None = None
        too_fast, slowest, ratio = NARROWEST_RATIO, 1.0, FIRST_RATIO
        while slowest - too_fast > RATIO_RESOLUTION:
            variant = replace(request, budget=Budget(ratio=round(ratio, 4)), min_accuracy=floor, finetune=None)
            reporter.progress(f"budget {variant.budget}, at least {original.name} {floor:.2f}")
            outcome = bench.run(variant, on_record)
            if outcome.interrupted:
                return _emitted(bench, variant, outcome, on_record)
            found = _within(outcome)
            if found and (best is None or found.ratio < best[1].ratio):
                best = outcome, found
            if found is None or found.ratio > ratio + RATIO_RESOLUTION:  # no accurate one, or none at all, is so fast
                too_fast, slowest = ratio, min(slowest, found.ratio if found else slowest)
            else:
                slowest = min(ratio, found.ratio)
            ratio = (too_fast + slowest) / 2
        if best is None:
            raise UsageError(
                f"no engine keeps {original.name} above {floor:.2f}", hint="allow a larger --max-accuracy-drop"
            )
        outcome, found = best
        kept = Budget(ratio=ceil(1e4 * found.high) / 1e4)
        return _emitted(bench, replace(request, budget=kept, min_accuracy=floor), outcome, on_record)


def folder_of(budget: Budget) -> str:
    """Return the name of a budget's bundle among several: 60% is `60`, 4.5ms is `4.5ms`."""
    return str(budget).removesuffix("%")


def _emitted(bench: Workbench, request: CompileRequest, outcome: Outcome, on_record: OnRecord) -> Report:
    """Train where that was asked for, and write the bundle."""
    trained = Trained(outcome) if request.finetune is None else fine_tuned(bench, request, outcome, on_record)
    report = bench.emit(request, trained.outcome, trained.failure)
    if not trained.outcome.interrupted:
        bench.finish()
    return report


def _within(outcome: Outcome) -> Comparison | None:
    """Return how fast the result is, or None where the floor was missed or nothing became faster."""
    comparison = outcome.last.comparison
    if any(record.below_floor for record in outcome.records) or comparison is None or outcome.pruning is None:
        return None
    return comparison


@contextmanager
def _workbench(request: CompileRequest, reporter: Reporter) -> Iterator[Workbench]:
    """Load the model and hold the device; leave a report where what follows fails."""
    check_output(request.output)
    check_finetune(request)
    reporter.progress(f"loading {request.model}")
    loaded = load_model(request.model)
    try:
        with (
            scratch_folder("prunec-compile-") as folder,
            device_lock(request.target.identity().device, reporter.progress),
            closing(Workbench(request, loaded, folder, reporter)) as bench,
        ):
            bench.prepare()
            yield bench
    except PrunecError as error:
        if not request.dry_run:
            with suppress(UsageError):  # where nothing can be written, what went wrong before is worth more
                emit_failure(request.output, request, loaded, error)
        raise
