"""What a deployment asks of a bundle, measured anew on this machine: latency and accuracy of the engine that ships."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolchain.data.accuracy import BATCH_SIZE, Run, in_pieces
from toolchain.data.dataset import Dataset, Outputs
from toolchain.data.interface import ModelInterface
from toolchain.data.metric import Score, evaluate
from toolchain.data.open_data import open_data
from toolchain.data.open_metric import open_metric
from toolchain.data.preprocess import Preprocess
from toolchain.data.split import Indices, split
from toolchain.emit.judgement import judge_ratio
from toolchain.errors import AccuracyFloorMissed, BudgetMissed, ExitCode, TooNoisy
from toolchain.measure.care import Care, held_against
from toolchain.measure.comparison import Comparison
from toolchain.measure.protocol import Protocol, compare
from toolchain.measure.timer import build_deployed
from toolchain.targets.onnxruntime import ReferenceSession
from toolchain.verify.subject import Subject


@dataclass(frozen=True)
class AccuracyWish:
    """The least accuracy, and what it is measured on."""

    minimum: float
    data: Path
    preprocess: Preprocess | None = None
    metric: str = "auto"


def compare_with_original(subject: Subject, largest: float) -> Comparison:
    """Build the original's engine and time the bundle's against it, closer where it is on the largest ratio."""
    with tempfile.TemporaryDirectory(prefix="prunec-") as folder:
        baseline = build_deployed(subject.target, subject.source.original, subject.binding, Path(folder))
        generator = np.random.default_rng(subject.seed)

        def timed(protocol: Protocol) -> Comparison:
            return compare(subject.target, baseline, subject.engine, subject.feeds, protocol=protocol, rng=generator)

        return held_against(largest, Care.FINAL, timed)


def require_ratio(comparison: Comparison, largest: float) -> str:
    """Say what was measured. Raises BudgetMissed or TooNoisy, as `prunec compile` would end."""
    found = judge_ratio(comparison, largest, f"{100 * largest:g} %")
    if found.exit_code is ExitCode.TOO_NOISY:
        raise TooNoisy(found.message, hint="close other programs and verify again")
    if found.exit_code is ExitCode.BUDGET_MISSED:
        raise BudgetMissed(found.message, hint="compile again on this machine")
    interval = f"[{100 * comparison.low:.1f}, {100 * comparison.high:.1f}]"
    return f"{found.message}, interval {interval}{'' if comparison.measured else ', modelled'}"


def measure_accuracy(subject: Subject, wish: AccuracyWish) -> Score:
    """Score the engine that ships, or model.onnx in ONNX Runtime where the target does not compute."""
    interface = ModelInterface.of(subject.model)
    data = open_data(wish.data, interface, wish.preprocess)
    metric = open_metric(wish.metric, interface, data.labels)
    batches = list(data.batches(_judging(subject, wish.data, data), BATCH_SIZE))
    references = None
    if metric.needs_reference:
        original = ReferenceSession(subject.source.normalised)
        references = [original.run(batch.feeds) for batch in batches]
    if not subject.target.executes:
        return evaluate(metric, batches, ReferenceSession(subject.model).run, references)
    with subject.target.runner(subject.engine) as runner:

        def run(feeds: Mapping[str, npt.NDArray[Any]]) -> Outputs:
            outputs = runner.infer(dict(feeds), check_inputs=False)
            return {name: np.array(value) for name, value in outputs.items()}

        return evaluate(metric, batches, _fitting(run, subject), references)


def require_accuracy(score: Score, wish: AccuracyWish) -> str:
    """Say what was measured. Raises AccuracyFloorMissed."""
    found = f"{score.name} of {score.value:.2f} {score.unit}".strip()
    text = f"{found} on {score.samples} samples, floor {wish.minimum:g}"
    if score.value < wish.minimum if score.higher_is_better else score.value > wish.minimum:
        raise AccuracyFloorMissed(text, hint="compile again with --min-accuracy")
    return text


def _judging(subject: Subject, path: Path, data: Dataset) -> Indices:
    """Leave the calibration samples out where this is the data that the compile drew them from."""
    figure = subject.report.data
    same = figure and figure.samples == len(data) and Path(figure.path).name == path.name
    if not figure or not same or figure.calibration_path != figure.path:
        return np.arange(len(data))
    generator = np.random.default_rng(subject.report.seed)
    counts = (figure.calibration_samples, figure.evaluation_samples)
    return split(len(data), *counts, generator, data.labels).evaluation


def _fitting(run: Run, subject: Subject) -> Run:
    rows = next(iter(subject.feeds.values())).shape[0]
    return in_pieces(run, rows) if subject.target.needs_fixed_sizes else run
