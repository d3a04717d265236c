import pytest
from onnx import numpy_helper
from oracle import Pruned, assert_pruned_equals_masked, graph, reasons, sandwich, widths


def pads(pruned: Pruned) -> list[int]:
    node = pruned.node("Pad")
    if node.attribute and node.attribute[0].name == "pads":
        return [*node.attribute[0].ints]
    values = {item.name: numpy_helper.to_array(item) for item in pruned.model.graph.initializer}
    return values[node.input[1]].tolist()


def test_padded_channels_of_a_shortcut_go_with_the_other_branch_attribute() -> None:
    body = "n = Conv(x, v) p = Pad<pads=[0,2,0,0,0,2,0,0]>(n) z = Add(a, p)"
    model = sandwich(body, declared="float[4,3,1,1] v", opset=10)
    assert widths(model) == {"a": 4, "a#2": 4}
    pruned = assert_pruned_equals_masked(model, removed={"a": [0], "a#2": [3, 1]})
    assert pads(pruned) == [0, 1, 0, 0, 0, 2, 0, 0]


@pytest.mark.parametrize(
    ("opset", "declared", "call"),
    [
        (13, "int64[8] amounts = {0,2,0,0,0,2,0,0}", "Pad(n, amounts)"),
        (18, "int64[2] amounts = {2,2}, float zero = {0}, int64[1] axes = {1}", "Pad(n, amounts, zero, axes)"),
        (18, "int64[2] amounts = {2,2}, float zero = {0.3}, int64[1] axes = {-3}", "Pad(n, amounts, zero, axes)"),
    ],
)  # fmt: skip
def test_padded_channels_of_a_shortcut_go_with_the_other_branch(opset: int, declared: str, call: str) -> None:
    body = f"n = Conv(x, v) p = {call} z = Add(a, p)"
    model = sandwich(body, declared=f"float[4,3,1,1] v, {declared}", opset=opset)
    pruned = assert_pruned_equals_masked(model)
    assert sum(widths(model).values()) == 8
    assert sum(pads(pruned)) == 2


def test_padding_of_positions_leaves_channels_alone() -> None:
    for mode in ("constant", "reflect", "edge"):
        model = sandwich(f'z = Pad<mode="{mode}">(a, amounts)', declared="int64[8] amounts = {0,0,1,2,0,0,1,0}")
        pruned = assert_pruned_equals_masked(model)
        assert pads(pruned) == [0, 0, 1, 2, 0, 0, 1, 0]


def test_a_pad_that_repeats_channels_freezes_them() -> None:
    model = sandwich(
        'z = Pad<mode="reflect">(a, amounts)',
        declared="int64[8] amounts = {0,2,0,0,0,0,0,0}",
        result_width=10,
    )
    assert reasons(model)["a"] == "Pad '-> z': it repeats channels at the border"


def test_a_negative_pad_freezes_the_channels_it_cuts() -> None:
    model = sandwich("z = Pad(a, amounts)", declared="int64[8] amounts = {0,-2,0,0,0,0,0,0}", result_width=6)
    assert reasons(model)["a"] == "Pad '-> z': a negative pad cuts channels off"


def test_amounts_computed_from_data_freeze() -> None:
    model = graph(
        """net (float[N,3,8,8] x, int64[8] amounts) => (float[N,Q,R,S] y) <float[8,3,1,1] v> {
            a = Conv(x, v)
            y = Pad(a, amounts)
        }"""
    )
    assert "the shape of 'y' is not known" in reasons(model)["a"]


def test_expand_grows_positions_and_keeps_units() -> None:
    body = "q = GlobalAveragePool(a) e = Expand(q, to) z = Add(e, c)"
    pruned = assert_pruned_equals_masked(sandwich(body, declared="int64[4] to = {1,8,8,8}"))
    values = {item.name: numpy_helper.to_array(item) for item in pruned.model.graph.initializer}
    assert values[pruned.node("Expand").input[1]].tolist() == [1, 4, 8, 8]


def test_expand_with_a_target_of_one_follows_its_input() -> None:
    pruned = assert_pruned_equals_masked(
        sandwich("q = GlobalAveragePool(a) z = Expand(q, to)", declared="int64[4] to = {1,1,4,4}")
    )
    assert pruned.node("Expand").input[1] == "to"


def test_expand_may_add_axes_in_front() -> None:
    body = "e = Expand(a, to) r = ReduceSum<keepdims=0>(e, first) z = Relu(r)"
    model = sandwich(body, declared="int64[5] to = {3,1,8,8,8}, int64[1] first = {0}")
    assert_pruned_equals_masked(model)


def test_a_channel_expanded_from_one_is_no_unit_of_its_own() -> None:
    body = "m = Conv(a, one) e = Expand(m, to) z = Relu(e)"
    model = sandwich(body, declared="float[1,8,1,1] one, int64[4] to = {1,6,1,1}", result_width=6)
    assert widths(model) == {"a": 8}
    assert_pruned_equals_masked(model)


def test_all_copies_of_a_tiled_channel_go_together() -> None:
    model = sandwich("z = Tile(a, repeats)", declared="int64[4] repeats = {1,2,1,3}", result_width=16)
    pruned = assert_pruned_equals_masked(model, removed={"a": [0, 7]})
    assert pruned.shape("y_weight") == (5, 12, 1, 1)


def test_a_tiled_positions_axis_keeps_units() -> None:
    assert_pruned_equals_masked(
        sandwich("q = GlobalAveragePool(a) z = Tile(q, repeats)", declared="int64[4] repeats = {1,1,2,3}")
    )


def test_an_option_a_shortcut_with_a_stride_prunes_whole() -> None:
    body = """half = Slice(n, start, end, axes, steps) p = Pad(half, amounts) b = AveragePool<kernel_shape=[2,2],
              strides=[2,2]>(a) s = Add(b, p) z = Relu(s)"""
    declared = """float[4,3,1,1] v, int64[2] start = {0,0}, int64[2] end = {8,8}, int64[2] axes = {2,3},
                  int64[2] steps = {2,2}, int64[8] amounts = {0,2,0,0,0,2,0,0}"""
    model = sandwich("n = Conv(x, v) " + body, declared=declared)
    assert sum(widths(model).values()) == 8
    assert_pruned_equals_masked(model)
