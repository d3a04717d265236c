"""`random`: what any other criterion has to beat (Mittal et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.criterion import Calibration, Criterion, Scores
from toolchain.graph.analysis import Analysis


@dataclass(frozen=True)
class Random(Criterion):
    """score(u) uniform in (0, 2 / width): on average the share of one unit, as elsewhere."""

    seed: int = 0

    def scores(self, analysis: Analysis, calibration: Calibration | None) -> Scores:  # noqa: ARG002
        """Draw the groups in order."""
        generator = np.random.default_rng(self.seed)
        return {group.name: generator.uniform(0, 2 / group.width, group.width) for group in analysis.prunable_groups}
