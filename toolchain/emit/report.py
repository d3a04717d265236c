"""`report.json`: every number of a compile, as a schema."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from toolchain import __version__
from toolchain.data.metric import Score
from toolchain.measure.comparison import Comparison, Verdict
from toolchain.pipeline.contract import Pruning
from toolchain.pipeline.record import Check, Record, Status
from toolchain.store.carried import Origin
from toolchain.strategies.contract import Trial
from toolchain.targets.contract import Target

LIBRARIES = ("numpy", "onnx", "onnx-graphsurgeon", "onnxruntime", "polygraphy", "scipy")


class Frozen(BaseModel):
    """A record that cannot be changed."""

    model_config = ConfigDict(frozen=True)


class LatencyFigure(Frozen):
    """A measured (or modelled) latency and its ratio to the original's, with the interval of the ratio."""

    median_ms: float
    original_median_ms: float
    """The original's median in the same interleaved run: compare with this one only."""
    p10_ms: float
    p90_ms: float
    samples: int
    clock: str
    batch: int
    ratio: float
    ratio_low: float
    ratio_high: float
    verdict: Verdict
    measured: bool
    converged: bool

    @classmethod
    def of(cls, comparison: Comparison) -> LatencyFigure:
        """Summarise a comparison; the samples themselves are in the manifest."""
        candidate = comparison.candidate
        return cls(
            median_ms=candidate.median_ms,
            original_median_ms=comparison.baseline.median_ms,
            p10_ms=candidate.p10_ms,
            p90_ms=candidate.p90_ms,
            samples=len(candidate.samples_ms),
            clock=candidate.clock,
            batch=candidate.batch,
            ratio=comparison.ratio,
            ratio_low=comparison.low,
            ratio_high=comparison.high,
            verdict=comparison.verdict,
            measured=comparison.measured,
            converged=comparison.converged,
        )


class AccuracyFigure(Frozen):
    """A score with its 95 % interval, on samples that calibration did not see."""

    metric: str
    value: float
    unit: str
    low: float | None
    high: float | None
    samples: int
    extras: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, score: Score) -> AccuracyFigure:
        """Copy a score."""
        return cls(
            metric=score.name,
            value=score.value,
            unit=score.unit,
            low=score.low,
            high=score.high,
            samples=score.samples,
            extras=score.extras,
        )


class EquivalenceFigure(Frozen):
    """How far the rewritten model is from what it stands for (for pruning: the masked original)."""

    relative_error: float
    tolerance: float
    passed: bool
    powered: bool
    inexact: tuple[str, ...] = ()
    """Why the two are not equal by nature, where such groups were pruned; it is never passed then."""

    @classmethod
    def of(cls, check: Check) -> EquivalenceFigure:
        """Copy a check: the fields are called alike."""
        return cls.model_validate(check, from_attributes=True)


class PassFigure(Frozen):
    """One pass."""

    name: str
    status: str
    parameters: int
    macs: int
    size_bytes: int
    seconds: float
    latency: LatencyFigure | None
    accuracy: AccuracyFigure | None
    equivalence: EquivalenceFigure | None
    notes: tuple[str, ...]
    reason: str

    @classmethod
    def of(cls, record: Record) -> PassFigure:
        """Copy a record."""
        return cls(
            name=record.name,
            status=record.status,
            parameters=record.cost.parameters,
            macs=record.cost.macs,
            size_bytes=record.size_bytes,
            seconds=record.seconds,
            latency=LatencyFigure.of(record.comparison) if record.comparison else None,
            accuracy=AccuracyFigure.of(record.score) if record.score else None,
            equivalence=EquivalenceFigure.of(record.check) if record.check else None,
            notes=record.notes,
            reason=record.reason,
        )


class TrialFigure(Frozen):
    """One engine that the search built and timed."""

    macs: int
    parameters: int
    ratio: float
    ratio_low: float
    ratio_high: float
    loss: float | None = None
    """How far its outputs were from the original's on samples that the search did not fit, where that was looked at."""

    @classmethod
    def of(cls, trial: Trial) -> TrialFigure:
        """Summarise a trial."""
        comparison = trial.comparison
        return cls(
            macs=trial.cost.macs,
            parameters=trial.cost.parameters,
            ratio=comparison.ratio,
            ratio_low=comparison.low,
            ratio_high=comparison.high,
        )


class GroupFigure(Frozen):
    """A group that can be pruned, before and after."""

    name: str
    width_before: int
    width_after: int


class FrozenGroupFigure(Frozen):
    """A group that cannot be pruned, and why."""

    name: str
    width: int
    reason: str


class LayerFigure(Frozen):
    """A weighted layer before and after: channels out and in, and what keeps it from being faster."""

    name: str
    op_type: str
    outputs_before: int
    outputs_after: int
    inputs_before: int
    inputs_after: int
    notes: tuple[str, ...]


class StairFigure(Frozen):
    """A layer's latency over its width, the widths at which it drops, and the width that was chosen."""

    layer: str
    widths: tuple[int, ...]
    median_ms: tuple[float, ...]
    steps: tuple[int, ...]
    chosen_width: int


class PruningFigure(Frozen):
    """What the search tried and decided."""

    criterion: str
    trials: tuple[TrialFigure, ...]
    groups: tuple[GroupFigure, ...]
    frozen_groups: tuple[FrozenGroupFigure, ...]
    prunable_channel_share: float
    layers: tuple[LayerFigure, ...] = ()

    @classmethod
    def of(cls, pruning: Pruning, layers: tuple[LayerFigure, ...] = ()) -> PruningFigure:
        """Summarise a pruning pass."""
        prunable = sum(before for _, before, _ in pruning.widths)
        total = prunable + sum(width for _, width, _ in pruning.frozen)
        return cls(
            criterion=pruning.criterion,
            trials=tuple(TrialFigure.of(trial) for trial in pruning.found.trials),
            groups=tuple(GroupFigure(name=n, width_before=b, width_after=a) for n, b, a in pruning.widths),
            frozen_groups=tuple(FrozenGroupFigure(name=n, width=w, reason=r) for n, w, r in pruning.frozen),
            prunable_channel_share=prunable / max(total, 1),
            layers=layers,
        )


class DataFigure(Frozen):
    """What accuracy was measured on. Calibration and evaluation samples are disjoint, drawn by the seed."""

    path: str
    samples: int
    calibration_path: str
    calibration_samples: int
    evaluation_samples: int
    warnings: tuple[str, ...]


class TargetFigure(Frozen):
    """Where the engine was built and timed; everything its latency depends on."""

    name: str
    device: str
    driver: str
    runtime: str
    precision: str
    options: tuple[tuple[str, str], ...]
    measured: bool

    @classmethod
    def of(cls, target: Target) -> TargetFigure:
        """Describe a target with its options on this machine."""
        identity = target.identity()
        return cls(
            name=target.name,
            device=identity.device,
            driver=identity.driver,
            runtime=identity.runtime,
            precision=identity.precision,
            options=identity.options,
            measured=target.measured,
        )


class OriginFigure(Frozen):
    """Where and when the layers' latencies had been measured that the search was given."""

    path: str
    entries: int
    target: str
    device: str
    driver: str
    runtime: str
    precision: str
    oldest: AwareDatetime
    newest: AwareDatetime
    profiled: bool = False
    """Whether the network's profile, what its kernels take of the whole, came from there too."""
    own: int = 0
    """How many others this machine has timed."""

    @classmethod
    def of(cls, origin: Origin) -> OriginFigure:
        """Copy an origin."""
        identity = origin.identity
        return cls(
            path=origin.path,
            entries=origin.entries,
            target=identity.target,
            device=identity.device,
            driver=identity.driver,
            runtime=identity.runtime,
            precision=identity.precision,
            oldest=origin.oldest,
            newest=origin.newest,
            profiled=origin.profiled,
            own=origin.own,
        )


class Environment(Frozen):
    """The software that ran."""

    prunec: str
    python: str
    libraries: tuple[tuple[str, str], ...]

    @classmethod
    def here(cls) -> Environment:
        """Read the installed versions."""
        libraries = tuple((name, version(name)) for name in LIBRARIES)
        return cls(prunec=__version__, python=sys.version.split()[0], libraries=libraries)


class Report(Frozen):
    """A compile: the request, its outcome, and every number behind it."""

    schema_version: Literal[1] = 1
    outcome: str
    exit_code: int
    message: str
    model_path: str
    model_sha256: str
    budget: str
    command: str
    seed: int
    target: TargetFigure | None = None
    also_built: tuple[TargetFigure, ...] = ()
    """Targets whose engines are in the bundle too: built, not timed."""
    data: DataFigure | None = None
    latencies: OriginFigure | None = None
    """Where the layers' latencies came from, if the search was given them; whole engines were timed here."""
    unknown: tuple[str, ...] = ()
    """What this compile could not know, and therefore does not claim."""
    passes: tuple[PassFigure, ...] = ()
    pruning: PruningFigure | None = None
    stairs: tuple[StairFigure, ...] = ()
    """Latency over the width they write of the layers that were timed alone, at the widths that were."""
    runtime_drift: float | None = None
    """How far the runtime's own optimisations move the shipped model's outputs, relative to the largest one."""
    environment: Environment

    @property
    def shipped(self) -> PassFigure | None:
        """The last pass whose result stayed; None where there was none."""
        return next((item for item in reversed(self.passes) if item.status != Status.ROLLED_BACK), None)
