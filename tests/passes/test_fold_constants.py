import numpy as np
import pytest
from oracle import execute, graph
from small import context_of, feeds_of, network

from passes.fold_constants import FoldConstants
from toolchain.graph.hashing import model_sha256
from toolchain.graph.normalise import normalise
from toolchain.graph.oracle import relative_error


def scaled_weight():
    """A convolution whose weight is computed from two constants."""
    return normalise(
        graph("""net (float[N,3,8,8] x) => (float[N,5,8,8] y) <float[5,3,1,1] weight, float[5,1,1,1] scale> {
            scaled = Mul(weight, scale)
            y = Conv(x, scaled)
        }""")
    )


def test_a_computed_weight_becomes_a_constant(tmp_path):
    model = scaled_weight()
    result = FoldConstants()(model, context_of(network(), tmp_path))
    assert result.modified
    assert result.notes == ("1 nodes folded",)
    assert [node.op_type for node in result.model.graph.node] == ["Conv"]
    feeds = feeds_of(model)
    assert relative_error(execute(result.model, feeds), execute(model, feeds)) < 1e-6


def test_the_given_model_is_not_written_to(tmp_path):
    model = scaled_weight()
    before = model_sha256(model)
    FoldConstants()(model, context_of(network(), tmp_path))
    assert model_sha256(model) == before


def test_shape_arithmetic_on_static_shapes_goes(tmp_path):
    model = normalise(
        graph("""net (float[2,3,4,4] x) => (float[2,48] y) <int64[1] rest = {-1}, int64[1] zero = {0}> {
            shape = Shape(x)
            batch = Gather(shape, zero)
            target = Concat<axis=0>(batch, rest)
            y = Reshape(x, target)
        }""")
    )
    result = FoldConstants()(model, context_of(network(), tmp_path))
    assert [node.op_type for node in result.model.graph.node] == ["Reshape"]
    feeds = feeds_of(model)
    np.testing.assert_array_equal(execute(result.model, feeds)["y"], execute(model, feeds)["y"])


def test_nothing_to_fold_returns_the_same_model(tmp_path):
    model = network()
    result = FoldConstants()(model, context_of(model, tmp_path))
    assert not result.modified
    assert result.model is model
    assert result.notes == ("nothing to fold",)


def test_a_second_application_changes_nothing(tmp_path):
    context = context_of(network(), tmp_path)
    once = FoldConstants()(scaled_weight(), context).model
    assert not FoldConstants()(once, context).modified


def test_a_tensor_above_the_threshold_is_left_to_the_runtime(tmp_path):
    model = normalise(
        graph("""net (float[64,64] x) => (float[64,64] y) <float[1] one, int64[2] shape = {64, 64}> {
            large = Expand(one, shape)
            y = Add(x, large)
        }""")
    )
    context = context_of(network(), tmp_path)
    assert not FoldConstants(size_threshold_bytes=1024)(model, context).modified
    assert FoldConstants(size_threshold_bytes=1 << 20)(model, context).modified


@pytest.mark.parametrize("documented", ["doc_string", "denotation"])
def test_what_the_interface_says_of_itself_survives(tmp_path, documented):
    model = scaled_weight()
    if documented == "doc_string":
        model.graph.input[0].doc_string = "an image"
    else:
        model.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    model.metadata_props.add(key="licence", value="MIT")
    after = FoldConstants()(model, context_of(network(), tmp_path)).model
    assert after.graph.input[0] == model.graph.input[0]
    assert after.metadata_props == model.metadata_props


def test_a_loop_is_never_run(tmp_path, capfd):
    """It counts to 2^62, from constants alone."""
    model = normalise(
        graph("""net (float[1,4] x) => (float[1,4] y)
            <int64 trips = {4611686018427387904}, bool go = {1}, float[1,4] state = {0, 0, 0, 0}, float[1] one = {1}> {
            two = Add(one, one)
            end = Loop <body = body (int64 i, bool before_go, float[1,4] before) => (bool on, float[1,4] after) {
                on = Identity(before_go)
                step = Cast<to=1>(i)
                after = Add(before, step)
            }> (trips, go, state)
            scaled = Mul(end, two)
            y = Add(x, scaled)
        }""")
    )
    result = FoldConstants()(model, context_of(network(), tmp_path))
    assert [node.op_type for node in result.model.graph.node] == ["Loop", "Mul", "Add"]
    assert capfd.readouterr() == ("", "")


def test_a_node_whose_output_nobody_reads_goes(tmp_path):
    model = normalise(graph("net (float[2,3] x) => (float[2,3] y) { z = Exp(x)\n w = Neg(z)\n y = Relu(x) }"))
    result = FoldConstants()(model, context_of(network(), tmp_path))
    assert [node.op_type for node in result.model.graph.node] == ["Relu"]
