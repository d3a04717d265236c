"""The lines of `forward`: short names, taken over as soon as they are free, and calls nested while they read well."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from toolchain.emit.torch_module.layout import fits

NAMES = ["x", "y", "z", "u", "v", "w", "a", "b", "c", "d", "e", "g", "h", "p", "q", "r", "s"]
NESTED_WIDTH = 60
"""Calls are nested up to this width."""


@dataclass(frozen=True)
class Step:
    """One line over tensors: `{t3}` in the expression is the tensor of number 3."""

    expression: str
    outputs: tuple[int, ...]

    @property
    def reads(self) -> list[int]:
        """The tensors read, in order; one that is read twice is there twice."""
        return [int(number) for number in re.findall(r"\{t(\d+)\}", self.expression)]


@dataclass(frozen=True)
class Line:
    """A line of code and the shape of what it makes."""

    code: str
    comment: str = ""


@dataclass(frozen=True)
class Forward:
    """The arguments and lines of a `forward`."""

    arguments: tuple[str, ...]
    lines: tuple[Line, ...]
    result_count: int


def write_forward(
    steps: Sequence[Step], inputs: Sequence[int], outputs: Sequence[int], shapes: Mapping[int, str]
) -> Forward:
    """Nest, name and write the steps; end by returning the outputs."""
    nested = _nested(steps, outputs)
    last_use = {tensor: place for place, step in enumerate(nested) for tensor in step.reads}
    last_use.update((tensor, len(nested)) for tensor in outputs)
    names = dict(zip(inputs, _free_names(set()), strict=False))
    arguments = tuple(names[tensor] for tensor in inputs)
    lines: list[Line] = []
    shown = ""
    for place, step in enumerate(nested):
        text = step.expression.format_map({f"t{tensor}": names[tensor] for tensor in step.reads})
        dying = [tensor for tensor in dict.fromkeys(step.reads) if last_use[tensor] == place]
        shape = shapes.get(step.outputs[0], "") if len(step.outputs) == 1 else ""
        comment, shown = (shape, shape) if shape and shape != shown else ("", shown)
        if place == len(nested) - 1 and list(step.outputs) == list(outputs) and fits(f"return {text}", 2):
            return Forward(arguments, (*lines, Line(f"return {text}", comment)), len(outputs))
        targets = _targets(step, names, dying, last_use)
        lines.append(Line(f"{', '.join(targets)} = {text}", comment))
    lines.append(Line(f"return {', '.join(names[tensor] for tensor in outputs)}"))
    return Forward(arguments, tuple(lines), len(outputs))


def _targets(step: Step, names: dict[int, str], dying: Sequence[int], last_use: Mapping[int, int]) -> list[str]:
    """Name what a step makes: names of operands that end here first, then free ones."""
    freed = [names.pop(tensor) for tensor in dying]
    free = _free_names({*names.values(), *freed})
    targets = []
    for tensor in step.outputs:
        if tensor not in last_use:
            targets.append("_")
            continue
        names[tensor] = freed.pop(0) if freed else next(free)
        targets.append(names[tensor])
    return targets


def _free_names(taken: set[str]) -> Iterator[str]:
    yield from (name for name in NAMES if name not in taken)
    yield from (name for name in (f"t{number}" for number in count()) if name not in taken)


def _nested(steps: Sequence[Step], outputs: Sequence[int]) -> list[Step]:
    """Put a step into the next one where only that one reads it, once, and the line stays short."""
    uses: dict[int, int] = dict.fromkeys(outputs, 1)
    for step in steps:
        for tensor in step.reads:
            uses[tensor] = uses.get(tensor, 0) + 1
    result: list[Step] = []
    for step in steps:
        current = step
        if result and (merged := _merged(result[-1], step, uses)):
            result.pop()
            current = merged
        result.append(current)
    return result


def _merged(first: Step, second: Step, uses: Mapping[int, int]) -> Step | None:
    if len(first.outputs) != 1 or uses.get(first.outputs[0]) != 1 or second.reads.count(first.outputs[0]) != 1:
        return None
    if second.expression.startswith("self.") and (
        not first.expression.startswith("self.") or first.expression.count("self.") > 1
    ):
        return None  # A layer's input is a line's end: F.relu(bn(conv(x))) reads well, conv2(F.relu(...)) does not.
    place = f"{{t{first.outputs[0]}}}"
    if not _is_argument(second.expression, place) and not _is_call(first.expression):
        return None
    text = second.expression.replace(place, first.expression)
    return Step(text, second.outputs) if len(_with_short_names(text)) <= NESTED_WIDTH else None


def _is_argument(expression: str, place: str) -> bool:
    """Tell whether a place stands alone between brackets or commas."""
    return bool(re.search(rf"[(\[, ]{re.escape(place)}[,)]", expression)) and not re.search(
        rf"[-+*/@&|^<>=] {re.escape(place)}", expression
    )


def _is_call(expression: str) -> bool:
    tree = ast.parse(_with_short_names(expression), mode="eval").body
    return isinstance(tree, ast.Call | ast.Subscript | ast.Attribute)


def _with_short_names(expression: str) -> str:
    return re.sub(r"\{t\d+\}", "x", expression)
