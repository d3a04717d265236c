"""What must not matter to a real network does not: names, the order of nodes, the opset, plans in two steps, zeros."""

from collections import defaultdict

import numpy as np
import onnx
import pytest
from metamorphic import renamed, reordered, zeroed
from onnx import numpy_helper, version_converter
from oracle import LARGEST_ERROR, Pruned, analysed, execute, prune, random_feeds, random_removal

from passes.fold_constants import FoldConstants
from toolchain.graph.analysis import Analysis
from toolchain.graph.normalise import normalise
from toolchain.graph.oracle import relative_error

pytest.importorskip("zoo.libraries", reason="the zoo is made of networks of torchvision and timm")

from zoo.channels import partition
from zoo.exports import Exporter, export
from zoo.networks import NETWORKS

pytestmark = pytest.mark.slow

NEWER_OPSET = 20

Unit = frozenset[tuple[str, int, int]]
"""Where a unit lives: parameter, axis, position."""


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda network: network.name)
def model(request: pytest.FixtureRequest) -> onnx.ModelProto:
    network = request.param
    exported = normalise(export(network.build(), network.example(), Exporter.FOLDED))
    return FoldConstants().run(exported, None).model  # type: ignore[arg-type]


def test_names_are_irrelevant(model: onnx.ModelProto) -> None:
    here, there = analysed(model).groups, analysed(renamed(model)).groups
    assert [group.units.tolist() for group in here] == [group.units.tolist() for group in there]
    assert [group.prunable for group in here] == [group.prunable for group in there]


def test_the_order_of_nodes_is_irrelevant(model: onnx.ModelProto) -> None:
    assert groups_of(analysed(reordered(model))) == groups_of(analysed(model))


def test_a_newer_opset_has_the_same_groups(model: onnx.ModelProto) -> None:
    newer = version_converter.convert_version(model, NEWER_OPSET)
    assert next(item.version for item in newer.opset_import if not item.domain) == NEWER_OPSET
    assert partition(analysed(newer)) == partition(analysed(model))


def test_one_plan_after_another_is_their_union(model: onnx.ModelProto) -> None:
    both = random_removal(analysed(model), 0.4, 0)
    first = {name: sorted(positions[::2]) for name, positions in both.items()}
    rest = {name: positions[1::2] for name, positions in both.items() if len(positions) > 1}
    then = {name: [p - int(np.searchsorted(first[name], p)) for p in rest[name]] for name in rest}
    once, twice = prune(model, both), prune(prune(model, first).model, then)
    weights = {item.name for item in model.graph.initializer}  # constants that surgery adds have names of their own
    here, there = parameters(once.model), parameters(twice.model)
    assert {name: here.get(name) for name in weights} == {name: there.get(name) for name in weights}
    assert relative_error(outputs(twice), outputs(once)) <= LARGEST_ERROR


def test_channels_that_are_zero_leave_the_output_as_it_was(model: onnx.ModelProto) -> None:
    removed = random_removal(analysed(model), 0.4, 1)
    dead = zeroed(model, removed)
    pruned = prune(dead, removed)
    feeds = random_feeds(dead, 0, pruned.analysis.binding)
    assert relative_error(outputs(pruned), execute(dead, feeds)) <= LARGEST_ERROR


def test_a_pruned_network_with_nothing_to_remove_stays_as_it_is(model: onnx.ModelProto) -> None:
    once = prune(model, random_removal(analysed(model), 0.4, 2)).model
    twice = prune(once, {}).model
    assert [*twice.graph.node] == [*once.graph.node]
    assert parameters(twice) == parameters(once)


def groups_of(analysis: Analysis) -> dict[frozenset[Unit], bool]:
    """Return each group as the places of its units, and whether it can be pruned."""
    places: dict[int, set[tuple[str, int, int]]] = defaultdict(set)
    for site in analysis.sites:
        for position, unit in enumerate(site.units.tolist()):
            places[unit].add((site.parameter, site.axis, position))
    return {
        frozenset(frozenset(places[unit]) for unit in group.units.tolist()): group.prunable for group in analysis.groups
    }


def parameters(model: onnx.ModelProto) -> dict[str, tuple[tuple[int, ...], bytes]]:
    arrays = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    return {name: (array.shape, array.tobytes()) for name, array in arrays.items()}


def outputs(pruned: Pruned) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    feeds = random_feeds(pruned.analysis.model, 0, pruned.analysis.binding)
    return dict(execute(pruned.model, feeds))
