import numpy as np
import pytest
from emitted import assert_emitted_equals, emitted
from oracle import graph

from toolchain.errors import ModelError

SIGNED = [
    "Abs",
    "Asinh",
    "Atan",
    "Ceil",
    "Cos",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Mish",
    "Neg",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "Celu",
    "Cosh",
    "Dropout",
]
IN_THE_UNIT_INTERVAL = ["Acos", "Asin", "Atanh", "Log", "Sqrt", "Reciprocal"]


@pytest.mark.parametrize("op", SIGNED)
def test_a_unary_op_is_an_expression(op):
    assert_emitted_equals(graph(f"net (float[N,4] x) => (float[N,4] y) {{ t = Tanh(x) \n y = {op}(t) }}"))


@pytest.mark.parametrize("op", [*IN_THE_UNIT_INTERVAL, "Acosh"])
def test_an_op_with_a_domain_is_an_expression(op):
    shift = 2.0 if op == "Acosh" else 0.0
    text = f"""net (float[N,4] x) => (float[N,4] y) <float shift = {{{shift}}}> {{
        s = Sigmoid(x)
        t = Add(s, shift)
        y = {op}(t)
    }}"""
    assert_emitted_equals(graph(text))


OPTIONS = ["Elu<alpha = 0.3>", "LeakyRelu<alpha = 0.2>", "HardSigmoid<alpha = 0.16666667, beta = 0.5>",
           "Celu<alpha = 2.0>",
           "Selu<alpha = 1.5, gamma = 1.1>", "Shrink<lambd = 0.2, bias = 0.1>", 'Gelu<approximate = "tanh">',
           "ThresholdedRelu<alpha = 0.4>", "Cast<to = 7>"]  # fmt: skip


@pytest.mark.parametrize("op", OPTIONS)
def test_options_are_written(op):
    kind = "int64" if op.startswith("Cast") else "float"
    assert_emitted_equals(graph(f"net (float[N,4] x) => ({kind}[N,4] y) {{ y = {op}(x) }}"))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Pow"])
@pytest.mark.parametrize("constant", ["float[4,1,1] c", "float c", "float[1,1,1,1] c"])
def test_constants_are_numbers_or_parameters(op, constant):
    text = f"""net (float[N,4,3,3] x) => (float[N,4,3,3] y) <{constant}> {{
        s = Exp(x)
        y = {op}(s, c)
    }}"""
    source = assert_emitted_equals(graph(text))
    if op in ["Add", "Sub", "Mul", "Div", "Pow"]:
        assert ("nn.Parameter" in source) == (constant == "float[4,1,1] c")


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"])
def test_computed_operands_are_named(op):
    text = f"net (float[N,4,3,3] x, float[N,1,3,3] c) => (float[N,4,3,3] y) {{ y = {op}(x, c) }}"
    assert_emitted_equals(graph(text))


@pytest.mark.parametrize("op", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
def test_comparisons_choose(op):
    text = f"""net (float[N,4] x, float[N,4] c) => (float[N,4] y) {{
        m = {op}(x, c)
        y = Where(m, x, c)
    }}"""
    assert_emitted_equals(graph(text))


@pytest.mark.parametrize("op", ["And", "Or", "Xor"])
def test_logic_is_written(op):
    text = f"net (bool[N,4] x, bool[N,4] c) => (bool[N,4] y) {{ n = Not(c) \n y = {op}(x, n) }}"
    assert_emitted_equals(graph(text))


def test_whole_numbers_divide_towards_zero():
    text = (
        "net (int64[N,4] x, int64[N,4] c) => (int64[N,4] y) <int64 three = {3}> { s = Sub(x, c) \n y = Div(s, three) }"
    )
    feeds = {"x": np.array([[-7, 7, -1, 1]]), "c": np.zeros((1, 4), np.int64)}
    assert_emitted_equals(graph(text), feeds=feeds)


@pytest.mark.parametrize("fmod", [0, 1])
def test_remainders_keep_their_sign(fmod):
    text = "net (float[N,4] x) => (float[N,4] y) <float c = {0.7}> { y = Mod<fmod = 1>(x, c) }"
    integers = "net (int64[N,4] x) => (int64[N,4] y) <int64 c = {3}> { y = Mod(x, c) }"
    assert_emitted_equals(graph(text if fmod else integers))


@pytest.mark.parametrize("limits", ["low, high", "low", ", high"])
def test_clip_is_clamp(limits):
    declared = "<float low = {-0.5}, float high = {0.5}>"
    text = f"net (float[N,4] x) => (float[N,4] y) {declared} {{ y = Clip(x, {limits}) }}"
    assert "clamp" in assert_emitted_equals(graph(text))


def test_clip_from_0_to_6_is_relu6():
    text = "net (float[N,4] x) => (float[N,4] y) <float low = {0.0}, float high = {6.0}> { y = Clip(x, low, high) }"
    assert "F.relu6(x)" in assert_emitted_equals(graph(text))
    old = "net (float[N,4] x) => (float[N,4] y) { y = Clip<min = 0.0, max = 6.0>(x) }"
    assert "F.relu6(x)" in assert_emitted_equals(graph(old, opset=10))


def test_a_tensor_times_its_sigmoid_is_silu():
    text = "net (float[N,4] x) => (float[N,4] y) { s = Sigmoid(x) \n y = Mul(x, s) }"
    source = assert_emitted_equals(graph(text))
    assert "return F.silu(x)" in source
    assert "sigmoid" not in source


@pytest.mark.parametrize("slope", ["float[4,1,1] s", "float[1] s", "float[4,3,3] s"])
def test_prelu_is_a_layer_where_it_can_be(slope):
    text = f"net (float[N,4,3,3] x) => (float[N,4,3,3] y) <{slope}> {{ y = PRelu(x, s) }}"
    assert ("nn.PReLU" in assert_emitted_equals(graph(text))) == (slope != "float[4,3,3] s")


def test_an_op_that_looks_for_no_infinity_is_refused():
    text = "net (float[N,4] x) => (bool[N,4] y) { y = IsInf<detect_positive = 0, detect_negative = 0>(x) }"
    with pytest.raises(ModelError, match="IsInf '-> y' cannot be written in PyTorch: it looks for neither infinity"):
        emitted(graph(text))
