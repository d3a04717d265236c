import pytest
from emitted import assert_emitted_equals
from oracle import graph


def test_shapes_that_are_returned_are_tensors():
    text = "net (float[N,6,4] x) => (int64[3] y, int64 z) { y = Shape(x) \n z = Size(x) }"
    assert "torch.tensor(x.shape)" in assert_emitted_equals(graph(text))


def test_a_range_over_an_axis():
    text = """net (float[N,6,S] x) => (float[N,6,S] y) <int64 zero = {0}, int64 one = {1}, int64 two = {2}> {
        s = Shape(x)
        n = Gather(s, two)
        r = Range(zero, n, one)
        f = Cast<to = 1>(r)
        y = Add(x, f)
    }"""
    assert "torch.arange(0, " in assert_emitted_equals(graph(text))


def test_a_filled_tensor_follows_the_input():
    text = """net (float[N,6] x) => (float[N,6] y) {
        s = Shape(x)
        c = ConstantOfShape<value = float[1] {2.5}>(s)
        y = Mul(x, c)
    }"""
    assert "torch.full(" in assert_emitted_equals(graph(text))


@pytest.mark.parametrize("opset", [20])
def test_an_identity_matrix(opset):
    text = "net (float[N,N] x) => (float[N,N] y) { e = EyeLike(x) \n y = MatMul(x, e) }"
    assert "torch.eye(" in assert_emitted_equals(graph(text, opset=opset))
