"""The dependency analysis: a model's units, the groups they form, and why some are frozen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx

from toolchain.graph.facts import Binding, Fact, bind_symbols, infer_facts
from toolchain.graph.index import GraphIndex, Use, captured_names
from toolchain.graph.labels import KEPT, LabelArray, Labels, Reason, Role, varying_axes
from toolchain.graph.resolution import Resolution
from toolchain.graph.rule import NodeView, Rule
from toolchain.graph.size_use import resolve_counted_channels

UnitArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Axis:
    """The units along one axis of a tensor or parameter; 0 where the position is always kept."""

    axis: int
    units: UnitArray


@dataclass(frozen=True, eq=False)
class ParameterSite:
    """Units along one axis of a parameter, and what the parameter does for them where it is used."""

    parameter: str
    axis: int
    role: Role
    node_index: int
    units: UnitArray


@dataclass(frozen=True, eq=False)
class Group:
    """All units that live in the same places: what a width is chosen for.

    `units` are ordered by position along the first site. `reason` is None where the group can be pruned.
    """

    name: str
    units: UnitArray
    sites: tuple[ParameterSite, ...]
    reason: Reason | None

    @property
    def width(self) -> int:
        """The number of units before anything is removed."""
        return len(self.units)

    @property
    def prunable(self) -> bool:
        """Tell whether units of this group may be removed; all of them only where a branch can go with them."""
        return self.reason is None and self.width > 1


@dataclass(frozen=True, eq=False)
class Analysis:
    """A model with the units of all its tensors and parameters."""

    model: onnx.ModelProto
    index: GraphIndex
    rules: Mapping[str, Rule]
    labels: Labels
    binding: Binding
    facts: Mapping[str, Fact]
    tensors: Mapping[str, Axis]
    sites: tuple[ParameterSite, ...]
    groups: tuple[Group, ...]
    unit_count: int

    @cached_property
    def prunable_groups(self) -> tuple[Group, ...]:
        """The groups whose width can be chosen."""
        return tuple(group for group in self.groups if group.prunable)

    @cached_property
    def by_name(self) -> Mapping[str, Group]:
        """The groups by name."""
        return {group.name: group for group in self.groups}

    def view(self, node_index: int) -> NodeView:
        """Return what a rule sees of a node."""
        return NodeView(self.index, self.index.nodes[node_index], node_index, self.labels)


def rule_table(rules: Sequence[type[Rule]]) -> dict[str, Rule]:
    """Map each op to its rule."""
    return {op: rule for rule in (kind() for kind in rules) for op in rule.ops}


def analyse(model: onnx.ModelProto, rules: Mapping[str, Rule], *, binding: Binding | None = None) -> Analysis:
    """Find the units and groups of a normalised model.

    Raises ModelError where the graph's shapes contradict each other.
    """
    index = GraphIndex(model)
    bound = bind_symbols(model, overrides=binding)
    facts = infer_facts(index, bound)
    labels = Labels(facts)
    for number, node in enumerate(index.nodes):
        _label_node(NodeView(index, node, number, labels), rules)
    for output in index.outputs:
        labels.freeze_tensor(output.name, Reason(f"graph output '{output.name}'", "its size is part of the interface"))
    for parameter in list(labels.uses):
        labels.uses[parameter].update(index.uses[parameter])
        if parameter in {output.name for output in index.outputs}:
            labels.uses[parameter].add(Use(len(index.nodes), 0))
    resolution = resolve_counted_channels(index, facts, labels)
    tensors = {name: axis for name, array in labels.tensors.items() if (axis := _axis(array, resolution))}
    sites = _parameter_sites(labels, resolution)
    groups = _groups(index, tensors, sites, resolution)
    return Analysis(model, index, rules, labels, bound, facts, tensors, sites, groups, resolution.count)


def _label_node(view: NodeView, rules: Mapping[str, Rule]) -> None:
    node = view.node
    rule = rules.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    outputs = {item.name for item in view.index.outputs}
    read = [name for name in node.output if name in view.index.uses or name in outputs]
    unknown = [name for name in (*node.input, *read) if name and view.labels.fact(name).shape is None]
    captured = captured_names(node)
    if rule is not None and not unknown and not captured:
        rule.label(view)
        return
    why = "there is no rule for this op" if rule is None else f"the shape of '{(unknown or ['?'])[0]}' is not known"
    view.freeze_inputs(why)
    for name in captured:
        view.labels.freeze_tensor(name, view.reason("a subgraph reads it"))


def _axis(labels: LabelArray, resolution: Resolution) -> Axis | None:
    """Return where the units lie: along the one axis of removable units, else of frozen ones, else a wide one."""
    units = np.atleast_1d(resolution.units(labels))
    if not np.any(units):
        return None
    wide = [axis for axis, size in enumerate(units.shape) if size > 1]
    varying = varying_axes(resolution.removable(labels)) or varying_axes(units)
    axis = (varying or wide or [min(1, units.ndim - 1)])[0]
    return Axis(axis, np.moveaxis(units, axis, 0).reshape(units.shape[axis], -1)[:, 0])


def _parameter_sites(labels: Labels, resolution: Resolution) -> tuple[ParameterSite, ...]:
    found = []
    for site in labels.sites:
        axis = _axis(site.labels, resolution)
        if axis is not None:
            found.append(ParameterSite(site.parameter, axis.axis, site.role, site.use.node_index, axis.units))
    return tuple(found)


def _groups(
    index: GraphIndex, tensors: Mapping[str, Axis], sites: Sequence[ParameterSite], resolution: Resolution
) -> tuple[Group, ...]:
    """Collect units with the same places; order units and groups by the first parameter that holds them."""
    classes = _classes([*(site.units for site in sites), *(axis.units for axis in tensors.values())], resolution)
    holders: dict[int, list[ParameterSite]] = defaultdict(list)
    for site in sites:
        for found in np.unique(classes[site.units[site.units != KEPT]]).tolist():
            holders[found].append(site)
    order = _order(sites, resolution.count)
    members: dict[int, list[int]] = defaultdict(list)
    for unit, found in zip(order.tolist(), classes[order].tolist(), strict=True):
        members[found].append(unit)
    names: dict[str, int] = defaultdict(int)
    return tuple(
        Group(_name(index, own, names), np.array(units), own, resolution.reasons.get(units[0]))
        for found, units in members.items()
        if (own := tuple(holders[found]))
    )


def _classes(places: Sequence[UnitArray], resolution: Resolution) -> UnitArray:
    """Return a class for each unit, the same where units are in the same places and are frozen or removable alike."""
    classes = np.zeros(resolution.count, np.int64)
    classes[list(resolution.reasons)] = 1
    following = 2
    for units in {units.tobytes(): units for units in places}.values():  # most tensors carry what another one does
        here = np.unique(units[units != KEPT])
        _, refined = np.unique(classes[here], return_inverse=True)
        classes[here] = following + refined
        following += len(here)
    return classes


def _order(sites: Sequence[ParameterSite], count: int) -> UnitArray:
    """Return all units but 0, ordered by the first producing site that holds them and their position there."""
    number = np.full(count, len(sites))
    position = np.arange(count)
    for i in reversed(range(len(sites))):
        if sites[i].role is not Role.CONSUMES:
            units, first = np.unique(sites[i].units, return_index=True)
            number[units], position[units] = i, first
    ordered = np.lexsort((position, number))
    real: UnitArray = ordered[ordered != KEPT]
    return real


def _name(index: GraphIndex, sites: tuple[ParameterSite, ...], taken: dict[str, int]) -> str:
    """Name a group after the node that first produces it; several groups of one node are numbered."""
    first = next((site for site in sites if site.role is Role.PRODUCES), sites[0])
    node = index.nodes[first.node_index]
    name = node.name or node.output[0]
    taken[name] += 1
    return name if taken[name] == 1 else f"{name}#{taken[name]}"
