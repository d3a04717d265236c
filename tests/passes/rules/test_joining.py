import pytest
from oracle import assert_pruned_equals_masked, graph, reasons, sandwich, widths


def test_concat_joins_units() -> None:
    model = sandwich("z = Concat<axis=1>(a, c, a)", result_width=24)
    pruned = assert_pruned_equals_masked(model, removed={"a": [0, 1], "c": [7]})
    assert pruned.shape("y_weight") == (5, 6 + 7 + 6, 1, 1)


def test_concat_with_an_input_keeps_the_inputs_channels() -> None:
    model = sandwich("z = Concat<axis=-3>(x, a)", result_width=11)
    pruned = assert_pruned_equals_masked(model, removed={"a": [0, 1]})
    assert pruned.shape("y_weight") == (5, 9, 1, 1)


def test_concat_along_positions_unites_channels() -> None:
    model = sandwich("z = Concat<axis=2>(a, c)")
    assert widths(model) == {"a": 8}
    assert_pruned_equals_masked(model)


def test_concat_along_positions_with_something_fixed_freezes() -> None:
    model = graph(
        """net (float[N,3,8,8] x, float[N,6,8,8] skip) => (float[N,2,P,8] y) <float[6,3,1,1] v, float[2,6,1,1] w> {
            a = Conv(x, v)
            z = Concat<axis=2>(skip, a)
            y = Conv(z, w)
        }"""
    )
    assert reasons(model)["a"] == "Concat '-> z': it joins parts along another axis than their channels'"


@pytest.mark.parametrize(
    ("opset", "call", "declared"),
    [
        (9, "Split<axis=1>(a)", ""),
        (9, "Split<axis=1, split=[3,5]>(a)", ""),
        (13, "Split<axis=1>(a)", ""),
        (13, "Split<axis=-3>(a, sizes)", "int64[2] sizes = {3,5}"),
        (18, "Split<axis=1, num_outputs=2>(a)", ""),
        (18, "Split<axis=1>(a, sizes)", "int64[2] sizes = {4,4}"),
    ],
)
def test_split_states_the_sizes_that_are_left(opset: int, call: str, declared: str) -> None:
    body = f"p, q = {call} r = Relu(p) z = Concat<axis=1>(q, r)"
    model = sandwich(body, declared=declared, opset=opset)
    assert sum(widths(model).values()) == 8
    for seed in range(3):
        assert_pruned_equals_masked(model, ratio=0.4, seed=seed)


def test_uneven_parts_of_an_equal_split_are_stated() -> None:
    for opset, call in ((9, "Split<axis=1>"), (13, "Split<axis=1>"), (18, "Split<axis=1, num_outputs=2>")):
        model = sandwich(f"p, q = {call}(a) z = Concat<axis=1>(q, p)", opset=opset)
        assert widths(model) == {"a": 4, "a#2": 4}
        assert_pruned_equals_masked(model, removed={"a": [0], "a#2": [1, 2, 3]})


def test_equal_parts_that_stay_equal_need_no_sizes() -> None:
    model = sandwich("p, q = Split<axis=1, num_outputs=2>(a) z = Mul(p, q)", result_width=4)
    pruned = assert_pruned_equals_masked(model, removed={"a": [1]})
    assert [*pruned.node("Split").input] == ["a"]
    assert pruned.node("Split").attribute == pruned.analysis.index.nodes[1].attribute


def test_parts_that_meet_again_are_one_unit() -> None:
    model = sandwich("p, q = Split<axis=1, num_outputs=2>(a) z = Add(p, q)", result_width=4)
    assert widths(model) == {"a": 4}


def test_split_along_positions_keeps_units() -> None:
    model = sandwich("p, q = Split<axis=2, num_outputs=2>(a) z = Add(p, q)")
    assert_pruned_equals_masked(model)
