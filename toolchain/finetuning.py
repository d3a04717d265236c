"""Fine-tuning as a step of a compile: the bundle's own script trains, the result is judged as after a pass."""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from toolchain.data.metric import Score
from toolchain.emit.bundle import save_model
from toolchain.emit.finetune.files import SCRIPTS, add_training_files
from toolchain.emit.finetune.run import NAME, Figures, finetune
from toolchain.errors import EnvironmentMissing, Interrupted, ModelError, PrunecError, UsageError
from toolchain.graph.hashing import model_sha256
from toolchain.measure.cache import cache_folder
from toolchain.measure.journal import key_of
from toolchain.pipeline.contract import PassResult
from toolchain.pipeline.record import Check, Record, Status
from toolchain.pipeline.run import OnRecord, Outcome, Pipeline
from toolchain.request import CompileRequest
from toolchain.targets.onnxruntime import execute
from toolchain.verify.embedding import compare_shipped
from toolchain.workbench import Workbench

OWN_OPTIONS = ("--output", "--exclude", "--restart")
"""What the compile says itself."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What a pipeline's outcome became, and why there was no training if it failed."""

    outcome: Outcome
    failure: PrunecError | None = None


def parse_finetune(text: str) -> tuple[str, ...]:
    """Split the options of finetune.py as a shell does.

    Raises UsageError where that cannot be, and for options that the compile gives itself.
    """
    try:
        arguments = tuple(shlex.split(text))
        _data_of(arguments)
    except (ValueError, argparse.ArgumentError) as error:
        hint = 'write its options as one text: --finetune "--epochs 5"'
        raise UsageError(f"--finetune {text}: {error}", hint=hint) from None
    for option in OWN_OPTIONS:
        if any(item.partition("=")[0] == option for item in arguments):
            raise UsageError(f"--finetune: {option} is given by the compile itself", hint="leave it out")
    return arguments


def check_finetune(request: CompileRequest) -> None:
    """Refuse at once what would only fail after the search. Raises UsageError, or EnvironmentMissing without torch."""
    if request.finetune is None:
        return
    if request.data is None:
        raise UsageError("--finetune without data that judges the result", hint="add --data")
    if request.dry_run:
        raise UsageError("--finetune trains what a dry run does not write", hint="leave one of them out")
    data = _data_of(request.finetune)
    if data is not None and not data.exists():
        raise UsageError(f"--finetune: {data}: no such file or folder", hint="check the --data among its options")
    if importlib.util.find_spec("torch") is None:
        raise EnvironmentMissing("--finetune needs PyTorch, which is not installed", hint="pip install torch")


def fine_tuned(bench: Workbench, request: CompileRequest, outcome: Outcome, on_record: OnRecord) -> Trained:
    """Train what the pipeline made, and ship the result if it is the more accurate; judge the floor at last.

    1. Better: it ships. Its engine is built and timed, and it equals the masked source that holds its weights.
    2. Not better, or not the masked source: what the pipeline made ships.
    3. Interrupted: what the pipeline made ships, and the same command goes on training.
    4. Failed: what the pipeline made ships, and the failure is returned.
    """
    if outcome.interrupted:
        return Trained(outcome)
    pipeline, started, failure = bench.pipeline(request, on_record), time.monotonic(), None
    if outcome.pruning is None:
        bench.reporter.warn("nothing was pruned, so there is nothing to fine-tune")
        return Trained(_floored(pipeline, outcome))
    try:
        result = _train(bench, request, outcome)
        outcome = _judged(bench, pipeline, outcome, result, started)
    except Interrupted:
        return Trained(replace(outcome, interrupted=True))
    except PrunecError as error:
        failure = error
        bench.reporter.warn(str(error))
        outcome = _without(outcome, error, time.monotonic() - started)
    on_record(outcome.records[-1])
    return Trained(_floored(pipeline, outcome), failure)


def training_folder(request: CompileRequest, model: onnx.ModelProto) -> Path:
    """Return where this model trains with these options: the same for the same command, so that it can go on."""
    return cache_folder() / NAME / key_of(model_sha256(model), *_arguments(request))


def _train(bench: Workbench, request: CompileRequest, outcome: Outcome) -> PassResult:
    """Run the script in its folder, which stays where it does not come to its end."""
    assert bench.accuracy is not None
    folder = training_folder(request, outcome.model)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(outcome.model, folder / "model.onnx")
    original = bench.loaded.normalised
    add_training_files(folder, outcome.model, original, request.emitters, bench.accuracy, bench.reporter)
    if not (folder / SCRIPTS[0]).is_file():
        raise ModelError("the pruned network cannot be trained: it cannot be written in PyTorch")
    bench.reporter.progress("fine-tuning")
    arguments = _arguments(request)
    path, figures = finetune(
        folder, arguments, excluded=_excluded(bench, request, arguments), on_line=bench.reporter.progress
    )
    model = onnx.load(path)
    shutil.rmtree(folder)
    return PassResult(model, model_sha256(model) != model_sha256(outcome.model), (_note(figures),), exact=False)


def _judged(bench: Workbench, pipeline: Pipeline, outcome: Outcome, result: PassResult, started: float) -> Outcome:
    """Return the outcome with the trained model where that is better, else with a record that says why not."""
    record = pipeline.observe(outcome.model, result, NAME, started)
    pruning, before, score = outcome.pruning, outcome.last.score, record.score
    assert pruning is not None
    assert before is not None
    assert score is not None
    found = compare_shipped(
        pruning.source, result.model, pruning.kept, bench.feeds, execute, inexact=bool(pruning.inexact)
    )
    record = replace(record, check=Check.of(found, pruning.inexact))
    reason = ""
    if found.wrong:
        reason = "its weights are not where the source's are: it could not be verified"
    elif not _better(score, before):
        reason = f"not better: {score.name} of {score.value:.2f} instead of {before.value:.2f}"
    if reason:
        record = replace(record, status=Status.ROLLED_BACK, reason=reason)
        return replace(outcome, records=(*outcome.records, record))
    return replace(outcome, model=result.model, records=(*outcome.records, record))


def _without(outcome: Outcome, error: PrunecError, seconds: float) -> Outcome:
    """Add a record that says why nothing was trained."""
    last = outcome.last
    record = Record(NAME, Status.ROLLED_BACK, last.cost, last.size_bytes, seconds, reason=str(error))
    return replace(outcome, records=(*outcome.records, record))


def _floored(pipeline: Pipeline, outcome: Outcome) -> Outcome:
    """Roll back everything from the first lossy pass on where its accuracy is below the floor even now."""
    unpruned, last = outcome.before_lossy, outcome.last
    if unpruned is None or not pipeline.misses_floor(last):
        return outcome
    reason, kept = f"below the floor: {pipeline.floor_text(last)}", len(unpruned.records)
    undone = (
        replace(item, status=Status.ROLLED_BACK, below_floor=True, reason=item.reason or reason)
        for item in outcome.records[kept:]
    )
    return replace(unpruned, records=(*unpruned.records, *undone))


def _better(score: Score, than: Score) -> bool:
    return score.value > than.value if score.higher_is_better else score.value < than.value


def _arguments(request: CompileRequest) -> tuple[str, ...]:
    """Return the script's options: it trains on the compile's samples where no others are named."""
    assert request.finetune is not None
    if _data_of(request.finetune) is not None:
        return request.finetune
    return ("--data", str(request.calibration_data or request.data), *request.finetune)


def _excluded(bench: Workbench, request: CompileRequest, arguments: tuple[str, ...]) -> list[int]:
    """Return the numbers of the samples that judge the compile, where the script is to train on the same data."""
    data = _data_of(arguments)
    assert bench.accuracy is not None
    assert request.data is not None
    same = data is not None and data.resolve() == request.data.resolve()
    return [int(number) for number in bench.accuracy.judging.indices] if same else []


def _data_of(arguments: tuple[str, ...]) -> Path | None:
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--data", type=Path)
    found: Path | None = parser.parse_known_args(arguments)[0].data
    return found


def _note(figures: Figures) -> str:
    percent = figures.validation_percent
    return (
        f"the script's own judgement: {percent['start']:.2f} % at the start, {percent['best']:.2f} % at best, "
        f"on {figures.validation_samples:,} samples that did not train"
    )
