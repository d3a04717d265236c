"""The tree of blocks: statements grouped by their modules' names, as far as the data flow allows.

1. A module with at least two layers is a block; a smaller one dissolves, and its name becomes the layer's.
2. A block is called once, so no path may leave it and come back: one that does dissolves into its parent.
3. Within a block, parts run in the graph's order, as early as what they read is there.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from toolchain.emit.torch_module.statement import Program, Statement


@dataclass(frozen=True, eq=False)
class Block:
    """Parts that run one after the other, with what they take from outside and give to it."""

    path: tuple[str, ...]
    name: str
    parts: tuple[Part, ...]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        """The place of its first statement in the graph."""
        return min(part.number for part in self.parts)

    @property
    def reads(self) -> tuple[str, ...]:
        """What it reads and does not make itself, in order."""
        made = self.made
        return tuple(dict.fromkeys(name for part in self.parts for name in part.reads if name not in made))

    @cached_property
    def made(self) -> frozenset[str]:
        """Every tensor made in it."""
        return frozenset(name for part in self.parts for name in made_by(part))


Part = Statement | Block


def made_by(part: Part) -> frozenset[str]:
    """Return every tensor made in a part."""
    return part.made if isinstance(part, Block) else frozenset(part.outputs)


def block_tree(program: Program) -> Block:
    """Group a program's statements into blocks and put them in order."""
    root = _arranged(Block((), "", _grouped(program.statements, ())))
    readers: dict[str, set[int]] = defaultdict(set)
    for item in program.statements:
        for name in item.reads:
            readers[name].add(item.number)
    for name in program.outputs:
        readers[name].add(len(program.statements) and program.statements[-1].number + 1)
    return replace(_with_outputs(root, readers), inputs=program.inputs, outputs=program.outputs)


def _grouped(statements: Sequence[Statement], path: tuple[str, ...]) -> tuple[Part, ...]:
    depth = len(path)
    families: dict[str, list[Statement]] = defaultdict(list)
    for item in statements:
        families[item.path[depth] if len(item.path) > depth else ""].append(item)
    parts: list[Part] = list(families.pop("", []))
    for name, members in families.items():
        if _layer_count(members) > 1:
            parts.append(Block((*path, name), name, _grouped(members, (*path, name))))
        else:
            parts += [replace(item, name=name if item.layers else "") for item in members]
    return tuple(parts)


def _layer_count(statements: Sequence[Statement]) -> int:
    """Count the layers; one that is used several times, with the same weights, counts once."""
    return len({item.weights for item in statements if item.layers})


def _arranged(block: Block) -> Block:
    """Order the parts, dissolving blocks that wait for each other or for themselves."""
    parts = [_arranged(part) if isinstance(part, Block) else part for part in block.parts]
    while True:
        ordered = _ordered(parts)
        if len(ordered) == len(parts):
            return replace(block, parts=tuple(ordered))
        placed = {id(part) for part in ordered}
        stuck = min((p for p in parts if id(p) not in placed and isinstance(p, Block)), key=lambda part: part.number)
        parts = [part for part in parts if part is not stuck] + [_renamed(part, stuck.name) for part in stuck.parts]


def _renamed(part: Part, prefix: str) -> Part:
    return replace(part, name=f"{prefix}_{part.name}") if part.name else part


def _ordered(parts: Sequence[Part]) -> list[Part]:
    """Sort by data flow, ties by the graph's order; parts on a cycle are left out."""
    maker = {name: position for position, part in enumerate(parts) for name in made_by(part)}
    waits = [{maker[name] for name in part.reads if name in maker} for part in parts]
    followers: dict[int, list[int]] = defaultdict(list)
    for position, sources in enumerate(waits):
        for source in sources:
            followers[source].append(position)
    ready = [(parts[position].number, position) for position, sources in enumerate(waits) if not sources]
    heapq.heapify(ready)
    result = []
    while ready:
        _, position = heapq.heappop(ready)
        result.append(parts[position])
        for follower in followers[position]:
            waits[follower].discard(position)
            if not waits[follower]:
                heapq.heappush(ready, (parts[follower].number, follower))
    return result


def _with_outputs(block: Block, readers: Mapping[str, set[int]]) -> Block:
    parts = tuple(_with_outputs(part, readers) if isinstance(part, Block) else part for part in block.parts)
    inside = _numbers(block)
    given = tuple(name for part in parts for name in part.outputs if readers[name] - inside)
    return replace(block, parts=parts, inputs=block.reads, outputs=given)


def _numbers(block: Block) -> set[int]:
    inner = (_numbers(part) if isinstance(part, Block) else {part.number} for part in block.parts)
    return set().union(*inner)
