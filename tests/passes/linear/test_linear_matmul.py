import numpy as np
import pytest
from oracle import execute, graph
from small import parameters

from passes.linear.matmul import MatMul
from toolchain.graph.index import GraphIndex
from toolchain.recovery.layer import rows_of

GEMM = "net (float[N,6] x) => (float[N,4] y) <float[{weight}] w, float[{bias}] b> {{ y = Gemm<{options}>(x, w, b) }}"


def layer_of(model):
    index = GraphIndex(model)
    return MatMul.of(index, index.nodes[0])


def assert_columns_times_weight_is_the_output(model, shape):
    rng = np.random.default_rng(3)
    x = rng.standard_normal(shape).astype(np.float32)
    (y,) = execute(model, {"x": x}).values()
    layer = layer_of(model)
    weight, bias = (parameters(model)[name] for name in (layer.weight, layer.bias))
    at = np.arange(0, y.size // y.shape[-1], 2)
    found = layer.columns(x, weight.shape, y.shape, at)[0] @ layer.matrix(weight)[0] + bias.reshape(-1)
    np.testing.assert_allclose(found, rows_of(y, y.ndim - 1, at), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(layer.array(layer.matrix(weight), weight.shape), weight)


@pytest.mark.parametrize(("options", "weight"), [("transB=1", "4,6"), ("transB=0", "6,4")])
@pytest.mark.parametrize("bias", ["4", "1,4"])
def test_a_gemm_is_a_linear_map_of_its_rows(options, weight, bias):
    model = graph(GEMM.format(options=options, weight=weight, bias=bias))
    assert_columns_times_weight_is_the_output(model, (10, 6))


@pytest.mark.parametrize("operands", ["z, b", "b, z"])
def test_a_product_owns_the_vector_that_is_added_to_it(operands):
    model = graph(f"""net (float[N,5,6] x) => (float[N,5,4] y) <float[6,4] w, float[4] b> {{
        z = MatMul(x, w)
        y = Add({operands})
    }}""")
    assert layer_of(model).output == "y"
    assert_columns_times_weight_is_the_output(model, (3, 5, 6))


def test_a_product_without_a_vector_has_no_bias():
    model = graph("net (float[N,5,6] x) => (float[N,5,4] y) <float[6,4] w> { y = MatMul(x, w) }")
    assert (layer_of(model).bias, layer_of(model).output) == ("", "y")


@pytest.mark.parametrize("options", ["alpha=2.0", "beta=0.5", "transA=1"])
def test_a_scaled_or_transposed_gemm_is_no_plain_linear_layer(options):
    assert layer_of(graph(GEMM.format(options=options, weight="6,4", bias="4"))) is None
