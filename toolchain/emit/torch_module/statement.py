"""Statements: what each node of the graph says in PyTorch, over tensors instead of variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

import onnx

from toolchain.emit.torch_module.emitter import Emitted, Emitter, EmitterView, Layer
from toolchain.emit.torch_module.names import module_path
from toolchain.emit.torch_module.sizes import Sizes
from toolchain.errors import ModelError
from toolchain.graph.index import GraphIndex, describe


@dataclass(frozen=True, eq=False)
class Statement:
    """One node: `{0}` in its expression is its first input, `{layer}` the layer of that role."""

    number: int
    path: tuple[str, ...]
    expression: str
    layers: Mapping[str, Layer]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    constants: frozenset[str]
    name: str = ""
    """What its layer is called, where the graph says so."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The computed tensors that the expression mentions."""
        return tuple(dict.fromkeys(name for name in self._mentioned if name not in self.constants))

    @property
    def weights(self) -> tuple[str, ...]:
        """The constants among its inputs."""
        return tuple(name for name in self.inputs if name in self.constants)

    @property
    def stored(self) -> tuple[str, ...]:
        """The constants that the expression mentions."""
        return tuple(dict.fromkeys(name for name in self._mentioned if name in self.constants))

    @property
    def _mentioned(self) -> list[str]:
        return [self.inputs[int(field)] for field in fields(self.expression) if field.isdigit()]


def fields(expression: str) -> list[str]:
    """Return the names in braces, without what follows them in the braces."""
    return [name for _, name, _, _ in Formatter().parse(expression) if name]


@dataclass(frozen=True, eq=False)
class Program:
    """A graph as statements in the graph's order; `outputs` are the tensors it returns."""

    statements: tuple[Statement, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def write_program(index: GraphIndex, sizes: Sizes, emitters: Mapping[str, Emitter], *, batchnorm: bool) -> Program:
    """Emit every node and leave out what no output needs.

    Raises ModelError for an op without an emitter, and for what PyTorch cannot say.
    """
    outputs = [item.name for item in index.outputs]
    aliases: dict[str, str] = {}
    needed = _needed_nodes(index, sizes, outputs)
    statements = []
    for number, node in enumerate(index.nodes):
        if number not in needed or _is_known(node, sizes, outputs):
            continue
        emitted = _emit(EmitterView(index, node, sizes, batchnorm), emitters)
        inputs = tuple(aliases.get(name, name) for name in node.input)
        if emitted.expression == "{0}":
            aliases[node.output[0]] = inputs[0]
            continue
        constants = frozenset(name for name in inputs if name in index.constants or sizes.value(name) is not None)
        made = tuple(node.output) if _emitter(node, emitters).several_outputs else (node.output[0],)
        path = module_path(index, node)
        statements.append(Statement(number, path, emitted.expression, emitted.layers, inputs, made, constants))
    returned = tuple(aliases.get(name, name) for name in outputs)
    _check_returned(index, statements, returned)
    return Program(_live(statements, returned), tuple(item.name for item in index.inputs), returned)


def _is_known(node: onnx.NodeProto, sizes: Sizes, outputs: Sequence[str]) -> bool:
    return all(sizes.value(name) is not None and name not in outputs for name in node.output if name)


def _needed_nodes(index: GraphIndex, sizes: Sizes, outputs: Sequence[str]) -> set[int]:
    """Return the nodes that outputs depend on, stopping at values that are known without them."""
    pending, needed = list(outputs), set[int]()
    while pending:
        name = pending.pop()
        number = index.producers.get(name)
        if number is not None and number not in needed:
            needed.add(number)
            pending.extend(item for item in index.nodes[number].input if sizes.value(item) is None)
    return needed


def _emitter(node: onnx.NodeProto, emitters: Mapping[str, Emitter]) -> Emitter:
    emitter = emitters.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if emitter is None:
        raise ModelError(
            f"{describe(node)} cannot be written in PyTorch: there is no emitter for this op",
            hint="see `passes/emitters` for what can be written, and add a file there",
        )
    return emitter


def _emit(view: EmitterView, emitters: Mapping[str, Emitter]) -> Emitted:
    emitter = _emitter(view.node, emitters)
    read = {item.name for item in view.index.outputs} | view.index.uses.keys()
    if not emitter.several_outputs and any(name in read for name in view.node.output[1:]):
        raise view.error("only its first output can be written, and another one is used")
    return emitter.emit(view)


def _check_returned(index: GraphIndex, statements: Sequence[Statement], returned: Sequence[str]) -> None:
    made = {name for item in statements for name in item.outputs} | {item.name for item in index.inputs}
    for name in returned:
        if name not in made:
            raise ModelError(f"graph output '{name}' is a constant", hint="remove this output from the model")


def _live(statements: Sequence[Statement], returned: Sequence[str]) -> tuple[Statement, ...]:
    """Drop statements whose outputs nothing mentions."""
    read, kept = set(returned), []
    for item in reversed(statements):
        if read.intersection(item.outputs):
            kept.append(item)
            read.update(item.reads)
    return tuple(reversed(kept))
