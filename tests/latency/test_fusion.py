from pathlib import Path

import onnx
import pytest
from oracle import analysed, graph
from small import feeds_of, network

from toolchain.graph.deployment import bind_model
from toolchain.latency.fusion import fuse
from toolchain.targets.layer_time import LayerTime
from toolchain.targets.onnxruntime import Onnxruntime
from toolchain.targets.openvino import Openvino

DIGITS = Path(__file__).parents[2] / "models" / "digits_resnet.onnx"
RESIDUAL = """net (float[1,16,8,8] x) => (float[1,16,8,8] y) <
    float[16,16,3,3] one, float[16,16,3,3] two, float[16] bias, float[16] scale, float[16] shift,
    float[16] mean, float[16] variance
> {
    a = Conv<pads=[1,1,1,1]>(x, one)
    b = BatchNormalization(a, scale, shift, mean, variance)
    c = Relu(b)
    d = Conv<pads=[1,1,1,1]>(c, two, bias)
    e = Add(d, c)
    y = Relu(e)
}"""


def kernel(*nodes):
    return LayerTime("kernel", "Conv", nodes, nodes[-1], (1.0,))


def fused(model, *layers):
    return {one.node.output[0]: [node.output[0] for node in one.followers] for one in fuse(analysed(model), layers)}


def test_followers_are_the_nodes_of_the_same_kernel():
    assert fused(graph(RESIDUAL), kernel("a", "b", "c"), kernel("d", "e", "y")) == {"a": ["b", "c"], "d": ["e", "y"]}


def test_nodes_with_a_kernel_of_their_own_do_not_follow():
    found = fused(graph(RESIDUAL), kernel("a", "b"), kernel("c"), kernel("d"), kernel("e", "y"))
    assert found == {"a": ["b"], "d": []}


def test_without_a_profile_every_weighted_node_is_alone():
    assert fused(graph(RESIDUAL)) == {"a": [], "d": []}


def test_two_products_in_one_kernel_are_blocks_alone():
    assert fused(graph(RESIDUAL), kernel("a", "b", "c", "d", "e", "y")) == {"a": [], "d": []}


def test_what_is_not_pointwise_does_not_follow():
    assert fused(network(), kernel("stem", "stem_out"), kernel("body", "body_out", "pooled", "flat")) == {
        "stem": ["stem_out"],
        "body": ["body_out"],
        "scores": [],
    }


def test_a_block_tells_which_of_its_tensors_others_read():
    analysis = analysed(graph(RESIDUAL))
    first, second = fuse(analysis, [kernel("a", "b", "c"), kernel("d", "e", "y")])
    assert (first.outputs(analysis.index), second.outputs(analysis.index)) == (["c"], ["y"])


def test_a_product_of_two_computed_tensors_is_no_block():
    model = graph("net (float[1,4,8] x) => (float[1,4,4] y) { t = Transpose<perm=[0,2,1]>(x)  y = MatMul(x, t) }")
    assert fused(model) == {}


@pytest.mark.parametrize("target", [Onnxruntime(), Openvino(threads=1)], ids=lambda target: target.name)
def test_runtimes_fuse_normalisation_addition_and_activation(target, tmp_path):
    model = onnx.load(DIGITS)
    analysis = analysed(model)
    bound = bind_model(analysis.model, analysis.binding)
    layers = target.profile(bound, target.build(bound, tmp_path), feeds_of(bound), 2)
    kinds = [[node.op_type for node in one.followers] for one in fuse(analysis, layers)]
    assert kinds[1] == ["BatchNormalization", "Relu"]
    assert kinds[2] == ["BatchNormalization", "Add", "Relu"]
    assert kinds[-1] == []
