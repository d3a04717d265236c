"""Accuracy of any rewritten model, on samples that calibration never sees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from toolchain.criterion import Calibration
from toolchain.data.dataset import Batch, Dataset, Outputs
from toolchain.data.metric import Metric, Score, evaluate
from toolchain.data.split import Indices
from toolchain.measure.timer import EngineTimer
from toolchain.targets.onnxruntime import ReferenceSession

Array = npt.NDArray[Any]
Run = Callable[[Mapping[str, Array]], Outputs]
BATCH_SIZE = 64
HELD_OUT_SHARE = 4
"""One calibration sample in so many chooses between results instead of making them."""


@dataclass(frozen=True, eq=False)
class Subset:
    """Some samples of a dataset."""

    data: Dataset
    indices: Indices

    def batches(self) -> Iterable[Batch]:
        """Read them batch by batch."""
        return self.data.batches(self.indices, BATCH_SIZE)

    def divided(self) -> tuple[Subset, Subset]:
        """Return what makes results and, one sample in `HELD_OUT_SHARE`, what chooses between them; one is both."""
        chosen = np.arange(len(self.indices)) % HELD_OUT_SHARE == 1
        if not chosen.any():
            return self, self
        return replace(self, indices=self.indices[~chosen]), replace(self, indices=self.indices[chosen])

    def cycled(self, size: int) -> Batch:
        """Return one batch of this size, repeating samples where there are too few."""
        return self.data.batch(np.resize(self.indices, size))


@dataclass(frozen=True, eq=False)
class Accuracy:
    """The samples that judge, those that calibrate (never the same), a metric, and the original to compare with."""

    judging: Subset
    calibrating: Subset
    metric: Metric[Any]
    original: onnx.ModelProto

    def of(self, model: onnx.ModelProto, timer: EngineTimer) -> Score:
        """Run the model's own engine where the target executes here, else ONNX Runtime; score it."""
        references = self._references if self.metric.needs_reference else None
        if not timer.target.executes:
            return evaluate(self.metric, self.judging.batches(), ReferenceSession(model).run, references)
        with timer.target.runner(timer.build(model)) as runner:

            def run(feeds: Mapping[str, Array]) -> Outputs:
                outputs = runner.infer(dict(feeds), check_inputs=False)
                return {name: np.array(value) for name, value in outputs.items()}

            infer = in_pieces(run, _rows(timer.feeds)) if timer.target.needs_fixed_sizes else run
            return evaluate(self.metric, self.judging.batches(), infer, references)

    def calibration_of(self, model: onnx.ModelProto) -> Calibration:
        """Return the calibration part, looked at through a model."""
        fitting, held_out = self.calibrating.divided()
        return Calibration(
            batches=lambda: (batch.feeds for batch in fitting.batches()),
            held_out=lambda: (batch.feeds for batch in held_out.batches()),
            observe=lambda names: ReferenceSession(model, list(names)).run,
        )

    @cached_property
    def _references(self) -> list[Outputs]:
        session = ReferenceSession(self.original)
        return [session.run(batch.feeds) for batch in self.judging.batches()]


def in_pieces(run: Run, size: int) -> Run:
    """Return a function that feeds any number of rows to an engine that takes `size` at once.

    The last piece is filled up with the last row. Every output must have the batch as its first axis.
    """

    def run_all(feeds: Mapping[str, Array]) -> Outputs:
        rows = _rows(feeds)
        if rows == size:
            return run(feeds)
        taken = [range(start, start + size) for start in range(0, rows, size)]
        pieces = [
            run({name: value.take(piece, axis=0, mode="clip") for name, value in feeds.items()}) for piece in taken
        ]
        return {name: np.concatenate([piece[name] for piece in pieces])[:rows] for name in pieces[0]}

    return run_all


def _rows(feeds: Mapping[str, Array]) -> int:
    return len(next(iter(feeds.values())))
