"""A hypothesis strategy that composes valid networks from the ops that rules exist for.

Every tensor in play is (N, channels, size, size). A step takes one or two of them and adds another, so that
branches, merges and reuse arise by themselves; convolutions at the end read what nothing else has read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

UNARY = ["Relu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Softplus", "Identity", "Abs", "Neg", "Elu"]
OPSET = 20


@dataclass(frozen=True)
class Tensor:
    name: str
    channels: int
    size: int


class Builder:
    """Collects nodes and parameters; each step draws its choices."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        self.nodes: list[onnx.NodeProto] = []
        self.parameters: list[onnx.TensorProto] = []
        self.live = [Tensor("x", 3, 8)]

    def add(self, op: str, inputs: Sequence[str], count: int = 1, **attributes: object) -> list[str]:
        names = [f"{op.lower()}_{len(self.nodes)}_{i}" for i in range(count)]
        self.nodes.append(helper.make_node(op, inputs, names, name=names[0], **attributes))
        return names

    def one(self, op: str, *inputs: str, **attributes: object) -> str:
        return self.add(op, inputs, **attributes)[0]

    def constant(self, values: npt.ArrayLike) -> str:
        self.parameters.append(numpy_helper.from_array(np.asarray(values), f"p{len(self.parameters)}"))
        return self.parameters[-1].name

    def weight(self, *shape: int) -> str:
        fan_in = max(1, int(np.prod(shape[1:])))
        return self.constant((self.rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32))

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def chance(self) -> bool:
        return self.draw(st.booleans())

    def divisor(self, number: int) -> int:
        return self.draw(st.sampled_from([i for i in range(1, number + 1) if number % i == 0]))

    def pick(self) -> Tensor:
        recent = self.live[-4:]
        return self.draw(st.sampled_from(recent))

    def keep(self, name: str, channels: int, size: int) -> None:
        self.live.append(Tensor(name, channels, size))

    def like(self, wanted: Tensor) -> str:
        """Return another tensor of the same shape: one in play, or a convolution of the input."""
        same = [t for t in self.live if (t.channels, t.size) == (wanted.channels, wanted.size)]
        same = [t for t in same if t.name != wanted.name]
        if same and self.chance():
            return self.draw(st.sampled_from(same)).name
        return self.one("Conv", wanted.name, self.weight(wanted.channels, wanted.channels, 1, 1))

    def target(self, source: str, sizes: Sequence[int]) -> str:
        """Return a Reshape target (N, sizes...): constant, or computed from the source's shape."""
        if self.chance():
            return self.constant(np.array([0, *sizes], np.int64))
        batch = self.one("Gather", self.one("Shape", source), self.constant(np.int64(0)), axis=0)
        first = self.one("Unsqueeze", batch, self.constant(np.array([0], np.int64)))
        return self.one("Concat", first, self.constant(np.array(sizes, np.int64)), axis=0)

    def reshape(self, source: str, *sizes: int) -> str:
        return self.one("Reshape", source, self.target(source, sizes))


def convolution(b: Builder) -> None:
    t, kernel, channels = b.pick(), b.draw(st.sampled_from([1, 3])), b.integer(2, 8)
    inputs = [t.name, b.weight(channels, t.channels, kernel, kernel)]
    inputs += [b.weight(channels)] if b.chance() else []
    b.keep(b.one("Conv", *inputs, pads=[kernel // 2] * 4), channels, t.size)


def grouped_convolution(b: Builder) -> None:
    t = b.pick()
    groups = b.divisor(t.channels)
    channels = groups * b.integer(1, 3)
    weight = b.weight(channels, t.channels // groups, 1, 1)
    b.keep(b.one("Conv", t.name, weight, b.weight(channels), group=groups), channels, t.size)


def depthwise_convolution(b: Builder) -> None:
    t, multiplier = b.pick(), b.integer(1, 2)
    channels = multiplier * t.channels
    weight = b.weight(channels, 1, 3, 3)
    b.keep(b.one("Conv", t.name, weight, group=t.channels, pads=[1] * 4), channels, t.size)


def transposed_convolution(b: Builder) -> None:
    t = b.pick()
    groups = b.divisor(t.channels)
    each = b.integer(1, 3)
    if t.size > 8:
        return
    weight = b.weight(t.channels, each, 2, 2)
    name = b.one("ConvTranspose", t.name, weight, b.weight(groups * each), group=groups, strides=[2, 2])
    b.keep(name, groups * each, 2 * t.size)


def unary(b: Builder) -> None:
    t = b.pick()
    b.keep(b.one(b.draw(st.sampled_from(UNARY)), t.name), t.channels, t.size)


def normalisation(b: Builder) -> None:
    t = b.pick()
    parameters = [b.weight(t.channels) for _ in range(3)]
    if b.chance():
        b.keep(b.one("InstanceNormalization", t.name, *parameters[:2], epsilon=0.1), t.channels, t.size)
        return
    variance = b.constant((b.rng.random(t.channels) + 0.5).astype(np.float32))
    b.keep(b.one("BatchNormalization", t.name, *parameters, variance), t.channels, t.size)


def merge(b: Builder) -> None:
    t = b.pick()
    op = b.draw(st.sampled_from(["Add", "Mul", "Sub", "Max", "Min"]))
    b.keep(b.one(op, t.name, b.like(t)), t.channels, t.size)


def gate(b: Builder) -> None:
    """Squeeze-and-excitation without its two layers; expanded to the full size now and then."""
    t = b.pick()
    pooled = b.one("GlobalAveragePool", b.like(t))
    if b.chance():
        pooled = b.one("Expand", pooled, b.one("Shape", t.name))
    b.keep(b.one("Mul", t.name, b.one("Sigmoid", pooled)), t.channels, t.size)


def spatial_mask(b: Builder) -> None:
    t = b.pick()
    mask = b.one("Sigmoid", b.one("Conv", t.name, b.weight(1, t.channels, 1, 1)))
    b.keep(b.one("Mul", mask, t.name), t.channels, t.size)


def concat(b: Builder) -> None:
    t = b.pick()
    others = [o for o in b.live if o.size == t.size and o.channels + t.channels <= 16]
    if others:
        o = b.draw(st.sampled_from(others))
        b.keep(b.one("Concat", t.name, o.name, axis=1), t.channels + o.channels, t.size)


def split(b: Builder) -> None:
    t = b.pick()
    if t.channels < 2:
        return
    if t.channels % 2 == 0 and b.chance():
        sizes = [t.channels // 2] * 2
        names = b.add("Split", [t.name], 2, axis=1, num_outputs=2)
    else:
        first = b.integer(1, t.channels - 1)
        sizes = [first, t.channels - first]
        names = b.add("Split", [t.name, b.constant(np.array(sizes, np.int64))], 2, axis=1)
    for name, channels in zip(names, sizes, strict=True):
        b.keep(name, channels, t.size)


def slice_channels(b: Builder) -> None:
    t = b.pick()
    start = b.integer(0, t.channels - 1)
    end = b.integer(start + 1, t.channels)
    bounds = [b.constant(np.array([value], np.int64)) for value in (start, end, 1)]
    b.keep(b.one("Slice", t.name, *bounds), end - start, t.size)


def gather_channels(b: Builder) -> None:
    t = b.pick()
    indices = b.rng.permutation(t.channels) if b.chance() else b.rng.integers(-t.channels, t.channels, 5)
    b.keep(b.one("Gather", t.name, b.constant(indices.astype(np.int64)), axis=1), len(indices), t.size)


def shuffle(b: Builder) -> None:
    t = b.pick()
    groups = b.divisor(t.channels)
    apart = b.reshape(t.name, groups, t.channels // groups, t.size, t.size)
    turned = b.one("Transpose", apart, perm=[0, 2, 1, 3, 4])
    b.keep(b.reshape(turned, t.channels, t.size, t.size), t.channels, t.size)


def pixel_shuffle(b: Builder) -> None:
    t = b.pick()
    if t.channels % 4 or t.size > 8:
        return
    c = t.channels // 4
    if b.chance():
        mode = b.draw(st.sampled_from(["DCR", "CRD"]))
        name = b.one("DepthToSpace", t.name, blocksize=2, mode=mode)
    else:
        apart = b.reshape(t.name, c, 2, 2, t.size, t.size)
        turned = b.one("Transpose", apart, perm=[0, 1, 4, 2, 5, 3])
        name = b.reshape(turned, c, 2 * t.size, 2 * t.size)
    b.keep(name, c, 2 * t.size)


def pixel_unshuffle(b: Builder) -> None:
    t = b.pick()
    if t.size >= 2 and t.channels <= 4:
        b.keep(b.one("SpaceToDepth", t.name, blocksize=2), 4 * t.channels, t.size // 2)


def pad(b: Builder) -> None:
    t = b.pick()
    before, after = b.integer(0, 2), b.integer(0, 2)
    pads = b.constant(np.array([0, before, 0, 0, 0, after, 0, 0], np.int64))
    b.keep(b.one("Pad", t.name, pads), t.channels + before + after, t.size)


def pool(b: Builder) -> None:
    t = b.pick()
    op = b.draw(st.sampled_from(["MaxPool", "AveragePool"]))
    if t.size >= 2:
        b.keep(b.one(op, t.name, kernel_shape=[2, 2], strides=[2, 2]), t.channels, t.size // 2)


def resize(b: Builder) -> None:
    t = b.pick()
    if t.size <= 8:
        scales = b.constant(np.array([1, 1, 2, 2], np.float32))
        b.keep(b.one("Resize", t.name, "", scales), t.channels, 2 * t.size)


def scale(b: Builder) -> None:
    t = b.pick()
    op = b.draw(st.sampled_from(["Mul", "Add", "PRelu"]))
    b.keep(b.one(op, t.name, b.weight(t.channels, 1, 1)), t.channels, t.size)


def flatten_and_back(b: Builder) -> None:
    t = b.pick()
    flat = b.reshape(t.name, t.channels, t.size * t.size)
    if b.chance():
        flat = b.one("Softmax", flat, axis=2)
    b.keep(b.reshape(flat, t.channels, t.size, t.size), t.channels, t.size)


def sum_of_branches(b: Builder) -> None:
    t = b.pick()
    groups = b.divisor(t.channels)
    apart = b.reshape(t.name, groups, t.channels // groups, t.size, t.size)
    axis = b.integer(1, 2)
    summed = b.one("ReduceSum", apart, b.constant(np.array([axis], np.int64)), keepdims=0)
    b.keep(summed, t.channels // groups if axis == 1 else groups, t.size)


def channels_last_product(b: Builder) -> None:
    t, channels = b.pick(), b.integer(2, 6)
    last = b.one("Transpose", t.name, perm=[0, 2, 3, 1])
    product = b.one("Add", b.one("MatMul", last, b.weight(t.channels, channels)), b.weight(channels))
    b.keep(b.one("Transpose", product, perm=[0, 3, 1, 2]), channels, t.size)


def tile(b: Builder) -> None:
    t = b.pick()
    if t.channels <= 8:
        b.keep(b.one("Tile", t.name, b.constant(np.array([1, 2, 1, 1], np.int64))), 2 * t.channels, t.size)


def channel_mean(b: Builder) -> None:
    t = b.pick()
    mean = b.one("ReduceMean", t.name, b.constant(np.array([1], np.int64)))
    b.keep(b.one("Sub", t.name, mean), t.channels, t.size)


def channel_sum_by_their_number(b: Builder) -> None:
    t = b.pick()
    total = b.one("ReduceSum", t.name, b.constant(np.array([1], np.int64)))
    mean = b.one("Div", total, b.constant(np.array(t.channels, np.float32)))
    b.keep(b.one("Sub", t.name, mean), t.channels, t.size)


def layer_normalisation(b: Builder) -> None:
    t = b.pick()
    last = b.one("Transpose", t.name, perm=[0, 2, 3, 1])
    normal = b.one("LayerNormalization", last, b.weight(t.channels), b.weight(t.channels))
    b.keep(b.one("Transpose", normal, perm=[0, 3, 1, 2]), t.channels, t.size)


def choice(b: Builder) -> None:
    """Add an If whose branches read a tensor, and one of them a parameter, from around them."""
    t = b.pick()
    mean = b.one("ReduceMean", "x", keepdims=0)
    flag = b.one("Greater", mean, b.constant(np.array(b.integer(-1, 1), np.float32)))
    weight = b.weight(t.channels, 1, 1)
    branches = {
        "then_branch": _subgraph(b, t, [helper.make_node("Mul", [t.name, weight], ["chosen"])]),
        "else_branch": _subgraph(b, t, [helper.make_node("Neg", [t.name], ["chosen"])]),
    }
    b.keep(b.one("If", flag, **branches), t.channels, t.size)


def loop(b: Builder) -> None:
    """Add a Loop that twice halves what it carries and adds a tensor from around it."""
    t = b.pick()
    half = b.constant(np.array(0.5, np.float32))
    nodes = [
        helper.make_node("Mul", ["carried", half], ["halved"]),
        helper.make_node("Add", ["halved", t.name], ["chosen"]),
        helper.make_node("Identity", ["go"], ["go_on"]),
    ]
    scalar = [
        helper.make_tensor_value_info(n, kind, []) for n, kind in (("i", TensorProto.INT64), ("go", TensorProto.BOOL))
    ]
    inputs = [*scalar, helper.make_tensor_value_info("carried", TensorProto.FLOAT, None)]
    body = _subgraph(b, t, nodes, inputs, [helper.make_tensor_value_info("go_on", TensorProto.BOOL, [])])
    twice, go = b.constant(np.array(2, np.int64)), b.constant(np.array(True))
    b.keep(b.one("Loop", twice, go, b.like(t), body=body), t.channels, t.size)


def _subgraph(
    b: Builder,
    t: Tensor,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto] = (),
    outputs: Sequence[onnx.ValueInfoProto] = (),
) -> onnx.GraphProto:
    shape = ["N", t.channels, t.size, t.size] if b.chance() else None
    made = helper.make_tensor_value_info("chosen", TensorProto.FLOAT, shape)
    return helper.make_graph(nodes, "subgraph", inputs, [*outputs, made])


STEPS: tuple[Callable[[Builder], None], ...] = (
    convolution, convolution, grouped_convolution, depthwise_convolution, transposed_convolution, unary,
    normalisation, merge, merge, gate, spatial_mask, concat, split, slice_channels, gather_channels, shuffle,
    pixel_shuffle, pixel_unshuffle, pad, pool, resize, scale, flatten_and_back, sum_of_branches,
    channels_last_product, tile, channel_mean, channel_sum_by_their_number, layer_normalisation,
    choice, loop,
)  # fmt: skip


@st.composite
def networks(draw: st.DrawFn, longest: int = 12) -> onnx.ModelProto:
    """Draw a network: a convolution, steps, and a head for each tensor that is left over."""
    b = Builder(draw)
    convolution(b)
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=longest)):
        step(b)
    read = {name for node in b.nodes for name in node.input}
    outputs = [_head(b, t) for t in b.live if t.name not in read]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])]
    made = helper.make_graph(b.nodes, "random", inputs, outputs, b.parameters)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def _head(b: Builder, t: Tensor) -> onnx.ValueInfoProto:
    if b.chance():
        name = b.one("Conv", t.name, b.weight(2, t.channels, 1, 1))
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2, t.size, t.size])
    flat = b.one("Flatten", t.name)
    name = b.one("Gemm", flat, b.weight(2, t.channels * t.size * t.size), transB=1)
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2])
