import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from oracle import assert_pruned_equals_masked, execute, random_feeds, sandwich, widths

from toolchain.graph.facts import bind_symbols
from toolchain.graph.normalise import normalise

TENSOR = numpy_helper.from_array(np.array([1.5, 2.0], np.float32))


@pytest.mark.parametrize(
    ("attribute", "expected", "dtype"),
    [
        ({"value": TENSOR}, [1.5, 2.0], np.float32),
        ({"value_float": 1.5}, 1.5, np.float32),
        ({"value_floats": [1.5, 2.0]}, [1.5, 2.0], np.float32),
        ({"value_int": 3}, 3, np.int64),
        ({"value_ints": [3, -1]}, [3, -1], np.int64),
    ],
)
def test_every_kind_of_constant_node_becomes_an_initialiser(
    attribute: dict[str, object], expected: object, dtype: type
) -> None:
    model = sandwich("z = Relu(a)")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["k"], **attribute))
    result = normalise(model)
    assert "Constant" not in {node.op_type for node in result.graph.node}
    value = next(numpy_helper.to_array(item) for item in result.graph.initializer if item.name == "k")
    assert value.tolist() == expected
    assert value.dtype == dtype


def test_functions_of_the_model_are_inlined_and_prunable() -> None:
    model = sandwich("z = Relu(a)")
    body = helper.make_node("Sigmoid", ["p"], ["q"])
    opset = helper.make_opsetid("", 20)
    model.functions.append(helper.make_function("mine", "Squash", ["p"], ["q"], [body], [opset]))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    node = next(node for node in model.graph.node if node.op_type == "Relu")
    node.op_type, node.domain = "Squash", "mine"
    assert {node.op_type for node in normalise(model).graph.node} == {"Conv", "Sigmoid"}
    assert_pruned_equals_masked(model)


def test_recorded_shapes_are_dropped_and_the_input_is_left_alone() -> None:
    model = onnx.shape_inference.infer_shapes(sandwich("z = Relu(a)"))
    before = model.SerializeToString()
    assert not normalise(model).graph.value_info
    assert model.SerializeToString() == before


def test_normalising_changes_no_result_and_twice_is_once() -> None:
    model = sandwich("k = Constant<value_floats=[2.0]>() z = Mul(a, k)")
    once = normalise(model)
    feeds = random_feeds(once, 0, bind_symbols(once))
    assert execute(once, feeds)["y"].tobytes() == execute(model, feeds)["y"].tobytes()
    assert normalise(once) == once


def test_equal_parameters_that_an_exporter_stored_once_do_not_tie_their_layers() -> None:
    model = sandwich("i = Identity(a_bias) t = Relu(a) z = Conv(t, v, i)", declared="float[8,8,1,1] v", result_width=8)
    assert "Identity" not in {node.op_type for node in normalise(model).graph.node}
    assert widths(model) == {"a": 8, "z": 8}
    assert_pruned_equals_masked(model)
