"""Damage done to real models by chance: to the bytes of a file, or to the structure of a model that still parses."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import EncodeError
from onnx import AttributeProto, helper, numpy_helper
from oracle import graph
from small import network

Generator = np.random.Generator
Model = onnx.ModelProto

ROOT = Path(__file__).parents[2]
LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"

EXTREMES = (0, 1, -1, 2, 3, 7, 255, 1 << 16, (1 << 31) - 1, -(1 << 31), 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63))
OPS = (
    *("Relu", "Conv", "Gemm", "MatMul", "Add", "Mul", "Concat", "Split", "Slice", "Gather", "Reshape", "Transpose"),
    *("Flatten", "Pad", "Tile", "Expand", "Resize", "Shape", "Squeeze", "Unsqueeze", "BatchNormalization", "PRelu"),
    *("ReduceMean", "Softmax", "MaxPool", "AveragePool", "GlobalAveragePool", "ConvTranspose", "DepthToSpace", "Clip"),
    *("InstanceNormalization", "LayerNormalization", "GroupNormalization", "Cast", "Where", "ConstantOfShape", "Range"),
    *("Loop", "If", "Scan", "NonMaxSuppression", "TopK", "Einsum", "LSTM", "Constant", "Identity", "Dropout", "Size"),
)

MANY_OPS = """net (float[N,8,16,16] x) => (float[N,4] scores, float z) <
    float[16,8,3,3] w0, float[16] b0, float[16,1,3,3] w1, float[16,4,1,1] w2, float[16] scale, float[16] shift,
    float[16] mean, float[16] slope, float[16,8,2,2] w3, float[4,32] w4, float[4] b4,
    int64[2] halves = {8, 8}, int64[8] pads = {0,0,1,1,0,0,1,1}, int64[1] one = {1}, int64[1] three = {3},
    int64[1] axis = {1}, int64[2] flat = {0,-1}, float[4] scales = {1.0,1.0,2.0,2.0}, int64 zero = {0},
    int64[2] last = {2,3}
> {
    a = Conv<pads=[1,1,1,1]>(x, w0, b0)
    v = Abs(mean)
    n = BatchNormalization(a, scale, shift, mean, v)
    r = PRelu(n, slope)
    d = Conv<group=16, pads=[1,1,1,1]>(r, w1)
    g = Conv<group=4>(d, w2)
    s0, s1 = Split<axis=1>(g, halves)
    c = Concat<axis=1>(s1, s0)
    e = Add(c, r)
    p = Pad(e, pads)
    i = InstanceNormalization(p, scale, shift)
    u = ConvTranspose<strides=[2,2]>(i, w3)
    q = SpaceToDepth<blocksize=2>(u)
    t = Transpose<perm=[0,2,3,1]>(q)
    k = Transpose<perm=[0,3,1,2]>(t)
    f = Resize<mode="nearest">(k, , scales)
    m = ReduceMean<keepdims=0>(f, last)
    h = Reshape(m, flat)
    scores = Gemm<transB=1>(h, w4, b4)
    z0 = Shape(f)
    z1 = Gather(z0, zero)
    z2 = Slice(z0, one, three)
    z3 = Cast<to=1>(z2)
    z = ReduceMean<keepdims=0>(z3)
}"""


def real_models() -> list[bytes]:
    """Return what is damaged: models of one op family each, a trained one, and two that old exporters wrote."""
    return [
        network().SerializeToString(),
        network(batch="N").SerializeToString(),
        graph(MANY_OPS).SerializeToString(),
        (ROOT / "models" / "digits_resnet.onnx").read_bytes(),
        (LIGHT / "light_squeezenet.onnx").read_bytes(),
        (LIGHT / "light_shufflenet.onnx").read_bytes(),
    ]


def damaged(content: bytes, generator: Generator) -> bytes:
    """Return a file with one or two kinds of damage: of its structure three times in four, else of its bytes."""
    times = int(generator.integers(1, 3))
    if generator.random() < 0.25:
        for _ in range(times):
            content = _any(generator, BYTE_DAMAGE)(content, generator)
        return content
    model = Model.FromString(content)
    for _ in range(times):
        _any(generator, STRUCTURE_DAMAGE)(model, generator)
    try:
        return model.SerializeToString()
    except (EncodeError, ValueError):
        return content


def _any(generator: Generator, items: Sequence) -> object:
    """Return one of them."""
    return items[int(generator.integers(len(items)))]


def _extreme(generator: Generator) -> int:
    return int(_any(generator, EXTREMES))


def flip(content: bytes, generator: Generator) -> bytes:
    place = int(generator.integers(len(content)))
    return content[:place] + bytes([content[place] ^ 1 << int(generator.integers(8))]) + content[place + 1 :]


def flip_near_an_end(content: bytes, generator: Generator) -> bytes:
    """Flip a bit where structure is likelier than weights."""
    place = int(generator.integers(min(len(content), 4000))) * int(_any(generator, (1, -1)))
    place %= len(content)
    return content[:place] + bytes([content[place] ^ 1 << int(generator.integers(8))]) + content[place + 1 :]


def cut(content: bytes, generator: Generator) -> bytes:
    return content[: int(generator.integers(1, len(content)))]


def drop(content: bytes, generator: Generator) -> bytes:
    place = int(generator.integers(len(content)))
    return content[:place] + content[place + int(generator.integers(1, 64)) :] or b"\x08"


def repeat(content: bytes, generator: Generator) -> bytes:
    place, size = int(generator.integers(len(content))), int(generator.integers(1, 500))
    return content[: place + size] + content[place:]


def insert(content: bytes, generator: Generator) -> bytes:
    place = int(generator.integers(len(content)))
    return content[:place] + generator.bytes(int(generator.integers(1, 16))) + content[place:]


def change_op(model: Model, generator: Generator) -> None:
    node = _any(generator, model.graph.node)
    node.op_type = _any(generator, OPS)


def change_attribute(model: Model, generator: Generator) -> None:
    """Put an extreme into an attribute of a node."""
    node = _any(generator, model.graph.node)
    if not node.attribute:
        return
    item = _any(generator, node.attribute)
    if item.type == AttributeProto.INT:
        item.i = _extreme(generator)
    elif item.type == AttributeProto.INTS and item.ints:
        item.ints[int(generator.integers(len(item.ints)))] = _extreme(generator)
    elif item.type == AttributeProto.INTS:
        item.ints.append(_extreme(generator))
    elif item.type == AttributeProto.FLOAT:
        item.f = float(_any(generator, (0.0, -1.0, 1e38, float("nan"), float("inf"))))
    else:
        item.s = b"\xff\xfe"


def add_attribute(model: Model, generator: Generator) -> None:
    name = _any(generator, ("axis", "axes", "group", "perm", "pads", "strides", "keepdims", "to", "blocksize", "start"))
    value = _extreme(generator) if generator.random() < 0.5 else [_extreme(generator), _extreme(generator)]
    _any(generator, model.graph.node).attribute.append(helper.make_attribute(name, value))


def drop_attribute(model: Model, generator: Generator) -> None:
    node = _any(generator, model.graph.node)
    if node.attribute:
        del node.attribute[int(generator.integers(len(node.attribute)))]


def rewire(model: Model, generator: Generator) -> None:
    """Let a node read another tensor."""
    node, other = _any(generator, model.graph.node), _any(generator, model.graph.node)
    names = [*other.output, *other.input, "", "nobody", model.graph.input[0].name if model.graph.input else ""]
    if node.input:
        node.input[int(generator.integers(len(node.input)))] = _any(generator, names)


def add_input(model: Model, generator: Generator) -> None:
    _any(generator, model.graph.node).input.append(
        _any(generator, [item.name for item in model.graph.initializer] + [""])
    )


def drop_input(model: Model, generator: Generator) -> None:
    node = _any(generator, model.graph.node)
    if node.input:
        del node.input[int(generator.integers(len(node.input)))]


def rename_output(model: Model, generator: Generator) -> None:
    node = _any(generator, model.graph.node)
    if node.output:
        node.output[0] = _any(generator, ("", "y", node.output[0] + "'", *node.input))


def drop_node(model: Model, generator: Generator) -> None:
    if len(model.graph.node) > 1:
        del model.graph.node[int(generator.integers(len(model.graph.node)))]


def repeat_node(model: Model, generator: Generator) -> None:
    model.graph.node.append(_any(generator, model.graph.node))


def change_size(model: Model, generator: Generator) -> None:
    """Let a parameter claim another shape, with or without data to match."""
    tensor = _any(generator, model.graph.initializer) if model.graph.initializer else onnx.TensorProto()
    if not tensor.dims:
        return
    sizes = list(tensor.dims)
    sizes[int(generator.integers(len(sizes)))] = int(_any(generator, (0, 1, 2, 5, 17, -1, 1 << 20, 1 << 62)))
    if 0 <= np.prod(sizes, dtype=float) < 1e6 and min(sizes) >= 0 and tensor.data_type == onnx.TensorProto.FLOAT:
        tensor.CopyFrom(numpy_helper.from_array(np.ones(sizes, np.float32), tensor.name))
        return
    del tensor.dims[:]
    tensor.dims.extend(sizes)


def change_values(model: Model, generator: Generator) -> None:
    """Put extremes into integers: sizes, axes, indices; zeros or huge numbers into weights."""
    tensor = _any(generator, model.graph.initializer) if model.graph.initializer else onnx.TensorProto()
    try:
        values = numpy_helper.to_array(tensor).copy()
    except (ValueError, TypeError, KeyError):
        return
    if not values.size or values.dtype.kind not in "if":
        return
    new = (
        _extreme(generator)
        if values.dtype == np.int64
        else _any(generator, (0, 1, 1e30 if values.dtype.kind == "f" else 9))
    )
    values.reshape(-1)[int(generator.integers(values.size))] = new
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def change_type(model: Model, generator: Generator) -> None:
    items = [*model.graph.initializer, *model.graph.input, *model.graph.output]
    item, kind = _any(generator, items), int(generator.integers(0, 26))
    if isinstance(item, onnx.TensorProto):
        item.data_type = kind
    else:
        item.type.tensor_type.elem_type = kind


def drop_parameter(model: Model, generator: Generator) -> None:
    if model.graph.initializer:
        del model.graph.initializer[int(generator.integers(len(model.graph.initializer)))]


def change_interface(model: Model, generator: Generator) -> None:
    """Give an input or output another shape."""
    items = [*model.graph.input, *model.graph.output]
    shape = _any(generator, items).type.tensor_type.shape if items else onnx.TensorShapeProto()
    if not shape.dim or generator.random() < 0.2:
        shape.dim.add().dim_value = _extreme(generator)
    elif generator.random() < 0.2:
        del shape.dim[int(generator.integers(len(shape.dim)))]
    elif generator.random() < 0.3:
        _any(generator, shape.dim).dim_param = str(_any(generator, ("N", "", "x", "-1", "[bold]")))
    else:
        _any(generator, shape.dim).dim_value = _extreme(generator)


def change_version(model: Model, generator: Generator) -> None:
    if model.opset_import and generator.random() < 0.8:
        model.opset_import[0].version = int(generator.integers(1, 30))
    else:
        model.ir_version = int(generator.integers(0, 16))


def change_domain(model: Model, generator: Generator) -> None:
    domain = str(_any(generator, ("ai.onnx", "ai.onnx.ml", "com.microsoft", "custom", "[red]")))
    _any(generator, model.graph.node).domain = domain
    if generator.random() < 0.7:
        model.opset_import.append(helper.make_opsetid(domain, 1))


BYTE_DAMAGE: tuple[Callable[[bytes, Generator], bytes], ...] = (flip, flip_near_an_end, cut, drop, repeat, insert)
STRUCTURE_DAMAGE: tuple[Callable[[Model, Generator], None], ...] = (
    *(change_op, change_attribute, add_attribute, drop_attribute, rewire, add_input, drop_input, rename_output),
    *(drop_node, repeat_node, change_size, change_values, change_type, drop_parameter, change_interface),
    *(change_version, change_domain),
)
