import pytest
from emitted import assert_emitted_equals, emitted
from oracle import graph

from toolchain.errors import ModelError


@pytest.mark.parametrize("shape", ["N,4", "N,4,5", "N,4,5,5", "N,4,3,3,3"])
def test_batchnorm_is_a_layer(shape):
    text = f"""net (float[{shape}] x) => (float[{shape}] y) <float[4] s, float[4] b, float[4] m, float[4] variance> {{
        y = BatchNormalization<epsilon = 0.001>(x, s, b, m, variance)
    }}"""
    assert "(4, eps=0.001)" in assert_emitted_equals(graph(text))


def test_computed_statistics_are_operands():
    text = """net (float[N,4,5] x, float[4] m) => (float[N,4,5] y) <float[4] s, float[4] b, float[4] variance> {
        y = BatchNormalization(x, s, b, m, variance)
    }"""
    assert "F.batch_norm(" in assert_emitted_equals(graph(text))


def test_statistics_of_what_is_given_are_a_function():
    text = """net (float[N,4,5] x) => (float[N,4,5] y) <float[4] s, float[4] b, float[4] m, float[4] variance> {
        y, mean, var = BatchNormalization<training_mode = 1>(x, s, b, m, variance)
    }"""
    assert "training=True" in assert_emitted_equals(graph(text))


@pytest.mark.parametrize("shape", ["N,4,5", "N,4,5,5", "N,4,3,3,3"])
def test_instance_norm_is_a_layer(shape):
    text = f"""net (float[{shape}] x) => (float[{shape}] y) <float[4] s, float[4] b> {{
        y = InstanceNormalization(x, s, b)
    }}"""
    assert "(4, affine=True)" in assert_emitted_equals(graph(text))


@pytest.mark.parametrize(("opset", "width"), [(18, 2), (21, 6)])
def test_group_norm_is_a_layer(opset, width):
    text = f"""net (float[N,6,5,5] x) => (float[N,6,5,5] y) <float[{width}] s, float[{width}] b> {{
        y = GroupNormalization<num_groups = 2>(x, s, b)
    }}"""
    assert f"nn.GroupNorm(2, {width})" in assert_emitted_equals(graph(text, opset=opset))


@pytest.mark.parametrize(("axis", "shape"), [(-1, "6"), (1, "5,6")])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm_is_a_layer(axis, shape, bias):
    declared = f"float[{shape}] s" + (f", float[{shape}] b" if bias else "")
    text = f"""net (float[N,5,6] x) => (float[N,5,6] y) <{declared}> {{
        y = LayerNormalization<axis = {axis}>(x, s{", b" if bias else ""})
    }}"""
    assert "nn.LayerNorm(" in assert_emitted_equals(graph(text))


def test_rms_norm_is_a_layer():
    text = "net (float[N,5,6] x) => (float[N,5,6] y) <float[6] s> { y = RMSNormalization(x, s) }"
    assert "nn.RMSNorm(6, eps=1e-05)" in assert_emitted_equals(graph(text, opset=23))


MIXING = [(20, "Softmax"), (20, "Softmax<axis = 1>"), (11, "Softmax<axis = 1>"), (11, "LogSoftmax<axis = 2>"),
          (20, "LogSoftmax<axis = 1>"), (20, "Hardmax"), (20, "Hardmax<axis = 1>"),
          (20, "LpNormalization<axis = 1, p = 1>"),
          (20, "MeanVarianceNormalization<axes = [0, 2]>")]  # fmt: skip


@pytest.mark.parametrize(("opset", "op"), MIXING)
def test_an_op_that_mixes_positions_is_a_function(opset, op):
    text = f"net (float[N,4,5] x) => (float[N,4,5] y) {{ y = {op}(x) }}"
    assert_emitted_equals(graph(text, opset=opset))


@pytest.mark.parametrize("options", ["", "<exclusive = 1>", "<reverse = 1>", "<exclusive = 1, reverse = 1>"])
def test_sums_cumulate(options):
    text = f"net (float[N,4] x) => (float[N,4] y) <int64 axis = {{1}}> {{ y = CumSum{options}(x, axis) }}"
    assert_emitted_equals(graph(text))


def test_local_response_is_a_function():
    text = "net (float[N,8,5,5] x) => (float[N,8,5,5] y) { y = LRN<size = 3, alpha = 0.1, beta = 0.6, bias = 2.0>(x) }"
    assert_emitted_equals(graph(text))


def test_an_even_window_is_refused():
    text = "net (float[N,8,5,5] x) => (float[N,8,5,5] y) { y = LRN<size = 4>(x) }"
    with pytest.raises(ModelError, match="its window is even"):
        emitted(graph(text))
