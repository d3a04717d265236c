"""Blocks that differ in sizes alone share one class; the sizes that differ become its parameters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.emit.torch_module.code import Call, keyword, positional, skeleton, slots, with_slots
from toolchain.emit.torch_module.constants import empty_tensor
from toolchain.emit.torch_module.drafts import Draft, Member
from toolchain.emit.torch_module.emitter import Layer
from toolchain.emit.torch_module.forward import Line
from toolchain.emit.torch_module.names import class_name, unique

IMPORTED = frozenset({"F", "Model", "Path", "Tensor", "WEIGHTS", "load", "nn", "torch"})
"""Names that no block's class may have."""


@dataclass(frozen=True)
class Attribute:
    """A member as it is written in `__init__`; a buffer is registered."""

    name: str
    call: Call
    is_buffer: bool = False


@dataclass(frozen=True)
class BlockClass:
    """A class: its parameters, members and `forward`, and the blocks it stands for."""

    name: str
    paths: tuple[str, ...]
    parameters: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    arguments: tuple[str, ...]
    lines: tuple[Line, ...]
    result_count: int


def write_classes(root: Draft) -> list[BlockClass]:
    """Return the classes of all blocks, the innermost first, the network's own (`Model`) last."""
    calls: dict[int, Call] = {}
    taken = set(IMPORTED)
    result = []
    everything = list(root.walk())
    for height in range(root.height + 1):
        kinds: dict[tuple[object, ...], list[Draft]] = defaultdict(list)
        for draft in everything:
            if draft.height != height:
                continue
            if draft.sequential:
                arguments = tuple(positional(m.name, a.call) for m, a in _attributes(draft, calls))
                calls[id(draft)] = Call("nn.Sequential", arguments)
            else:
                kinds[_kind(draft, calls)].append(draft)
        for drafts in kinds.values():
            name = unique(class_name(drafts[0].path), taken) if drafts[0].path else "Model"
            result.append(_class(name, drafts, calls))
    return result


def _attributes(draft: Draft, calls: dict[int, Call]) -> Iterator[tuple[Member, Attribute]]:
    for member in draft.members:
        content = member.content
        if isinstance(content, Draft):
            yield member, Attribute(member.name, calls[id(content)])
        elif isinstance(content, Layer):
            yield member, Attribute(member.name, content.call)
        elif np.asarray(content).dtype.kind == "f":
            yield member, Attribute(member.name, Call("nn.Parameter", (positional("", empty_tensor(content)),)))
        else:
            yield member, Attribute(member.name, empty_tensor(content), True)


def _kind(draft: Draft, calls: dict[int, Call]) -> tuple[object, ...]:
    """Return what blocks of one class have in common: names, code, and constructors but for their numbers."""
    members = tuple((a.name, skeleton(a.call), a.is_buffer) for _, a in _attributes(draft, calls))
    code = tuple(line.code for line in draft.forward.lines)
    return (draft.path == (), members, draft.forward.arguments, draft.forward.result_count, code)


def _class(name: str, drafts: Sequence[Draft], calls: dict[int, Call]) -> BlockClass:
    attributes = [[item for _, item in _attributes(draft, calls)] for draft in drafts]
    numbers = [[(item.name, slot) for item in own for slot in slots(item.call)] for own in attributes]
    columns = [tuple(slot.value for _, slot in column) for column in zip(*numbers, strict=True)]
    parameters = _parameters([(member, slot.name) for member, slot in numbers[0]], columns)
    for position, draft in enumerate(drafts):
        given = [keyword(parameter, column[position]) for column, parameter in parameters.items()]
        calls[id(draft)] = Call(
            name, tuple(given) if len(given) > 3 else tuple(positional(a.name, a.value) for a in given)
        )
    values = iter([parameters.get(column, column[0]) for column in columns])
    shared = [Attribute(a.name, with_slots(a.call, lambda: next(values)), a.is_buffer) for a in attributes[0]]
    paths = tuple(".".join(draft.path) for draft in drafts)
    forward = drafts[0].forward
    return BlockClass(
        name,
        paths,
        tuple(parameters.values()),
        tuple(shared),
        forward.arguments,
        _common_lines(drafts),
        forward.result_count,
    )


def _parameters(places: Sequence[tuple[str, str]], columns: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], str]:
    """Name each set of numbers that differs between blocks after the first argument that takes it."""
    firsts: dict[tuple[int, ...], tuple[str, str]] = {}
    for place, column in zip(places, columns, strict=True):
        if len(set(column)) > 1:
            first = firsts.setdefault(column, place)
            if first[1].startswith("in_") and place == (first[0], first[1].replace("in_", "out_", 1)):
                firsts[column] = (first[0], first[1].removeprefix("in_"))
    plain = [argument for _, argument in firsts.values()]
    taken = {"self"}
    return {
        column: unique(argument if plain.count(argument) == 1 else f"{member}_{argument}", taken)
        for column, (member, argument) in firsts.items()
    }


def _common_lines(drafts: Sequence[Draft]) -> tuple[Line, ...]:
    """Keep the shapes that hold for every block."""
    columns = zip(*(draft.forward.lines for draft in drafts), strict=True)
    return tuple(Line(c[0].code, c[0].comment if len({line.comment for line in c}) == 1 else "") for c in columns)
