"""What must not matter does not: an empty plan, the order of plans, names, the order of nodes, dead channels."""

import numpy as np
import onnx
import pytest
import structures as s
from metamorphic import renamed, reordered, zeroed
from oracle import Pruned, analysed, execute, prune, random_feeds, random_removal

from toolchain.graph.oracle import relative_error


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return s.export(s.Classifier(s.C2f(8), 8, 8))


def outputs(pruned: Pruned) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    feeds = random_feeds(pruned.analysis.model, 0, pruned.analysis.binding)
    return dict(execute(pruned.model, feeds))


def names(pruned: Pruned) -> set[str]:
    return {item.name for item in pruned.model.graph.initializer}


def by_positions(pruned: Pruned) -> dict[str, dict[int, list[int]]]:
    return {name: {axis: kept.tolist() for axis, kept in axes.items()} for name, axes in pruned.surgery.kept.items()}


def test_removing_nothing_changes_no_byte_of_model_or_outputs(model: onnx.ModelProto) -> None:
    pruned = prune(model, {})
    assert pruned.model.graph.SerializeToString() == pruned.analysis.model.graph.SerializeToString()
    feeds = random_feeds(pruned.analysis.model, 0, pruned.analysis.binding)
    assert outputs(pruned)["y"].tobytes() == execute(pruned.analysis.model, feeds)["y"].tobytes()


def test_one_plan_after_another_is_their_union(model: onnx.ModelProto) -> None:
    analysis = analysed(model)
    first = {name: [0, 1] for name in random_removal(analysis, 0.5, 0)}
    both = {name: [0, 1, 3] for name in first}
    once = prune(model, both)
    twice = prune(prune(model, first).model, {name: [1] for name in first})
    weights = {item.name for item in analysis.model.graph.initializer}
    assert {name: once.shape(name) for name in weights & names(once)} == {
        name: twice.shape(name) for name in weights & names(twice)
    }
    assert outputs(once)["y"].tobytes() == outputs(twice)["y"].tobytes()


def test_names_are_irrelevant(model: onnx.ModelProto) -> None:
    here, there = analysed(model).groups, analysed(renamed(model)).groups
    assert [group.units.tolist() for group in here] == [group.units.tolist() for group in there]
    assert [group.prunable for group in here] == [group.prunable for group in there]


def test_the_order_of_nodes_is_irrelevant() -> None:
    model = s.export(s.Classifier(s.Inception(6), 6, 15))
    turned = reordered(model)
    assert [n.name for n in turned.graph.node] != [n.name for n in model.graph.node]
    removed = random_removal(analysed(model), 0.5, 3)
    assert by_positions(prune(model, removed)) == by_positions(prune(turned, removed))


def test_channels_that_are_zero_leave_the_output_as_it_was(model: onnx.ModelProto) -> None:
    analysis = analysed(model)
    removed = random_removal(analysis, 0.4, 1)
    dead = zeroed(model, removed)
    pruned = prune(dead, removed)
    feeds = random_feeds(dead, 0, analysis.binding)
    assert relative_error(outputs(pruned), execute(dead, feeds)) < 2e-6


def test_analysing_twice_gives_the_same(model: onnx.ModelProto) -> None:
    one, two = analysed(model), analysed(model)
    assert [(g.name, g.units.tolist(), g.reason) for g in one.groups] == [
        (g.name, g.units.tolist(), g.reason) for g in two.groups
    ]
