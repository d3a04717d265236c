import numpy as np
import onnx
import pytest
from oracle import execute, graph
from small import context_of, feeds_of, network, parameters

from passes.fold_batchnorm import FoldBatchnorm
from toolchain.graph.hashing import model_sha256
from toolchain.graph.oracle import relative_error

NORM = "float[8] scale, float[8] shift, float[8] mean, float[8] variance"


def convolution(call: str, parameters: str, rest: str = "y = BatchNormalization(c, scale, shift, mean, variance)"):
    return graph(f"net (float[N,4,6,6] x) => (float[N,8,P,Q] y) <{parameters}, {NORM}> {{ c = {call}\n{rest} }}")


@pytest.fixture
def context(tmp_path):
    return context_of(network(), tmp_path)


def fold(model, context):
    return FoldBatchnorm()(model, context)


def assert_same_output(model, rewritten):
    feeds = feeds_of(model)
    assert relative_error(execute(rewritten, feeds), execute(model, feeds)) < 1e-5


@pytest.mark.parametrize(
    ("call", "weights"),
    [
        ("Conv(x, w)", "float[8,4,3,3] w"),
        ("Conv(x, w, b)", "float[8,4,3,3] w, float[8] b"),
        ("Conv<group=4>(x, w, b)", "float[8,1,3,3] w, float[8] b"),
        ("ConvTranspose(x, w)", "float[4,8,3,3] w"),
        ("ConvTranspose(x, w, b)", "float[4,8,3,3] w, float[8] b"),
        ("ConvTranspose<group=2>(x, w, b)", "float[4,4,3,3] w, float[8] b"),
        ("ConvTranspose<group=4, strides=[2,2]>(x, w)", "float[4,2,3,3] w"),
    ],
)
def test_the_output_stays_and_the_batchnorm_goes(call, weights, context):
    model = convolution(call, weights)
    result = fold(model, context)
    assert result.modified
    assert [node.op_type for node in result.model.graph.node] == [call.split("<")[0].split("(")[0]]
    assert_same_output(model, result.model)


def test_weight_and_bias_follow_the_algebra(context):
    model = convolution("Conv(x, w, b)", "float[8,4,3,3] w, float[8] b")
    p = {name: value.astype(np.float64) for name, value in parameters(model).items()}
    folded = fold(model, context).model
    _, weight, bias = folded.graph.node[0].input
    factor = p["scale"] / np.sqrt(p["variance"] + 1e-5)
    found = parameters(folded)
    np.testing.assert_allclose(found[weight], factor.reshape(-1, 1, 1, 1) * p["w"], rtol=1e-5)
    np.testing.assert_allclose(found[bias], factor * (p["b"] - p["mean"]) + p["shift"], rtol=1e-5, atol=1e-7)


def test_epsilon_is_read(context):
    rest = "y = BatchNormalization<epsilon=0.5>(c, scale, shift, mean, variance)"
    model = convolution("Conv(x, w)", "float[8,4,3,3] w", rest)
    assert_same_output(model, fold(model, context).model)


def test_a_weight_shared_with_another_node_stays_as_it_is(context):
    rest = """n = BatchNormalization(c, scale, shift, mean, variance)
        other = Conv(x, w)
        y = Add(n, other)"""
    model = convolution("Conv(x, w)", "float[8,4,3,3] w", rest)
    result = fold(model, context)
    assert result.modified
    np.testing.assert_array_equal(parameters(result.model)["w"], parameters(model)["w"])
    assert_same_output(model, result.model)


@pytest.mark.parametrize(
    "rest",
    [
        # A second reader of the convolution's output.
        "n = BatchNormalization(c, scale, shift, mean, variance)\n y = Add(n, c)",
        # Statistics of the batch, not of the training.
        "y, m, v = BatchNormalization<training_mode=1>(c, scale, shift, mean, variance)",
        # Nothing that multiplies comes before.
        "r = Relu(c)\n y = BatchNormalization(r, scale, shift, mean, variance)",
    ],
    ids=["second reader", "training mode", "no convolution before"],
)
def test_what_cannot_be_folded_is_left_alone(rest, context):
    model = convolution("Conv(x, w)", "float[8,4,3,3] w", rest)
    result = fold(model, context)
    assert not result.modified
    assert result.model is model


def test_a_convolution_whose_output_leaves_the_graph_is_left_alone(context):
    model = convolution("Conv(x, w)", "float[8,4,3,3] w")
    model.graph.output.append(onnx.helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, ["N", 8, "P", "Q"]))
    assert not fold(model, context).modified


def test_a_convolution_read_inside_a_branch_is_left_alone(context):
    branch = "if_true () => (float[N,8,4,4] t) { t = Relu(c) }", "if_false () => (float[N,8,4,4] e) { e = Neg(c) }"
    rest = f"""n = BatchNormalization(c, scale, shift, mean, variance)
        i = If(condition) <then_branch = {branch[0]}, else_branch = {branch[1]}>
        y = Add(n, i)"""
    model = convolution("Conv(x, w)", "float[8,4,3,3] w, bool condition = {1}", rest)
    result = fold(model, context)
    assert not result.modified
    assert_same_output(model, result.model)


def test_a_computed_weight_is_left_alone(context):
    model = graph(f"""net (float[N,4,6,6] x, float[8,4,3,3] w) => (float[N,8,4,4] y) <{NORM}> {{
        c = Conv(x, w)
        y = BatchNormalization(c, scale, shift, mean, variance)
    }}""")
    assert not fold(model, context).modified


def test_a_second_application_changes_nothing(context):
    model = convolution("Conv(x, w)", "float[8,4,3,3] w")
    assert not fold(fold(model, context).model, context).modified


def test_the_given_model_is_not_written_to(context):
    model = convolution("Conv(x, w)", "float[8,4,3,3] w")
    before = model_sha256(model)
    fold(model, context)
    assert model_sha256(model) == before


def test_what_the_interface_says_of_itself_survives(context):
    model = convolution("Conv(x, w)", "float[8,4,3,3] w")
    model.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    model.graph.output[0].doc_string = "scores"
    model.metadata_props.add(key="licence", value="MIT")
    after = fold(model, context).model
    assert after.graph.input[0] == model.graph.input[0]
    assert after.graph.output[0] == model.graph.output[0]
    assert after.metadata_props == model.metadata_props
