import pytest
from emitted import assert_emitted_equals, emitted
from oracle import graph

from toolchain.errors import ModelError


def test_parts_are_joined_and_cut():
    text = """net (float[N,4,5,5] x) => (float[N,2,5,5] y, float[N,6,5,5] z) <int64[2] sizes = {2,6}> {
        a = Relu(x)
        b = Concat<axis = 1>(x, a)
        y, z = Split<axis = 1>(b, sizes)
    }"""
    source = assert_emitted_equals(graph(text))
    assert ".split([2, 6], 1)" in source
    assert "-> tuple[Tensor, ...]:" in source


@pytest.mark.parametrize(("opset", "options"), [(11, "axis = 1, split = [1,3]"), (18, "axis = 1, num_outputs = 2")])
def test_sizes_are_attributes_in_other_opsets(opset, options):
    sizes = (1, 3) if opset == 11 else (2, 2)
    text = f"""net (float[N,4] x) => (float[N,{sizes[0]}] y, float[N,{sizes[1]}] z) {{ y, z = Split<{options}>(x) }}"""
    assert_emitted_equals(graph(text, opset=opset))


def test_an_output_that_nothing_reads_has_no_name():
    text = "net (float[N,4] x) => (float[N,2] r) { y, z = Split<axis = 1, num_outputs = 2>(x) \n r = Relu(z) }"
    assert "_, x = x.split([2, 2], 1)" in assert_emitted_equals(graph(text, opset=18))


def test_equal_parts_of_an_axis_that_follows_the_input_are_chunks():
    text = "net (float[N,4,S] x) => (float[N,4,P] r) { y, z = Split<axis = 2, num_outputs = 2>(x) \n r = Add(y, z) }"
    assert ".chunk(2, 2)" in assert_emitted_equals(graph(text, opset=18))


def test_sizes_computed_from_the_input_are_refused():
    text = """net (float[N,4,S] x) => (float[N,4,P] y, float[N,4,Q] z) <int64[1] two = {2}> {
        s = Shape<start = 2, end = 3>(x)
        rest = Sub(s, two)
        sizes = Concat<axis = 0>(two, rest)
        y, z = Split<axis = 2>(x, sizes)
    }"""
    with pytest.raises(ModelError, match=r"Split '-> y' cannot be written in PyTorch: its sizes follow the input"):
        emitted(graph(text))
