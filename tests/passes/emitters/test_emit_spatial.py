import numpy as np
import pytest
from emitted import assert_emitted_equals, emitted
from oracle import graph

from toolchain.errors import ModelError

WINDOWS = {
    "plain": "kernel_shape = [2,2], strides = [2,2]",
    "padded": "kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]",
    "padded on one side": "kernel_shape = [3,3], strides = [2,2], pads = [0,0,1,1]",
    "rounded up": "kernel_shape = [2,2], strides = [2,2], ceil_mode = 1",
    "auto_pad": 'kernel_shape = [3,3], strides = [2,2], auto_pad = "SAME_UPPER"',
}


@pytest.mark.parametrize("options", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_windows_are_pooled(op, options):
    assert_emitted_equals(graph(f"net (float[N,3,9,9] x) => (float[N,3,P,Q] y) {{ y = {op}<{options}>(x) }}"))


@pytest.mark.parametrize("pads", ["[1,1,1,1]", "[0,0,1,1]"])
def test_padding_counts_where_it_is_said_to(pads):
    options = f"kernel_shape = [3,3], pads = {pads}, count_include_pad = 1"
    assert_emitted_equals(graph(f"net (float[N,3,9,9] x) => (float[N,3,P,Q] y) {{ y = AveragePool<{options}>(x) }}"))


def test_max_pooling_dilates_and_powers_are_pooled():
    assert_emitted_equals(
        graph("net (float[N,3,9] x) => (float[N,3,P] y) { y = MaxPool<kernel_shape = [3], dilations = [2]>(x) }")
    )
    assert_emitted_equals(
        graph("net (float[N,3,9,9] x) => (float[N,3,P,Q] y) { y = LpPool<kernel_shape = [3,3], p = 3>(x) }")
    )


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
@pytest.mark.parametrize("sizes", ["9", "9,9", "3,3,3"])
def test_all_positions_are_pooled(op, sizes):
    ones = ",".join("1" for _ in sizes.split(","))
    assert_emitted_equals(graph(f"net (float[N,3,{sizes}] x) => (float[N,3,{ones}] y) {{ y = {op}(x) }}"))


RESIZES = {
    "nearest": 'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"',
    "nearest pixel": 'mode = "nearest"',
    "linear": 'mode = "linear"',
    "aligned corners": 'mode = "linear", coordinate_transformation_mode = "align_corners"',
    "cubic": 'mode = "cubic", coordinate_transformation_mode = "pytorch_half_pixel"',
}


@pytest.mark.parametrize("options", RESIZES.values(), ids=RESIZES)
@pytest.mark.parametrize("by", ["scales", "sizes"])
def test_positions_are_resized(options, by):
    declared = "float[4] scales = {1,1,2,2}" if by == "scales" else "int64[4] sizes = {2,3,15,20}"
    batch = "N" if by == "scales" else "2"
    operands = "x, , scales" if by == "scales" else "x, , , sizes"
    text = (
        f"net (float[{batch},3,5,5] x) => (float[{batch},3,P,Q] y) <{declared}> {{ y = Resize<{options}>({operands}) }}"
    )
    assert "F.interpolate(" in assert_emitted_equals(graph(text))


def test_a_size_that_follows_another_tensor():
    text = """net (float[N,3,S,T] x, float[N,3,U,V] z) => (float[N,3,U,V] y) {
        s = Shape(z)
        y = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">(x, , , s)
    }"""
    assert_emitted_equals(graph(text))


def test_old_upsampling():
    text = "net (float[N,3,5,5] x) => (float[N,3,10,10] y) <float[4] scales = {1,1,2,2}> { y = Upsample(x, scales) }"
    assert 'F.interpolate(x, scale_factor=2.0, mode="nearest")' in assert_emitted_equals(graph(text, opset=9))


def test_a_way_to_resize_that_pytorch_does_not_have_is_refused():
    options = 'mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize"'
    text = (
        f"net (float[N,3,5,5] x) => (float[N,3,P,Q] y) <float[4] s = {{1,1,2,2}}> {{ y = Resize<{options}>(x, , s) }}"
    )
    with pytest.raises(ModelError, match="PyTorch has no linear interpolation with tf_crop_and_resize coordinates"):
        emitted(graph(text))


@pytest.mark.parametrize("border", ["zeros", "border", "reflection"])
def test_a_grid_is_sampled(border):
    text = f"""net (float[2,3,5,5] x, float[2,4,4,2] g) => (float[2,3,4,4] y) {{
        y = GridSample<padding_mode = "{border}">(x, g)
    }}"""
    grid = np.random.default_rng(0).uniform(-1.2, 1.2, (2, 4, 4, 2)).astype(np.float32)
    assert_emitted_equals(graph(text), feeds={"g": grid})
