import pytest
from oracle import assert_pruned_equals_masked, reasons, sandwich, widths

COUNT = "s = Shape(a) n = Gather<axis=0>(s, one) "
ONE = "int64 one = {1}, int64[1] ones = {1}, int64 zero = {0}, int64 two = {2}"


@pytest.mark.parametrize(
    "body",
    [
        "f = Cast<to=1>(n) z = Div(a, f)",
        "f = Cast<to=1>(n) r = Sqrt(f) i = Reciprocal(r) z = Mul(a, i)",
        "h = Div(n, two) f = Cast<to=1>(h) z = Mul(a, f)",
        "k = Squeeze(n) f = Cast<to=1>(k) z = Mul(c, f)",
    ],
)
def test_channels_whose_number_is_computed_with_are_frozen(body: str) -> None:
    model = sandwich(COUNT + body, declared=ONE)
    assert reasons(model)["a"].endswith("it computes with the number of channels")


def test_the_number_of_all_elements_counts_channels_too() -> None:
    model = sandwich("n = Size(a) f = Cast<to=1>(n) z = Div(a, f)", declared=ONE)
    assert reasons(model)["a"] == "Cast '-> f': it computes with the number of channels"


def test_the_number_of_positions_freezes_nothing() -> None:
    body = "s = Shape(a) n = Gather<axis=0>(s, two) f = Cast<to=1>(n) z = Div(a, f)"
    model = sandwich(body, declared=ONE)
    assert widths(model) == {"a": 8}
    assert_pruned_equals_masked(model)


def test_a_window_of_the_shape_without_channels_freezes_nothing() -> None:
    model = sandwich("s = Shape<start=2>(a) f = Cast<to=1>(s) p = ReduceProd(f) z = Div(a, p)")
    assert widths(model) == {"a": 8}
    assert_pruned_equals_masked(model)


def test_a_count_that_is_only_a_size_freezes_nothing() -> None:
    body = (
        COUNT
        + """h = Div(n, two) u = Unsqueeze(h, zeros) p = Slice(a, zeros, u, ones)
                      q = Slice(a, u, last, ones) z = Concat<axis=1>(q, p)"""
    )
    model = sandwich(body, declared=ONE + ", int64[1] zeros = {0}, int64[1] last = {99999}")
    assert widths(model) == {"a": 4, "a#2": 4}
    assert_pruned_equals_masked(model)
    assert_pruned_equals_masked(model, removed={"a": [0, 1, 2]})


def test_a_comparison_with_a_count_that_does_not_change_freezes_nothing() -> None:
    body = "s = Shape(a) m = Equal(s, minus) t = Where(m, four, s) z = Reshape(a, t)"
    declared = "int64[4] minus = {-1,-1,-1,-1}, int64[4] four = {1,1,1,1}"
    assert_pruned_equals_masked(sandwich(body, declared=declared))


def test_a_range_over_channels_is_frozen() -> None:
    body = COUNT + "i = Range(zero, n, one) z = Gather<axis=1>(a, i)"
    model = sandwich(body, declared=ONE)
    assert reasons(model)["a"] == "Range '-> i': it computes with the number of channels"


def test_a_count_that_is_an_output_is_frozen() -> None:
    model = sandwich("s = Shape(a) z = Relu(a)")
    model.graph.output.add(name="s").type.tensor_type.elem_type = 7
    model.graph.output[1].type.tensor_type.shape.dim.add().dim_value = 4
    assert reasons(model)["a"] == "graph output 's': it is the number of channels"


def test_the_size_of_what_goes_as_a_whole_may_be_computed_with() -> None:
    model = sandwich(
        """h = Reshape(a, heads)
        s = Shape(h)
        n = Gather<axis=0>(s, two)
        f = Cast<to=1>(n)
        m = ReduceMean<keepdims=1>(h, ones)
        d = Div(m, f)
        z = Reshape(d, flat)""",
        declared="int64[5] heads = {0,4,2,8,8}, int64[4] flat = {0,-1,8,8}, int64[1] ones = {2}, int64 two = {2}",
        result_width=4,
    )
    assert widths(model) == {"a": 4}
    assert_pruned_equals_masked(model)
