import numpy as np
from oracle import analysed, sandwich

from toolchain.graph.facts import Fact
from toolchain.graph.labels import Labels, Reason, Role, Site, all_at_once, along, varying_axes, vector

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


def test_an_axis_whose_ends_are_alike_varies_where_its_middle_does() -> None:
    assert varying_axes(np.array([[1, 2, 1], [1, 2, 1]])) == [1]


def test_the_vector_of_a_line_is_the_one_that_it_was_laid_out_from() -> None:
    labels = np.arange(4)
    assert vector(along(labels, 1, 4)) is labels
    assert vector(along(labels, 1, 4)[:, 1:]).tolist() == [1, 2, 3]


def test_uniting_with_a_kept_position_freezes_and_says_why() -> None:
    labels = labels_of((4,))
    labels.unite(np.array([1, 2, 0, 3]), np.array([1, 0, 4, 5]), WHY)
    united = all_at_once(labels.unions)
    assert united.frozen.tolist() == [2, 4]
    assert [str(labels.unions[number].reason) for number in united.number] == ["Node 'n': because"] * 2
    assert (united.left.tolist(), united.right.tolist()) == ([3], [5])


def test_uniting_equals_changes_nothing() -> None:
    labels = labels_of((4,))
    labels.unite(np.array([[1], [2]]), np.array([[1, 1], [2, 2]]), WHY)
    assert [part.size for part in all_at_once(labels.unions)] == [0, 0, 0, 0]


def test_holding_the_only_varying_axis_freezes() -> None:
    labels = labels_of((2, 4))
    held = labels.hold(np.array([[1, 2, 3, 4]]), [1], WHY)
    assert held.shape == (1, 1)
    assert all_at_once(labels.unions).frozen.tolist() == [1, 2, 3, 4]


def test_holding_one_of_two_varying_axes_unites_across_it() -> None:
    labels = labels_of((2, 3))
    held = labels.hold(np.array([[1, 2, 3], [4, 5, 6]]), [0], WHY)
    united = all_at_once(labels.unions)
    assert held.tolist() == [[1, 2, 3]]
    assert united.frozen.size == 0
    assert [*zip(united.left, united.right, strict=True)] == [(4, 1), (5, 2), (6, 3)]


def test_holding_an_axis_that_does_not_vary_changes_nothing() -> None:
    labels = labels_of((2, 3))
    assert labels.hold(np.array([[1, 2, 3]]), [0], WHY).tolist() == [[1, 2, 3]]
    assert labels.unions == []


def test_tensors_and_sites_with_several_axes_are_boxes() -> None:
    labels = labels_of((2, 2))
    labels.assign("t", np.array([[1, 2], [1, 2]]))
    assert not labels.boxes
    labels.assign("t", np.array([[1, 2], [3, 4]]))
    labels.site(Site("t", 3, 1, Role.SCALES, np.array([5, 6]), 0))
    labels.site(Site("t", 3, 1, Role.SCALES, np.array([[5, 6], [7, 8]]), None))
    assert [box.tolist() for box in labels.boxes.values()] == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]


def test_an_activation_of_any_size_costs_one_label_a_channel() -> None:
    analysis = analysed(sandwich("z = Relu(a)", width=8))
    assert analysis.labels.of("z").shape == (1, 8, 1, 1)
