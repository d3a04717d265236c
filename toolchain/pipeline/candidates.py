"""What a search may ask of a plan besides its latency: the repaired network, its divergence, its units' scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx

from toolchain.criterion import Calibration, Feeds, Scores
from toolchain.data.divergence import Expected
from toolchain.graph.analysis import Analysis, Group, ParameterSite, analyse
from toolchain.graph.hashing import model_sha256
from toolchain.graph.labels import Role
from toolchain.graph.plan import Plan, make_plan, removed_units
from toolchain.graph.surgery import apply_plan
from toolchain.pipeline.contract import Cut, PassContext
from toolchain.targets.onnxruntime import ReferenceSession

Units = npt.NDArray[np.int64]
ScoreModel = Callable[[str, Analysis, Calibration | None], Scores]
"""Scores the units of an analysed model by the criterion of this name."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Plans of one model, cut and repaired by the passes that will repair the result. The last one is kept."""

    analysis: Analysis
    context: PassContext
    score_model: ScoreModel
    _last: dict[Plan, onnx.ModelProto] = field(default_factory=dict)
    _last_analysis: dict[Plan, Analysis] = field(default_factory=dict)
    _divergences: dict[tuple[Plan, Plan, float], float] = field(default_factory=dict)

    def repaired(self, plan: Plan) -> onnx.ModelProto:
        """Cut, then repair."""
        if plan not in self._last:
            surgery = apply_plan(self.analysis, plan)
            allow_inexact = self.analysis.allow_inexact
            model, cut = surgery.model, Cut(self.analysis.model, plan, surgery.kept, allow_inexact=allow_inexact)
            for step in self.context.repairs:
                model = step.run(model, replace(self.context, cut=cut, repairs=())).model
            self._last.clear()
            self._last[plan] = model
        return self._last[plan]

    def divergence(self, plan: Plan, repaired_at: Plan | None = None, *, temperature: float = 1.0) -> float:
        """Return how far the network's outputs are from the original's on held-out samples.

        It is repaired as cut by `repaired_at`, which removes nothing that `plan` does not; the rest is only cut. By
        default the whole plan is repaired.
        """
        start = plan if repaired_at is None else repaired_at
        key = (plan, start, temperature)
        if key not in self._divergences:
            model = self.repaired(plan) if start == plan else self._cut_further(start, plan)
            session = ReferenceSession(model, optimise=True)
            feeds, expected = self._held_out
            self._divergences[key] = expected.divergence(map(session.run, feeds), temperature)
        return self._divergences[key]

    def score(self, criterion: str, plan: Plan) -> Scores:
        """Score the units that are left in the repaired network; those that are gone score -inf."""
        analysis = self._analysis_of(plan)
        source = self.context.calibration
        scores = self.score_model(criterion, analysis, source.calibration_of(analysis.model) if source else None)
        return self._original_units(plan, analysis, scores)

    @cached_property
    def _held_out(self) -> tuple[list[Feeds], Expected]:
        """Return the samples that judge, and what the original says of them."""
        assert self.context.calibration is not None
        calibration = self.context.calibration.calibration_of(self.analysis.model)
        session = ReferenceSession(self.analysis.model, optimise=True)
        held_out = list(calibration.held_out())
        return held_out, Expected([session.run(feeds) for feeds in held_out])

    def _analysis_of(self, plan: Plan) -> Analysis:
        """Analyse the repaired network."""
        if not plan.removals:
            return self.analysis
        if plan not in self._last_analysis:
            model = self.repaired(plan)
            self._last_analysis.clear()
            context, allow_inexact = self.context, self.analysis.allow_inexact
            self._last_analysis[plan] = analyse(
                model, context.rules, binding=context.binding, allow_inexact=allow_inexact
            )
        return self._last_analysis[plan]

    def _cut_further(self, start: Plan, plan: Plan) -> onnx.ModelProto:
        """Cut what a plan removes beyond another one from the network that was repaired there."""
        after = self._analysis_of(start)
        gone = np.zeros(after.unit_count, dtype=np.bool_)
        more = removed_units(self.analysis, plan)
        for before, now in self._survivors(start, after):
            gone[now[more[before]]] = True
        removed = {group.name: np.flatnonzero(gone[group.units]).tolist() for group in after.prunable_groups}
        return apply_plan(after, make_plan(after, model_sha256(after.model), removed)).model

    def _original_units(self, plan: Plan, after: Analysis, scores: Scores) -> Scores:
        """Carry scores back to where the units were."""
        by_unit = np.full(after.unit_count, np.inf)  # what is not scored any more cannot go
        for name, values in scores.items():
            by_unit[after.by_name[name].units] = values
        found = np.full(self.analysis.unit_count, -np.inf)
        for before, now in self._survivors(plan, after):
            found[before] = np.maximum(found[before], by_unit[now])
        return {group.name: found[group.units] for group in self.analysis.prunable_groups}

    def _survivors(self, plan: Plan, after: Analysis) -> Iterator[tuple[Units, Units]]:
        """Yield units that a plan leaves and what they are now: what is left of a parameter keeps its order."""
        places = {(site.parameter, site.axis): site for site in after.sites}
        removed = removed_units(self.analysis, plan)
        for group in self.analysis.prunable_groups:
            for before in _producers(group):
                site = places.get((before.parameter, before.axis))
                left = before.units[~removed[before.units]]
                if site is not None and len(left) == len(site.units):
                    yield left, site.units


def _producers(group: Group) -> list[ParameterSite]:
    return [site for site in group.sites if site.role is not Role.CONSUMES] or list(group.sites)
