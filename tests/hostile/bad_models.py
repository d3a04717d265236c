"""Models that parse and are wrong, or made to hurt: each function returns one."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from oracle import graph
from small import network

Model = onnx.ModelProto
Maker = Callable[[], Model]


def changed(change: Callable[[Model], object]) -> Maker:
    """Change the small network."""

    def make() -> Model:
        model = network()
        change(model)
        return model

    return make


def weight(values: object) -> Maker:
    """Give the small network another first weight, its shape left as it says."""
    return changed(lambda model: setattr(model.graph.initializer[0], "raw_data", np.asarray(values, "f4").tobytes()))


def filled(value: float) -> Maker:
    """Put one value into every place of the first weight."""
    return weight(np.full((32, 3, 3, 3), value))


def dims(*sizes: int) -> Maker:
    """Let the first weight claim another shape."""

    def change(model: Model) -> None:
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(sizes)

    return changed(change)


def typed(data_type: int) -> Maker:
    """Let the first weight claim another type."""
    return changed(lambda model: setattr(model.graph.initializer[0], "data_type", data_type))


def input_dims(*sizes: int) -> Maker:
    """Let the input claim another shape."""

    def change(model: Model) -> None:
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes))

    return changed(change)


def opset(version: int, domain: str = "") -> Maker:
    """Claim another opset."""
    return changed(lambda model: model.opset_import[0].CopyFrom(helper.make_opsetid(domain, version)))


def parsed(text: str, **options: int) -> Maker:
    """Read ONNX's text format."""
    return lambda: graph(text, **options)


def cyclic(model: Model) -> None:
    model.graph.node[2].input[0] = "body_out"


def reading_itself(model: Model) -> None:
    model.graph.node[1].input[0] = model.graph.node[1].output[0]


def chain(length: int) -> Model:
    """A Relu after a Relu, 20,000 times, behind one Conv."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["t0"])]
    nodes += [helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"]) for i in range(length)]
    nodes += [helper.make_node("Conv", [f"t{length}", "v"], ["y"])]
    tensors = [
        numpy_helper.from_array(np.ones(shape, np.float32), name)
        for name, shape in {"w": (4, 3, 1, 1), "v": (2, 4, 1, 1)}.items()
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in {"x": (1, 3, 4, 4), "y": (1, 2, 4, 4)}.items()
    ]
    return helper.make_model(
        helper.make_graph(nodes, "chain", ends[:1], ends[1:], tensors),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )


def function_bomb(depth: int = 40, *, fan_out: int = 2) -> Model:
    """Functions that call the next one twice: 2^40 nodes in a file of 4 kB."""
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("bomb", 1)]
    functions = []
    for level in range(depth):
        calls = [
            helper.make_node(f"F{level + 1}", [f"t{i}" if i else "x"], [f"t{i + 1}"], domain="bomb")
            for i in range(fan_out)
        ]
        calls[-1].output[0] = "y"
        functions.append(helper.make_function("bomb", f"F{level}", ["x"], ["y"], calls, opsets))
    leaf = helper.make_node("Relu", ["x"], ["y"])
    functions.append(helper.make_function("bomb", f"F{depth}", ["x"], ["y"], [leaf], opsets))
    return _calling(functions, opsets)


def function_that_calls_itself() -> Model:
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("bomb", 1)]
    call = helper.make_node("F0", ["x"], ["y"], domain="bomb")
    return _calling([helper.make_function("bomb", "F0", ["x"], ["y"], [call], opsets)], opsets)


def _calling(functions: list[onnx.FunctionProto], opsets: list[onnx.OperatorSetIdProto]) -> Model:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3, 4, 4)) for name in ("x", "y")]
    node = helper.make_node("F0", ["x"], ["y"], domain="bomb")
    return helper.make_model(
        helper.make_graph([node], "net", ends[:1], ends[1:]), functions=functions, opset_imports=opsets, ir_version=10
    )


def deep_branches(depth: int) -> Model:
    """An If in an If in an If."""
    inner = helper.make_node("Relu", ["x"], ["y"])
    for level in range(depth):
        made = helper.make_tensor_value_info(inner.output[0], TensorProto.FLOAT, None)
        branch = helper.make_graph([inner], f"g{level}", [], [made])
        inner = helper.make_node("If", ["c"], [f"y{level}"], then_branch=branch, else_branch=branch)
        if depth > 14 and level > 14:  # two branches double the file at each level
            inner = helper.make_node("If", ["c"], [f"y{level}"], then_branch=branch)
    inner.output[0] = "y"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3, 4, 4)) for name in ("x", "y")]
    condition = numpy_helper.from_array(np.array(True), "c")
    return helper.make_model(
        helper.make_graph([inner], "net", ends[:1], ends[1:], [condition]),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )


def loop(trips: int) -> Model:
    """A Loop that counts to 2^62 and does nothing."""
    body = onnx.parser.parse_graph(
        "body (int64 i, bool go, float[1,4,4,4] state) => (bool on, float[1,4,4,4] next) "
        "{ on = Identity(go) next = Relu(state) }"
    )
    model = graph(
        "net (float[1,3,4,4] x) => (float[1,2,4,4] y) <float[4,3,1,1] w, float[2,4,1,1] v> "
        "{ a = Conv(x, w) b = Relu(a) y = Conv(b, v) }"
    )
    model.graph.initializer.extend(
        [numpy_helper.from_array(np.array(trips), "trips"), numpy_helper.from_array(np.array(True), "true")]
    )
    model.graph.node[1].CopyFrom(helper.make_node("Loop", ["trips", "true", "a"], ["b"], body=body))
    return model


def constant_loop(trips: int) -> Model:
    """The same without a path from the input to it: what folds constants would run it."""
    model = loop(trips)
    model.graph.node[1].input[2] = "state"
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 4, 4, 4), np.float32), "state"))
    return model


def sparse_weight(model: Model) -> None:
    tensor = model.graph.initializer[0]
    values = helper.make_tensor("stem_weight", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("places", TensorProto.INT64, [1], [0])
    del model.graph.initializer[0]
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 40, *tensor.dims[1:]]))


def many_sizes(model: Model) -> None:
    model.graph.input[0].type.tensor_type.shape.dim.extend(
        [onnx.TensorShapeProto.Dimension(dim_value=1)] * 10_000  # ranks beyond what NumPy can hold
    )


def rename(name: str) -> Maker:
    """Call a tensor, a node and the graph so."""

    def change(model: Model) -> None:
        model.graph.node[0].output[0] = model.graph.node[1].input[0] = name
        model.graph.node[0].name = model.graph.name = name

    return changed(change)


def attribute(node: int, **values: object) -> Maker:
    """Give a node of the small network another attribute."""

    def change(model: Model) -> None:
        for name, value in values.items():
            kept = [item for item in model.graph.node[node].attribute if item.name != name]
            del model.graph.node[node].attribute[:]
            model.graph.node[node].attribute.extend([*kept, helper.make_attribute(name, value)])

    return changed(change)


def set_all(items: object, field: str, value: object) -> None:
    """Set a field of every item."""
    for item in items:  # type: ignore[attr-defined]
        setattr(item, field, value)


CONV = "net (float[1,3,8,8] x) => (float[1,4,8,8] y) <float[4,3,1,1] w> { y = Conv(x, w) }"
DIVISION = (
    "net (float[1,3,8,8] x, int64[1] n) => (float[1,4,8,8] y, int64[1] z) "
    "<float[4,3,1,1] w, int64[1] least = {{-9223372036854775808}}, int64[1] minus = {{-1}}> "
    "{{ y = Conv(x, w) a = Sub(n, n) d = Add(a, least) z = Div({}, minus) }}"
)
"""-2^63 / -1 is no 64-bit number: the processor raises an exception, which ends ONNX Runtime 1.31 by SIGFPE."""

BAD_MODELS: Mapping[str, Maker] = {
    "no nodes": changed(lambda model: model.graph.ClearField("node")),
    "no outputs": changed(lambda model: model.graph.ClearField("output")),
    "no inputs": changed(lambda model: model.graph.ClearField("input")),
    "no graph": changed(lambda model: model.ClearField("graph")),
    "no opset": changed(lambda model: model.ClearField("opset_import")),
    "opset 0": opset(0),
    "opset 6": opset(6),
    "opset 999": opset(999),
    "opset below zero": opset(-(2**62)),
    "two opsets": changed(lambda model: model.opset_import.append(helper.make_opsetid("", 7))),
    "IR version 999": changed(lambda model: setattr(model, "ir_version", 999)),
    "no IR version": changed(lambda model: model.ClearField("ir_version")),
    "NaN weights": filled(np.nan),
    "infinite weights": filled(np.inf),
    "weight too short": weight([1, 2, 3]),
    "weight too long": weight(np.ones(10_000)),
    "weight without data": weight([]),
    "weight of 2^60 values": dims(1 << 20, 1 << 20, 1 << 20),
    "weight whose size overflows to zero": dims(1 << 32, 1 << 32),
    "weight of negative size": dims(-1, 3, 3, 3),
    "weight of rank 10,000": dims(*([1] * 10_000)),
    "weight of no type": typed(0),
    "weight of type 9999": typed(9999),
    "weight of strings": typed(TensorProto.STRING),
    "weight of another type": typed(TensorProto.DOUBLE),
    "sparse weight of 2^40 rows": changed(sparse_weight),
    "input of 2^62 values": input_dims(1, 3, 1 << 30, 1 << 30),
    "input whose size overflows": input_dims(1 << 62, 1 << 62, 4, 4),
    "input of negative size": input_dims(1, 3, -8, 8),
    "input of size 0": input_dims(1, 3, 0, 8),
    "input of rank 10,004": changed(many_sizes),
    "input without a type": changed(lambda model: model.graph.input[0].ClearField("type")),
    "input without a name": changed(lambda model: setattr(model.graph.input[0], "name", "")),
    "input of a sequence": parsed("net (seq(float[1,3]) x) => (float[1,3] y) <int64 i = {0}> { y = SequenceAt(x, i) }"),
    "two inputs of one name": changed(lambda model: model.graph.input.append(model.graph.input[0])),
    "two outputs of one name": changed(lambda model: model.graph.output.append(model.graph.output[0])),
    "two weights of one name": changed(lambda model: model.graph.initializer.append(model.graph.initializer[0])),
    "two nodes that make one tensor": changed(lambda model: model.graph.node.append(model.graph.node[0])),
    "all nodes of one name": changed(lambda model: set_all(model.graph.node, "name", "same")),
    "all weights of one name": changed(lambda model: set_all(model.graph.initializer, "name", "same")),
    "an output nobody makes": changed(lambda model: setattr(model.graph.output[0], "name", "nobody")),
    "an input nobody makes": changed(lambda model: model.graph.node[1].input.__setitem__(0, "nobody")),
    "a node without outputs": changed(lambda model: model.graph.node[1].ClearField("output")),
    "a node without inputs": changed(lambda model: model.graph.node[1].ClearField("input")),
    "a node without an op": changed(lambda model: model.graph.node[1].ClearField("op_type")),
    "an op that does not exist": changed(lambda model: setattr(model.graph.node[1], "op_type", "Perceive")),
    "an op of a custom domain": changed(lambda model: setattr(model.graph.node[1], "domain", "com.custom")),
    "a weight of a custom domain": changed(lambda model: setattr(model.graph.node[0], "domain", "com.custom")),
    "cyclic": changed(cyclic),
    "a node that reads itself": changed(reading_itself),
    "nodes in reverse": changed(lambda model: model.graph.node.sort(key=lambda node: -ord(node.output[0][0]))),
    "Conv of the wrong input channels": parsed(CONV.replace("float[4,3,1,1]", "float[4,5,1,1]")),
    "Conv of zero groups": attribute(0, group=0),
    "Conv of -1 groups": attribute(0, group=-1),
    "Conv of 2^62 groups": attribute(0, group=1 << 62),
    "Conv of strides 0": attribute(0, strides=[0, 0]),
    "Conv of pads 2^62": attribute(0, pads=[1 << 62] * 4),
    "Conv of negative pads": attribute(0, pads=[-9] * 4),
    "Conv of three pads": attribute(0, pads=[1, 1, 1]),
    "Conv of dilations 2^62": attribute(0, dilations=[1 << 62, 1 << 62]),
    "Conv whose group is a text": attribute(0, group="many"),
    "Conv with an unknown attribute": attribute(0, wisdom=1),
    "Flatten of axis 99": attribute(5, axis=99),
    "an input of size 2^40 by Tile": parsed(
        "net (float[1,3,8,8] x) => (float y) <float[4,3,1,1] w, int64[4] n = {1,1,1048576,1048576}> "
        "{ a = Conv(x, w) y = Tile(a, n) }"
    ),
    "an input of size 2^40 by Expand": parsed(
        "net (float[1,3,1,1] x) => (float y) <float[4,3,1,1] w, int64[4] n = {1,4,1048576,1048576}> "
        "{ a = Conv(x, w) y = Expand(a, n) }"
    ),
    "an input of size 2^40 by Resize": parsed(
        "net (float[1,3,8,8] x) => (float y) <float[4,3,1,1] w, float[4] n = {1,1,1e6,1e6}> "
        "{ a = Conv(x, w) y = Resize(a, , n) }"
    ),
    "a constant of size 2^40": parsed(
        "net (float[1,3,8,8] x) => (float y) <float[4,3,1,1] w, int64[2] n = {1048576,1048576}> "
        "{ a = Conv(x, w) b = ConstantOfShape(n) c = ReduceSum(b) y = Add(a, c) }"
    ),
    "padded by 2^40": parsed(
        "net (float[1,3,8,8] x) => (float y) <float[4,3,1,1] w, int64[8] n = {0,1099511627776,0,0,0,0,0,0}> "
        "{ a = Conv(x, w) y = Pad(a, n) }"
    ),
    "padded by 2^28": parsed(
        "net (float[1,3,1,1] x) => (float y) <float[4,3,1,1] w, int64[8] n = {0,268435456,0,0,0,0,0,0}> "
        "{ a = Conv(x, w) y = Pad(a, n) }"
    ),
    "a range to 2^62": parsed(
        "net (float[1,3,8,8] x) => (float y) <float[4,3,1,1] w, int64 a = {0}, int64 b = {4611686018427387904}, "
        "int64 c = {1}> { t = Conv(x, w) r = Range(a, b, c) s = Cast<to=1>(r) u = ReduceSum(s) y = Add(t, u) }"
    ),
    "functions of 2^40 nodes": function_bomb,
    "functions of 10^7 nodes": lambda: function_bomb(7, fan_out=10),
    "functions 5,000 deep": lambda: function_bomb(5000, fan_out=1),
    "a function that calls itself": function_that_calls_itself,
    "a Loop of 2^62 trips": lambda: loop(1 << 62),
    "a constant Loop of 2^62 trips": lambda: constant_loop(1 << 62),
    "a division that ends the process": parsed(DIVISION.format("d")),
    "a constant division that ends the process": parsed(DIVISION.format("least")),
    "branches 30 deep": lambda: deep_branches(30),
    "branches of 2^14 graphs": lambda: deep_branches(14),
    "branches 4 deep": lambda: deep_branches(4),
    "a chain of 20,000 nodes": lambda: chain(20_000),
    "a chain of 300,000 nodes": lambda: chain(300_000),
    "a name of a million letters": rename("n" * 1_000_000),
    "a name with terminal commands": rename("\x1b[2J\x07\r\n[bold red]owned"),
    "a name with a path": rename("../../../../tmp/owned"),
    "a name with markup": rename("<script>alert(1)</script>"),
    "a name with a zero byte": rename("a\0b"),
    "a name that turns the text round": rename("\u202egpj.exe\u2066"),
}
