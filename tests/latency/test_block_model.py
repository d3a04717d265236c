import numpy as np
import onnx
import pytest
from oracle import analysed, graph
from small import feeds_of

from toolchain.latency.block_model import BlockModel
from toolchain.latency.fusion import fuse
from toolchain.latency.weighted import Pair
from toolchain.targets.layer_time import LayerTime
from toolchain.targets.onnxruntime import execute

RESIDUAL = """net (float[1,8,6,6] x) => (float[1,8,6,6] y) <
    float[8,8,1,1] stem, float[8,8,3,3] weight, float[8] bias, float[8] scale, float[8] shift, float[8] mean,
    float[8] variance, float[8,1,1] slope
> {
    s = Conv(x, stem)
    a = Conv<pads=[1,1,1,1]>(s, weight, bias)
    b = BatchNormalization(a, scale, shift, mean, variance)
    c = Add(b, s)
    y = PRelu(c, slope)
}"""


def block_of(text, output, *kernel):
    """Return the block that writes `output`, fused with the nodes of `kernel`."""
    analysis = analysed(graph(text))
    layer = LayerTime("kernel", "Conv", (output, *kernel), output, (1.0,))
    fused = {one.node.output[0]: one for one in fuse(analysis, [layer])}
    return BlockModel(analysis, fused[output])


def built(block, pair):
    model = block.build(pair, np.random.default_rng(0))
    onnx.checker.check_model(model, full_check=True)
    execute(model, feeds_of(model), optimise=True)
    return model


def shapes(model):
    return {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}


def test_every_parameter_of_a_fused_block_follows_its_width():
    model = built(block_of(RESIDUAL, "a", "b", "c", "y"), Pair(5, 3))
    assert shapes(model) == {
        "weight": (3, 5, 3, 3),
        "bias": (3,),
        **dict.fromkeys(("scale", "shift", "mean", "variance"), (3,)),
        "slope": (3, 1, 1),
        "s.lead_weight": (5, 16, 1, 1),
        "s.again.lead_weight": (3, 16, 1, 1),
    }


def test_activations_come_in_the_layout_of_their_neighbours():
    model = built(block_of(RESIDUAL, "a", "b", "c", "y"), Pair(8, 8))
    assert [node.op_type for node in model.graph.node] == [
        *("Conv", "Conv", "MaxPool"),
        *("Conv", "BatchNormalization", "Add", "PRelu"),
    ]


def test_a_tensor_that_is_read_and_added_may_have_two_widths():
    model = built(block_of(RESIDUAL, "a", "b", "c", "y"), Pair(5, 3))
    widths = {item.name: item.type.tensor_type.shape.dim[1].dim_value for item in model.graph.value_info}
    assert (widths["s.lead"], widths["s.again.lead"]) == (5, 3)


def test_the_first_layer_reads_the_networks_input_as_it_is():
    model = built(block_of(RESIDUAL, "s"), Pair(8, 4))
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    assert [item.name for item in model.graph.output] == ["s"]


def test_weights_are_random_and_never_tiny():
    model = built(block_of(RESIDUAL, "a", "b", "c", "y"), Pair(8, 8))
    weight = onnx.numpy_helper.to_array(next(item for item in model.graph.initializer if item.name == "weight"))
    assert 0.05 < np.abs(weight).mean() < 0.5
    variance = next(item for item in model.graph.initializer if item.name == "variance")
    assert onnx.numpy_helper.to_array(variance).min() >= 0.5


def test_the_bounds_of_a_clip_keep_their_values():
    text = """net (float[1,8,6,6] x) => (float[1,8,6,6] y) <
        float[8,8,1,1] weight, float low = {0.0}, float high = {6.0}
    > { a = Conv(x, weight)  y = Clip(a, low, high) }"""
    model = built(block_of(text, "a", "y"), Pair(8, 4))
    values = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    assert (values["low"], values["high"]) == (0.0, 6.0)


@pytest.mark.parametrize(
    ("text", "pair", "weight", "group"),
    [
        ("float[6,1,3,3] weight> { y = Conv<group=6>(x, weight) }", Pair(4, 4), (4, 1, 3, 3), 4),
        ("float[12,1,3,3] weight> { y = Conv<group=6>(x, weight) }", Pair(4, 8), (8, 1, 3, 3), 4),
        ("float[6,3,3,3] weight> { y = Conv<group=2>(x, weight) }", Pair(4, 2), (2, 2, 3, 3), 2),
        ("float[6,5,2,2] weight> { y = ConvTranspose<strides=[2,2]>(x, weight) }", Pair(3, 2), (3, 2, 2, 2), 1),
    ],
    ids=["depthwise", "depthwise with a multiplier", "grouped", "transposed"],
)
def test_groups_and_transposition_decide_the_weights_shape(text, pair, weight, group):
    block = block_of(f"net (float[1,6,8,8] x) => (float[N,M,P,Q] y) <{text}", "y")
    assert shapes(built(block, pair))["weight"] == weight
    assert block.signature(pair).group == group


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("float[6,10] weight, float[10] bias> { y = Gemm(x, weight, bias) }", (4, 3)),
        ("float[10,6] weight, float[10] bias> { y = Gemm<transB=1>(x, weight, bias) }", (3, 4)),
        ("float[6,10] weight> { y = MatMul(x, weight) }", (4, 3)),
    ],
    ids=["Gemm", "Gemm transposed", "MatMul"],
)
def test_matrix_products_are_resized_along_both_axes(text, weight):
    model = built(block_of(f"net (float[2,6] x) => (float[2,10] y) <{text}", "y"), Pair(4, 3))
    assert shapes(model)["weight"] == weight
    assert shapes(model).get("bias", (3,)) == (3,)


def test_the_signature_says_what_the_latency_depends_on():
    found = block_of(RESIDUAL, "a", "b", "c", "y").signature(Pair(5, 3))
    assert str(found) == "Conv+Add+PRelu constant 3x3 5 to 3, 1x6x6, FLOAT"
    assert (found.strides, found.pads, found.dilations, found.group) == ((1, 1), (1, 1, 1, 1), (1, 1), 1)


def test_automatic_padding_is_written_out():
    text = """net (float[1,4,7,7] x) => (float[1,4,4,4] y) <float[4,4,3,3] weight> {
        y = Conv<auto_pad="SAME_UPPER", strides=[2,2]>(x, weight)
    }"""
    assert block_of(text, "y").signature(Pair(4, 4)).pads == (1, 1, 1, 1)


def test_layers_of_one_shape_have_one_signature():
    text = """net (float[1,8,6,6] x) => (float[1,8,6,6] y) <float[8,8,3,3] one, float[8,8,3,3] two> {
        a = Conv<pads=[1,1,1,1]>(x, one)
        y = Conv<pads=[1,1,1,1]>(a, two)
    }"""
    assert block_of(text, "a").signature(Pair(8, 8)) == block_of(text, "y").signature(Pair(8, 8))
