import pytest
from oracle import assert_pruned_equals_masked, graph, reasons, sandwich, widths


def test_slice_bounds_as_attributes_are_counted_among_kept_channels() -> None:
    body = "p = Slice<axes=[1], starts=[0], ends=[3]>(a) q = Slice<axes=[1], starts=[3], ends=[9999]>(a)"
    model = sandwich(f"{body} z = Concat<axis=1>(q, p)", opset=9)
    assert_pruned_equals_masked(model)


@pytest.mark.parametrize("kind", ["int64", "int32"])
def test_slice_bounds_as_inputs_are_counted_among_kept_channels(kind: str) -> None:
    values = {"zero": 0, "three": 3, "end": 2147483647, "axis": -3, "step": 1}
    declared = ", ".join(f"{kind}[1] {name} = {{{value}}}" for name, value in values.items())
    body = "p = Slice(a, zero, three, axis) q = Slice(a, three, end, axis, step) z = Concat<axis=1>(q, p)"
    model = sandwich(body, declared=declared)
    assert sorted(widths(model).values()) == [3, 5]
    assert_pruned_equals_masked(model)


def test_negative_slice_bounds_count_from_the_end() -> None:
    declared = "int64[1] start = {-3}, int64[1] end = {-1}, int64[1] axis = {1}"
    model = sandwich("z = Slice(a, start, end, axis)", declared=declared, result_width=2)
    assert_pruned_equals_masked(model, ratio=0.4)


def test_a_slice_without_axes_names_the_first_ones() -> None:
    declared = "int64[2] start = {0,2}, int64[2] end = {999999,6}"
    model = sandwich("z = Slice(a, start, end)", declared=declared, result_width=4)
    assert_pruned_equals_masked(model)


def test_a_strided_slice_of_positions_keeps_units() -> None:
    declared = "int64[2] start = {0,7}, int64[2] end = {8,-9}, int64[2] axes = {2,3}, int64[2] steps = {2,-1}"
    assert_pruned_equals_masked(sandwich("z = Slice(a, start, end, axes, steps)", declared=declared))


def test_every_nth_channel_is_frozen() -> None:
    declared = "int64[1] start = {0}, int64[1] end = {8}, int64[1] axes = {1}, int64[1] steps = {2}"
    model = sandwich("z = Slice(a, start, end, axes, steps)", declared=declared, result_width=4)
    assert reasons(model)["a"] == "Slice '-> z': it takes every n-th channel"


def test_bounds_computed_from_data_freeze() -> None:
    model = graph(
        """net (float[N,3,8,8] x, int64[1] end) => (float[N,Q,R,S] y)
        <float[8,3,1,1] v, int64[1] zero = {0}, int64[1] axis = {1}> {
            a = Conv(x, v)
            y = Slice(a, zero, end, axis)
        }"""
    )
    assert "Slice '-> y'" in reasons(model)["a"]


def test_gathered_channels_are_renumbered() -> None:
    declared = "int64[8] order = {1,3,5,7,0,-6,4,6}"
    model = sandwich("z = Gather<axis=1>(a, order)", declared=declared)
    assert widths(model) == {"a": 8}
    assert_pruned_equals_masked(model, removed={"a": [0, 3]})


def test_a_channel_may_be_gathered_twice_or_never() -> None:
    model = sandwich("z = Gather<axis=1>(a, order)", declared="int32[5] order = {1,1,5,0,5}", result_width=5)
    assert_pruned_equals_masked(model)


def test_a_single_gathered_channel_stays() -> None:
    body = "g = Gather<axis=1>(a, second) u = Unsqueeze(g, one) z = Mul(a, u)"
    model = sandwich(body, declared="int64 second = {2}, int64[1] one = {1}")
    assert_pruned_equals_masked(model)


def test_gathered_positions_keep_units() -> None:
    assert_pruned_equals_masked(sandwich("z = Gather<axis=3>(a, order)", declared="int64[3] order = {1,0,5}"))


def test_indices_over_two_axes_make_a_box() -> None:
    body = "g = Gather<axis=1>(a, order) t = Transpose<perm=[0,2,1,3,4]>(g) z = Reshape(t, to)"
    declared = "int64[2,4] order = {0,1,2,3,4,5,6,7}, int64[4] to = {0,8,8,8}"
    model = sandwich(body, declared=declared)
    assert widths(model) == {"a": 4}
    assert_pruned_equals_masked(model)


def test_channels_gathered_by_computed_indices_are_frozen() -> None:
    model = graph(
        """net (float[N,3,8,8] x, int64[4] order) => (float[N,2,8,8] y) <float[8,3,1,1] v, float[2,4,1,1] w> {
            a = Conv(x, v)
            z = Gather<axis=1>(a, order)
            y = Conv(z, w)
        }"""
    )
    assert reasons(model)["a"] == "Gather '-> z': it gathers channels by computed indices"


def test_indices_that_carry_channels_are_frozen() -> None:
    body = """best = ArgMax<axis=3>(a) e = Gather<axis=0>(table, best) z = ReduceSum<keepdims=0>(e, last)"""
    model = sandwich(body, declared="float[8,2] table, int64[1] last = {-1}")
    assert reasons(model)["a"] == "Gather '-> e': its indices carry channels"
