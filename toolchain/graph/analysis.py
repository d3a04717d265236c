"""The dependency analysis: a model's units, the groups they form, and why some are frozen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx

from toolchain.errors import ModelError
from toolchain.graph.facts import Binding, Fact, bind_symbols, infer_facts
from toolchain.graph.index import GraphIndex, Use
from toolchain.graph.labels import KEPT, LabelArray, Labels, Reason, Role, Site, is_line, varying_axes, wide_axes
from toolchain.graph.limits import check_elements
from toolchain.graph.resolution import Resolution
from toolchain.graph.rule import NodeView, Rule
from toolchain.graph.size_use import resolve_counted_channels

UnitArray = npt.NDArray[np.int64]

CLASS_BITS = 62
"""What fits a signed 64-bit number."""


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
        return NodeView(self.index, node_index, self.labels)


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
    for shape, name in {fact.shape: name for name, fact in facts.items() if fact.shape}.items():
        check_elements(f"tensor '{name}'", shape)
    labels = Labels(facts)
    unread = set(index.producers) - index.uses.keys() - {output.name for output in index.outputs}
    settled = frozenset(["", *unread, *(name for name, fact in facts.items() if fact.shape is not None)])
    for number in range(len(index.nodes)):
        _label_node(NodeView(index, number, labels), rules, settled)
    _label_outputs(index, labels)
    resolution = resolve_counted_channels(index, facts, labels)
    places = _Places(resolution)
    tensors = {name: axis for name, array in labels.tensors.items() if (axis := places.of(array))}
    sites = _parameter_sites(labels, places)
    groups = _groups(index, tensors, sites, resolution)
    return Analysis(model, index, rules, labels, bound, facts, tensors, sites, groups, resolution.count)


def _label_outputs(index: GraphIndex, labels: Labels) -> None:
    """Freeze what the graph's outputs carry; tell each parameter all its uses, an output among them."""
    outputs = {output.name for output in index.outputs}
    for name in outputs:
        labels.freeze_tensor(name, Reason(f"graph output '{name}'", "its size is part of the interface"))
    for parameter, uses in labels.uses.items():
        if len(index.uses[parameter]) > 1:
            uses.update(index.uses[parameter])
        if parameter in outputs:
            uses.add(Use(len(index.nodes), 0))


def _label_node(view: NodeView, rules: Mapping[str, Rule], settled: frozenset[str]) -> None:
    """Ask the op's rule, where there is one; `settled` are the tensors whose shapes are known or do not matter."""
    node = view.node
    rule = rules.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    captured = view.index.captures.get(view.node_index, frozenset())
    if rule is not None and not captured and settled.issuperset(view.inputs) and settled.issuperset(view.outputs):
        _apply(rule, view)
        return
    unknown = [name for name in (*view.inputs, *view.outputs) if name not in settled]
    why = "there is no rule for this op" if rule is None else f"the shape of '{(unknown or ['?'])[0]}' is not known"
    view.freeze_inputs(why)
    for name in captured:
        view.labels.freeze_tensor(name, view.reason("a subgraph reads it"))


def _apply(rule: Rule, view: NodeView) -> None:
    """Label a node; what inference accepts may still hold attributes that no runtime takes."""
    try:
        rule.label(view)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ModelError(
            f"{view.where}: its inputs and attributes do not fit together ({error})",
            hint="check the model with its exporter; if ONNX Runtime runs it, please report this",
        ) from error


class _Places:
    """Finds the axis along which units lie in label tensors, which must live as long; many are one and the same.

    Equal units are one array, so that those who group them may go by identity.
    """

    def __init__(self, resolution: Resolution) -> None:
        self._resolution = resolution
        self._found: dict[int, Axis | None] = {}
        self._of_labels: dict[int | bytes, UnitArray | None] = {}
        self._distinct: dict[bytes, UnitArray] = {}

    def of(self, labels: LabelArray) -> Axis | None:
        """Return the axis and its units; None where there are none."""
        key = id(labels)
        if key not in self._found:
            self._found[key] = self._in_line(labels) if is_line(labels) else self._find(labels)
        return self._found[key]

    def _in_line(self, labels: LabelArray) -> Axis | None:
        content = _content(labels)
        if content not in self._of_labels:
            units = self._resolution.units(labels.reshape(-1))
            self._of_labels[content] = self._one(units) if units.any() else None
        found = self._of_labels[content]
        axis = labels.shape.index(labels.size) if labels.size > 1 else max(0, min(1, labels.ndim - 1))
        return None if found is None else Axis(axis, found)

    def _find(self, labels: LabelArray) -> Axis | None:
        """Take the one axis of removable units, else of frozen ones, else a wide one."""
        units = self._resolution.units(labels)
        if not units.any():
            return None
        varying = varying_axes(self._resolution.removable(labels)) or varying_axes(units)
        axis = (varying or wide_axes(units))[0]
        return Axis(axis, self._one(np.moveaxis(units, axis, 0).reshape(units.shape[axis], -1)[:, 0]))

    def _one(self, units: UnitArray) -> UnitArray:
        return self._distinct.setdefault(units.tobytes(), units)


def _content(labels: LabelArray) -> int | bytes:
    """Return what only labels with the same values in the same order share: the array they are a view of, or them."""
    owner = labels if labels.base is None else labels.base
    whole = owner.size == labels.size and labels.flags.c_contiguous and owner.flags.c_contiguous
    return id(owner) if whole else labels.tobytes()


def _parameter_sites(labels: Labels, places: _Places) -> tuple[ParameterSite, ...]:
    return tuple(
        ParameterSite(site.parameter, _own_axis(site, axis, labels), site.role, site.use.node_index, axis.units)
        for site in labels.sites
        if (axis := places.of(site.labels))
    )


def _own_axis(site: Site, found: Axis, labels: Labels) -> int:
    """Return the axis of the parameter; a single label does not tell by its shape, but the parameter may by its own."""
    if site.labels.size > 1:
        return found.axis
    shape = labels.fact(site.parameter).shape or ()
    return shape.index(1) if 1 in shape else found.axis


def _groups(
    index: GraphIndex, tensors: Mapping[str, Axis], sites: Sequence[ParameterSite], resolution: Resolution
) -> tuple[Group, ...]:
    """Collect units with the same places; order units and groups by the first parameter that holds them."""
    places = [*(site.units for site in sites), *(axis.units for axis in tensors.values())]
    distinct = {id(units): units for units in places}  # most tensors carry what another one does
    classes = _classes(distinct.values(), resolution)
    held = {key: _classes_among(classes, units) for key, units in distinct.items()}
    holders: dict[int, list[ParameterSite]] = defaultdict(list)
    for site in sites:
        for found in held[id(site.units)]:
            holders[found].append(site)
    names: dict[str, int] = defaultdict(int)
    return tuple(
        Group(_name(index, own, names), units, own, resolution.reasons.get(int(units[0])))
        for units in _members(classes, _order(sites, resolution.count))
        if (own := tuple(holders[int(classes[units[0]])]))
    )


def _members(classes: UnitArray, order: UnitArray) -> list[UnitArray]:
    """Return the units of each class in order, the classes ordered by their first units."""
    if not order.size:
        return []
    members: dict[int, list[UnitArray]] = defaultdict(list)
    for run in np.split(order, np.flatnonzero(np.diff(classes[order])) + 1):
        members[int(classes[run[0]])].append(run)
    return [np.concatenate(runs) for runs in members.values()]


def _classes(places: Iterable[UnitArray], resolution: Resolution) -> UnitArray:
    """Return a class for each unit, the same where units are in the same places and are frozen or removable alike.

    Each place is a bit of its units' classes; where bits run out, the classes so far are numbered.
    """
    classes = np.zeros(resolution.count, np.int64)
    classes[list(resolution.reasons)] = 1
    bits = 1
    for units in places:
        if bits == CLASS_BITS:
            _, classes = np.unique(classes, return_inverse=True)
            bits = resolution.count.bit_length()
        classes[units] |= 1 << bits
        bits += 1
    return classes


def _classes_among(classes: UnitArray, units: UnitArray) -> set[int]:
    found = classes[units]
    if (found == found[0]).all():  # nearly always
        return {int(found[0])}
    return set(found[units != KEPT].tolist())


def _order(sites: Sequence[ParameterSite], count: int) -> UnitArray:
    """Return all units but 0, ordered by the first producing site that holds them and their position there."""
    number = np.full(count, len(sites))
    position = np.arange(count)
    first: dict[int, tuple[int, UnitArray]] = {}
    for i, site in enumerate(sites):
        if site.role is not Role.CONSUMES:
            first.setdefault(id(site.units), (i, site.units))
    for i, units in reversed(first.values()):
        backwards = units[::-1]  # of equal indices the last assignment stays: the first position
        number[backwards], position[backwards] = i, np.arange(len(backwards))[::-1]
    ordered = np.argsort(number * (count + position.max()) + position, kind="stable")
    real: UnitArray = ordered[ordered != KEPT]
    return real


def _name(index: GraphIndex, sites: tuple[ParameterSite, ...], taken: dict[str, int]) -> str:
    """Name a group after the node that first produces it; several groups of one node are numbered."""
    first = next((site for site in sites if site.role is Role.PRODUCES), sites[0])
    node = index.nodes[first.node_index]
    name = node.name or node.output[0]
    taken[name] += 1
    return name if taken[name] == 1 else f"{name}#{taken[name]}"
