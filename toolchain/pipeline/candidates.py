"""What a search may ask of a plan besides its latency: the repaired network, its divergence, its units' scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import onnx

from toolchain.criterion import Calibration, Feeds, Scores
from toolchain.data.divergence import divergence
from toolchain.graph.analysis import Analysis, Group, ParameterSite, analyse
from toolchain.graph.labels import Role
from toolchain.graph.plan import Plan, removed_units
from toolchain.graph.surgery import apply_plan
from toolchain.pipeline.contract import Cut, PassContext
from toolchain.targets.onnxruntime import ReferenceSession

ScoreModel = Callable[[str, Analysis, Calibration | None], Scores]
"""Scores the units of an analysed model by the criterion of this name."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Plans of one model, cut and repaired by the passes that will repair the result. The last one is kept."""

    analysis: Analysis
    context: PassContext
    score_model: ScoreModel
    _last: dict[Plan, onnx.ModelProto] = field(default_factory=dict)
    _divergences: dict[Plan, float] = field(default_factory=dict)

    def repaired(self, plan: Plan) -> onnx.ModelProto:
        """Cut, then repair."""
        if plan not in self._last:
            surgery = apply_plan(self.analysis, plan)
            model, cut = surgery.model, Cut(self.analysis.model, plan, surgery.kept)
            for step in self.context.repairs:
                model = step.run(model, replace(self.context, cut=cut, repairs=())).model
            self._last.clear()
            self._last[plan] = model
        return self._last[plan]

    def divergence(self, plan: Plan) -> float:
        """Return how far the repaired network's outputs are from the original's on held-out samples."""
        if plan not in self._divergences:
            session = ReferenceSession(self.repaired(plan))
            values = [divergence(expected, session.run(feeds)) for feeds, expected in self._references]
            self._divergences[plan] = float(np.mean(values))
        return self._divergences[plan]

    def score(self, criterion: str, plan: Plan) -> Scores:
        """Score the units that are left in the repaired network; those that are gone score -inf."""
        model = self.repaired(plan) if plan.removals else self.analysis.model
        analysis = analyse(model, self.context.rules, binding=self.context.binding)
        source = self.context.calibration
        scores = self.score_model(criterion, analysis, source.calibration_of(model) if source else None)
        return self._original_units(plan, analysis, scores)

    @cached_property
    def _references(self) -> list[tuple[Feeds, Feeds]]:
        assert self.context.calibration is not None
        calibration = self.context.calibration.calibration_of(self.analysis.model)
        session = ReferenceSession(self.analysis.model)
        return [(feeds, session.run(feeds)) for feeds in calibration.held_out()]

    def _original_units(self, plan: Plan, after: Analysis, scores: Scores) -> Scores:
        """Carry scores back through the places where units live: what is left of a parameter keeps its order."""
        by_unit = np.full(after.unit_count, np.inf)  # what is not scored any more cannot go
        for name, values in scores.items():
            by_unit[after.by_name[name].units] = values
        places = {(site.parameter, site.axis): site for site in after.sites}
        removed = removed_units(self.analysis, plan)
        found = np.full(self.analysis.unit_count, -np.inf)
        for group in self.analysis.prunable_groups:
            for before in _producers(group):
                site = places.get((before.parameter, before.axis))
                left = before.units[~removed[before.units]]
                if site is not None and len(left) == len(site.units):
                    found[left] = np.maximum(found[left], by_unit[site.units])
        return {group.name: found[group.units] for group in self.analysis.prunable_groups}


def _producers(group: Group) -> list[ParameterSite]:
    return [site for site in group.sites if site.role is not Role.CONSUMES] or list(group.sites)
