import numpy as np
import onnx
import pytest
from oracle import graph

from toolchain.errors import ModelError, UsageError
from toolchain.graph.facts import Fact, bind_symbols, infer_facts
from toolchain.graph.index import GraphIndex


def facts_of(text: str, binding: dict[str, int] | None = None, opset: int = 20) -> dict[str, Fact]:
    model = graph(text, opset=opset)
    return infer_facts(GraphIndex(model), bind_symbols(model, overrides=binding))


def test_a_batch_is_two_and_other_open_sizes_are_sixty_four() -> None:
    model = graph("net (float[N,3,H,W] x) => (float[N,3,H,W] y) { y = Relu(x) }")
    assert bind_symbols(model) == {"N": 2, "H": 64, "W": 64}
    assert bind_symbols(model, variant=1) == {"N": 3, "H": 128, "W": 128}
    assert bind_symbols(model, overrides={"H": 10}) == {"N": 2, "H": 10, "W": 64}


def test_a_size_without_a_name_is_named_after_its_input() -> None:
    model = graph("net (float[?,3] x) => (float[?,3] y) { y = Relu(x) }")
    assert bind_symbols(model) == {"x:0": 2}


def test_an_open_size_without_a_number_is_refused() -> None:
    model = graph("net (float[N,3] x) => (float[N,3] y) { y = Relu(x) }")
    with pytest.raises(UsageError) as caught:
        infer_facts(GraphIndex(model), {})
    assert str(caught.value) == ("input 'x' axis 0 ('N') has no size; give one with --input-shapes \"x:[...]\"")


def test_shape_arithmetic_is_evaluated() -> None:
    facts = facts_of(
        """net (float[N,6,4,4] x) => (float[P,Q] y)
        <int64 one = {1}, int64 two = {2}, int64[1] zero = {0}, int64[1] minus = {-1}> {
            s = Shape(x)
            c = Gather(s, one)
            h = Div(c, two)
            u = Unsqueeze(h, zero)
            t = Concat<axis=0>(minus, u)
            y = Reshape(x, t)
        }"""
    )
    assert facts["t"].value is not None
    assert facts["t"].value.tolist() == [-1, 3]
    assert facts["y"].shape == (64, 3)


def test_a_window_of_a_shape_is_known() -> None:
    facts = facts_of("net (float[N,6,4,5] x) => (int64[2] y) { y = Shape<start=-2>(x) }")
    assert np.array_equal(facts["y"].value, [4, 5])


def test_random_tensors_and_large_ones_have_no_value() -> None:
    facts = facts_of(
        """net (float[1] x) => (float[9] r, float[5000] z) <int64[1] many = {5000}> {
            r = RandomNormal<shape=[9]>()
            z = ConstantOfShape(many)
        }"""
    )
    assert facts["r"].value is None
    assert facts["z"].value is None
    assert facts["z"].shape == (5000,)


@pytest.mark.parametrize(
    ("opset", "call"),
    [(21, "GroupNormalization<num_groups=2>(x, s, s)"), (13, "MeanVarianceNormalization(x)")],
)
def test_ops_that_onnx_infers_nothing_for_keep_their_inputs_shape(opset: int, call: str) -> None:
    facts = facts_of(f"net (float[2,6,4,4] x) => (float y) <float[6] s> {{ y = {call} }}", opset=opset)
    assert facts["y"].shape == (2, 6, 4, 4)


@pytest.mark.parametrize(
    ("opset", "call"),
    [(20, "custom.domain.Op(x)"), (18, "GroupNormalization<num_groups=2>(x, s, s)"), (10, "Upsample(x, s)")],
)
def test_ops_that_are_foreign_or_deprecated_are_merely_unknown(opset: int, call: str) -> None:
    model = graph("net (float[2,6] x) => (float z) <float[6] s> { z = Relu(x) }", opset=opset)
    op = call.split("(", maxsplit=1)[0].split("<", maxsplit=1)[0].rsplit(".", maxsplit=1)[-1]
    domain = "custom.domain" if "." in call else ""
    model.graph.node.append(onnx.helper.make_node(op, ["x", "s"], ["q"], domain=domain))
    facts = infer_facts(GraphIndex(model), bind_symbols(model))
    assert facts["q"].shape is None


def test_shapes_that_contradict_each_other_are_refused_with_the_node() -> None:
    with pytest.raises(ModelError) as caught:
        facts_of("net (float[2,6] x) => (float y) <float[5,4] w> { y = MatMul(x, w) }")
    assert str(caught.value).startswith("MatMul '-> y': its shapes do not fit together (")
