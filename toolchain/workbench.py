"""The workbench: what all passes, budgets and strategies of one model on one target share."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from toolchain.data.accuracy import Accuracy, Subset
from toolchain.data.interface import ModelInterface
from toolchain.data.open_data import open_data
from toolchain.data.open_metric import open_metric
from toolchain.data.split import MAX_CALIBRATION_SAMPLES, MAX_EVALUATION_SAMPLES, draw, split
from toolchain.emit.emission import Emission, emit
from toolchain.emit.report import Report
from toolchain.emit.stairs import stair_figures
from toolchain.errors import PrunecError
from toolchain.graph.analysis import Analysis, analyse
from toolchain.graph.cost import Cost, CostModel
from toolchain.graph.deployment import Shapes, deployment_binding, random_feeds
from toolchain.graph.load import LoadedModel
from toolchain.graph.normalise import normalise
from toolchain.graph.oracle import Feeds
from toolchain.latency.contract import LatencyModel
from toolchain.latency.measured_table import measured_table
from toolchain.latency.table import LatencyTable
from toolchain.measure.cache import cache_folder
from toolchain.measure.journal import Journal
from toolchain.measure.timer import EngineTimer
from toolchain.pipeline.contract import PassContext, Reporter
from toolchain.pipeline.observers import Assess, Dump, Measure, Observer, Verify
from toolchain.pipeline.run import OnRecord, Outcome, Pipeline
from toolchain.request import CompileRequest
from toolchain.store.carried import CarriedLatencies
from toolchain.store.latency_store import LatencyStore, default_path
from toolchain.trial import try_model


@dataclass(frozen=True, eq=False)
class Workbench:
    """Samples, inputs, the timed original: prepared once, when first asked for. A budget is a run on it."""

    request: CompileRequest
    loaded: LoadedModel
    folder: Path
    reporter: Reporter
    _tables: list[LatencyTable] = field(default_factory=list)
    """The latency tables that searches asked for."""
    _open: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Close what was opened on the way."""
        self._open.close()

    def run(self, request: CompileRequest, on_record: OnRecord) -> Outcome:
        """Run every pass for a request that differs from the workbench's in budget, floor and output at most."""
        context = PassContext(
            rules=request.rules,
            binding=self.binding,
            budget=request.budget,
            alignment=request.target.width_alignment(),
            timer=self.timer,
            calibration=self.accuracy,
            reporter=self.reporter,
            seed=request.seed,
            latency_of=self._latency_of,
        )
        return self.pipeline(request, on_record).run(self.loaded.normalised, context)

    def pipeline(self, request: CompileRequest, on_record: OnRecord) -> Pipeline:
        """Return a request's passes with everything that watches them."""
        limit = request.budget.ratio_of(self.timer.baseline_ms) if request.budget else None
        observers = [Verify(self.feeds), Measure(self.timer, limit), *self._remembering]
        repaired_after = request.finetune is not None
        return Pipeline(
            request.passes, observers, self._cost, request.min_accuracy, on_record, repaired_after=repaired_after
        )

    def emit(self, request: CompileRequest, outcome: Outcome, failure: PrunecError | None = None) -> Report:
        """Write the bundle of an outcome, or only its report on a dry run; `failure` is that of a later step."""
        if not request.dry_run:
            self.reporter.progress("writing the bundle")
        if self.carried and not self.carried.origin:
            self.reporter.warn(f"no latency of {self.carried.path} was asked for by this pipeline")
        emission = Emission(
            request,
            self.loaded,
            outcome,
            self.accuracy,
            self.timer,
            self.feeds,
            failure,
            stairs=stair_figures(self._tables[-1], outcome.pruning) if self._tables and outcome.pruning else (),
            latencies=self.carried.origin if self.carried else None,
        )
        return emit(emission, self.reporter)

    def prepare(self) -> None:
        """Read the latencies given, try the original out where it can do no harm, say what is odd about the samples."""
        if self.carried:
            self.reporter.progress(f"{len(self.carried.entries)} latencies of layers from {self.carried.path}")
        try_model(self.loaded, self.request.rules, self.binding)
        if self.accuracy:
            for warning in self.accuracy.judging.data.warnings:
                self.reporter.warn(warning)

    def finish(self) -> None:
        """Forget what was only kept in case of an interruption."""
        if self.journal.reused:
            self.reporter.progress(f"{self.journal.reused} measurements were used again")
        self.journal.close()

    @cached_property
    def accuracy(self) -> Accuracy | None:
        """The samples that judge and calibrate, with their metric."""
        request = self.request
        if request.data is None:
            return None
        interface = ModelInterface.of(self.loaded.normalised)
        judging, calibrating = self._datasets(request.data, interface)
        metric = open_metric(request.metric, interface, judging.data.labels)
        return Accuracy(judging, calibrating, metric, self.loaded.normalised)

    def _datasets(self, path: Path, interface: ModelInterface) -> tuple[Subset, Subset]:
        """Return the samples that judge and those that calibrate: parts of one dataset, or two datasets."""
        request, generator = self.request, np.random.default_rng(self.request.seed)
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
    def binding(self) -> Mapping[str, int]:
        """The symbolic sizes as deployed."""
        sample: Shapes = {}
        if self.accuracy:
            sample = {name: value.shape for name, value in self.accuracy.judging.data.batch([0]).feeds.items()}
        return deployment_binding(self.loaded.normalised, self.request.input_shapes or {}, sample)

    @cached_property
    def feeds(self) -> Feeds:
        """Inputs at the deployed sizes: real samples where there are enough, else random."""
        model, generator = self.loaded.normalised, np.random.default_rng(self.request.seed)
        feeds = random_feeds(model, self.binding, generator)
        if self.accuracy is None:
            return feeds
        batch = len(next(iter(feeds.values())))
        real = self.accuracy.calibrating.cycled(batch).feeds
        return real if all(real[name].shape == feeds[name].shape for name in feeds) else feeds

    @cached_property
    def timer(self) -> EngineTimer:
        """Times engines against the original's."""
        request, generator = self.request, np.random.default_rng(self.request.seed)
        self.reporter.progress(f"building and timing the original on {request.target.name}")
        return EngineTimer.start(
            request.target,
            self.loaded.original,
            self.feeds,
            self.binding,
            self.folder / "engines",
            generator,
            journal=self.journal,
        )

    @cached_property
    def journal(self) -> Journal:
        """What an unfinished compile of this model on this target has measured."""
        return Journal.at(cache_folder() / "journals", self.loaded.sha256, self.request.target.identity().key())

    @cached_property
    def _remembering(self) -> list[Observer]:
        """Observers that remember what they have seen, whatever the budget."""
        observers: list[Observer] = []
        if self.accuracy:
            observers.append(Assess(self.accuracy, self.timer))
        if self.request.dump_directory:
            observers.append(Dump(self.request.dump_directory))
        return observers

    def _latency_of(self, analysis: Analysis) -> LatencyModel:
        """Time layers as they are asked for; the store remembers them for other runs, budgets and networks."""
        generator = np.random.default_rng(self.request.seed)
        store = self.carried or self.store
        table = measured_table(analysis, self.request.target, self.folder / "blocks", generator, store)
        if self.carried:
            self.carried.require(model.signature(model.weighted.full) for model in table.models.values())
            self._tell_what_is_not_carried(self.carried)
        self._tables.append(table)
        return table

    def _tell_what_is_not_carried(self, carried: CarriedLatencies) -> None:
        if carried.profiles_here:
            self.reporter.warn(
                f"{carried.path} holds no profile of this network: its layers' shares of the whole are those of this "
                f"machine, not of {carried.identity.device}; compile there, and export its store again"
            )

    @cached_property
    def store(self) -> LatencyStore:
        """The layers' latencies that were ever measured on this machine."""
        return self._open.enter_context(LatencyStore(default_path(), self.reporter.warn))

    @cached_property
    def carried(self) -> CarriedLatencies | None:
        """The latencies that were brought along; this machine's own complete those of its own kind."""
        if self.request.latencies is None:
            return None
        return CarriedLatencies.read(self.request.latencies, self.request.target.identity(), self.store)

    def _cost(self, model: onnx.ModelProto) -> Cost:
        analysis = analyse(normalise(model), self.request.rules, binding=self.binding)
        return CostModel(analysis, self.request.rules).total
