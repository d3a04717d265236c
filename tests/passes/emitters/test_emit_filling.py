import pytest
from emitted import assert_emitted_equals
from oracle import graph


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_positions_are_padded(mode):
    text = f"""net (float[N,3,8,8] x) => (float[N,3,P,Q] y) <int64[8] pads = {{0,0,1,2,0,0,3,1}}> {{
        y = Pad<mode = "{mode}">(x, pads)
    }}"""
    assert "F.pad(x, (2, 1, 1, 3)" in assert_emitted_equals(graph(text))


def test_channels_are_padded_with_a_value_on_given_axes():
    text = """net (float[N,3,8,8] x) => (float[N,C,8,8] y)
        <int64[2] pads = {2,1}, float fill = {1.5}, int64[1] axes = {1}> { y = Pad(x, pads, fill, axes) }"""
    assert "(0, 0, 0, 0, 2, 1), value=1.5" in assert_emitted_equals(graph(text))


def test_old_pads_are_attributes():
    text = "net (float[N,3,8,8] x) => (float[N,3,P,Q] y) { y = Pad<pads = [0,0,1,1,0,0,1,1], value = 2.0>(x) }"
    assert_emitted_equals(graph(text, opset=10))


def test_expand_follows_the_batch():
    text = """net (float[N,3,1,1] x, float[N,3,4,4] z) => (float[N,3,4,4] y) {
        s = Shape(z)
        y = Expand(x, s)
    }"""
    assert "x.expand(x.shape[0], 3, 4, 4)" in assert_emitted_equals(graph(text))


def test_a_constant_expands_to_the_batch_of_another_tensor():
    text = """net (float[N,3] x) => (float[N,3] y) <float[1,3] c> {
        s = Shape(x)
        e = Expand(c, s)
        y = Add(x, e)
    }"""
    assert "torch.broadcast_shapes(" in assert_emitted_equals(graph(text))


def test_a_tile_repeats():
    text = "net (float[N,3] x) => (float[N,6] y) <int64[2] repeats = {1,2}> { y = Tile(x, repeats) }"
    assert "x.repeat(1, 2)" in assert_emitted_equals(graph(text))
