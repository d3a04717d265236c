"""Which groups can go as a whole, and what goes with each: a residual branch, an arm of a Concat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx

from toolchain.errors import ModelError
from toolchain.graph.analysis import Analysis, Group
from toolchain.graph.labels import Role
from toolchain.graph.plan import make_plan
from toolchain.graph.surgery import apply_plan


def removable_branches(analysis: Analysis) -> Mapping[str, tuple[str, ...]]:
    """Return, for each group that can have width 0, the groups that then serve nothing and go too (itself first).

    Found by trying: surgery refuses what cannot be done. Whichever of them are chosen can go together: of branches
    of which one must stay, the arms of a Concat, the last one is none. They are tried in the graph's order, for what
    makes up for a missing branch (a whole block goes, its arms with it) lies behind it.
    """
    found: dict[str, tuple[str, ...]] = {}
    gone: set[str] = set()
    for group in sorted(analysis.prunable_groups, key=_last_place):
        served = _served(analysis, group)
        if served and _without(analysis, together := gone.union(served)) is not None:
            found[group.name], gone = served, together
    return found


def _last_place(group: Group) -> int:
    return max((site.node_index for site in group.sites if site.role is not Role.CONSUMES), default=0)


def _served(analysis: Analysis, group: Group) -> tuple[str, ...]:
    """Return a group and those that serve nothing without it; nothing where it must stay."""
    model = _without(analysis, [group.name])
    if model is None:
        return ()
    left = {tensor.name for tensor in model.graph.initializer}
    others = [item for item in analysis.prunable_groups if item is not group and not _producers(item) & left]
    return (group.name, *(item.name for item in others))


def _without(analysis: Analysis, names: Iterable[str]) -> onnx.ModelProto | None:
    """Return the model without these groups; nothing where that cannot be done."""
    removed = {name: range(analysis.by_name[name].width) for name in names}
    try:
        return apply_plan(analysis, make_plan(analysis, "", removed)).model
    except ModelError:
        return None


def _producers(group: Group) -> set[str]:
    return {site.parameter for site in group.sites if site.role is not Role.CONSUMES}
