import numpy as np
from oracle import analysed, sandwich

from toolchain.graph.facts import Fact
from toolchain.graph.index import Use
from toolchain.graph.labels import Labels, Reason, Role, along, varying_axes

WHY = Reason("Node 'n'", "because")


def labels_of(shape: tuple[int, ...]) -> Labels:
    return Labels({"t": Fact(1, shape)})


def test_a_tensor_without_labels_is_kept_everywhere() -> None:
    labels = labels_of((2, 4, 8, 8))
    assert labels.of("t").shape == (1, 1, 1, 1)
    assert not labels.of("t").any()
    assert labels.of("nothing").shape == ()


def test_fresh_labels_are_all_different_and_never_the_kept_one() -> None:
    labels = labels_of((1,))
    assert [*labels.fresh(2), *labels.fresh(3)] == [1, 2, 3, 4, 5]


def test_axes_along_which_labels_do_not_vary_are_stored_with_size_one() -> None:
    labels = labels_of((2, 4, 8))
    labels.assign("t", np.broadcast_to(along(labels.fresh(4), 1, 3), (2, 4, 8)))
    assert labels.of("t").shape == (1, 4, 1)


def test_varying_axes_are_those_with_different_labels() -> None:
    assert varying_axes(np.array([[1, 1], [2, 2]])) == [0]
    assert varying_axes(np.array([[1, 1], [1, 1]])) == []


def test_uniting_with_a_kept_position_freezes_and_says_why() -> None:
    labels = labels_of((4,))
    labels.unite(np.array([1, 2, 0, 3]), np.array([1, 0, 4, 5]), WHY)
    ((frozen, reason),) = labels.frozen
    assert frozen.tolist() == [2, 4]
    assert str(reason) == "Node 'n': because"
    assert [edge.tolist() for edge in labels.edges()] == [[3], [5]]


def test_uniting_equals_records_nothing() -> None:
    labels = labels_of((4,))
    labels.unite(np.array([[1], [2]]), np.array([[1, 1], [2, 2]]), WHY)
    assert labels.frozen == []
    assert [edge.size for edge in labels.edges()] == [0, 0]


def test_holding_the_only_varying_axis_freezes() -> None:
    labels = labels_of((2, 4))
    held = labels.hold(np.array([[1, 2, 3, 4]]), [1], WHY)
    assert held.shape == (1, 1)
    assert labels.frozen[0][0].tolist() == [1, 2, 3, 4]


def test_holding_one_of_two_varying_axes_unites_across_it() -> None:
    labels = labels_of((2, 3))
    held = labels.hold(np.array([[1, 2, 3], [4, 5, 6]]), [0], WHY)
    assert held.tolist() == [[1, 2, 3]]
    assert labels.frozen == []
    assert sorted(zip(*(edge.tolist() for edge in labels.edges()), strict=True)) == [(4, 1), (5, 2), (6, 3)]


def test_holding_an_axis_that_does_not_vary_changes_nothing() -> None:
    labels = labels_of((2, 3))
    assert labels.hold(np.array([[1, 2, 3]]), [0], WHY).tolist() == [[1, 2, 3]]
    assert labels.frozen == []


def test_a_site_is_a_use_that_is_accounted_for() -> None:
    labels = labels_of((4,))
    labels.site("t", Use(3, 1), Role.SCALES, np.array([1, 2, 3, 4]))
    labels.plain_use("t", Use(5, 0))
    assert labels.uses["t"] == {Use(3, 1), Use(5, 0)}
    assert [site.parameter for site in labels.sites] == ["t"]


def test_an_activation_of_any_size_costs_one_label_a_channel() -> None:
    analysis = analysed(sandwich("z = Relu(a)", width=8))
    assert analysis.labels.of("z").shape == (1, 8, 1, 1)
