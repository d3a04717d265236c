"""Calibration on fewer samples: for a search that repairs and judges dozens of candidates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

import onnx

from toolchain.criterion import Calibration, Feeds, up_to
from toolchain.pipeline.contract import CalibrationSource


@dataclass(frozen=True, eq=False)
class FewSamples:
    """A calibration source that stops after the batch in which `samples` are reached.

    What is held out are up to `judging` samples: the source's own, then those that are left of its fitting ones. To
    run a sample takes a fraction of what it takes to fit on it, and of many candidates the one that few samples like
    best is the one that they flatter most.
    """

    source: CalibrationSource
    samples: int
    judging: int

    def calibration_of(self, model: onnx.ModelProto) -> Calibration:
        """Return the first samples, and the source's view of the model's inner tensors."""
        whole = self.source.calibration_of(model)

        def held_out() -> Iterator[Feeds]:
            fitting = iter(whole.batches())
            for _ in up_to(fitting, self.samples):
                pass
            return up_to(chain(whole.held_out(), fitting), self.judging)

        return replace(whole, batches=lambda: up_to(whole.batches(), self.samples), held_out=held_out)
