import pytest
from oracle import assert_pruned_equals_masked, graph, reasons, sandwich, widths

OPS = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
]


@pytest.mark.parametrize("op", OPS)
def test_axes_as_an_input_pass_the_other_axes_channels(op: str) -> None:
    assert_pruned_equals_masked(sandwich(f"z = {op}(a, axes)", declared="int64[2] axes = {2,-1}"))


@pytest.mark.parametrize("op", OPS)
def test_axes_as_an_attribute_pass_the_other_axes_channels(op: str) -> None:
    assert_pruned_equals_masked(sandwich(f"z = {op}<axes=[2,-1]>(a)", opset=11))


def test_a_reduced_log_sum_passes_channels() -> None:
    body = "e = Exp(a) z = ReduceLogSum(e, axes)"
    assert widths(sandwich(body, declared="int64[1] axes = {2}")) == {"a": 8}


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
def test_an_arg_reduction_over_positions_passes_channels(op: str) -> None:
    assert_pruned_equals_masked(sandwich(f"i = {op}<axis=3>(a) z = Cast<to=1>(i)"))


def test_dropped_axes_move_channels() -> None:
    model = graph(
        """net (float[N,3,8,8] x) => (float[N,4] y) <float[6,3,1,1] v, float[6,4] w, int64[2] axes = {2,3}> {
            a = Conv(x, v)
            m = ReduceMean<keepdims=0>(a, axes)
            y = MatMul(m, w)
        }"""
    )
    assert_pruned_equals_masked(model)


def test_the_branches_of_a_split_may_be_summed() -> None:
    body = "r = Reshape(a, apart) z = ReduceSum<keepdims=0>(r, one)"
    declared = "int64[5] apart = {0,2,4,8,8}, int64[1] one = {1}"
    model = sandwich(body, declared=declared, result_width=4)
    assert widths(model) == {"a": 4}
    assert_pruned_equals_masked(model)


@pytest.mark.parametrize(
    ("opset", "call"),
    [
        (20, "ReduceMean(a, one)"),
        (11, "ReduceMax<axes=[1]>(a)"),
        (20, "ReduceL2(a)"),
        (20, "ReduceL2(a, none)"),
        (11, "ReduceMean(a)"),
    ],
)
def test_a_reduction_over_channels_freezes_them(opset: int, call: str) -> None:
    model = sandwich(f"m = {call} z = Mul(a, m)", declared="int64[1] one = {1}, int64[0] none = {}", opset=opset)
    op = call.split("(", maxsplit=1)[0].split("<", maxsplit=1)[0]
    assert reasons(model)["a"] == f"inexact: {op} '-> m': it reduces over these channels (--allow-inexact)"


def test_a_reduction_to_a_scalar_freezes_what_it_reads() -> None:
    model = sandwich("m = ReduceMax<keepdims=0>(c) z = Mul(a, m)")
    assert widths(model) == {"a": 8}
    assert reasons(model)["c"] == "inexact: ReduceMax '-> m': it reduces over these channels (--allow-inexact)"
    assert_pruned_equals_masked(model)


def test_an_empty_list_of_axes_may_reduce_nothing() -> None:
    model = sandwich("z = ReduceSum<noop_with_empty_axes=1>(a)")
    assert_pruned_equals_masked(model)


def test_the_best_channel_is_not_found_among_fewer() -> None:
    model = sandwich("i = ArgMax<axis=1>(a) f = Cast<to=1>(i) z = Mul(f, c)")
    assert reasons(model)["a"] == "ArgMax '-> i': it reduces over these channels"
    assert widths(model) == {"c": 8}
