import numpy as np
import pytest
from oracle import analysed, assert_pruned_equals_masked, graph, reasons, sandwich, widths
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from toolchain.graph.labels import Labels, Reason
from toolchain.graph.resolution import Resolution


@pytest.mark.parametrize("groups", [2, 4])
def test_a_shuffle_between_plain_convolutions_keeps_every_second_axis(groups: int) -> None:
    body = "r = Reshape(a, apart) t = Transpose<perm=[0,2,1,3,4]>(r) z = Reshape(t, together)"
    declared = f"int64[5] apart = {{0,{groups},{8 // groups},8,8}}, int64[4] together = {{0,8,8,8}}"
    model = sandwich(body, declared=declared)
    assert widths(model) == {"a": max(groups, 8 // groups)}
    assert_pruned_equals_masked(model)


def test_of_two_axes_with_as_many_units_the_last_one_varies() -> None:
    body = "r = Reshape(a, apart) s = Relu(r) z = Reshape(s, together)"
    declared = "int64[5] apart = {0,3,3,8,8}, int64[4] together = {0,9,8,8}"
    analysis = analysed(sandwich(body, declared=declared, width=9))
    assert analysis.tensors["r"].axis == 2
    assert len({*analysis.tensors["a"].units[::3]}) == 1


def test_a_written_out_pixel_shuffle_keeps_its_channels_though_they_are_fewer_than_its_blocks() -> None:
    body = "r = Reshape(a, apart) t = Transpose<perm=[0,1,4,2,5,3]>(r) z = Reshape(t, together)"
    declared = "int64[6] apart = {0,2,3,3,8,8}, int64[4] together = {0,2,24,24}"
    model = sandwich(body, declared=declared, width=18, result_width=2)
    assert widths(model) == {"a": 2}
    assert_pruned_equals_masked(model)


def test_heads_and_their_columns_do_not_both_vary() -> None:
    model = graph(
        """net (float[N,5,6] x) => (float[N,5,3] y)
        <float[6,8] v, float[8,3] w, int64[4] apart = {0,0,2,4}, int64[3] together = {0,0,8}> {
            a = MatMul(x, v)
            heads = Reshape(a, apart)
            first = Transpose<perm=[0,2,1,3]>(heads)
            r = Sigmoid(first)
            back = Transpose<perm=[0,2,1,3]>(r)
            z = Reshape(back, together)
            y = MatMul(z, w)
        }"""
    )
    assert widths(model) == {"a": 4}
    assert_pruned_equals_masked(model)


def test_kept_positions_that_fill_a_row_leave_the_other_rows() -> None:
    body = "j = Concat<axis=1>(x, a) r = Reshape(j, apart) s = Relu(r) z = Reshape(s, together)"
    declared = "int64[5] apart = {0,3,3,8,8}, int64[4] together = {0,9,8,8}"
    model = sandwich(body, declared=declared, width=6, result_width=9)
    assert widths(model) == {"a": 2}
    assert_pruned_equals_masked(model)


def test_units_that_share_a_box_with_kept_positions_are_frozen() -> None:
    body = "j = Concat<axis=1>(x, a) r = Reshape(j, apart) s = Relu(r) z = Reshape(s, together)"
    declared = "int64[5] apart = {0,2,4,8,8}, int64[4] together = {0,8,8,8}"
    model = sandwich(body, declared=declared, width=5, result_width=8)
    assert widths(model) == {}
    assert (
        "layout: its channels are spread over several axes of a reshaped tensor together with fixed ones"
        in reasons(model).values()
    )


def test_a_weight_used_twice_has_one_set_of_units() -> None:
    model = sandwich(
        "p = Conv(a, w) q = Conv(c, w) z = Concat<axis=1>(p, q)",
        declared="float[4,8,1,1] w",
        result_width=8,
    )
    assert widths(model) == {"a": 8, "p": 4}
    assert_pruned_equals_masked(model)


def test_a_weight_applied_to_its_own_result_ties_both_of_its_axes() -> None:
    model = sandwich("p = Conv(a, w) z = Conv(p, w)", declared="float[8,8,1,1] w")
    assert widths(model) == {"a": 8}
    assert_pruned_equals_masked(model)


def test_a_use_that_no_rule_recorded_freezes_the_parameter() -> None:
    model = sandwich("p = Conv(a, w) t = Tanh(w) n = ReduceSum(t) z = Mul(p, n)", declared="float[8,8,1,1] w")
    assert reasons(model)["p"] == "parameter 'w': another use of it cannot lose the same channels"
    assert reasons(model)["a"] == "parameter 'w': another use of it cannot lose the same channels"


def test_a_parameter_that_is_an_output_keeps_its_size() -> None:
    model = sandwich("p = Conv(a, w, b) z = Relu(p)", declared="float[8,8,1,1] w, float[8] b")
    model.graph.output.add().CopyFrom(model.graph.output[0])
    model.graph.output[1].name = "b"
    del model.graph.output[1].type.tensor_type.shape.dim[:]
    model.graph.output[1].type.tensor_type.shape.dim.add().dim_value = 8
    assert widths(model) == {"a": 8}
    assert reasons(model)["p"] == "parameter 'b': another use of it cannot lose the same channels"


def test_units_are_numbered_and_groups_ordered_by_the_first_parameter() -> None:
    analysis = analysed(sandwich("z = Concat<axis=1>(c, a)", result_width=16))
    assert [group.name for group in analysis.groups] == ["a", "c", "y"]
    assert [unit for group in analysis.groups[:2] for unit in group.units] == sorted(
        unit for group in analysis.groups[:2] for unit in group.units
    )


def test_an_op_without_a_rule_freezes_and_is_named() -> None:
    body = 'z = Einsum<equation="nchw->nchw">(a)'
    assert reasons(sandwich(body))["a"] == "Einsum '-> z': there is no rule for this op"


@pytest.mark.parametrize("seed", range(20))
def test_units_are_the_connected_components_of_what_was_united(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, count = 400, int(rng.integers(1, 500))
    left, right = rng.integers(1, size, (2, count))
    labels = Labels({})
    labels.fresh(size - 1)
    labels.unite(left, right, Reason("Node 'n'", "because"))
    expected = connected_components(coo_array((np.ones(count), (left, right)), shape=(size, size)), directed=False)[1]
    units = Resolution(labels).units(np.arange(size))
    assert len({*zip(units.tolist(), expected.tolist(), strict=True)}) == units.max() + 1 == expected.max() + 1
    _, first = np.unique(units, return_index=True)
    assert np.all(np.diff(first) > 0)
