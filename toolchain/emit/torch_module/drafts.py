"""A block before it has a class: its members, the lines of its `forward`, and its weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from toolchain.emit.torch_module.blocks import Block, Part
from toolchain.emit.torch_module.emitter import Layer
from toolchain.emit.torch_module.forward import Forward, Step, write_forward
from toolchain.emit.torch_module.names import identifier, unique
from toolchain.emit.torch_module.sizes import Sizes
from toolchain.emit.torch_module.statement import Statement
from toolchain.errors import ModelError
from toolchain.graph.facts import Array
from toolchain.graph.index import GraphIndex

RESERVED = frozenset(
    {"apply", "bfloat16", "buffers", "children", "compile", "cpu", "cuda", "double", "eval", "float", "forward", "half"}
    | {"load_state_dict", "modules", "parameters", "register_buffer", "state_dict", "to", "train", "training", "type"}
    | {"xpu", "zero_grad"}
)
"""Attributes of nn.Module that a network may well have a name for."""


@dataclass(frozen=True, eq=False)
class Member:
    """An attribute of a block: a layer, a block of its own, or a constant (a parameter where it is a float)."""

    name: str
    content: Layer | Draft | Array


@dataclass(frozen=True, eq=False)
class Draft:
    """A block's members and code; a sequence of members in a row needs no `forward` of its own.

    `uses` are the numbers of the nodes that use a layer, by its name. `norms` are the layers that a convolution and
    the BatchNorm put behind it form together: both their names to the BatchNorm's.
    """

    path: tuple[str, ...]
    members: tuple[Member, ...]
    forward: Forward
    sequential: bool
    uses: Mapping[str, tuple[int, ...]]
    norms: Mapping[str, str]

    @property
    def height(self) -> int:
        """How many levels of blocks lie below."""
        return max(
            (member.content.height + 1 for member in self.members if isinstance(member.content, Draft)), default=0
        )

    def walk(self) -> Iterator[Draft]:
        """Yield it and every block below."""
        yield self
        for member in self.members:
            if isinstance(member.content, Draft):
                yield from member.content.walk()

    def weights(self, prefix: str = "") -> Iterator[tuple[str, Array]]:
        """Yield the state by the names under which PyTorch loads it."""
        for member in self.members:
            if isinstance(member.content, Draft):
                yield from member.content.weights(f"{prefix}{member.name}.")
            elif isinstance(member.content, Layer):
                yield from ((f"{prefix}{member.name}.{key}", value) for key, value in member.content.tensors.items())
            else:
                yield f"{prefix}{member.name}", member.content


def write_draft(block: Block, index: GraphIndex, sizes: Sizes) -> Draft:
    """Name the members of a block and everything below it, and write its `forward`."""
    if _is_sequence(block):
        members = tuple(Member(str(n), _content(part, index, sizes)) for n, part in enumerate(block.parts))
        numbers = {str(n): (part.number,) for n, part in enumerate(block.parts) if isinstance(part, Statement)}
        return Draft(block.path, members, Forward((), (), 1), True, numbers, {})
    writer = _Writer(index, sizes)
    steps = [writer.step(part) for part in block.parts]
    inputs, outputs = ([writer.number(name) for name in names] for names in (block.inputs, block.outputs))
    shapes = {number: shape_text(sizes, name) for name, number in writer.numbers.items()}
    forward = write_forward(steps, inputs, outputs, shapes)
    uses = {name: tuple(numbers) for name, numbers in writer.uses.items()}
    return Draft(block.path, tuple(writer.members), forward, False, uses, writer.norms)


def shape_text(sizes: Sizes, name: str) -> str:
    """Write a shape as `[N, 64, 32, 32]`, with `?` for a size that follows the input."""
    shape = sizes.shape(name)
    if not shape:
        return ""
    texts = [
        "N" if axis == 0 and size is None else "?" if size is None else str(size) for axis, size in enumerate(shape)
    ]
    return f"[{', '.join(texts)}]"


def _content(part: Part, index: GraphIndex, sizes: Sizes) -> Layer | Draft:
    return write_draft(part, index, sizes) if isinstance(part, Block) else part.layers["layer"]


def _is_sequence(block: Block) -> bool:
    """Tell whether numbered parts run in a row, each on nothing but the one before."""
    if not block.path or not all(part.name.isdigit() and _is_link(part) for part in block.parts):
        return False
    weights = [part.weights for part in block.parts if isinstance(part, Statement)]
    if len(set(weights)) < len(weights):
        return False
    chain = [(before.outputs[0], after.reads) for before, after in zip(block.parts, block.parts[1:], strict=False)]
    return all(reads == (made,) for made, reads in chain) and block.outputs == block.parts[-1].outputs


def _is_link(part: Part) -> bool:
    if isinstance(part, Statement):
        return part.expression == "{layer}({0})" and len(part.reads) == 1
    return len(part.inputs) == len(part.outputs) == 1


@dataclass
class _Writer:
    """Gives members and tensors their names while a block's parts are gone through."""

    index: GraphIndex
    sizes: Sizes
    members: list[Member] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    taken: set[str] = field(default_factory=lambda: set(RESERVED))
    known: dict[tuple[str, ...], str] = field(default_factory=dict)
    uses: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    norms: dict[str, str] = field(default_factory=dict)

    def number(self, tensor: str) -> int:
        """Number a tensor."""
        return self.numbers.setdefault(tensor, len(self.numbers))

    def step(self, part: Part) -> Step:
        """Write a part as one line."""
        outputs = tuple(self.number(name) for name in part.outputs)
        if isinstance(part, Block):
            name = self._add(identifier(part.name, "block"), write_draft(part, self.index, self.sizes))
            return Step(f"self.{name}({', '.join(self._place(item) for item in part.inputs)})", outputs)
        names = {role: self._layer(part, role, layer) for role, layer in part.layers.items()}
        for name in names.values():
            self.uses[name].append(part.number)
            if "bn" in names:
                self.norms[name] = names["bn"]
        used = {*part.reads, *part.stored}
        places = [self._operand(part, name) if name in used else "" for name in part.inputs]
        calls = {role: f"self.{name}" for role, name in names.items()}
        return Step(part.expression.format(*places, **calls), outputs)

    def _place(self, tensor: str) -> str:
        return f"{{t{self.number(tensor)}}}"

    def _operand(self, part: Statement, name: str) -> str:
        return f"self.{self._constant(name)}" if name in part.constants else self._place(name)

    def _layer(self, part: Statement, role: str, layer: Layer) -> str:
        key = (role, str(layer.call), *part.weights)
        if key not in self.known or not _same_state(self._layer_called(self.known[key]), layer):
            self.known[key] = self._add(self._layer_name(part, role, layer), layer)
        return self.known[key]

    def _layer_called(self, name: str) -> Layer | Draft | Array:
        return next(member.content for member in self.members if member.name == name)

    def _layer_name(self, part: Statement, role: str, layer: Layer) -> str:
        given = identifier(part.name, layer.kind) if part.name else ""
        if role == "layer" or part.name[:1].isdigit():
            return given or self._numbered(layer.kind)
        if "conv" in given:
            return given.replace("conv", layer.kind)
        return f"{given}_{layer.kind}" if given else self._numbered(layer.kind)

    def _numbered(self, kind: str) -> str:
        number = 1
        while f"{kind}{number}" in self.taken:
            number += 1
        return f"{kind}{number}"

    def _constant(self, name: str) -> str:
        if (name,) not in self.known:
            value = self.index.array(name) if name in self.index.constants else self.sizes.value(name)
            if value is None:
                raise ModelError(f"tensor '{name}' is not known", hint="fold the model's constants first")
            last = name.rpartition(".")[2]
            given = last if last.isidentifier() and "." in name else self._numbered("constant")
            self.known[(name,)] = self._add(identifier(given, "constant"), np.asarray(value))
        return self.known[(name,)]

    def _add(self, name: str, content: Layer | Draft | Array) -> str:
        chosen = unique(name, self.taken)
        self.members.append(Member(chosen, content))
        return chosen


def _same_state(known: Layer | Draft | Array, layer: Layer) -> bool:
    """Tell whether a layer of the same weights also holds them alike: one may be transposed or scaled."""
    return isinstance(known, Layer) and all(
        np.array_equal(known.tensors[key], value) for key, value in layer.tensors.items()
    )
