import pytest
from oracle import assert_pruned_equals_masked, graph, reasons, sandwich, widths


def test_a_plain_convolution_ends_labels_and_starts_new_ones() -> None:
    model = sandwich("z = Conv(a, w, b)", declared="float[12,8,1,1] w, float[12] b", result_width=12)
    pruned = assert_pruned_equals_masked(model, removed={"a": [0, 1, 5], "z": [3]})
    assert widths(model) == {"a": 8, "z": 12}
    assert pruned.shape("w") == (11, 5, 1, 1)
    assert pruned.shape("b") == (11,)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_depthwise_convolution_scales_its_inputs_units(multiplier: int) -> None:
    width = 8 * multiplier
    model = sandwich(
        "z = Conv<group=8, pads=[1,1,1,1]>(a, w, b)",
        declared=f"float[{width},1,3,3] w, float[{width}] b",
        result_width=width,
    )
    pruned = assert_pruned_equals_masked(model, removed={"a": [2, 7, 3]})
    assert widths(model) == {"a": 8}
    assert pruned.shape("w") == (5 * multiplier, 1, 3, 3)
    assert [item.i for item in pruned.node("Conv").attribute if item.name == "group"] == []
    assert [item.i for n in pruned.model.graph.node for item in n.attribute if item.name == "group"] == [5]


def test_a_depthwise_convolution_may_shrink_to_one_channel() -> None:
    model = sandwich("z = Conv<group=8>(a, w)", declared="float[8,1,1,1] w")
    assert_pruned_equals_masked(model, removed={"a": [0, 1, 2, 3, 4, 5, 6]})


def test_groups_of_a_grouped_convolution_stay_equal_on_both_sides() -> None:
    model = sandwich("z = Conv<group=2>(a, w, b)", declared="float[12,4,1,1] w, float[12] b", result_width=12)
    pruned = assert_pruned_equals_masked(model, removed={"a": [1], "z": [0, 5]})
    assert widths(model) == {"a": 4, "z": 6}
    assert pruned.shape("w") == (8, 3, 1, 1)
    assert pruned.shape("a_weight") == (6, 3, 1, 1)


def test_a_transposed_convolution_has_its_inputs_first() -> None:
    model = sandwich(
        "z = ConvTranspose<strides=[2,2]>(a, w, b)",
        declared="float[8,6,2,2] w, float[6] b",
        result_width=6,
    )
    pruned = assert_pruned_equals_masked(model, removed={"a": [1, 2], "z": [5]})
    assert pruned.shape("w") == (6, 5, 2, 2)


def test_a_grouped_transposed_convolution_keeps_equal_groups() -> None:
    model = sandwich("z = ConvTranspose<group=2>(a, w, b)", declared="float[8,3,1,1] w, float[6] b", result_width=6)
    pruned = assert_pruned_equals_masked(model, removed={"a": [1], "z": [2]})
    assert pruned.shape("w") == (6, 2, 1, 1)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_depthwise_transposed_convolution_scales_its_inputs_units(multiplier: int) -> None:
    model = sandwich(
        "z = ConvTranspose<group=8, strides=[2,2]>(a, w, b)",
        declared=f"float[8,{multiplier},2,2] w, float[{8 * multiplier}] b",
        result_width=8 * multiplier,
    )
    pruned = assert_pruned_equals_masked(model, removed={"a": [0, 4]})
    assert pruned.shape("w") == (6, multiplier, 2, 2)


def test_one_dimensional_convolutions_work_alike() -> None:
    model = graph(
        """net (float[N,2,16] x) => (float[N,3,L] y) <float[6,2,3] v, float[6,3,3] g, float[3,6,1] w> {
            a = Conv(x, v)
            b = Conv<group=2>(a, g)
            y = Conv(b, w)
        }"""
    )
    assert_pruned_equals_masked(model)


def test_a_weight_that_is_computed_freezes_what_reaches_it() -> None:
    model = sandwich("t = Tanh(w) z = Conv(a, t)", declared="float[8,8,1,1] w")
    assert reasons(model)["a"] == "Conv '-> z': its weight or bias is computed, not stored"


def test_a_convolution_over_a_reshaped_channel_axis_keeps_it_whole() -> None:
    body = """flat = Reshape(a, to) mixed = Conv(flat, w) z = Reshape(mixed, back)"""
    declared = "int64[4] to = {0, 1, 8, 64}, float[1,1,1,1] w, int64[4] back = {0, 8, 8, 8}"
    model = sandwich(body, declared=declared)
    assert reasons(model)["a"] == "Conv '-> mixed': it convolves along these channels"
