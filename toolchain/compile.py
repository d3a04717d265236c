"""From a request to a bundle: load, prepare, run the pipeline, emit."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from toolchain.budget import Budget
from toolchain.data.accuracy import Accuracy, Subset
from toolchain.data.interface import ModelInterface
from toolchain.data.open_data import open_data
from toolchain.data.open_metric import open_metric
from toolchain.data.preprocess import Preprocess
from toolchain.data.split import MAX_CALIBRATION_SAMPLES, MAX_EVALUATION_SAMPLES, draw, split
from toolchain.emit.bundle import check_output
from toolchain.emit.emission import Emission, emit, emit_failure
from toolchain.emit.report import Report
from toolchain.errors import PrunecError, UsageError
from toolchain.graph.analysis import analyse
from toolchain.graph.cost import Cost, CostModel
from toolchain.graph.deployment import Shapes, deployment_binding, random_feeds
from toolchain.graph.load import LoadedModel, load_model
from toolchain.graph.normalise import normalise
from toolchain.graph.oracle import Feeds
from toolchain.graph.rule import Rule
from toolchain.measure.cache import cache_folder
from toolchain.measure.journal import Journal
from toolchain.measure.lock import device_lock
from toolchain.measure.timer import EngineTimer
from toolchain.pipeline.contract import Pass, PassContext, Reporter
from toolchain.pipeline.observers import Assess, Dump, Measure, Observer, Verify
from toolchain.pipeline.run import OnRecord, Pipeline
from toolchain.targets.contract import Target
from toolchain.trial import allowance_for, try_out


@dataclass(frozen=True, eq=False)
class CompileRequest:
    """Everything a compile is asked for; `command` is how to ask for it again."""

    model: Path
    output: Path
    passes: Sequence[Pass]
    target: Target
    rules: Mapping[str, Rule]
    also_build: Sequence[Target] = ()
    """Targets whose engines are added to the bundle, built but not timed."""
    budget: Budget | None = None
    data: Path | None = None
    preprocess: Preprocess | None = None
    metric: str = "auto"
    calibration_data: Path | None = None
    calibration_samples: int | None = None
    evaluation_samples: int | None = None
    min_accuracy: float | None = None
    input_shapes: Shapes | None = None
    dump_directory: Path | None = None
    dry_run: bool = False
    seed: int = 0
    command: str = ""


def compile_model(request: CompileRequest, reporter: Reporter, on_record: OnRecord) -> Report:
    """Compile and write the bundle; the report says how it went, its exit code included.

    Raises PrunecError where nothing can be emitted; from the moment the model has been read, a report is left.
    """
    check_output(request.output)
    reporter.progress(f"loading {request.model}")
    loaded = load_model(request.model)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="prunec-") as folder,
            device_lock(request.target.identity().device, reporter.progress),
        ):
            return _Compilation(request, loaded, Path(folder), reporter).run(on_record)
    except PrunecError as error:
        if not request.dry_run:
            with suppress(UsageError):  # where nothing can be written, what went wrong before is worth more
                emit_failure(request.output, request, loaded, error)
        raise


class _Compilation:
    """One compile; what it prepares is prepared once, when first asked for."""

    def __init__(self, request: CompileRequest, loaded: LoadedModel, folder: Path, reporter: Reporter) -> None:
        self._request = request
        self._loaded = loaded
        self._folder = folder
        self._reporter = reporter

    def run(self, on_record: OnRecord) -> Report:
        """Run every pass, then emit."""
        request = self._request
        self._try_out()
        if self._accuracy:
            for warning in self._accuracy.judging.data.warnings:
                self._reporter.warn(warning)
        pipeline = Pipeline(request.passes, self._observers(), self._cost, request.min_accuracy, on_record)
        outcome = pipeline.run(self._loaded.normalised, self._context())
        if self._journal.reused:
            self._reporter.progress(f"{self._journal.reused} measurements of an earlier, unfinished run were used")
        if not request.dry_run:
            self._reporter.progress("writing the bundle")
        report = emit(
            Emission(request, self._loaded, outcome, self._accuracy, self._timer, self._feeds), self._reporter
        )
        if not outcome.interrupted:
            self._journal.close()
        return report

    def _try_out(self) -> None:
        """Run the original once where it can do no harm, before it runs in this process."""
        analysis = analyse(self._loaded.normalised, self._request.rules, binding=self._binding)
        cost = CostModel(analysis, self._request.rules).total
        try_out(self._loaded.path, self._binding, allowance_for(analysis, cost))

    @cached_property
    def _accuracy(self) -> Accuracy | None:
        request = self._request
        if request.data is None:
            return None
        interface = ModelInterface.of(self._loaded.normalised)
        judging, calibrating = self._datasets(request.data, interface)
        metric = open_metric(request.metric, interface, judging.data.labels)
        return Accuracy(judging, calibrating, metric, self._loaded.normalised)

    def _datasets(self, path: Path, interface: ModelInterface) -> tuple[Subset, Subset]:
        """Return the samples that judge and those that calibrate: parts of one dataset, or two datasets."""
        request, generator = self._request, np.random.default_rng(self._request.seed)
        judging = open_data(path, interface, request.preprocess)
        if request.calibration_data is None:
            parts = split(
                len(judging), request.calibration_samples, request.evaluation_samples, generator, judging.labels
            )
            return Subset(judging, parts.evaluation), Subset(judging, parts.calibration)
        calibrating = open_data(request.calibration_data, interface, request.preprocess)
        return (
            Subset(judging, draw(judging, request.evaluation_samples, MAX_EVALUATION_SAMPLES, generator)),
            Subset(calibrating, draw(calibrating, request.calibration_samples, MAX_CALIBRATION_SAMPLES, generator)),
        )

    @cached_property
    def _binding(self) -> Mapping[str, int]:
        sample: Shapes = {}
        if self._accuracy:
            sample = {name: value.shape for name, value in self._accuracy.judging.data.batch([0]).feeds.items()}
        return deployment_binding(self._loaded.normalised, self._request.input_shapes or {}, sample)

    @cached_property
    def _feeds(self) -> Feeds:
        """Inputs at the deployed sizes: real samples where there are enough, else random."""
        model, generator = self._loaded.normalised, np.random.default_rng(self._request.seed)
        feeds = random_feeds(model, self._binding, generator)
        if self._accuracy is None:
            return feeds
        batch = len(next(iter(feeds.values())))
        real = self._accuracy.calibrating.cycled(batch).feeds
        return real if all(real[name].shape == feeds[name].shape for name in feeds) else feeds

    @cached_property
    def _timer(self) -> EngineTimer:
        request, generator = self._request, np.random.default_rng(self._request.seed)
        self._reporter.progress(f"building and timing the original on {request.target.name}")
        return EngineTimer.start(
            request.target,
            self._loaded.original,
            self._feeds,
            self._binding,
            self._folder / "engines",
            generator,
            journal=self._journal,
        )

    @cached_property
    def _journal(self) -> Journal:
        """What an unfinished compile of this model on this target has measured."""
        return Journal.at(cache_folder() / "journals", self._loaded.sha256, self._request.target.identity().key())

    def _context(self) -> PassContext:
        return PassContext(
            rules=self._request.rules,
            binding=self._binding,
            budget=self._request.budget,
            alignment=self._request.target.width_alignment(),
            timer=self._timer,
            calibration=self._accuracy,
            reporter=self._reporter,
            seed=self._request.seed,
        )

    def _observers(self) -> list[Observer]:
        observers: list[Observer] = [Verify(self._feeds), Measure(self._timer)]
        if self._accuracy:
            observers.append(Assess(self._accuracy, self._timer))
        if self._request.dump_directory:
            observers.append(Dump(self._request.dump_directory))
        return observers

    def _cost(self, model: onnx.ModelProto) -> Cost:
        analysis = analyse(normalise(model), self._request.rules, binding=self._binding)
        return CostModel(analysis, self._request.rules).total
