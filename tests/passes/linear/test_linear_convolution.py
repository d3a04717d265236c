import numpy as np
import pytest
from oracle import execute, graph
from small import parameters

from passes.linear.convolution import Convolution
from toolchain.graph.index import GraphIndex
from toolchain.recovery.layer import by_group, rows_of


def layer_of(model):
    index = GraphIndex(model)
    return Convolution.of(index, index.nodes[0])


def assert_columns_times_weight_is_the_output(model, shape):
    """Compare W' x + b at random positions with what the runtime computes."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal(shape).astype(np.float32)
    (y,) = execute(model, {"x": x}).values()
    layer = layer_of(model)
    weight, bias = (parameters(model)[name] for name in (layer.weight, layer.bias))
    at = np.sort(rng.permutation(y.size // y.shape[1])[:40])
    columns = layer.columns(x, weight.shape, y.shape, at)
    assert columns.shape[2] == len(layer.column_channels(weight.shape))
    found = columns @ layer.matrix(weight) + bias.reshape(layer.groups, 1, -1)
    np.testing.assert_allclose(found, by_group(rows_of(y, 1, at), layer.groups), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(layer.array(layer.matrix(weight), weight.shape), weight)


@pytest.mark.parametrize(
    ("attributes", "weight"),
    [
        ("strides=[1,1]", "8,6,3,3"),
        ("pads=[1,2,0,1]", "8,6,3,2"),
        ("strides=[2,3], pads=[1,1,1,1]", "8,6,3,3"),
        ("dilations=[2,1], pads=[2,0,2,0]", "8,6,3,3"),
        ("strides=[2,2], dilations=[2,2], pads=[2,2,2,2]", "8,6,3,3"),
        ("group=2, pads=[1,1,1,1]", "8,3,3,3"),
        ("group=6, pads=[1,1,1,1]", "6,1,3,3"),
        ("group=6", "12,1,3,3"),
        ('auto_pad="SAME_UPPER", strides=[2,2]', "8,6,3,3"),
        ('auto_pad="SAME_LOWER", strides=[2,2]', "8,6,4,4"),
        ('auto_pad="VALID"', "8,6,3,3"),
    ],
)
def test_a_convolution_is_a_linear_map_of_its_receptive_fields(attributes, weight):
    count = weight.partition(",")[0]
    model = graph(f"""net (float[N,6,9,10] x) => (float[N,{count},P,Q] y) <float[{weight}] w, float[{count}] b> {{
        y = Conv<{attributes}>(x, w, b)
    }}""")
    assert_columns_times_weight_is_the_output(model, (3, 6, 9, 10))


@pytest.mark.parametrize(
    ("attributes", "weight", "count"),
    [
        ("strides=[1,1]", "6,8,3,3", 8),
        ("strides=[2,2], pads=[1,1,1,1]", "6,8,3,3", 8),
        ("strides=[2,3], pads=[1,0,0,1], output_padding=[1,2]", "6,8,4,3", 8),
        ("strides=[2,2], dilations=[2,1], pads=[2,1,2,1]", "6,8,3,3", 8),
        ("strides=[2,2], pads=[4,4,4,4]", "6,8,3,3", 8),
        ("group=2, strides=[2,2]", "6,4,2,2", 8),
        ("group=6, strides=[2,2]", "6,1,4,4", 6),
    ],
)
def test_a_transposed_convolution_is_a_linear_map_of_spread_inputs(attributes, weight, count):
    model = graph(f"""net (float[N,6,7,8] x) => (float[N,{count},P,Q] y) <float[{weight}] w, float[{count}] b> {{
        y = ConvTranspose<{attributes}>(x, w, b)
    }}""")
    assert_columns_times_weight_is_the_output(model, (3, 6, 7, 8))


@pytest.mark.parametrize(("sizes", "kernel", "out"), [("20", "3", "P"), ("6,5,7", "3,2,3", "P,Q,R")])
def test_any_number_of_spatial_axes_will_do(sizes, kernel, out):
    model = graph(f"""net (float[N,6,{sizes}] x) => (float[N,8,{out}] y) <float[8,6,{kernel}] w, float[8] b> {{
        y = Conv(x, w, b)
    }}""")
    assert_columns_times_weight_is_the_output(model, (2, 6, *map(int, sizes.split(","))))


def test_unknowns_are_ordered_by_channel_then_kernel_position():
    model = graph("net (float[N,2,5,5] x) => (float[N,4,P,Q] y) <float[4,2,1,3] w> { y = Conv(x, w) }")
    assert layer_of(model).column_channels((4, 2, 1, 3)).tolist() == [0, 0, 0, 1, 1, 1]


def test_a_computed_weight_is_no_linear_layer():
    model = graph("net (float[N,2,5,5] x, float[4,2,1,1] w) => (float[N,4,5,5] y) { y = Conv(x, w) }")
    assert layer_of(model) is None
