import pytest
from emitted import assert_emitted_equals
from oracle import graph

OPS = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(("axes", "keepdims", "shape"), [("1", 1, "N,1,5"), ("1,2", 0, "N"), ("-1", 0, "N,4")])
def test_axes_are_reduced(op, axes, keepdims, shape):
    count = axes.count(",") + 1
    text = f"""net (float[N,4,5] x) => (float[{shape}] y) <int64[{count}] axes = {{{axes}}}> {{
        s = Exp(x)
        y = Reduce{op}<keepdims = {keepdims}>(s, axes)
    }}"""
    assert_emitted_equals(graph(text))


def test_old_axes_are_attributes():
    text = "net (float[N,4,5] x) => (float[N,4] y) { y = ReduceMean<axes = [2], keepdims = 0>(x) }"
    assert "x.mean(2)" in assert_emitted_equals(graph(text, opset=11))


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize(("keepdims", "shape"), [(1, "N,1,5"), (0, "N,5")])
def test_the_place_of_an_extremum(op, keepdims, shape):
    text = f"net (float[N,4,5] x) => (int64[{shape}] y) {{ y = {op}<axis = 1, keepdims = {keepdims}>(x) }}"
    assert_emitted_equals(graph(text))


def test_no_axes_mean_all_or_none():
    text = "net (float[N,4] x) => (float y) { y = ReduceSum<keepdims = 0>(x) }"
    assert "x.sum((0, 1))" in assert_emitted_equals(graph(text))
    none = "net (float[N,4] x) => (float[N,4] y) { r = Relu(x) \n y = ReduceSum<noop_with_empty_axes = 1>(r) }"
    assert "return F.relu(x)" in assert_emitted_equals(graph(none))
