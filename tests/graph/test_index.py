import onnx
from onnx import defs
from oracle import graph

from toolchain.graph.index import CONTROL_FLOW, GraphIndex


def test_the_ops_that_carry_graphs_are_known() -> None:
    kinds = {defs.OpSchema.AttrType.GRAPH, defs.OpSchema.AttrType.GRAPHS}
    schemas = [schema for schema in defs.get_all_schemas_with_history() if not schema.domain]
    carrying = {item.name for item in schemas if kinds & {attribute.type for attribute in item.attributes.values()}}
    assert carrying == CONTROL_FLOW


def test_ops_are_named_with_their_domains_unless_they_are_of_onnx() -> None:
    nodes = [onnx.helper.make_node("Relu", ["x"], [f"y{d}"], domain=d) for d in ("", "ai.onnx", "com.acme")]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], []))
    assert GraphIndex(model).ops == ("Relu", "Relu", "com.acme::Relu")


def test_every_place_that_reads_a_tensor_is_counted() -> None:
    branches = "then_branch = g () => (float[N] t) { t = Relu(s) }, else_branch = h () => (float[N] e) { e = Neg(s) }"
    body = f"if = If(c) <{branches}>"
    model = graph(f"net (float[N] x, bool c) => (float[N] y) {{ s = Add(x, x) {body} y = Add(if, s) }}")
    counts = GraphIndex(model).read_counts
    assert (counts["x"], counts["s"], counts["y"]) == (2, 2, 0)


def test_constants_of_one_type_are_found_together() -> None:
    model = graph(
        "net (float[N,3,8,8] x) => (float y) <float[3,3,1,1] v, float[3,3,1,1] w> { c = Conv(x, v) y = Conv(c, w) }"
    )
    assert [*GraphIndex(model).constants_by_type] == [(onnx.TensorProto.FLOAT, (3, 3, 1, 1))]
    assert [*GraphIndex(model).constants_by_type[onnx.TensorProto.FLOAT, (3, 3, 1, 1)]] == ["v", "w"]
