"""A latency function in place of a device: for tests, and for planning on paper. Modelled, not measured.

Every Conv, ConvTranspose, Gemm and MatMul is one kernel, an implicit matrix product of rows x depth by
depth x columns, cut into tiles that the multiprocessors work off in waves:

    tiles   = ceil(rows / tile_rows) * ceil(columns / tile_columns) * groups
    waves   = ceil(tiles / multiprocessors)
    compute = waves * (WAVE_US + ceil(depth / tile_depth) * SLICE_US)
    latency = LAUNCH_US + max(compute, bytes / BYTES_PER_US)

with, for a Conv of N images, rows = N*P*Q (output positions), columns = C_out / groups and
depth = C_in / groups * R*S; `bytes` is the size of the node's inputs and outputs in float32. A depthwise
Conv is bound by memory: its compute is 0. Other nodes count as fused into these and cost nothing; bodies of
If, Loop and Scan are not looked into. A graph costs the sum of its nodes and one LAUNCH_US.
"""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import onnx
from polygraphy.backend.base import BaseRunner
from pydantic import Field, TypeAdapter

from toolchain.errors import ModelError
from toolchain.graph.facts import infer_facts
from toolchain.graph.index import GraphIndex
from toolchain.targets.contract import Alignment, Availability, Clock, Feeds, Target
from toolchain.targets.engine import Engine, Identity
from toolchain.targets.layer_time import LayerTime, first_outputs, share_nodes

LAUNCH_US = 3.0
WAVE_US = 1.0
# A multiprocessor of 128 multiply-adds a cycle at 1 GHz takes this long for 64 x 64 x 32 of them.
SLICE_US = 1.024
BYTES_PER_US = 60_000.0
_FLOAT_BYTES = 4

Shape = tuple[int, ...]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class NodeLatency:
    """What one node is said to cost."""

    name: str
    op_type: str
    latency_ms: float


@dataclass(frozen=True)
class ModelledEngine:
    """The content of an engine file of this target."""

    note: str
    latency_ms: float
    nodes: tuple[NodeLatency, ...]


@dataclass(frozen=True)
class Product:
    """The matrix product that a node is: `groups` times rows x depth by depth x columns."""

    rows: int
    columns: int
    depth: int
    groups: int = 1

    @property
    def depthwise(self) -> bool:
        """Whether each group has a single output channel: there is nothing to share between its columns."""
        return self.groups > 1 and self.columns == 1


@dataclass(frozen=True)
class Null(Target):
    """A GPU of a stated size that exists only as a formula."""

    name: ClassVar[str] = "null"
    clock: ClassVar[Clock] = Clock.MODELLED
    engine_suffix: ClassVar[str] = ".json"
    needs_fixed_sizes: ClassVar[bool] = True
    profiles: ClassVar[bool] = True

    multiprocessors: Count = 8
    tile_rows: Count = 64
    tile_columns: Count = 64
    tile_depth: Count = 32

    def availability(self) -> Availability:
        """Say yes: a formula runs everywhere."""
        return Availability(ok=True)

    def identity(self) -> Identity:
        """Describe the modelled device by its options."""
        return Identity(
            target=self.name,
            device=f"modelled GPU, {self.multiprocessors} multiprocessors",
            runtime="latency function 1",
            precision="float32",
            options=self.options,
        )

    def width_alignment(self, data_type: int = onnx.TensorProto.FLOAT) -> Alignment:  # noqa: ARG002
        """Return a tile's columns; any width is acceptable."""
        return Alignment(preferred=self.tile_columns, least=1)

    def compile(self, model: onnx.ModelProto, path: Path) -> None:
        """Write the modelled latency of every kernel as JSON."""
        nodes = self.node_latencies(model)
        total_ms = LAUNCH_US / 1e3 + sum(node.latency_ms for node in nodes)
        engine = ModelledEngine("modelled, not measured", total_ms, nodes)
        path.write_bytes(_ADAPTER.dump_json(engine, indent=1))

    def runner(self, engine: Engine) -> BaseRunner:
        """Return a runner that computes nothing and reports the modelled latency."""
        return _Runner(engine.path)

    def profile(self, model: onnx.ModelProto, engine: Engine, feeds: Feeds, runs: int) -> tuple[LayerTime, ...]:  # noqa: ARG002
        """Return the modelled kernels; what follows a weighted node runs in its kernel."""
        index = GraphIndex(model)
        products = [number for number, node in enumerate(index.nodes) if _is_product(node)]
        kernels = _ADAPTER.validate_json(engine.path.read_bytes()).nodes
        shares = share_nodes(index, [[number] for number in products])
        return tuple(
            LayerTime(
                name=kernel.name or index.nodes[number].output[0],
                op_type=kernel.op_type,
                nodes=first_outputs(index, share),
                tensor=index.nodes[share[-1]].output[0],
                samples_ms=(kernel.latency_ms,),
            )
            for number, kernel, share in zip(products, kernels, shares, strict=True)
        )

    def node_latencies(self, model: onnx.ModelProto) -> tuple[NodeLatency, ...]:
        """Return the cost of each Conv, ConvTranspose, Gemm and MatMul in the graph's order.

        Raises UsageError where the size of an input is open, ModelError where another tensor's shape is not known.
        """
        shapes = _shapes(model)
        return tuple(
            NodeLatency(node.name, node.op_type, self._latency_us(node, shapes) / 1e3)
            for node in model.graph.node
            if _is_product(node)
        )

    def _latency_us(self, node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> float:
        tensors = [name for name in (*node.input, *node.output) if name]
        if unknown := [name for name in tensors if name not in shapes]:
            what = f"{node.op_type} '{node.name}': the shape of tensor '{unknown[0]}' is not known"
            raise ModelError(what, hint="fix its size with --input-shapes, or take a target that measures")
        moved = _FLOAT_BYTES * sum(math.prod(shapes[name]) for name in tensors)
        product = _PRODUCTS[node.op_type](node, shapes)
        return LAUNCH_US + max(self._compute_us(product), moved / BYTES_PER_US)

    def _compute_us(self, product: Product) -> float:
        if product.depthwise:
            return 0.0
        tiles = math.ceil(product.rows / self.tile_rows) * math.ceil(product.columns / self.tile_columns)
        waves = math.ceil(tiles * product.groups / self.multiprocessors)
        return waves * (WAVE_US + math.ceil(product.depth / self.tile_depth) * SLICE_US)


class _Runner(BaseRunner):  # type: ignore[misc]
    """Reports the modelled latency of an engine file; returns no outputs."""

    def __init__(self, path: Path) -> None:
        super().__init__(prefix="null")
        self._path = path
        self._latency_ms = 0.0

    def activate_impl(self) -> None:
        self._latency_ms = _ADAPTER.validate_json(self._path.read_bytes()).latency_ms

    def infer_impl(self, feed_dict: Mapping[str, Any]) -> OrderedDict[str, Any]:  # noqa: ARG002
        self.inference_time = self._latency_ms / 1e3
        return OrderedDict()


_ADAPTER = TypeAdapter(ModelledEngine)


def _conv(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> Product:
    weight, output = shapes[node.input[1]], shapes[node.output[0]]
    groups = _attribute(node, "group", 1)
    rows = output[0] * math.prod(output[2:])
    return Product(rows, weight[0] // groups, math.prod(weight[1:]), groups)


def _conv_transpose(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> Product:
    """Each input position yields a patch of C_out / groups * R*S values, which are then added up."""
    source, weight = shapes[node.input[0]], shapes[node.input[1]]
    groups = _attribute(node, "group", 1)
    rows = source[0] * math.prod(source[2:])
    return Product(rows, math.prod(weight[1:]), weight[0] // groups, groups)


def _gemm(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> Product:
    left, output = shapes[node.input[0]], shapes[node.output[0]]
    return Product(output[0], output[1], left[0] if _attribute(node, "transA", 0) else left[1])


def _matmul(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> Product:
    left, right = shapes[node.input[0]], shapes[node.input[1]]
    rows = math.prod(left[:-1])
    columns = right[-1] if len(right) > 1 else 1
    if len(right) <= 2:
        return Product(rows, columns, left[-1])
    batch = math.prod(shapes[node.output[0]][:-2])
    return Product(left[-2] if len(left) > 1 else 1, columns, left[-1], batch)


_PRODUCTS = {"Conv": _conv, "ConvTranspose": _conv_transpose, "Gemm": _gemm, "MatMul": _matmul}


def _is_product(node: onnx.NodeProto) -> bool:
    return node.op_type in _PRODUCTS and node.domain in {"", "ai.onnx"}


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Return the known shapes of the graph's tensors; raises UsageError where an input's size is open."""
    facts = infer_facts(GraphIndex(model), binding={})
    return {name: fact.shape for name, fact in facts.items() if fact.shape is not None}
