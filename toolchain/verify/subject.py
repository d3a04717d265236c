"""What is verified: a bundle whose files have been checked, opened piece by piece."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from pydantic import ValidationError

from toolchain.emit.bundle import REPORT
from toolchain.emit.manifest import EngineEntry, Manifest
from toolchain.emit.report import Report, TargetFigure
from toolchain.errors import BundleError, PrunecError, UsageError
from toolchain.graph.deployment import bind_model, deployment_binding, random_feeds
from toolchain.graph.facts import Binding
from toolchain.graph.hashing import file_sha256, model_sha256
from toolchain.graph.load import LoadedModel, load_model
from toolchain.graph.oracle import Feeds
from toolchain.graph.rule import Rule
from toolchain.latency.stair_macs import StairMacs
from toolchain.measure.care import Care
from toolchain.measure.comparison import Comparison
from toolchain.measure.inputs import Input
from toolchain.pipeline.contract import Pass, PassContext, Reporter
from toolchain.targets import registry as targets
from toolchain.targets.contract import Alignment, Target
from toolchain.targets.engine import Engine, Identity


@dataclass(frozen=True, eq=False)
class Subject:
    """A bundle with its manifest; `original` is the model it was compiled from, if it was given or found."""

    folder: Path
    manifest: Manifest
    original: Path | None
    passes: Sequence[Pass]
    """The bundle's pipeline."""
    rules: Mapping[str, Rule]
    reporter: Reporter
    seed: int

    @cached_property
    def report(self) -> Report:
        """The bundle's report. Raises BundleError where it cannot be read."""
        try:
            return Report.model_validate_json((self.folder / REPORT).read_bytes())
        except ValidationError as error:
            raise BundleError(f"{REPORT} cannot be read: {error.errors()[0]['msg']}", hint="compile again") from None

    @cached_property
    def shipped(self) -> LoadedModel:
        """The model that ships, as it was found."""
        return load_model(self.folder / "model.onnx")

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The model that ships, as its engine was built from it."""
        model = self.shipped.original
        if (self.folder / "model.onnx.data").exists():
            for tensor in model.graph.initializer:
                tensor.ClearField("data_location")
        return model

    @cached_property
    def source(self) -> LoadedModel:
        """The model that was compiled, by its hash."""
        if self.original is None:
            raise UsageError("the original model is needed", hint="give it with --original")
        if file_sha256(self.original) != self.manifest.source_model_sha256:
            raise BundleError(
                f"{self.original} is not the model that this bundle was compiled from", hint="give that one"
            )
        return load_model(self.original)

    @cached_property
    def target(self) -> Target:
        """The target that the engine was timed on, with the same options, as it is on this machine."""
        figure = self.manifest.target
        return targets.create(figure.name, ",".join(f"{name}={value}" for name, value in figure.options))

    @property
    def engine_entry(self) -> EngineEntry:
        """The engine that was timed. Raises BundleError where there is none, or an engine's file is not there."""
        files = {item.path for item in self.manifest.files}
        timed = [item for item in self.manifest.engines if item.timed]
        if len(timed) != 1 or any(item.path not in files for item in self.manifest.engines):
            raise BundleError("the manifest does not name the one engine that was timed", hint="compile again")
        return timed[0]

    @property
    def engine(self) -> Engine:
        """The engine that ships, where it lies."""
        entry = self.engine_entry
        return Engine(self.folder / entry.path, identity_of(entry.target), entry.sha256, entry.model_sha256)

    @property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """The inputs' sizes as deployed."""
        return {item.name: item.shape for item in self.manifest.inputs}

    @cached_property
    def binding(self) -> Binding:
        """The symbolic sizes as deployed."""
        return deployment_binding(self.model, self.sizes, {})

    @cached_property
    def feeds(self) -> Feeds:
        """Random inputs at these sizes."""
        return random_feeds(self.model, self.binding, np.random.default_rng(self.seed))

    def deployed_sha256s(self) -> set[str]:
        """Return the content hashes of what engines of model.onnx are built from: as it is, or with fixed sizes."""
        return {model_sha256(self.model), model_sha256(bind_model(self.model, self.binding))}

    def pruned_from(self) -> onnx.ModelProto:
        """Repeat the passes before pruning on the original. Raises BundleError where that gives another model."""
        context = PassContext(
            rules=self.rules,
            binding=self.binding,
            budget=None,
            alignment=Alignment(preferred=1, least=1),
            timer=_NoTimer(),
            calibration=None,
            reporter=self.reporter,
            seed=self.seed,
            latency_of=lambda analysis: StairMacs(analysis, self.rules, 1, 1.0),
        )
        model = self.source.normalised
        run = self.passes[: len(self.manifest.decisions)]
        if [step.name() for step in run] != [item.name for item in self.manifest.decisions]:
            raise BundleError("pipeline.toml has other passes than the manifest", hint="compile again")
        for step, decision in zip(run, self.manifest.decisions, strict=True):
            if step.lossy or model_sha256(model) == self.manifest.pruned_from_sha256:
                break
            if decision.status == "kept":
                model = step(model, context).model
        if model_sha256(model) != self.manifest.pruned_from_sha256:
            raise BundleError(
                "the passes before pruning do not give the model again that was pruned",
                hint="verify with the library versions that the manifest names",
            )
        return model


class _NoTimer:
    """Passes before pruning time nothing."""

    @property
    def baseline_ms(self) -> float:
        """Refuse."""
        raise PrunecError("a pass before pruning asks for latencies, which a verification does not have")

    def compare(
        self,
        model: onnx.ModelProto,  # noqa: ARG002
        care: Care = Care.QUICK,  # noqa: ARG002
        limit: float | None = None,  # noqa: ARG002
    ) -> Comparison:
        """Refuse."""
        raise PrunecError("a pass before pruning times engines, which a verification does not do")


def identity_of(figure: TargetFigure) -> Identity:
    """Return the identity that a figure was copied from."""
    return Identity(figure.name, figure.device, figure.runtime, figure.precision, figure.options, figure.driver)


def deployed_inputs(manifest: Manifest) -> tuple[Input, ...]:
    """Return the inputs that the bundle's engine was timed with."""
    return tuple(
        Input(
            name=item.name,
            data_type=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(item.data_type)),
            shape=item.shape,
        )
        for item in manifest.inputs
    )
