"""Which groups can go as a whole, and what goes with each: a residual branch, an arm of a Concat."""

from __future__ import annotations

from collections.abc import Mapping

from toolchain.errors import ModelError
from toolchain.graph.analysis import Analysis, Group
from toolchain.graph.labels import Role
from toolchain.graph.plan import make_plan
from toolchain.graph.surgery import apply_plan


def removable_branches(analysis: Analysis) -> Mapping[str, tuple[str, ...]]:
    """Return, for each group that can have width 0, the groups that then serve nothing and go too (itself first).

    Found by trying: surgery refuses what cannot be done.
    """
    found = {}
    for group in analysis.prunable_groups:
        plan = make_plan(analysis, "", {group.name: range(group.width)})
        try:
            model = apply_plan(analysis, plan).model
        except ModelError:
            continue
        left = {tensor.name for tensor in model.graph.initializer}
        others = [item for item in analysis.prunable_groups if item is not group and not _producers(item) & left]
        found[group.name] = (group.name, *(item.name for item in others))
    return found


def _producers(group: Group) -> set[str]:
    return {site.parameter for site in group.sites if site.role is not Role.CONSUMES}
