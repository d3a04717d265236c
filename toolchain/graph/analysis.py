"""The dependency analysis: a model's units, the groups they form, and why some are frozen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from toolchain.errors import ModelError
from toolchain.graph.atoms import Atoms, IndexArray, find_atoms
from toolchain.graph.facts import Binding, Fact, bind_inputs, infer_facts
from toolchain.graph.index import GraphIndex, Use
from toolchain.graph.labels import Labels, Reason, Role
from toolchain.graph.limits import check_elements
from toolchain.graph.places import Axis, Places, UnitArray, find_places
from toolchain.graph.resolution import Resolution
from toolchain.graph.rule import NodeView, Rule
from toolchain.graph.size_use import resolve_counted_channels


class ParameterSite(NamedTuple):
    """Units along one axis of a parameter, and what the parameter does for them where it is used."""

    parameter: str
    axis: int
    role: Role
    node_index: int
    units: UnitArray


@dataclass(frozen=True, eq=False)
class UnitCount:
    """A constant of a node that holds `factor` times the number of positions with these units, or the inverse."""

    node_index: int
    input_index: int
    units: UnitArray
    factor: int
    inverse: bool

    def value(self, removed: npt.NDArray[np.bool_]) -> float:
        """Return what it must be when the units of this mask are gone."""
        count = self.factor * int(np.count_nonzero(~removed[self.units]))
        return 1 / count if self.inverse and count else float(count)


@dataclass(frozen=True, eq=False)
class Group:
    """All units that live in the same places: what a width is chosen for.

    `units` are ordered by position along the first site. `reason` is None where the group can be pruned, `inexact`
    where what stays then computes what it did.
    """

    name: str
    units: UnitArray
    sites: tuple[ParameterSite, ...]
    reason: Reason | None
    inexact: Reason | None = None

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
    counts: tuple[UnitCount, ...]
    allow_inexact: bool

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


def analyse(
    model: onnx.ModelProto, rules: Mapping[str, Rule], *, binding: Binding | None = None, allow_inexact: bool = False
) -> Analysis:
    """Find the units and groups of a normalised model; where it is allowed, those too that only statistics tie.

    Raises ModelError where the graph's shapes contradict each other.
    """
    index = GraphIndex(model)
    bound = bind_inputs(index.inputs, binding)
    facts = infer_facts(index, bound)
    for shape, name in {fact.shape: name for name, fact in facts.items() if fact.shape}.items():
        check_elements(f"tensor '{name}'", shape)
    labels = Labels(facts, _shared_parameters(index), allow_inexact=allow_inexact)
    _label_nodes(index, rules, labels)
    for output in index.outputs:
        reason = Reason(f"graph output '{output.name}'", "its size is part of the interface")
        labels.freeze_tensor(output.name, reason)
    resolution = resolve_counted_channels(index, facts, labels)
    places = find_places(labels, resolution)
    tensors = {name: places.axes[id(array)] for name, array in labels.tensors.items() if id(array) in places.axes}
    sites = _parameter_sites(labels, places)
    groups = _groups(index, tensors, sites, resolution)
    counts, total = _counts(labels, resolution), resolution.count
    return Analysis(model, index, rules, labels, bound, facts, tensors, sites, groups, total, counts, allow_inexact)


def _shared_parameters(index: GraphIndex) -> dict[str, list[Use]]:
    """Return all uses of each parameter that has several; to be an output of the graph is one."""
    outputs, times = {output.name for output in index.outputs}, index.read_counts
    shared = [name for name in index.constants if name in times and times[name] + (name in outputs) > 1]
    at_end = Use(len(index.nodes), 0)
    return {name: [*index.uses[name], *([at_end] if name in outputs else [])] for name in shared}


def _label_nodes(index: GraphIndex, rules: Mapping[str, Rule], labels: Labels) -> None:
    """Ask each op's rule, where there is one and the shapes of all its tensors are known or do not matter."""
    unknown = {name for name, fact in labels.facts.items() if fact.shape is None}
    unknown |= index.read_counts.keys() - labels.facts.keys()
    unknown &= index.read_counts.keys() | {output.name for output in index.outputs}
    unknown.discard("")
    labelled = labels.tensors.keys()
    for number, (op, read, made) in enumerate(zip(index.ops, index.node_inputs, index.node_outputs, strict=True)):
        rule = rules.get(op)
        if rule is None or number in index.captures or (unknown and not unknown.isdisjoint((*read, *made))):
            _label_opaque(NodeView(index, number, labels), rule, unknown)
        elif not (rule.only_carries and labelled.isdisjoint(read)):
            _apply(rule, NodeView(index, number, labels))


def _label_opaque(view: NodeView, rule: Rule | None, unknown: Collection[str]) -> None:
    """Freeze what reaches a node that no rule can be asked for; the shapes of `unknown` tensors are not known."""
    first = next((name for name in (*view.inputs, *view.outputs) if name in unknown), "?")
    why = "there is no rule for this op" if rule is None else f"the shape of '{first}' is not known"
    view.freeze_inputs(why)
    for name in view.index.captures.get(view.node_index, ()):
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


def _parameter_sites(labels: Labels, places: Places) -> tuple[ParameterSite, ...]:
    found = []
    for name, node_index, _, role, array, axis in labels.sites:
        if axis is not None and id(array) in places.vectors:
            found.append(ParameterSite(name, axis, role, node_index, places.vectors[id(array)]))
        elif axis is None and id(array) in places.axes:
            own, units = places.axes[id(array)]
            found.append(ParameterSite(name, own, role, node_index, units))
    return tuple(found)


def _counts(labels: Labels, resolution: Resolution) -> tuple[UnitCount, ...]:
    return tuple(
        UnitCount(*item.use, resolution.units(item.labels.reshape(-1)), item.factor, item.inverse)
        for item in labels.counts
    )


def _groups(
    index: GraphIndex, tensors: Mapping[str, Axis], sites: Sequence[ParameterSite], resolution: Resolution
) -> tuple[Group, ...]:
    """Collect units with the same places; order units and groups by the first parameter that holds them.

    Places are told apart by identity: most tensors carry what another one does, and equal units are one array.
    """
    sites_at: dict[int, list[int]] = defaultdict(list)
    for number, site in enumerate(sites):
        sites_at[id(site.units)].append(number)
    distinct = {id(axis.units): axis.units for axis in tensors.values()}
    distinct |= {key: sites[numbers[0]].units for key, numbers in sites_at.items()}
    holders = [sites_at.get(key, []) for key in distinct]
    kinds = resolution.kinds()
    atoms = find_atoms([*distinct.values()], kinds)
    classes = _classes(atoms, _in_order(atoms, holders, sites), kinds)
    names: dict[str, int] = defaultdict(int)
    groups = []
    for (kind, places), members in classes.items():
        own = tuple([sites[number] for number in sorted(chain.from_iterable([holders[place] for place in places]))])
        if own:
            units = atoms.units(members)
            reasons = resolution.reasons(int(units[0])) if kind else (None, None)
            groups.append(Group(_name(index, own, names), units, own, *reasons))
    return tuple(groups)


def _classes(
    atoms: Atoms, order: Sequence[int], kinds: IndexArray
) -> Mapping[tuple[int, frozenset[int]], Sequence[int]]:
    """Collect the atoms, in this order, that are in the same places and frozen, inexact or removable alike."""
    places: dict[int, list[int]] = defaultdict(list)
    for atom, place in zip(atoms.atom.tolist(), atoms.place.tolist(), strict=True):
        places[atom].append(place)
    kind = kinds[atoms.start[:-1]].tolist()
    classes: dict[tuple[int, frozenset[int]], list[int]] = defaultdict(list)
    for atom in order:
        classes[kind[atom], frozenset(places[atom])].append(atom)
    return classes


def _in_order(atoms: Atoms, holders: Sequence[Sequence[int]], sites: Sequence[ParameterSite]) -> list[int]:
    """Return the atoms ordered by the first producing site that holds them and their position there, then the rest."""
    last = len(sites)
    producers = [next((i for i in found if sites[i].role is not Role.CONSUMES), last) for found in holders]
    producer = np.array(producers, np.int64)[atoms.place]
    position = np.where(producer < last, atoms.position, atoms.start[atoms.atom])
    return [*dict.fromkeys(atoms.atom[np.lexsort((position, producer))].tolist())]


def _name(index: GraphIndex, sites: tuple[ParameterSite, ...], taken: dict[str, int]) -> str:
    """Name a group after the node that first produces it; several groups of one node are numbered."""
    first = next((site for site in sites if site.role is Role.PRODUCES), sites[0])
    node = index.nodes[first.node_index]
    name = node.name or node.output[0]
    taken[name] += 1
    return name if taken[name] == 1 else f"{name}#{taken[name]}"
