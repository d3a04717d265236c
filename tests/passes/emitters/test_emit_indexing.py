import numpy as np
import pytest
from emitted import assert_emitted_equals, emitted
from oracle import graph

from toolchain.errors import ModelError


def test_a_slice_is_a_slice():
    text = """net (float[N,8,6,6] x) => (float[N,4,3,6] y)
        <int64[2] starts = {2,0}, int64[2] ends = {6,9223372036854775807}, int64[2] axes = {1,2},
         int64[2] steps = {1,2}> {
        y = Slice(x, starts, ends, axes, steps)
    }"""
    assert "x[:, 2:6, ::2]" in assert_emitted_equals(graph(text))


def test_old_bounds_are_attributes():
    text = "net (float[N,8] x) => (float[N,4] y) { y = Slice<axes = [1], starts = [-5], ends = [-1]>(x) }"
    assert "x[:, -5:-1]" in assert_emitted_equals(graph(text, opset=9))


def test_a_bound_that_follows_the_input_is_written_by_its_size():
    text = """net (float[N,4,S] x) => (float[N,4,H] y) <int64 two = {2}, int64[1] zero = {0}, int64[1] axes = {2}> {
        s = Shape<start = 2, end = 3>(x)
        half = Div(s, two)
        y = Slice(x, zero, half, axes)
    }"""
    assert "x[:, :, :x.shape[2] // 2]" in assert_emitted_equals(graph(text)).replace(" : x", " :x")


REVERSED = "<int64[1] starts = {-1}, int64[1] ends = {END}, int64[1] axes = {1}, int64[1] steps = {-1}>"


def test_an_axis_read_backwards_is_flipped():
    declared = REVERSED.replace("END", "-9223372036854775807")
    text = f"net (float[N,8] x) => (float[N,8] y) {declared} {{ y = Slice(x, starts, ends, axes, steps) }}"
    assert "x.flip(1)" in assert_emitted_equals(graph(text))


def test_a_part_read_backwards_is_refused():
    declared = REVERSED.replace("END", "3")
    text = f"net (float[N,8] x) => (float[N,4] y) {declared} {{ y = Slice(x, starts, ends, axes, steps) }}"
    with pytest.raises(ModelError, match="it reads a part of an axis backwards"):
        emitted(graph(text))


@pytest.mark.parametrize(
    ("index", "shape"),
    [("int64 i = {2}", "N,5"), ("int64[3] i = {2,0,1}", "N,3,5"), ("int64[1,2] i = {3,-1}", "N,1,2,5")],
)
def test_gather_is_indexing(index, shape):
    text = f"net (float[N,4,5] x) => (float[{shape}] y) <{index}> {{ y = Gather<axis = 1>(x, i) }}"
    assert_emitted_equals(graph(text))


def test_many_indices_are_a_buffer():
    indices = ",".join(str(i) for i in range(15, -1, -1))
    text = f"net (float[N,16] x) => (float[N,16] y) <int64[16] i = {{{indices}}}> {{ y = Gather<axis = 1>(x, i) }}"
    assert 'self.register_buffer("constant1", torch.empty(16, dtype=torch.int64))' in assert_emitted_equals(graph(text))


def test_a_table_that_is_looked_up_is_an_embedding():
    text = "net (int64[N,3] x) => (float[N,3,4] y) <float[10,4] table> { y = Gather(table, x) }"
    feeds = {"x": np.array([[0, 9, 4]])}
    assert "nn.Embedding(10, 4)" in assert_emitted_equals(graph(text), feeds=feeds)
