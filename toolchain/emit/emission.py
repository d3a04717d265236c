"""Fill a bundle from a compile's outcome, and say how it went."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import tomli_w

from toolchain.data.accuracy import Accuracy
from toolchain.emit.bundle import MANIFEST, REPORT, new_bundle, save_model, write_checksums
from toolchain.emit.finetune.files import add_training_files
from toolchain.emit.html.render import render_html
from toolchain.emit.judgement import Judgement, judge_counts, judge_ratio
from toolchain.emit.layers import layer_figures
from toolchain.emit.manifest import (
    EngineEntry,
    Manifest,
    decisions,
    file_entries,
    input_figures,
    parameter_entries,
    samples,
)
from toolchain.emit.markdown import inexact_text, render_markdown
from toolchain.emit.report import (
    DataFigure,
    Environment,
    EquivalenceFigure,
    OriginFigure,
    PassFigure,
    PruningFigure,
    Report,
    StairFigure,
    TargetFigure,
)
from toolchain.errors import ExitCode, PrunecError
from toolchain.graph.analysis import analyse
from toolchain.graph.hashing import model_sha256
from toolchain.graph.load import LoadedModel
from toolchain.graph.oracle import Feeds, relative_error
from toolchain.graph.plan import Plan
from toolchain.measure.timer import EngineTimer, build_deployed
from toolchain.pipeline.contract import Pruning, Reporter
from toolchain.pipeline.record import Check
from toolchain.pipeline.run import Outcome
from toolchain.store.carried import Origin
from toolchain.targets.contract import Target
from toolchain.targets.engine import Engine
from toolchain.targets.onnxruntime import execute
from toolchain.verify.embedding import compare_shipped

if TYPE_CHECKING:
    from toolchain.request import CompileRequest


@dataclass(frozen=True, eq=False)
class Emission:
    """Everything a bundle is made of."""

    request: CompileRequest
    loaded: LoadedModel
    outcome: Outcome
    accuracy: Accuracy | None
    timer: EngineTimer
    feeds: Feeds
    failure: PrunecError | None = None
    """Why a step after the pipeline, fine-tuning, came to nothing."""
    stairs: tuple[StairFigure, ...] = ()
    latencies: Origin | None = None
    """Where the layers' latencies came from, if they were brought along."""

    @cached_property
    def equivalence(self) -> EquivalenceFigure | None:
        """The model that ships against the masked source that holds its weights."""
        pruning = self.outcome.pruning
        if pruning is None:
            return None
        inexact = bool(pruning.inexact)
        found = compare_shipped(pruning.source, self.outcome.model, pruning.kept, self.feeds, execute, inexact=inexact)
        return EquivalenceFigure.of(Check.of(found, pruning.inexact))


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
    if output.exists() and any(output.iterdir()):
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
    if request.emitters:
        add_training_files(folder, model, emission.loaded.normalised, request.emitters, emission.accuracy, reporter)
    engines = _add_engines(emission, folder, reporter)
    plan = pruning.plan if pruning else Plan(model_sha256=model_sha256(model))
    (folder / "plan.json").write_text(plan.model_dump_json(indent=2) + "\n")
    (folder / "pipeline.toml").write_text(_pipeline_toml(request))
    (folder / REPORT).write_text(report.model_dump_json(indent=2) + "\n")
    (folder / "report.md").write_text(render_markdown(report))
    (folder / "report.html").write_text(render_html(report), encoding="utf-8")
    manifest = _manifest(emission, plan, engines, folder)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
    write_checksums(folder)


def _manifest(emission: Emission, plan: Plan, engines: tuple[EngineEntry, ...], folder: Path) -> Manifest:
    """Describe everything that is in the folder by now."""
    request, outcome, pruning = emission.request, emission.outcome, emission.outcome.pruning
    return Manifest(
        source_model_sha256=emission.loaded.sha256,
        pruned_from_sha256=plan.model_sha256,
        model_sha256=model_sha256(outcome.model),
        command=request.command,
        flags=_flags(request),
        target=TargetFigure.of(request.target),
        environment=Environment.here(),
        inputs=input_figures(emission.timer.feeds),
        decisions=decisions(outcome.records, request.passes),
        engines=engines,
        files=file_entries(folder),
        parameters=parameter_entries(pruning.source, pruning.kept, outcome.model) if pruning else (),
        equivalence=emission.equivalence,
        samples=samples(outcome.records),
    )


def _flags(request: CompileRequest) -> tuple[tuple[str, str], ...]:
    """Write down every option that is a plain value; passes and targets have places of their own."""
    elsewhere = {"passes", "target", "rules", "also_build", "command", "emitters"}
    return tuple(
        (item.name, str(getattr(request, item.name))) for item in fields(request) if item.name not in elsewhere
    )


def _add_engines(emission: Emission, folder: Path, reporter: Reporter) -> tuple[EngineEntry, ...]:
    """Copy the engine that was timed, and build those that are for other devices."""
    model, timer = emission.outcome.model, emission.timer
    entries = [_add_engine(timer.build(model), timer.target, folder / "engine", timed=True)]
    for number, target in enumerate(emission.request.also_build, 1):
        reporter.progress(f"building for {target.name}")
        engine = build_deployed(target, model, timer.binding, timer.directory)
        entries.append(_add_engine(engine, target, folder / f"engine-{number}-{target.name}", timed=False))
    return tuple(entries)


def _add_engine(engine: Engine, target: Target, folder: Path, *, timed: bool) -> EngineEntry:
    folder.mkdir()
    for path in engine.files:
        shutil.copyfile(path, folder / path.name)
    return EngineEntry(
        path=f"{folder.name}/{engine.path.name}",
        sha256=engine.sha256,
        model_sha256=engine.model_sha256,
        target=TargetFigure.of(target),
        timed=timed,
        builds_ms=engine.builds_ms,
    )


def _pipeline_toml(request: CompileRequest) -> str:
    tables = [{"name": item.name(), **item.options()} for item in request.passes]
    return tomli_w.dumps({"pass": tables})


def _judge(emission: Emission) -> Judgement:
    """Say whether budget and floor were met by the model that ships, and everything was done."""
    found, failure = _judge_outcome(emission), emission.failure
    if failure is None or found.exit_code is not ExitCode.MET:
        return found
    return Judgement("fine-tuning failed", failure.exit_code, f"{found.message}, but {failure}")


def _judge_outcome(emission: Emission) -> Judgement:
    request, outcome = emission.request, emission.outcome
    if outcome.interrupted:
        message = "the best found so far is in the bundle; the same command goes on from here"
        return Judgement("interrupted", ExitCode.INTERRUPTED, message)
    below = [item for item in outcome.records if item.below_floor]
    if below:
        return Judgement("accuracy floor missed", ExitCode.ACCURACY_MISSED, below[-1].reason)
    if request.budget is None or outcome.last.comparison is None:
        return Judgement("done", ExitCode.MET, "there was no budget to meet")
    ratio = request.budget.ratio_of(emission.timer.baseline_ms)
    found = judge_ratio(outcome.last.comparison, ratio, request.budget.latency_text)
    counts = judge_counts(outcome.records[0].cost, outcome.last.cost, request.budget)
    if counts and found.exit_code is ExitCode.MET:
        found = replace(counts, message=f"{found.message}; {counts.message}")
    if found.exit_code is ExitCode.BUDGET_MISSED:
        return replace(found, message=f"{found.message}: the best found is in the bundle")
    return found


def _report(emission: Emission, result: Judgement) -> Report:
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
        latencies=OriginFigure.of(emission.latencies) if emission.latencies else None,
        pruning=_pruning_figure(emission, outcome.pruning) if outcome.pruning else None,
        stairs=emission.stairs,
        runtime_drift=drift,
        environment=Environment.here(),
    )


def _pruning_figure(emission: Emission, pruning: Pruning) -> PruningFigure:
    request = emission.request
    binding, allow_inexact = emission.timer.binding, pruning.allow_inexact
    analysis = analyse(pruning.source, request.rules, binding=binding, allow_inexact=allow_inexact)
    layers = layer_figures(analysis, pruning, emission.outcome.model, request.target.width_alignment())
    return PruningFigure.of(pruning, layers)


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


def _unused_labels(labels: npt.NDArray[Any]) -> str:
    what = f"the labels ({labels.dtype} {list(labels.shape)}) were not used: accuracy is fidelity to the original model"
    return f"{what}; top1 takes one integer a sample, all else a --metric FILE.py:function"


def _unknown(request: CompileRequest, emission: Emission) -> tuple[str, ...]:
    notes = []
    if emission.accuracy is None:
        notes.append("no data was given: units were chosen by their weights alone, and accuracy was not measured")
    elif emission.accuracy.judging.data.labels is None:
        notes.append("the data has no labels: accuracy is fidelity to the original model, right or wrong")
    elif emission.accuracy.metric.needs_reference:
        notes.append(_unused_labels(emission.accuracy.judging.data.labels))
    if emission.equivalence and emission.equivalence.inexact:
        notes.append(f"that what stays computes what it did: {inexact_text(emission.equivalence)}")
    elif emission.equivalence and not emission.equivalence.passed:
        notes.append("whether the shipped weights are where the source's were: a pass after pruning rewrote the graph")
    if not request.target.measured:
        notes.append(f"target {request.target.name} models latencies: no number here was measured")
    here, there = request.target.identity(), emission.latencies.identity if emission.latencies else None
    if there and there != here:
        notes.append(
            f"what the engine takes on {there.device}, {there.runtime}: layers' latencies from there chose the widths, "
            f"engines were built and timed on {here.device}, {here.runtime}"
        )
    return tuple(notes)
