"""Fill a bundle from a compile's outcome, and say how it went."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tomli_w

from toolchain.data.accuracy import Accuracy
from toolchain.emit.bundle import MANIFEST, REPORT, new_bundle, save_model, write_checksums
from toolchain.emit.manifest import Manifest, file_entries, samples, slices
from toolchain.emit.markdown import render_markdown
from toolchain.emit.report import (
    DataFigure,
    Environment,
    PassFigure,
    PruningFigure,
    Report,
    TargetFigure,
)
from toolchain.errors import ExitCode, PrunecError
from toolchain.graph.hashing import model_sha256
from toolchain.graph.load import LoadedModel
from toolchain.graph.oracle import Feeds, relative_error
from toolchain.graph.plan import Plan
from toolchain.measure.timer import EngineTimer, build_deployed
from toolchain.pipeline.contract import Reporter
from toolchain.pipeline.run import Outcome
from toolchain.targets.engine import Engine
from toolchain.targets.onnxruntime import execute

if TYPE_CHECKING:
    from toolchain.compile import CompileRequest


@dataclass(frozen=True, eq=False)
class Emission:
    """Everything a bundle is made of."""

    request: CompileRequest
    loaded: LoadedModel
    outcome: Outcome
    accuracy: Accuracy | None
    timer: EngineTimer
    feeds: Feeds


@dataclass(frozen=True)
class _Result:
    outcome: str
    exit_code: ExitCode
    message: str


def emit(emission: Emission, reporter: Reporter) -> Report:
    """Write the bundle (not on a dry run) and return its report."""
    report = _report(emission, _judge(emission))
    if emission.request.dry_run:
        return report
    with new_bundle(emission.request.output) as folder:
        _write(emission, report, folder, reporter)
    reporter.progress(f"bundle written to {emission.request.output}")
    return report


def emit_failure(output: Path, request: CompileRequest, loaded: LoadedModel, error: PrunecError) -> None:
    """Leave report.json alone where a compile failed after reading the model, unless a bundle is there already."""
    if output.exists():
        return
    report = Report(
        outcome="failed",
        exit_code=error.exit_code,
        message=str(error),
        model_path=str(request.model),
        model_sha256=loaded.sha256,
        budget=str(request.budget or ""),
        command=request.command,
        seed=request.seed,
        environment=Environment.here(),
    )
    with new_bundle(output) as folder:
        (folder / REPORT).write_text(report.model_dump_json(indent=2) + "\n")


def _write(emission: Emission, report: Report, folder: Path, reporter: Reporter) -> None:
    model, request, pruning = emission.outcome.model, emission.request, emission.outcome.pruning
    save_model(model, folder / "model.onnx")
    _add_engine(emission.timer.build(model), folder / "engine")
    for number, target in enumerate(request.also_build, 1):
        reporter.progress(f"building for {target.name}")
        engine = build_deployed(target, model, emission.timer.binding, emission.timer.directory)
        _add_engine(engine, folder / f"engine-{number}-{target.name}")
    plan = pruning.plan if pruning else Plan(model_sha256=model_sha256(model))
    (folder / "plan.json").write_text(plan.model_dump_json(indent=2) + "\n")
    (folder / "pipeline.toml").write_text(_pipeline_toml(request))
    (folder / REPORT).write_text(report.model_dump_json(indent=2) + "\n")
    (folder / "report.md").write_text(render_markdown(report))
    manifest = Manifest(
        source_model_sha256=emission.loaded.sha256,
        pruned_from_sha256=plan.model_sha256,
        target=report.target,
        environment=report.environment,
        files=file_entries(folder),
        slices=slices(pruning.kept) if pruning else (),
        samples=samples(emission.outcome.records),
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
    write_checksums(folder)


def _add_engine(engine: Engine, folder: Path) -> None:
    folder.mkdir()
    for path in engine.files:
        shutil.copyfile(path, folder / path.name)


def _pipeline_toml(request: CompileRequest) -> str:
    tables = [{"name": item.name(), **item.options()} for item in request.passes]
    return tomli_w.dumps({"pass": tables})


def _judge(emission: Emission) -> _Result:
    """Say whether budget and floor were met by the model that ships."""
    request, outcome = emission.request, emission.outcome
    last = outcome.last
    below = [item for item in outcome.records if item.below_floor]
    if below:
        return _Result("accuracy floor missed", ExitCode.ACCURACY_MISSED, below[-1].reason)
    if request.budget is None or last.comparison is None:
        return _Result("done", ExitCode.MET, "there was no budget to meet")
    ratio = request.budget.ratio_of(emission.timer.baseline_ms)
    reached = f"{100 * last.comparison.ratio:.1f} % of the original latency for a budget of {request.budget}"
    if not last.comparison.converged and last.comparison.low <= ratio <= last.comparison.high:
        return _Result("too noisy to decide", ExitCode.TOO_NOISY, f"{reached}, but the interval holds the budget")
    if last.comparison.ratio <= ratio:
        return _Result("budget met", ExitCode.MET, reached)
    return _Result("budget missed", ExitCode.BUDGET_MISSED, f"{reached}: the best found is in the bundle")


def _report(emission: Emission, result: _Result) -> Report:
    request, outcome = emission.request, emission.outcome
    drift = relative_error(execute(outcome.model, emission.feeds, True), execute(outcome.model, emission.feeds, False))
    return Report(
        outcome=result.outcome,
        exit_code=result.exit_code,
        message=result.message,
        model_path=str(request.model),
        model_sha256=emission.loaded.sha256,
        budget=str(request.budget or ""),
        command=request.command,
        seed=request.seed,
        target=TargetFigure.of(request.target),
        also_built=tuple(TargetFigure.of(target) for target in request.also_build),
        data=_data_figure(request, emission.accuracy),
        unknown=_unknown(request, emission),
        passes=tuple(PassFigure.of(record) for record in outcome.records),
        pruning=PruningFigure.of(outcome.pruning) if outcome.pruning else None,
        runtime_drift=drift,
        environment=Environment.here(),
    )


def _data_figure(request: CompileRequest, accuracy: Accuracy | None) -> DataFigure | None:
    if accuracy is None:
        return None
    judging, calibrating = accuracy.judging, accuracy.calibrating
    return DataFigure(
        path=str(request.data),
        samples=len(judging.data),
        calibration_path=str(request.calibration_data or request.data),
        calibration_samples=len(calibrating.indices),
        evaluation_samples=len(judging.indices),
        warnings=judging.data.warnings,
    )


def _unknown(request: CompileRequest, emission: Emission) -> tuple[str, ...]:
    notes = []
    if emission.accuracy is None:
        notes.append("no data was given: units were chosen by their weights alone, and accuracy was not measured")
    elif emission.accuracy.judging.data.labels is None:
        notes.append("the data has no labels: accuracy is fidelity to the original model, right or wrong")
    if not request.target.measured:
        notes.append(f"target {request.target.name} models latencies: no number here was measured")
    return tuple(notes)
