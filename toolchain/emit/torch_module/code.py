"""Calls as data: what a constructor gets, so that equal blocks can share one class with parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Argument:
    """One argument of a constructor; left out of the text where it is the default.

    Whole numbers may become parameters of a class; texts are Python expressions and stay as they are.
    """

    name: str
    value: int | str | Call
    keyword: bool = False
    default: int | str | None = None


@dataclass(frozen=True)
class Call:
    """A constructor with its arguments."""

    function: str
    arguments: tuple[Argument, ...] = ()

    def __str__(self) -> str:
        shown = [item for item in self.arguments if item.default is None or item.value != item.default]
        return f"{self.function}({', '.join(f'{a.name}={a.value}' if a.keyword else str(a.value) for a in shown)})"


@dataclass(frozen=True)
class Slot:
    """One whole number in a call: the name of its argument, and the number."""

    name: str
    value: int


def slots(call: Call) -> Iterator[Slot]:
    """Yield the whole numbers of a call, depth first."""
    for item in call.arguments:
        if isinstance(item.value, Call):
            yield from slots(item.value)
        elif isinstance(item.value, int):
            yield Slot(item.name, item.value)


def with_slots(call: Call, following: Callable[[], int | str]) -> Call:
    """Replace the whole numbers of a call, depth first, each by what comes next."""
    replaced = []
    for item in call.arguments:
        value = item.value
        if isinstance(value, Call):
            value = with_slots(value, following)
        elif isinstance(value, int):
            value = following()
        replaced.append(replace(item, value=value))
    return Call(call.function, tuple(replaced))


def skeleton(call: Call) -> str:
    """Return the call with its whole numbers blanked: what calls of one kind have in common."""
    parts = []
    for item in call.arguments:
        value = item.value
        text = skeleton(value) if isinstance(value, Call) else "?" if isinstance(value, int) else value
        parts.append(f"{item.name}={text}")
    return f"{call.function}({', '.join(parts)})"


def positional(name: str, value: int | str | Call) -> Argument:
    """Make an argument that is given by its place."""
    return Argument(name, value)


def keyword(name: str, value: int | str | Call, default: int | str | None = None) -> Argument:
    """Make an argument that is given by its name, and left out where it is the default."""
    return Argument(name, value, True, default)
