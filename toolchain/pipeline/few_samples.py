"""Calibration on fewer samples: for a search that repairs and judges dozens of candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import onnx

from toolchain.criterion import Calibration, Feeds, up_to
from toolchain.pipeline.contract import CalibrationSource


@dataclass(frozen=True, eq=False)
class FewSamples:
    """A calibration source that stops after the batch in which `samples` are reached, fitted and held out alike."""

    source: CalibrationSource
    samples: int

    def calibration_of(self, model: onnx.ModelProto) -> Calibration:
        """Return the first samples, and the source's view of the model's inner tensors."""
        whole = self.source.calibration_of(model)
        return replace(whole, batches=self._first(whole.batches), held_out=self._first(whole.held_out))

    def _first(self, batches: Callable[[], Iterable[Feeds]]) -> Callable[[], Iterable[Feeds]]:
        return lambda: up_to(batches(), self.samples)
