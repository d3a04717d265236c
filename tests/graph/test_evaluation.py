import numpy as np
import onnx
from oracle import graph

from toolchain.graph.evaluation import Evaluator
from toolchain.graph.index import GraphIndex
from toolchain.graph.whole_graph import infer_types

ANY = graph("net (float[N,3] x) => (float[N,3] y) { y = Relu(x) }")


def test_a_node_is_run_whatever_its_tensors_are_called() -> None:
    evaluator = Evaluator(ANY)
    for first, second, result in (("a", "b", "c"), ("d", "e", "f")):
        node = onnx.helper.make_node("Gather", [first, second], [result], axis=0)
        found = evaluator.run(node, {first: np.array([5, 7]), second: np.array(1)})
        assert found == {result: 7}


def test_attributes_and_types_are_told_apart() -> None:
    evaluator = Evaluator(ANY)
    value = np.arange(6).reshape(2, 3)
    for axis, expected in ((0, (3,)), (1, (2,))):
        node = onnx.helper.make_node("ArgMax", ["a"], ["b"], axis=axis, keepdims=0)
        assert evaluator.run(node, {"a": value})["b"].shape == expected


def test_an_op_that_cannot_be_run_has_no_value() -> None:
    node = onnx.helper.make_node("Unheard", ["a"], ["b"])
    assert Evaluator(ANY).run(node, {"a": np.zeros(1)}) == {}


def test_the_types_of_a_whole_graph_follow_from_its_inputs_without_any_weight() -> None:
    model = graph("net (float[N,3,8,8] x) => (float y) <float[5,3,3,3] w> { c = Conv(x, w) y = Relu(c) }")
    given = {"x": onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [2, 3, 8, 8])}
    found = infer_types(GraphIndex(model), given)
    made = onnx.TypeProto.FromString(found["y"])
    assert [dim.dim_value for dim in made.tensor_type.shape.dim] == [2, 5, 6, 6]
