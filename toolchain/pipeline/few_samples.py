"""Calibration on fewer samples: for a search that repairs and judges dozens of candidates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

import onnx

from toolchain.criterion import Calibration, Feeds, beyond, up_to
from toolchain.pipeline.contract import CalibrationSource

UNSEEN = 4
"""How many samples judge whole networks for each that layers are fitted on: running a network is cheaper."""


@dataclass(frozen=True, eq=False)
class FewSamples:
    """A calibration source that stops after the batch in which `samples` are reached, fitted and held out alike.

    Whole networks are compared on `UNSEEN` times as many: those held out, and those that are not fitted on.
    """

    source: CalibrationSource
    samples: int

    def calibration_of(self, model: onnx.ModelProto) -> Calibration:
        """Return the first samples, and the source's view of the model's inner tensors."""
        whole = self.source.calibration_of(model)

        def fitted() -> Iterator[Feeds]:
            return up_to(whole.batches(), self.samples)

        def held_out() -> Iterator[Feeds]:
            return up_to(whole.held_out(), self.samples)

        def unseen() -> Iterable[Feeds]:
            return up_to(chain(whole.held_out(), beyond(whole.batches(), self.samples)), UNSEEN * self.samples)

        return replace(whole, batches=fitted, held_out=held_out, unseen=unseen)
