import pytest
from emitted import assert_emitted_equals
from oracle import graph


@pytest.mark.parametrize("target", ["-1,2,3,4", "0,2,3,4", "0,2,-1,4"])
def test_sizes_follow_the_batch(target):
    text = f"net (float[N,6,4] x) => (float[N,2,3,4] y) <int64[4] target = {{{target}}}> {{ y = Reshape(x, target) }}"
    assert "x.reshape(x.shape[0], 2, 3, 4)" in assert_emitted_equals(graph(text))


def test_computed_sizes_leave_one_line():
    text = """net (float[N,6,H,W] x) => (float[N,H2,W2,6] y) <int64[1] minus = {-1}, int64[1] six = {6}> {
        batch = Shape<start = 0, end = 1>(x)
        shape = Concat<axis = 0>(batch, six, minus)
        r = Reshape(x, shape)
        t = Transpose<perm = [0,2,1]>(r)
        size = Shape<start = 2, end = 4>(x)
        back = Concat<axis = 0>(batch, size, six)
        y = Reshape(t, back)
    }"""
    source = assert_emitted_equals(graph(text))
    assert "x.reshape(x.shape[0], 6, -1)" in source


@pytest.mark.parametrize(
    ("op", "shape"), [("Flatten", "N,24"), ("Flatten<axis = 2>", "P,4"), ("Flatten<axis = 0>", "1,P")]
)
def test_flatten(op, shape):
    assert_emitted_equals(graph(f"net (float[N,6,4] x) => (float[{shape}] y) {{ y = {op}(x) }}"))


def test_a_reshape_to_rows_is_flatten():
    text = "net (float[N,6,4] x) => (float[N,24] y) <int64[2] target = {0,-1}> { y = Reshape(x, target) }"
    assert "x.flatten(1)" in assert_emitted_equals(graph(text))


@pytest.mark.parametrize(("options", "shape"), [("<perm = [0,2,1]>", "N,4,6"), ("", "4,6,N")])
def test_transpose_is_permute(options, shape):
    assert_emitted_equals(graph(f"net (float[N,6,4] x) => (float[{shape}] y) {{ y = Transpose{options}(x) }}"))


@pytest.mark.parametrize("opset", [11, 20])
def test_axes_of_size_one_come_and_go(opset):
    if opset == 11:
        body = "a = Unsqueeze<axes = [1,3]>(x) \n b = Relu(a) \n y = Squeeze<axes = [1,3]>(b)"
    else:
        body = "a = Unsqueeze(x, axes) \n b = Relu(a) \n y = Squeeze(b, axes)"
    declared = "" if opset == 11 else "<int64[2] axes = {1,3}>"
    source = assert_emitted_equals(graph(f"net (float[N,6] x) => (float[N,6] y) {declared} {{ {body} }}", opset=opset))
    assert "x.unsqueeze(1).unsqueeze(3)" in source
    assert ".squeeze((1, 3))" in source
